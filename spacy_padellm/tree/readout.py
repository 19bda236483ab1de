"""Which logits a pass of a model returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Ids from here on stand for the vectors of a readout, the first of them for the first vector.
FIRST_VECTOR = 1 << 40
# Both sides are normalised, so that logits begin within this distance of 0, whatever the width.
_SCALE = 4.0


@dataclass(frozen=True)
class Readout:
    """What a pass returns; by default, the logits of all ids at the last layer.

    Args:
        ids: The ids whose logits are wanted, in ascending order, shape `(n_ids,)`; `None` for the
            whole vocabulary. Ids from `FIRST_VECTOR` on stand for `vectors`.
        middle: Booleans, shape `(n,)`: whether to read each place at the middle layer, as if the
            model ended there; `None` for no place.
        vectors: Vectors that are compared with what goes into the output layer, as if they were
            further rows of it, shape `(n_vectors, width)`.
        hidden: Whether to return what goes into the output layer in the place of logits.
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

    def add_vectors(self, logits: Tensor, hidden: Tensor, indices: Tensor | None) -> Tensor:
        """Add the logits of vectors to those of ids.

        Args:
            logits: The logits of ids, shape `(n, n_ids)`.
            hidden: What goes into the output layer, shape `(n, width)`.
            indices: The vectors whose logits are wanted, shape `(m,)`; `None` for none.

        Returns:
            Logits, shape `(n, n_ids + m)`.
        """
        if indices is None or self.vectors is None:
            return logits
        vectors = self.vectors[indices.to(self.vectors.device)].to(hidden)
        compared = hidden @ vectors.T * (_SCALE / hidden.shape[1])
        return torch.cat([logits, compared.to(logits)], dim=1)


ALL = Readout()
