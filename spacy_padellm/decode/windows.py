"""Texts too long for a model → overlapping windows that it has positions for, and back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ..checkpoints.settings import CheckpointSettings
from ..prompt.encoder import PromptEncoder
from ..texts import TokenizedText
from ..tree.causal_lm import CausalLM
from ..tree.trie import build_count_trie, build_source_trie
from .mentions import ScoredMention

logger = logging.getLogger(__name__)

# Windows get a third shorter until all fit, and share a quarter: what is cut at the edge of one is
# inside another.
_SHORTER = (2, 3)
_OVERLAP = 4

# Of an output format: the text, and the text written again with labels in it.
_TIMES_WRITTEN = 3


@dataclass(frozen=True)
class Window:
    """A stretch of a text that is read at once.

    start (int): Its first character in the text.
    source (TokenizedText): Its text and tokens.
    """

    start: int
    source: TokenizedText


class Fit:
    """Whether a model has positions for a text with all that may be written behind it.

    lm (CausalLM): The model.
    encoder (PromptEncoder): The template's ids.
    settings (CheckpointSettings): What the model is run with.
    """

    def __init__(self, lm: CausalLM, encoder: PromptEncoder, settings: CheckpointSettings) -> None:
        self._lm = lm
        self._encoder = encoder
        self._is_parallel = settings.output_format == "parallel"
        self._max_mention_tokens = settings.limits.max_mention_tokens
        max_mentions = settings.limits.max_mentions
        self._asked = (
            max((len(encoder.branch(label)) for label in settings.labels), default=0)
            + build_count_trie(encoder, max_mentions).depth
            + len(encoder.opener(max_mentions))
        )

    def __call__(self, text: TokenizedText) -> bool:
        """text (TokenizedText): A text.
        RETURNS (bool): Whether it can be read at once.
        """
        if self._lm.max_depth is None:
            return True
        prefix = len(self._encoder.prefix(text.text))
        if not self._is_parallel:
            return self._lm.fits(_TIMES_WRITTEN * prefix)
        asked = prefix + self._asked
        # A token has a byte at least. Only where that is too many, mentions are looked at.
        if self._lm.fits(asked + self._most_bytes(text)):
            return True
        if not self._lm.fits(asked):
            return False
        trie = build_source_trie(self._encoder, text, self._max_mention_tokens)
        return self._lm.fits(asked + trie.depth - 1)

    def _most_bytes(self, text: TokenizedText) -> int:
        longest = self._max_mention_tokens
        ends = [end for _, end in text.tokens[longest - 1 :]] or [len(text.text)]
        starts = [start for start, _ in text.tokens] or [0]
        stretches = zip(starts, ends, strict=False)
        return max(len(text.text[start:end].encode()) for start, end in stretches)


def find_windows(
    text: TokenizedText, fits: Callable[[TokenizedText], bool]
) -> list[tuple[int, int]]:
    """text (TokenizedText): A text.
    fits (Callable[[TokenizedText], bool]): Whether a text can be read at once.
    RETURNS (List[Tuple[int, int]]): First and behind the last token of each window, in order, a
        quarter of one in the next; a single one if the text fits. A token that does not fit even
        alone is in none: it is logged, and the text is cut there.
    """
    size = len(text.tokens)
    if fits(text):
        return [(0, size)]
    less, more = _SHORTER
    shorter = size
    while shorter > 1:
        shorter = shorter * less // more
        windows = _strided(size, shorter)
        if all(fits(_cut(text, start, end).source) for start, end in windows):
            return windows
    too_long = [i for i in range(size) if not fits(_cut(text, i, i + 1).source)]
    for i in too_long:
        token = text.text[slice(*text.tokens[i])]
        logger.warning(
            "A token of %d characters is too long to be read: %r", len(token), token[:60]
        )
    return [
        (start + first, end + first)
        for before, last in pairwise([-1, *too_long, size])
        if (first := before + 1) < last
        for start, end in find_windows(_cut(text, first, last).source, fits)
    ]


def cut_windows(text: TokenizedText, fits: Callable[[TokenizedText], bool]) -> list[Window]:
    """text (TokenizedText): A text.
    fits (Callable[[TokenizedText], bool]): Whether a text can be read at once.
    RETURNS (List[Window]): The windows of `find_windows`; none for a text without tokens.
    """
    return [_cut(text, start, end) for start, end in find_windows(text, fits) if start < end]


def merge_windows(
    windows: Sequence[Window], mentions: Sequence[Sequence[ScoredMention]]
) -> list[ScoredMention]:
    """windows (Sequence[Window]): The windows of a text.
    mentions (Sequence[Sequence[ScoredMention]]): The mentions found in each.
    RETURNS (List[ScoredMention]): The text's mentions in order of appearance; a place that several
        windows found has the most probable label, with its score. One at a window's edge may be
        a part of a longer one: it counts only if no window reads it with text on both sides.
    """
    places = [(window.start, window.start + len(window.source.text)) for window in windows]
    best: dict[tuple[int, int], ScoredMention] = {}
    for (first, last), found in zip(places, mentions, strict=True):
        for m in found:
            moved = replace(m, start=m.start + first, end=m.end + first)
            key = (moved.start, moved.end)
            at_edge = moved.start == first or moved.end == last
            if at_edge and any(start < moved.start and moved.end < end for start, end in places):
                continue
            if key not in best or moved.score > best[key].score:
                best[key] = moved
    return [best[key] for key in sorted(best)]


def _strided(length: int, size: int) -> list[tuple[int, int]]:
    stride = size - size // _OVERLAP
    starts = range(0, length - size + stride, stride)
    return [(start, min(start + size, length)) for start in starts]


def _cut(text: TokenizedText, start: int, end: int) -> Window:
    tokens = text.tokens[start:end]
    first, last = tokens[0][0], tokens[-1][1]
    moved = tuple((i - first, k - first) for i, k in tokens)
    return Window(first, TokenizedText(text.text[first:last], moved))
