"""Cut long texts into overlapping windows that fit a model, and merge what is found in them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ..prompt.encoder import EncodedText
from ..texts import Entity, TokenizedText

logger = logging.getLogger(__name__)

# Windows get a third shorter until all fit. Neighbours share a quarter, so that a mention cut at
# the edge of one is inside the other.
_SHORTER = (2, 3)
_OVERLAP = 4


@dataclass(frozen=True)
class Window:
    """A stretch of a text that the model reads at once.

    Args:
        start: Offset of its first character in the text.
        text: The encoded stretch.
    """

    start: int
    text: EncodedText


def cut_windows(
    text: TokenizedText,
    encode: Callable[[TokenizedText], EncodedText],
    fits: Callable[[EncodedText], bool],
) -> list[Window]:
    """Cut a text into overlapping windows.

    Args:
        text: The text.
        encode: Encodes a stretch of the text.
        fits: Returns whether the model can read an encoded text at once.

    Returns:
        The windows in order: one if the text fits, none if it has no tokens. Neighbours share a
        quarter of their tokens. A token that does not fit even alone is logged and left out, and
        the text is cut there.
    """
    tokens = text.tokens
    if not tokens:
        return []
    less, more = _SHORTER
    size = length = len(tokens)
    while length:
        stride = length - length // _OVERLAP
        windows = []
        for first in range(0, size - length + stride, stride):
            window = _window(text, encode, first, min(first + length, size))
            if not fits(window.text):
                break
            windows.append(window)
        else:
            return windows
        length = length * less // more
    too_long = [i for i in range(size) if not fits(_window(text, encode, i, i + 1).text)]
    for i in too_long:
        token = text.text[slice(*tokens[i])]
        logger.warning(
            "A token of %d characters is too long to be read: %r", len(token), token[:60]
        )
    return [
        Window(part.start + window.start, window.text)
        for before, last in pairwise([-1, *too_long, size])
        if before + 1 < last
        for part in [_window(text, encode, before + 1, last)]
        for window in cut_windows(part.text, encode, fits)
    ]


def merge_windows(windows: Sequence[Window], entities: Sequence[Sequence[Entity]]) -> list[Entity]:
    """Merge the entities found in the windows of a text.

    Of the same entity in several windows, the most probable one is kept. Windows may find different
    labels at a place: all of them are returned, as the rest of the text decides between them. An
    entity at a window's edge may be part of a longer one. It is dropped if another window reads it
    with text on both sides.

    Args:
        windows: The windows.
        entities: The entities found in each window.

    Returns:
        The text's entities, in order of appearance.
    """
    places = [(window.start, window.start + len(window.text.text)) for window in windows]
    best: dict[tuple[int, int, str], Entity] = {}
    for (first, last), found in zip(places, entities, strict=True):
        for each in found:
            moved = replace(each, start=each.start + first, end=each.end + first)
            key = (moved.start, moved.end, moved.label)
            at_edge = moved.start == first or moved.end == last
            if at_edge and any(start < moved.start and moved.end < end for start, end in places):
                continue
            if key not in best or moved.score > best[key].score:
                best[key] = moved
    return [best[key] for key in sorted(best)]


def _window(
    text: TokenizedText, encode: Callable[[TokenizedText], EncodedText], first: int, last: int
) -> Window:
    """Cut out and encode a window, given its first token and one past its last."""
    start, end = text.tokens[first][0], text.tokens[last - 1][1]
    return Window(start, encode(text.stretch(start, end)))
