"""One forward call of a Hugging Face model, with logits only where they are asked for."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from ..errors import Errors
from .kv_cache import KVCache

# What models call their KV cache, as argument and output: since transformers 5.24, and before.
_CACHE_NAMES = ("cache", "past_key_values")


@dataclass(frozen=True)
class Readout:
    """Which logits are wanted, where not simply all of the last layer's.

    ids (Optional[Tensor]): Only those of these ids, shape `(n_ids,)`.
    middle (Optional[Tensor]): Which places are read at the middle layer, as if the model ended
        there, shape `(n,)`. A place is read at one layer only.
    """

    ids: Tensor | None = None
    middle: Tensor | None = None


ALL = Readout()


class ModelCall:
    """Calls a model with what its signature knows.

    model (PreTrainedModel): A model with a language modelling head.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.parameters = frozenset(inspect.signature(model.forward).parameters)
        self._outermost: torch.nn.Module = model
        # Hooks on the model are seen by every thread that runs it.
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[ModelCall], tuple[PreTrainedModel]]:
        return ModelCall, (self.model,)

    def through(self, wrapper: torch.nn.Module) -> ModelCall:
        """wrapper (torch.nn.Module): What the model is called through: an adapter around it, or
            what trains it on several devices.
        RETURNS (ModelCall): The same model, called so.
        """
        call = ModelCall(self.model)
        # A wrapper may have changed the model's own forward since.
        call.parameters = self.parameters
        call._outermost = wrapper
        return call

    @property
    def device(self) -> torch.device:
        """RETURNS (torch.device): Where the inputs have to be."""
        embeddings = self.model.get_input_embeddings()
        # Weights that are fetched when they are needed are nowhere yet.
        place = getattr(getattr(embeddings, "_hf_hook", None), "execution_device", None)
        if place is not None:
            return torch.device(place)
        # A part of a model that is cut into shards may have none of its own.
        own = next(embeddings.parameters(), None)
        return self.model.device if own is None else own.device

    def __call__(
        self,
        rows: Tensor,
        columns: Tensor,
        readout: Readout = ALL,
        cache: KVCache | None = None,
        **inputs: Any,
    ) -> Tensor:
        """Run the model.

        rows (Tensor): Batch indices of the logits asked for, shape `(n,)`.
        columns (Tensor): Their places in the sequence, shape `(n,)`.
        readout (Readout): Which logits are wanted.
        cache (Optional[KVCache]): What was run before, and where this is kept.
        inputs (Any): Arguments of the forward pass; those the model does not know are left out.
        RETURNS (Tensor): Logits, shape `(n, vocabulary)` or `(n, n_ids)`.
        """
        kept = None if cache is None else cache.kept
        inputs |= {**dict.fromkeys(_CACHE_NAMES, kept), "use_cache": cache is not None}
        known = {name: value for name, value in inputs.items() if name in self.parameters}
        index = rows * inputs["input_ids"].shape[1] + columns
        head = self.model.get_output_embeddings()
        ids = selected = readout.ids
        if type(head) is not torch.nn.Linear or hasattr(head, "_hf_hook"):
            # A quantized layer, or one whose weights are fetched when it is run, has its own way.
            selected = None
        with ExitStack() as stack:
            stack.enter_context(self._lock)
            stack.enter_context(_head_input_at(head, index))
            if readout.middle is not None:
                stack.enter_context(_middle_layer_at(self.model, index[readout.middle]))
            if selected is not None:
                stack.enter_context(_head_output_at(head, selected))
            on_cpu = torch.is_grad_enabled() and index.device.type == "cpu"
            # What is computed again in the backward pass would not be with the same kernel.
            if on_cpu and not _recomputes(self.model):
                # On a CPU its fused kernel makes a step over small trees about half as slow again.
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
                stack.enter_context(_attention_in_its_dtype())
            output = self._outermost(**known, return_dict=True)
        if cache is not None:
            returned = (output.get(name) for name in _CACHE_NAMES)
            found = next((each for each in returned if each is not None), None)
            cache.take(found, type(self.model).__name__)
        logits: Tensor = output.logits[0]
        return logits if selected is not None or ids is None else logits[:, ids]


def _recomputes(model: PreTrainedModel) -> bool:
    """RETURNS (bool): Whether layers are run again in the backward pass (gradient checkpointing).
    The model's own property for it has another name since transformers 5.24.
    """
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


@contextmanager
def _attention_in_its_dtype() -> Iterator[None]:
    """Let attention under autocast be computed in bfloat16, rather than converted and back."""
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)


@contextmanager
def _middle_layer_at(model: PreTrainedModel, index: Tensor) -> Iterator[None]:
    """Let the last layer give what the middle layer gave at some of the places. What a model does
    behind its layers (a norm, BERT's transform) it does to that as well.

    index (Tensor): Flat indices into `(batch * length)`.
    """
    layers = _find_layers(model)
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
        layers[-1].register_forward_hook(replace),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        if recomputes:
            last_layer.gradient_checkpointing = True


def _find_layers(model: PreTrainedModel) -> torch.nn.ModuleList:
    count = model.config.num_hidden_layers
    lists = [m for m in model.base_model.modules() if isinstance(m, torch.nn.ModuleList)]
    found = next((each for each in lists if len(each) == count), None)
    if found is None:
        raise ValueError(Errors.P013.format(model=type(model).__name__))
    return found


@contextmanager
def _head_input_at(head: torch.nn.Module, index: Tensor) -> Iterator[None]:
    """Let the output layer see only some of the hidden states.

    Only the last layer is cut, so what a model does before and after it (BERT's transform,
    Gemma's soft cap) stays its own.

    index (Tensor): Flat indices into `(batch * length)`.
    """

    def select(module: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # Of a model that is spread over devices this may be another one than the inputs'.
        hidden = args[0].flatten(0, 1)
        return (hidden[index.to(hidden.device)].unsqueeze(0), *args[1:])

    hook = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _head_output_at(head: torch.nn.Module, ids: Tensor) -> Iterator[None]:
    """Let the output layer compute only some of its outputs. What a model does after it (a soft
    cap, a scale) it does to each output on its own.

    ids (Tensor): The outputs.
    """

    def forward(hidden: Tensor) -> Tensor:
        weight, bias = cast(Tensor, head.weight), cast("Tensor | None", head.bias)
        picked = None if bias is None else bias[ids]
        return torch.nn.functional.linear(hidden, weight[ids], picked)

    own = head.__dict__.get("forward")
    head.forward = forward
    try:
        yield
    finally:
        if own is None:
            del head.forward
        else:
            head.forward = own


def additive_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """visible (Tensor): Booleans, shape `(batch, query, key)`.
    dtype (torch.dtype): The model's.
    RETURNS (Tensor): 0 where visible, the lowest number elsewhere, `(batch, 1, query, key)`.
    """
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min).unsqueeze(1)
