"""The KV cache of a forward pass, in whatever form the model keeps it."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import DynamicCache

MaskForm = Literal["4d", "3d"]

# The cache's name as argument and output: since transformers 5.24, and before.
CACHE_NAMES = ("cache", "past_key_values")


class _PartialCache(DynamicCache):
    """A cache of the layers from `first_layer` on, which it numbers from 0."""

    def __init__(self, first_layer: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.first_layer = first_layer

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *args: Any, **others: Any
    ) -> Any:
        layer = layer_idx - self.first_layer
        return super().update(keys, values, layer, *args, **others)  # type: ignore[misc]


class KVCache:
    """The keys and values of the tokens run so far, one row for each row of the batch.

    Args:
        mask_form: The mask that the model takes. A model with `"3d"` is of an older kind, which
            starts without a cache and returns a tuple.
        first_layer: The first layer that is run.

    Attributes:
        kept: The cache as the model takes and returns it.
    """

    def __init__(self, mask_form: MaskForm | None, first_layer: int = 0) -> None:
        self.kept: Any = None if mask_form == "3d" else _PartialCache(first_layer)

    def select(self, rows: Tensor) -> None:
        """Keep only these rows, in this order; the indices have the shape `(n,)`."""
        if isinstance(self.kept, tuple):
            self.kept = tuple((k[rows], v[rows]) for k, v in self.kept)
        elif self.kept is not None:
            self.kept.batch_select_indices(rows)

    def cut(self, count: int) -> None:
        """Drop the last `count` slots of every row; `count` is at least 1."""
        if isinstance(self.kept, tuple):
            self.kept = tuple((k[:, :, :-count], v[:, :, :-count]) for k, v in self.kept)
        elif self.kept is not None:
            # Negative: the number to remove. Transformers 5 takes no other form.
            self.kept.crop(-count)

    def move(self, rows: Tensor, slots: Tensor) -> None:
        """Fill the slots of every row anew with slots kept so far.

        Args:
            rows: The row that each slot is taken from, shape `(batch, n_slots)`.
            slots: The slot that it is taken from, same shape.
        """
        places: dict[torch.device, tuple[Tensor, Tensor]] = {}

        def take(kept: Tensor) -> Tensor:
            """Take the slots from keys or values of the shape `(batch, heads, slots, width)`."""
            if kept.device not in places:
                places[kept.device] = rows.to(kept.device), slots.to(kept.device)
            of_rows, of_slots = places[kept.device]
            return kept[of_rows, :, of_slots].transpose(1, 2)

        if isinstance(self.kept, tuple):
            self.kept = tuple((take(k), take(v)) for k, v in self.kept)
        elif hasattr(self.kept, "layers"):
            for layer in self.kept.layers:
                layer.keys, layer.values = take(layer.keys), take(layer.values)
        elif self.kept is not None:
            # Transformers before 4.54.
            for kept in (self.kept.key_cache, self.kept.value_cache):
                kept[:] = map(take, kept)

    def copy(self) -> KVCache:
        """Return a deep copy."""
        return copy.deepcopy(self)
