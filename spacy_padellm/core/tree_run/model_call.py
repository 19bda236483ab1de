"""One forward call of a Hugging Face model, with logits only where they are asked for."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel


class ModelCall:
    """Calls a model with what its signature knows.

    model (PreTrainedModel): A model with a language modelling head.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.parameters = frozenset(inspect.signature(model.forward).parameters)

    @property
    def device(self) -> torch.device:
        """RETURNS (torch.device): Where the inputs have to be."""
        return next(self.model.get_input_embeddings().parameters()).device

    def __call__(self, rows: Tensor, columns: Tensor, **inputs: Any) -> Tensor:
        """Run the model.

        rows (Tensor): Batch indices of the logits asked for, shape `(n,)`.
        columns (Tensor): Their places in the sequence, shape `(n,)`.
        inputs (Any): Arguments of the forward pass; those the model does not know are left out.
        RETURNS (Tensor): Logits, shape `(n, vocabulary)`.
        """
        known = {name: value for name, value in inputs.items() if name in self.parameters}
        length = inputs["input_ids"].shape[1]
        with _head_input_at(self.model, rows * length + columns):
            logits = self.model(**known, return_dict=True).logits
        return logits[0]


@contextmanager
def _head_input_at(model: PreTrainedModel, index: Tensor) -> Iterator[None]:
    """Let the output layer see only some of the hidden states.

    Only the last layer is cut, so what a model does before and after it (BERT's transform,
    Gemma's soft cap) stays its own.

    index (Tensor): Flat indices into `(batch * length)`.
    """

    def select(module: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0].flatten(0, 1)[index].unsqueeze(0), *args[1:])

    hook = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        hook.remove()


def additive_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """visible (Tensor): Booleans, shape `(batch, query, key)`.
    dtype (torch.dtype): The model's.
    RETURNS (Tensor): 0 where visible, the lowest number elsewhere, `(batch, 1, query, key)`.
    """
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min).unsqueeze(1)
