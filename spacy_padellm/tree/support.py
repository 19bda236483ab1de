"""What a model can do with a token tree, as the load-time probe found it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Way = Literal["cached", "recomputed", "sequences", "batch", "batch_shared", "one_by_one"]
MaskForm = Literal["4d", "3d"]


@dataclass(frozen=True)
class TreeSupport:
    """How a model's trees are run.

    way (Way): `"cached"`: every node once, with a KV cache that grows by nodes. `"recomputed"`:
        the whole tree at each pass, no cache. `"sequences"`: separate padded sequences. The
        others are what trees are measured against, with a KV cache: `"batch"`: separate
        left-padded sequences; `"batch_shared"`: the same after the prefix, which is run once;
        `"one_by_one"`: one sequence after the other, the time of the slowest.
    mask_form (Optional[MaskForm]): The custom attention mask the model takes: `"4d"`, additive,
        `(batch, 1, query, key)`; `"3d"`, 0 and 1, `(batch, query, key)`; `None`, it takes none.
    max_depth (Optional[int]): Longest sequence the mask holds for, in tokens: beyond a model's
        attention window, trees are run as separate sequences. `None` for any length.
    """

    way: Way
    mask_form: MaskForm | None
    max_depth: int | None = None

    @property
    def has_cache(self) -> bool:
        """RETURNS (bool): Whether separate sequences keep a KV cache. Only models that take a mask
        of three dimensions, and none while there is a cache, do not.
        """
        return self.way != "recomputed" or self.mask_form != "3d"
