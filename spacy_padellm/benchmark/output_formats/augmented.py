"""Augmented text: the text written out again, with brackets and a label around each mention."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile

from ...texts import Mention, TokenizedText
from .base import Grounding, ParsedMention, ParsedOutput, escape, unescape

SPECIAL = "[]|\\"
MARKER = re.compile(
    r"\\[\[\]|\\]|(?P<open>\[)|(?P<close>(?: ?\| ?(?P<wording>(?:\\.|[^\[\]|\\])*))?\])", re.DOTALL
)

# Most pairs of characters that are compared to align an output: a few seconds at worst.
MAX_COMPARED = 100_000_000


class AugmentedFormat:
    """The augmented format: `[Japan | LOC], co-hosts of the [World Cup | MISC] in 2002`.

    Mentions may nest.
    """

    name = "augmented"

    def render(
        self, source: TokenizedText, mentions: Sequence[Mention], wordings: Mapping[str, str]
    ) -> tuple[str, list[Mention]]:
        """Write a text with its mentions in brackets.

        Of mentions that cross, the one that starts first is written.
        """
        nested, left_out = _nest(mentions)
        opening: Counter[int] = Counter(mention.start for mention in nested)
        closing: defaultdict[int, str] = defaultdict(str)
        for mention in reversed(nested):
            closing[mention.end] += f" | {escape(wordings[mention.label], SPECIAL)}]"
        written = [
            closing[place] + "[" * opening[place] + escape(character, SPECIAL)
            for place, character in enumerate(source.text)
        ]
        return "".join(written) + closing[len(source.text)], left_out

    def parse(
        self, output: str, source: TokenizedText, wordings: Mapping[str, str]
    ) -> ParsedOutput:
        """Read the mentions in an output.

        Brackets without a counterpart, pairs of brackets without a label, and a text that differs
        from the given one count as malformed.
        """
        written = _read(output)
        aligned = _align(written.text, source.text)
        grounding = Grounding(source, wordings)
        mentions = []
        for mark in written.marks:
            label = grounding.label(mark.wording)
            place = _contiguous(aligned[mark.start : mark.end])
            if label is not None and place and grounding.on_boundaries(*place):
                mentions.append(ParsedMention(label, (place,), mark.piece))
        return ParsedOutput(
            mentions=tuple(mentions),
            malformed=written.malformed + (written.text != source.text),
            ungrounded=len(written.marks) - len(mentions),
        )


def _nest(mentions: Sequence[Mention]) -> tuple[list[Mention], list[Mention]]:
    """Divide mentions into those that nest, outer ones first, and those that cross one of these."""
    nested: list[Mention] = []
    crossing: list[Mention] = []
    around: list[Mention] = []
    for mention in sorted(mentions, key=lambda m: (m.start, -m.end, m.label)):
        while around and around[-1].end <= mention.start:
            around.pop()
        if around and around[-1].end < mention.end:
            crossing.append(mention)
        else:
            nested.append(mention)
            around.append(mention)
    return nested, crossing


@dataclass(frozen=True)
class _Mark:
    """A stretch of the written text that is marked as a mention.

    Args:
        start: Offset of its first character in the written text.
        end: Offset one past its last character.
        wording: The label's wording.
        piece: Offsets of mention and label in the output, without the brackets around them.
    """

    start: int
    end: int
    wording: str
    piece: tuple[int, int]


@dataclass(frozen=True)
class _Written:
    """A written text without markers, the marked stretches, and the number of malformed markers."""

    text: str
    marks: list[_Mark]
    malformed: int


def _read(output: str) -> _Written:
    markers = list(MARKER.finditer(output))
    pairs, unlabelled, malformed = _pair(markers)
    text, place, offsets = "", 0, []
    for number, marker in enumerate(markers):
        text += output[place : marker.start()]
        offsets.append(len(text))
        # Brackets without a label were most likely copied, as in "[1]".
        if number in unlabelled or not (marker["open"] or marker["close"]):
            text += unescape(marker[0], SPECIAL)
        place = marker.end()
    marks = [
        _Mark(
            start=offsets[opening],
            end=offsets[closing],
            wording=unescape(markers[closing]["wording"], SPECIAL),
            piece=(markers[opening].end(), markers[closing].end() - 1),
        )
        for opening, closing in pairs
    ]
    return _Written(text + output[place:], marks, malformed)


def _pair(markers: Sequence[re.Match[str]]) -> tuple[list[tuple[int, int]], set[int], int]:
    """Pair the brackets in an output.

    Returns:
        For each mention, the indices of its brackets. Then the indices of paired brackets without a
        label, and the number of malformed brackets and pairs.
    """
    pairs: list[tuple[int, int]] = []
    unlabelled: set[int] = set()
    opened: list[int] = []
    malformed = 0
    for number, marker in enumerate(markers):
        if marker["open"]:
            opened.append(number)
        elif marker["close"] and opened and marker["wording"] is not None:
            pairs.append((opened.pop(), number))
        elif marker["close"]:
            malformed += 1
            if opened:
                unlabelled |= {opened.pop(), number}
    return sorted(pairs), unlabelled, malformed + len(opened)


def _align(written: str, text: str) -> list[int | None]:
    """Find the offset in the text of each written character; `None` for one that is not copied."""
    head = _shared(written, text)
    tail = _shared(reversed(written[head:]), reversed(text[head:]))
    inner = written[head : len(written) - tail]
    places: list[int | None] = [None] * len(inner)
    for at, place, size in _copied(inner, text[head : len(text) - tail]):
        places[at : at + size] = range(head + place, head + place + size)
    return [*range(head), *places, *range(len(text) - tail, len(text))]


def _shared(left: Iterable[str], right: Iterable[str]) -> int:
    """Count the characters that two strings share at their beginning."""
    pairs = zip(left, right, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _copied(written: str, text: str) -> Iterator[tuple[int, int, int]]:
    """Find the stretches of the written text that are copied from the text.

    Yields:
        Offset in the written text, offset in the text, and length of each stretch: the longest
        first, then those before and after it.
    """
    regions = deque([(0, len(written), 0, len(text))])
    compared = 0
    # difflib's own loop has no limit, and takes minutes if a model repeats itself.
    while regions and compared < MAX_COMPARED:
        start, end, first, last = regions.popleft()
        matcher = SequenceMatcher(None, written[start:end], text[first:last], autojunk=False)
        match = matcher.find_longest_match()
        compared += (end - start) * (last - first)
        if match.size:
            at, place = start + match.a, first + match.b
            yield at, place, match.size
            regions.append((start, at, first, place))
            regions.append((at + match.size, end, place + match.size, last))


def _contiguous(places: list[int | None]) -> tuple[int, int] | None:
    """Return the stretch of the text that these places form; `None` if they are not contiguous."""
    if not places or places[0] is None:
        return None
    stretch = range(places[0], places[0] + len(places))
    return (stretch.start, stretch.stop) if list(stretch) == places else None
