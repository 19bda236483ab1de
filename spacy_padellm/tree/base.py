"""What every way to run trees has: the interface, and what goes into the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from .model_call import ALL, ModelCall, Readout, additive_mask
from .support import MaskForm
from .token_tree import TokenTree


class TreeRun(ABC):
    """A batch of trees under way: the caller grows the trees, or cuts them off, and asks for
    logits.

    passes (int): Forward passes so far.
    tokens (int): Tokens run so far, padding left out.
    simulated_seconds (Optional[float]): Time so far, where the run stands for another one.
    """

    def __init__(
        self,
        call: ModelCall,
        trees: Sequence[TokenTree],
        *,
        mask_form: MaskForm | None,
        bidirectional_prefix: bool,
    ) -> None:
        """call (ModelCall): The model.
        trees (Sequence[TokenTree]): The trees; they may change between calls.
        mask_form (Optional[MaskForm]): The custom mask the model takes.
        bidirectional_prefix (bool): Whether the prefix attends in both directions.
        """
        self.passes = 0
        self.tokens = 0
        self.simulated_seconds: float | None = None
        self._call = call
        self._trees = trees
        self._mask_form = mask_form
        self._bidirectional_prefix = bidirectional_prefix
        self._retired: set[int] = set()

    def retire(self, trees: Iterable[int]) -> None:
        """Say that trees are finished, which saves their padding where there is any.

        trees (Iterable[int]): Places of trees that nothing more will be asked of.
        """
        self._retired.update(trees)

    @abstractmethod
    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        """nodes (Sequence[Sequence[int]]): For each tree, nodes added since the last call.
        readout (Readout): Which of their logits are wanted.
        RETURNS (Tensor): Next-token logits at these nodes, tree by tree, `(n, vocabulary)` or
            `(n, n_ids)`.
        """


def make_inputs(
    call: ModelCall,
    tokens: np.ndarray,
    positions: np.ndarray,
    visible: np.ndarray,
    mask_form: MaskForm | None,
) -> dict[str, Tensor]:
    """call (ModelCall): The model.
    tokens (np.ndarray): Token ids, shape `(batch, query)`.
    positions (np.ndarray): Position ids, same shape.
    visible (np.ndarray): Booleans, shape `(batch, query, key)`; `(batch, key)` for padding alone.
    mask_form (Optional[MaskForm]): The custom mask the model takes; `None` for padding alone.
    RETURNS (Dict[str, Tensor]): Arguments of the forward pass.
    """
    device = call.device
    mask = torch.from_numpy(visible).to(device)
    inputs = {
        "input_ids": torch.from_numpy(tokens).to(device),
        "position_ids": torch.from_numpy(positions).to(device),
        "attention_mask": (
            additive_mask(mask, call.model.dtype) if mask_form == "4d" else mask.long()
        ),
    }
    if getattr(call.model.config, "type_vocab_size", None):
        # BERT's own are as many as its positions, and a tree may have more nodes.
        inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
    return inputs
