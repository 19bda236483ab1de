"""The interface of an output format, and the check of written mentions against their text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...texts import Mention, Span, TokenizedText


@dataclass(frozen=True)
class ParsedMention:
    """A mention that a model wrote and that is in the text.

    Args:
        label: The label, not its wording.
        places: Character offsets in the text, in order, at least one: the marked place in augmented
            text, every place of the string in a structured list.
        piece: Offsets of mention and label in the output, without the brackets around them.
    """

    label: str
    places: tuple[Span, ...]
    piece: Span


@dataclass(frozen=True)
class ParsedOutput:
    """The mentions that were read from an output, and what was lost.

    Args:
        mentions: The mentions, in the order in which they begin in the output.
        malformed: Number of stretches of the output that could not be read.
        ungrounded: Number of mentions that are left out because the text does not have them on its
            token boundaries, or because their label is unknown.
    """

    mentions: tuple[ParsedMention, ...]
    malformed: int
    ungrounded: int


class OutputFormat(Protocol):
    """The interface of an output format, which writes all mentions of a text in one sequence.

    Attributes:
        name: Its name.
    """

    name: str

    def render(
        self, source: TokenizedText, mentions: Sequence[Mention], wordings: Mapping[str, str]
    ) -> tuple[str, list[Mention]]:
        """Write the mentions of a text as an output.

        Args:
            source: The text.
            mentions: Its mentions.
            wordings: Label → its wording in the output.

        Returns:
            The output, and the mentions that it cannot contain.

        Raises:
            KeyError: A mention's label has no wording.
        """

    def parse(
        self, output: str, source: TokenizedText, wordings: Mapping[str, str]
    ) -> ParsedOutput:
        """Read the mentions in an output.

        It never raises an error, since a model may write anything and may be cut off anywhere.

        Args:
            output: The output of a model.
            source: The text that the model was given.
            wordings: Label → its wording. Of labels with the same wording, the first is read.
        """


def escape(text: str, special: str) -> str:
    """Put a backslash before each special character of a format."""
    return re.sub(f"[{re.escape(special)}]", r"\\\g<0>", text)


def unescape(text: str, special: str) -> str:
    """Undo `escape`. A backslash before any other character stays."""
    return re.sub(rf"\\([{re.escape(special)}])", r"\1", text)


class Grounding:
    """Checks written mentions against a text: places on token boundaries, and known labels.

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
        """Return whether a stretch of the text is one or more whole tokens."""
        return start < end and start in self._starts and end in self._ends

    def places(self, string: str) -> tuple[Span, ...]:
        """Return all places where a string is one or more whole tokens of the text, in order."""
        spans = [(start, start + len(string)) for start, _ in self._source.tokens]
        return tuple(
            (start, end)
            for start, end in spans
            if self._source.text.startswith(string, start) and self.on_boundaries(start, end)
        )

    def label(self, wording: str) -> str | None:
        """Return the label whose wording a model wrote; `None` if there is none."""
        return self._labels.get(wording, self._labels.get(wording.strip()))
