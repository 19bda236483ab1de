"""Which logits a pass of a model returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Ids from here on stand for the vectors of a readout, the first of them for the first vector.
FIRST_VECTOR = 1 << 40


@dataclass(frozen=True)
class Readout:
    """What a pass returns; by default, the logits of all ids at the last layer.

    Args:
        ids: The ids whose logits are wanted, in ascending order, shape `(n_ids,)`; `None` for the
            whole vocabulary. Ids from `FIRST_VECTOR` on stand for `vectors`.
        middle: Booleans, shape `(n,)`: whether to read each place at the middle layer, as if the
            model ended there; `None` for no place.
        vectors: Vectors that are compared with the middle layer's output, shape
            `(n_vectors, width)`.
        hidden: Whether to return the middle layer's output in the place of logits.
    """

    ids: Tensor | None = None
    middle: Tensor | None = None
    vectors: Tensor | None = None
    hidden: bool = False

    def split_ids(self) -> tuple[Tensor | None, Tensor | None]:
        """Divide the ids into those of the vocabulary and the indices of vectors."""
        if self.ids is None or self.vectors is None:
            return self.ids, None
        is_vector = self.ids >= FIRST_VECTOR
        return self.ids[~is_vector], self.ids[is_vector] - FIRST_VECTOR

    @property
    def wants_hidden(self) -> bool:
        """Whether the middle layer's output is needed."""
        return self.hidden or self.vectors is not None

    def add_vectors(self, logits: Tensor, hidden: Tensor, indices: Tensor | None) -> Tensor:
        """Add the logits of vectors to those of ids.

        They are scaled as in attention, so that they begin near 0, whatever the width.

        Args:
            logits: The logits of ids, shape `(n, n_ids)`.
            hidden: The middle layer's output, shape `(n, width)`.
            indices: The vectors whose logits are wanted, shape `(m,)`; `None` for none.

        Returns:
            Logits, shape `(n, n_ids + m)`.
        """
        if indices is None or self.vectors is None:
            return logits
        vectors = self.vectors[indices.to(self.vectors.device)].to(hidden)
        compared = hidden @ vectors.T * hidden.shape[1] ** -0.5
        return torch.cat([logits, compared.to(logits)], dim=1)


ALL = Readout()
