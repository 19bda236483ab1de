"""The interface of a run of growing trees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .kv_cache import KVCache, MaskForm
from .model_call import Half, ModelCall
from .readout import ALL, Readout
from .token_tree import TokenTree

Way = Literal["cached", "recomputed", "sequences"]


@dataclass(frozen=True)
class TreeSupport:
    """How a model can run trees, as found by the load-time probe.

    Args:
        way: `"cached"`: every node once, with a KV cache. `"recomputed"`: whole trees in every
            pass, without a cache. `"sequences"`: separate padded sequences.
        mask_form: The custom attention mask that the model takes: `"4d"`, additive,
            `(batch, 1, query, key)`; `"3d"`, 0 and 1, `(batch, query, key)`; `None` if it takes
            none.
        max_depth: Length of the longest sequence for which the mask is right, in tokens: the
            attention window. Longer trees are run as separate sequences. `None` for any length.
        in_halves: Whether the two halves of the layers can be run one after the other.
    """

    way: Way
    mask_form: MaskForm | None
    max_depth: int | None = None
    in_halves: bool = False


class TreeRun(ABC):
    """A batch of trees that is being run: the caller grows or cuts the trees and asks for logits.

    Args:
        call: The model's forward pass.
        trees: The trees; they may change between calls.
        mask_form: The custom mask that the model takes.
        bidirectional_prefix: Whether the prefix attends in both directions.
        in_halves: Whether the layers above the middle one are left out of what is read at the
            middle layer alone.

    Attributes:
        passes: Number of forward passes so far.
        tokens: Number of tokens run so far, without padding.
    """

    def __init__(
        self,
        call: ModelCall,
        trees: Sequence[TokenTree],
        *,
        mask_form: MaskForm | None,
        bidirectional_prefix: bool = False,
        in_halves: bool = False,
    ) -> None:
        self.passes = 0
        self.tokens = 0
        self.call = call
        self.trees = trees
        self.mask_form = mask_form
        self.bidirectional_prefix = bidirectional_prefix
        self.in_halves = in_halves
        self.retired: set[int] = set()

    def retire(self, trees: Iterable[int]) -> None:
        """Mark trees, given by index, as finished, so that they cost no more padding."""
        self.retired.update(trees)

    @abstractmethod
    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        """Run the trees as far as needed and return next-token logits at some of their new nodes.

        Args:
            nodes: For each tree, the nodes to return logits for. All must be new since the last
                call.
            readout: Which logits to return.

        Returns:
            Logits, tree by tree, shape `(n, vocabulary)` or `(n, n_ids)`.
        """

    def run(
        self,
        tokens: np.ndarray,
        positions: np.ndarray,
        visible: np.ndarray,
        places: tuple[np.ndarray, np.ndarray],
        readout: Readout,
        cache: KVCache | None = None,
        width: int = 0,
        half: Half | None = None,
    ) -> Tensor:
        """Run the model once, and count the pass. The upper half completes the lower half's pass.

        Args:
            tokens: Token ids, shape `(batch, query)`.
            positions: Position ids, same shape.
            visible: Booleans, shape `(batch, query, key)`; `(batch, key)` if only padding is
                masked.
            places: Rows and columns at which logits are wanted, each of shape `(n,)`.
            readout: Which logits to return.
            cache: The KV cache to extend; `None` for none.
            width: Number of slots in the cache before this pass.
            half: The half of the layers to run; `None` to run all.

        Returns:
            Logits, shape `(n, vocabulary)` or `(n, n_ids)`.
        """
        if half is None or half.hidden is None:
            self.passes += 1
        inputs = self.call.make_inputs(
            tokens, positions, visible, self.mask_form, None if cache is None else width
        )
        rows, columns = (torch.from_numpy(place).to(self.call.device) for place in places)
        return self.call(rows, columns, readout, cache, half, **inputs)
