"""Parts of a corpus that comes without a split."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from ..errors import Errors
from ..texts import AnnotatedText


def take_part(texts: Sequence[AnnotatedText], part: str) -> list[AnnotatedText]:
    """Take texts that stand together, so that what belongs to one document mostly stays so. Parts
    that meet, as 0:0.6 and 0.6:1, share no text and leave none out.

    texts (Sequence[AnnotatedText]): The texts of a corpus.
    part (str): Where the part starts and ends, as fractions of the corpus: "0:0.6".
    RETURNS (List[AnnotatedText]): The texts of the part, at least one.
    RAISES (ValueError): If this is no such part, or there is no text in it.
    """
    start, colon, end = part.partition(":")
    try:
        first, last = (math.floor(float(bound) * len(texts) + 0.5) for bound in (start, end))
        is_part = bool(colon) and 0 <= float(start) < float(end) <= 1
    except (ValueError, OverflowError):
        is_part = False
    if not is_part or first == last:
        raise ValueError(Errors.P122.format(part=part, count=len(texts)))
    return list(texts[first:last])


def shuffle(texts: Sequence[AnnotatedText], seed: int) -> list[AnnotatedText]:
    """texts (Sequence[AnnotatedText]): The texts of a corpus.
    seed (int): What decides on the order.
    RETURNS (List[AnnotatedText]): The texts in an order that the seed and their number decide on.
    """
    return random.Random(seed).sample(texts, len(texts))
