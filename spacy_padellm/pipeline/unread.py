"""What a model wrote in an output format and could not be read: it is lost, so it is logged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..decode.cost import DecodingCost

logger = logging.getLogger(__name__)


@contextmanager
def unread_logged(name: str, get_cost: Callable[[], DecodingCost]) -> Iterator[None]:
    """Log, once, how much of what is written within could not be read.

    name (str): Who reads it.
    get_cost (Callable[[], DecodingCost]): What decoding took so far.
    """
    before = get_cost()
    try:
        yield
    finally:
        after = get_cost()
        malformed = after.malformed - before.malformed
        ungrounded = after.ungrounded - before.ungrounded
        if malformed > 0 or ungrounded > 0:
            logger.warning(
                "%s: %d stretches of what the model wrote were malformed, and %d of its mentions "
                "ungrounded (not in the text, or of no label); they were dropped",
                name,
                malformed,
                ungrounded,
            )
