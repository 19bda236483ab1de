"""Texts too long for a model → overlapping windows that it has positions for."""

from __future__ import annotations

from collections.abc import Callable

from .causal_lm import CausalLM
from .checkpoint import CheckpointSettings
from .prompt import PromptEncoder
from .texts import TokenizedText
from .trie import build_count_trie, build_source_trie

# Windows get a third shorter until all fit, and share a quarter: what is cut at the edge of one is
# inside another.
_SHORTER = (2, 3)
_OVERLAP = 4

# Of an output format: the text, and the text written again with labels in it.
_TIMES_WRITTEN = 3


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
        quarter of one in the next. A single window if the text fits, and if no window would.
    """
    whole = [(0, len(text.tokens))]
    if fits(text):
        return whole
    size = len(text.tokens)
    less, more = _SHORTER
    while size > 1:
        size = size * less // more
        windows = _strided(len(text.tokens), size)
        if all(fits(_cut(text, start, end)) for start, end in windows):
            return windows
    return whole


def _strided(length: int, size: int) -> list[tuple[int, int]]:
    stride = size - size // _OVERLAP
    starts = range(0, length - size + stride, stride)
    return [(start, min(start + size, length)) for start in starts]


def _cut(text: TokenizedText, start: int, end: int) -> TokenizedText:
    tokens = text.tokens[start:end]
    first, last = tokens[0][0], tokens[-1][1]
    moved = tuple((i - first, k - first) for i, k in tokens)
    return TokenizedText(text.text[first:last], moved)
