"""What an output format does, and what mentions that a model wrote can be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...texts import Mention, Span, TokenizedText


@dataclass(frozen=True)
class ParsedMention:
    """A mention a model wrote, found in the text.

    Args:
        label: Its label, not the label's wording.
        places: Character offsets in the text, in order, at least one: the place marked in augmented
            text, every place with its string in a structured list.
        piece: Where the output spells mention and label, the brackets around them left out.
    """

    label: str
    places: tuple[Span, ...]
    piece: Span


@dataclass(frozen=True)
class ParsedOutput:
    """What a model's output says.

    Args:
        mentions: The mentions, in the order they begin in the output.
        malformed: How many stretches of the output could not be read.
        ungrounded: How many mentions are left out, because the text does not have them on its token
            boundaries or because nothing is labelled so.
    """

    mentions: tuple[ParsedMention, ...]
    malformed: int
    ungrounded: int


class OutputFormat(Protocol):
    """A way to write all mentions of a text in one sequence.

    Attributes:
        name: Its name.
    """

    name: str

    def render(
        self, source: TokenizedText, mentions: Sequence[Mention], wordings: Mapping[str, str]
    ) -> tuple[str, list[Mention]]:
        """Write mentions.

        Args:
            source: The text.
            mentions: Its mentions.
            wordings: Label → its wording in the output.

        Returns:
            What is to be written, and the mentions that cannot be.

        Raises:
            KeyError: A mention's label has no wording.
        """

    def parse(
        self, output: str, source: TokenizedText, wordings: Mapping[str, str]
    ) -> ParsedOutput:
        """Read mentions. Never raises: models write anything, and are cut off anywhere.

        Args:
            output: What a model wrote.
            source: The text it was given.
            wordings: Label → its wording; of labels with the same wording the first is read.
        """


def escape(text: str, special: str) -> str:
    """Put a backslash before each of the characters that mean something in a format."""
    return re.sub(f"[{re.escape(special)}]", r"\\\g<0>", text)


def unescape(text: str, special: str) -> str:
    """Undo `escape`; a backslash before another character stands for itself."""
    return re.sub(rf"\\([{re.escape(special)}])", r"\1", text)


class Grounding:
    """Says what a model's mentions can be: places on token boundaries, and labels.

    Args:
        source: The text.
        wordings: Label → its wording.
    """

    def __init__(self, source: TokenizedText, wordings: Mapping[str, str]) -> None:
        self._source = source
        self._starts = {start for start, _ in source.tokens}
        self._ends = {end for _, end in source.tokens}
        self._labels: dict[str, str] = {}
        for label, wording in wordings.items():
            self._labels.setdefault(wording, label)

    def on_boundaries(self, start: int, end: int) -> bool:
        """Tell whether a stretch of the text is one or more whole tokens."""
        return start < end and start in self._starts and end in self._ends

    def places(self, string: str) -> tuple[Span, ...]:
        """Find where a string is whole tokens of the text, in order."""
        spans = [(start, start + len(string)) for start, _ in self._source.tokens]
        return tuple(
            (start, end)
            for start, end in spans
            if self._source.text.startswith(string, start) and self.on_boundaries(start, end)
        )

    def label(self, wording: str) -> str | None:
        """Find the label of a wording as a model wrote it, `None` if there is none."""
        return self._labels.get(wording, self._labels.get(wording.strip()))
