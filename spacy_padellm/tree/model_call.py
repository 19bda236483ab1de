"""The forward pass of a Hugging Face model, with logits only at the places asked for."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from ..errors import Errors
from .forks import ForkLock
from .kv_cache import CACHE_NAMES, KVCache, MaskForm
from .readout import ALL, Readout


@dataclass
class Half:
    """One half of the model's layers, to be run in the place of all.

    What follows the layers (a norm, the output layer) is run behind either half.

    Args:
        layers: The layers.
        hidden: The input of the first of them, shape `(batch, query, width)`; `None` for what the
            model makes of the token ids.

    Attributes:
        output: The output of the last of them, same shape, once they have run.
    """

    layers: slice
    hidden: Tensor | None = None
    output: Tensor | None = None


class ModelCall:
    """The forward pass of a model, called only with arguments that the model knows.

    Args:
        model: A model with a language modelling head.
        outermost: The wrapper to call the model through, such as an adapter, or the wrapper that
            trains it on several devices; `None` to call the model itself.

    Attributes:
        parameters: The names of the arguments that the model's forward pass takes.
    """

    def __init__(self, model: PreTrainedModel, outermost: torch.nn.Module | None = None) -> None:
        self.model = model
        # Read now, since a later wrapper may change the model's `forward`.
        self.parameters = frozenset(inspect.signature(model.forward).parameters)
        self._outermost = outermost or model
        # A hook affects every thread that runs the model, so one thread runs at a time.
        self._lock = ForkLock(rank=3)

    def __reduce__(self) -> tuple[type[ModelCall], tuple[PreTrainedModel]]:
        return ModelCall, (self.model,)

    def through(self, wrapper: torch.nn.Module) -> ModelCall:
        """Return a call of the same model through a wrapper."""
        call = ModelCall(self.model, wrapper)
        # The wrapper may have changed the model's `forward`.
        call.parameters = self.parameters
        return call

    @property
    def device(self) -> torch.device:
        """The device that the inputs have to be on."""
        embeddings = self.model.get_input_embeddings()
        # Offloaded weights are on no device until they are needed.
        place = getattr(getattr(embeddings, "_hf_hook", None), "execution_device", None)
        if place is not None:
            return torch.device(place)
        # In a sharded model, the embeddings may have no parameters of their own.
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
        """Build the arguments of a forward pass, in the form that the model's family takes.

        Args:
            tokens: Token ids, shape `(batch, query)`.
            positions: Position ids, same shape.
            visible: Booleans, shape `(batch, query, key)`; `(batch, key)` if only padding is
                masked.
            mask_form: The custom mask that the model takes.
            cached: Number of slots in the cache; `None` without a cache.
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
            # BERT makes token types only for its positions, and a tree may have more nodes.
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
        half: Half | None = None,
        **inputs: Any,
    ) -> Tensor:
        """Run the model once and return logits at the given places.

        Args:
            rows: Row in the batch of each place, shape `(n,)`.
            columns: Column in the input of each place, shape `(n,)`.
            readout: Which logits to return.
            cache: The KV cache to extend; `None` for none.
            half: The half of the layers to run; `None` to run all.
            **inputs: Arguments of the forward pass. Those that the model does not know are left
                out.

        Returns:
            Logits, shape `(n, vocabulary)` or `(n, n_ids)`; hidden states, shape `(n, width)`, if
            the readout wants them.

        Raises:
            ValueError: A cache is given but the model returns none, or the middle layer is to be
                read and the model's layers cannot be identified.
        """
        kept = None if cache is None else cache.kept
        inputs |= {**dict.fromkeys(CACHE_NAMES, kept), "use_cache": cache is not None}
        known = {name: inputs[name] for name in inputs if name in self.parameters}
        index = rows * inputs["input_ids"].shape[1] + columns
        head = self.model.get_output_embeddings()
        wanted, vectors = readout.split_ids()
        selected = wanted
        if type(head) is not torch.nn.Linear or hasattr(head, "_hf_hook"):
            # A quantized or offloaded layer must run its own `forward`.
            selected = None
        with ExitStack() as stack:
            stack.enter_context(self._lock)
            stack.enter_context(_head_at(head, index, selected))
            hidden: list[Tensor] = []
            if readout.wants_hidden:
                middle_layer = getattr(*self._place_of_layers)[self.halves[0].stop - 1]
                hidden = stack.enter_context(_output_of(middle_layer, index))
            if half is not None:
                stack.enter_context(_only(half, *self._place_of_layers))
            elif readout.middle is not None:
                early = index[readout.middle.to(index.device)]
                layers = getattr(*self._place_of_layers)
                stack.enter_context(_middle_layer_at(layers, self.halves[0].stop - 1, early))
            if torch.is_grad_enabled() and index.device.type == "cpu":
                stack.enter_context(_attention_for_training(self.model))
            output = self._outermost(**known, return_dict=True)
        if cache is not None:
            returned = (output.get(name) for name in CACHE_NAMES)
            cache.kept = next((each for each in returned if each is not None), None)
            if cache.kept is None:
                raise ValueError(Errors.P025.format(model=type(self.model).__name__))
        if readout.hidden:
            return hidden[0]
        logits: Tensor = output.logits[0]
        if selected is None and wanted is not None:
            logits = logits[:, wanted]
        return readout.add_vectors(logits, hidden[0], vectors) if hidden else logits

    @property
    def halves(self) -> tuple[slice, slice]:
        """The layers up to the middle one, at which text tags are read, and those above it."""
        # Not counted: another thread may run a half just now.
        count = self.model.config.num_hidden_layers
        above = (count + 1) // 2
        return slice(0, above), slice(above, count)

    @cached_property
    def _place_of_layers(self) -> tuple[torch.nn.Module, str]:
        """The module that holds the list of the model's layers, and the list's name in it."""
        count = self.model.config.num_hidden_layers
        for module in self.model.base_model.modules():
            for name, child in module.named_children():
                if isinstance(child, torch.nn.ModuleList) and len(child) == count:
                    return module, name
        raise ValueError(Errors.P013.format(model=type(self.model).__name__))


