"""KV caches, those of transformers and the tuples its older models keep."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor
from transformers import DynamicCache

from ..errors import Errors
from .support import MaskForm


class KVCache:
    """Keys and values of what was run, row by row.

    mask_form (Optional[MaskForm]): The mask the model takes. One of three dimensions is that of
        models that begin with nothing and give back tuples.
    """

    def __init__(self, mask_form: MaskForm | None) -> None:
        self._kept: Any = None if mask_form == "3d" else DynamicCache()

    @property
    def kept(self) -> Any:
        """RETURNS (Any): What the model is given."""
        return self._kept

    def take(self, returned: Any, model: str) -> None:
        """returned (Any): What the model gave back.
        model (str): Its name.
        RAISES (ValueError): It kept nothing.
        """
        if returned is None:
            raise ValueError(Errors.P025.format(model=model))
        self._kept = returned

    def select(self, rows: Tensor) -> None:
        """rows (Tensor): The rows that stay, in this order, shape `(n,)`."""
        if isinstance(self._kept, tuple):
            self._kept = tuple((k[rows], v[rows]) for k, v in self._kept)
        elif self._kept is not None:
            self._kept.batch_select_indices(rows)

    def cut(self, count: int) -> None:
        """count (int): How many of the newest places to forget, at least one."""
        if isinstance(self._kept, tuple):
            self._kept = tuple((k[:, :, :-count], v[:, :, :-count]) for k, v in self._kept)
        elif self._kept is not None:
            # Below zero: how many to remove, which version 5 insists on.
            self._kept.crop(-count)

    def copy(self) -> KVCache:
        """RETURNS (KVCache): One that can be changed without this one."""
        return copy.deepcopy(self)
