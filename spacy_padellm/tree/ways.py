"""Opening a run in the way that fits the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from ..benchmark.one_by_one import OneByOneRun
from ..benchmark.padded import PaddedRun
from ..errors import Errors
from .base import TreeRun
from .model_call import ModelCall
from .runs import CachedRun, RecomputedRun, SequencesRun
from .support import TreeSupport, Way
from .token_tree import TokenTree

_RUNS: Mapping[Way, Callable[..., TreeRun]] = {
    "cached": CachedRun,
    "recomputed": RecomputedRun,
    "sequences": SequencesRun,
    "batch": PaddedRun,
    "batch_shared": partial(PaddedRun, share_prefix=True),
    "one_by_one": OneByOneRun,
}


def open_run(
    call: ModelCall,
    trees: Sequence[TokenTree],
    support: TreeSupport,
    *,
    bidirectional_prefix: bool = False,
) -> TreeRun:
    """Begin running a batch of trees.

    call (ModelCall): The model.
    trees (Sequence[TokenTree]): The trees.
    support (TreeSupport): How to run them.
    bidirectional_prefix (bool): Whether the prefix attends in both directions.
    RETURNS (TreeRun): The run.
    RAISES (ValueError): A bidirectional prefix, and the model takes no custom mask.
    """
    if bidirectional_prefix and support.mask_form is None:
        raise ValueError(Errors.P021.format(model=type(call.model).__name__))
    way = support.way
    if support.mask_form is None and way in ("cached", "recomputed"):
        # Without a custom mask nothing else is right.
        way = "sequences"
    return _RUNS[way](
        call, trees, mask_form=support.mask_form, bidirectional_prefix=bidirectional_prefix
    )