@contextmanager
def _attention_for_training(model: PreTrainedModel) -> Iterator[None]:
    """Use the unfused attention kernel: small trees train 1.5 times as fast with it on a CPU.

    Under autocast, it computes in bfloat16 without converting to float32 and back.
    """
    # With gradient checkpointing, the backward pass would recompute with another kernel. All
    # modules are checked, as transformers 5.24 renamed the model's own property.
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
def _only(half: Half, module: torch.nn.Module, name: str) -> Iterator[None]:
    """Let a model run only one half of its layers.

    Args:
        half: The half.
        module: The module that holds the list of layers.
        name: The list's name in it.
    """

    def give(module: torch.nn.Module, args: Any, kwargs: Any) -> Any:
        if half.hidden is None:
            return None
        if args:
            return (half.hidden.to(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": half.hidden.to(kwargs["hidden_states"])}

    def keep(module: torch.nn.Module, args: Any, output: Any) -> None:
        half.output = output[0] if isinstance(output, tuple) else output

    layers: torch.nn.ModuleList = getattr(module, name)
    chosen = layers[half.layers]
    hooks = [
        chosen[0].register_forward_pre_hook(give, with_kwargs=True),
        chosen[-1].register_forward_hook(keep),
    ]
    setattr(module, name, chosen)
    try:
        yield
    finally:
        setattr(module, name, layers)
        for hook in hooks:
            hook.remove()


@contextmanager
def _middle_layer_at(layers: torch.nn.ModuleList, middle: int, index: Tensor) -> Iterator[None]:
    """Make the last layer return the middle layer's output at some places.

    What follows the layers (a norm, BERT's transform) is applied to this output as well.

    Args:
        layers: The layers.
        middle: The number of the middle one.
        index: The places, as flat indices into `(batch * length)`.
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
        # With gradient checkpointing, the backward pass would recompute without the hook.
        last_layer.gradient_checkpointing = False
    # This order matters if the model has one layer, which is both middle and last.
    hooks = [
        layers[middle].register_forward_hook(keep),
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
def _output_of(layer: torch.nn.Module, index: Tensor) -> Iterator[list[Tensor]]:
    """Keep a layer's output at some places.

    Args:
        layer: The layer.
        index: The places, as flat indices into `(batch * length)`.

    Yields:
        A list that gets the output, shape `(n, width)`, each time that the layer runs.
    """
    kept: list[Tensor] = []

    def keep(module: torch.nn.Module, args: Any, output: Any) -> None:
        hidden: Tensor = (output[0] if isinstance(output, tuple) else output).flatten(0, 1)
        kept.append(hidden[index.to(hidden.device)])

    hook = layer.register_forward_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()


@contextmanager
def _head_at(head: torch.nn.Module, index: Tensor, ids: Tensor | None) -> Iterator[None]:
    """Compute the output layer only at some places and for some ids.

    The model's own steps around this layer (BERT's transform, Gemma's soft cap) stay as they are.

    Args:
        index: The places, as flat indices into `(batch * length)`.
        ids: The ids to compute logits for; `None` for the whole vocabulary.
    """

    def select(module: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # In a model spread over several devices, the inputs may be on another device.
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
