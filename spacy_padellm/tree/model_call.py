"""One forward call of a Hugging Face model, with logits only where they are asked for."""

from __future__ import annotations

import copy
import inspect
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import DynamicCache, PreTrainedModel

from ..errors import Errors

MaskForm = Literal["4d", "3d"]

# What models call their KV cache, as argument and output: since transformers 5.24, and before.
_CACHE_NAMES = ("cache", "past_key_values")


@dataclass(frozen=True)
class Readout:
    """Which logits are wanted, where not simply all of the last layer's.

    Args:
        ids: Only those of these ids, shape `(n_ids,)`.
        middle: Which places are read at the middle layer, as if the model ended there, booleans of
            shape `(n,)`.
    """

    ids: Tensor | None = None
    middle: Tensor | None = None


ALL = Readout()


class KVCache:
    """Keys and values of what was run, row by row: of transformers, or its older models' tuples.

    Args:
        mask_form: The mask the model takes. One of three dimensions is that of models that begin
            with nothing and give back tuples.

    Attributes:
        kept: What the model is given, and gave back.
    """

    def __init__(self, mask_form: MaskForm | None) -> None:
        self.kept: Any = None if mask_form == "3d" else DynamicCache()

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order, shape `(n,)`."""
        if isinstance(self.kept, tuple):
            self.kept = tuple((k[rows], v[rows]) for k, v in self.kept)
        elif self.kept is not None:
            self.kept.batch_select_indices(rows)

    def cut(self, count: int) -> None:
        """Forget the newest places, at least one."""
        if isinstance(self.kept, tuple):
            self.kept = tuple((k[:, :, :-count], v[:, :, :-count]) for k, v in self.kept)
        elif self.kept is not None:
            # Below zero: how many to remove, which version 5 insists on.
            self.kept.crop(-count)

    def copy(self) -> KVCache:
        """Make one that can be changed without this one."""
        return copy.deepcopy(self)


class ModelCall:
    """Calls a model with what its signature knows.

    Args:
        model: A model with a language modelling head.
        outermost: What the model is called through, if not itself: an adapter around it, or what
            trains it on several devices.

    Attributes:
        parameters: The arguments that the model's forward pass takes.
    """

    def __init__(self, model: PreTrainedModel, outermost: torch.nn.Module | None = None) -> None:
        self.model = model
        # Read now, as what wraps the model later may change its forward.
        self.parameters = frozenset(inspect.signature(model.forward).parameters)
        self._outermost = outermost or model
        # Hooks on the model are seen by every thread that runs it.
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[ModelCall], tuple[PreTrainedModel]]:
        return ModelCall, (self.model,)

    def through(self, wrapper: torch.nn.Module) -> ModelCall:
        """Call the same model through what is around it."""
        call = ModelCall(self.model, wrapper)
        # A wrapper may have changed the model's own forward since.
        call.parameters = self.parameters
        return call

    @property
    def device(self) -> torch.device:
        """Where the inputs have to be."""
        embeddings = self.model.get_input_embeddings()
        # Weights that are fetched when they are needed are nowhere yet.
        place = getattr(getattr(embeddings, "_hf_hook", None), "execution_device", None)
        if place is not None:
            return torch.device(place)
        # A part of a model that is cut into shards may have none of its own.
        own = next(embeddings.parameters(), None)
        return self.model.device if own is None else own.device

    def make_inputs(
        self,
        tokens: np.ndarray,
        positions: np.ndarray,
        visible: np.ndarray,
        mask_form: MaskForm | None,
        cached: int | None,
    ) -> dict[str, Tensor]:
        """Make the arguments of a forward pass, as families of models want them.

        Args:
            tokens: Token ids, shape `(batch, query)`.
            positions: Position ids, same shape.
            visible: Booleans, shape `(batch, query, key)`; `(batch, key)` for padding alone.
            mask_form: The custom mask the model takes.
            cached: How many places the cache has, `None` without one.
        """
        seen = torch.from_numpy(visible).to(self.device)
        if mask_form != "4d" or visible.ndim < 3:
            mask = seen.long()
        else:
            dtype = self.model.dtype
            mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
            mask = mask.masked_fill_(~seen, torch.finfo(dtype).min).unsqueeze(1)
        inputs = {
            "input_ids": torch.from_numpy(tokens).to(seen.device),
            "position_ids": torch.from_numpy(positions).to(seen.device),
            "attention_mask": mask,
        }
        if getattr(self.model.config, "type_vocab_size", None):
            # BERT's own are as many as its positions, and a tree may have more nodes.
            inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
        if cached is not None:
            end = cached + tokens.shape[1]
            inputs["cache_position"] = torch.arange(cached, end, device=seen.device)
        return inputs

    def __call__(
        self,
        rows: Tensor,
        columns: Tensor,
        readout: Readout = ALL,
        cache: KVCache | None = None,
        **inputs: Any,
    ) -> Tensor:
        """Run the model.

        Args:
            rows: Batch indices of the logits asked for, shape `(n,)`.
            columns: Their places in the sequence, shape `(n,)`.
            readout: Which logits are wanted.
            cache: What was run before, and where this is kept.
            **inputs: Arguments of the forward pass; those the model does not know are left out.

        Returns:
            Logits, shape `(n, vocabulary)` or `(n, n_ids)`.

        Raises:
            ValueError: There is a cache, and the model kept nothing; or its layers cannot be told,
                and the middle one is to be read.
        """
        kept = None if cache is None else cache.kept
        inputs |= {**dict.fromkeys(_CACHE_NAMES, kept), "use_cache": cache is not None}
        known = {name: value for name, value in inputs.items() if name in self.parameters}
        index = rows * inputs["input_ids"].shape[1] + columns
        head = self.model.get_output_embeddings()
        selected = readout.ids
        if type(head) is not torch.nn.Linear or hasattr(head, "_hf_hook"):
            # A quantized layer, or one whose weights are fetched when it is run, has its own way.
            selected = None
        with ExitStack() as stack:
            stack.enter_context(self._lock)
            stack.enter_context(_head_at(head, index, selected))
            if readout.middle is not None:
                middle = index[readout.middle.to(index.device)]
                stack.enter_context(_middle_layer_at(self._layers, middle))
            if torch.is_grad_enabled() and index.device.type == "cpu":
                stack.enter_context(_attention_for_training(self.model))
            output = self._outermost(**known, return_dict=True)
        if cache is not None:
            returned = (output.get(name) for name in _CACHE_NAMES)
            cache.kept = next((each for each in returned if each is not None), None)
            if cache.kept is None:
                raise ValueError(Errors.P025.format(model=type(self.model).__name__))
        logits: Tensor = output.logits[0]
        return logits if selected is not None or readout.ids is None else logits[:, readout.ids]

    @cached_property
    def _layers(self) -> torch.nn.ModuleList:
        count = self.model.config.num_hidden_layers
        for module in self.model.base_model.modules():
            if isinstance(module, torch.nn.ModuleList) and len(module) == count:
                return module
        raise ValueError(Errors.P013.format(model=type(self.model).__name__))


@contextmanager
def _attention_for_training(model: PreTrainedModel) -> Iterator[None]:
    """Train small trees on a CPU half as fast again: not with its fused kernel, and under autocast
    in bfloat16, rather than converted and back.
    """
    # The model's own property for it has another name since transformers 5.24. What is computed
    # again in the backward pass would not be with the same kernel.
    if any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        yield
        return
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)


@contextmanager
def _middle_layer_at(layers: torch.nn.ModuleList, index: Tensor) -> Iterator[None]:
    """Let the last layer give what the middle layer gave at some of the places. What a model does
    behind its layers (a norm, BERT's transform) it does to that as well.

    Args:
        layers: The model's layers.
        index: Flat indices into `(batch * length)`.
    """
    kept: list[Tensor] = []

    def keep(module: torch.nn.Module, args: Any, output: Any) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    def replace(module: torch.nn.Module, args: Any, output: Any) -> Any:
        last = output[0] if isinstance(output, tuple) else output
        middle = kept[-1].flatten(0, 1)
        middle = middle[index.to(middle.device)].to(last)
        mixed = last.flatten(0, 1).index_put((index.to(last.device),), middle).view_as(last)
        return (mixed, *output[1:]) if isinstance(output, tuple) else mixed

    last_layer: Any = layers[-1]
    recomputes = getattr(last_layer, "gradient_checkpointing", False)
    if recomputes:
        # What is computed again in the backward pass would be without the hook.
        last_layer.gradient_checkpointing = False
    # In this order, as a single layer is both.
    hooks = [
        layers[(len(layers) - 1) // 2].register_forward_hook(keep),
        last_layer.register_forward_hook(replace),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        if recomputes:
            last_layer.gradient_checkpointing = True


@contextmanager
def _head_at(head: torch.nn.Module, index: Tensor, ids: Tensor | None) -> Iterator[None]:
    """Let the output layer see only some of the hidden states, and compute only some outputs.

    Only this layer is cut, so what a model does before and after it (BERT's transform, Gemma's soft
    cap) stays its own.

    Args:
        head: The output layer.
        index: Flat indices into `(batch * length)`.
        ids: The outputs, `None` for all.
    """

    def select(module: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # Of a model that is spread over devices this may be another one than the inputs'.
        hidden = args[0].flatten(0, 1)
        return (hidden[index.to(hidden.device)].unsqueeze(0), *args[1:])

    def forward(hidden: Tensor) -> Tensor:
        weight, bias = cast(Tensor, head.weight), cast("Tensor | None", head.bias)
        picked = None if bias is None else bias[ids]
        return torch.nn.functional.linear(hidden, weight[ids], picked)

    hook = head.register_forward_pre_hook(select)
    own = head.__dict__.get("forward")
    if ids is not None:
        head.forward = forward
    try:
        yield
    finally:
        hook.remove()
        if own is not None:
            head.forward = own
        elif ids is not None:
            del head.forward
