"""What an output format does: write the mentions of a text in one sequence, and read them again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ...texts import Mention, TokenizedText

# "parallel": every label and mention in a sequence of its own. The others: all mentions in one.
OutputFormatName = Literal["parallel", "augmented", "structured"]


@dataclass(frozen=True)
class ParsedMention:
    """A mention a model wrote, found in the text.

    label (str): Its label, not the label's wording.
    places (Tuple[Tuple[int, int], ...]): Character offsets in the text, in order, at least one:
        the place marked in augmented text, every place with its string in a structured list.
    piece (Tuple[int, int]): Where the output spells mention and label, the brackets around them
        left out.
    """

    label: str
    places: tuple[tuple[int, int], ...]
    piece: tuple[int, int]


@dataclass(frozen=True)
class ParsedOutput:
    """What a model's output says.

    mentions (Tuple[ParsedMention, ...]): The mentions, in the order they begin in the output.
    malformed (int): How many stretches of the output could not be read.
    ungrounded (int): How many mentions are left out, because the text does not have them on its
        token boundaries or because nothing is labelled so.
    """

    mentions: tuple[ParsedMention, ...]
    malformed: int
    ungrounded: int


class OutputFormat(Protocol):
    """A way to write all mentions of a text in one sequence.

    name (str): Its name.
    """

    name: str

    def render(
        self, source: TokenizedText, mentions: Sequence[Mention], wordings: Mapping[str, str]
    ) -> tuple[str, list[Mention]]:
        """source (TokenizedText): The text.
        mentions (Sequence[Mention]): Its mentions.
        wordings (Mapping[str, str]): Label → its wording in the output.
        RETURNS (Tuple[str, List[Mention]]): What is to be written, and the mentions that cannot
            be.
        RAISES (KeyError): A mention's label has no wording.
        """

    def parse(
        self, output: str, source: TokenizedText, wordings: Mapping[str, str]
    ) -> ParsedOutput:
        """Never raises: models write anything, and are cut off anywhere.

        output (str): What a model wrote.
        source (TokenizedText): The text it was given.
        wordings (Mapping[str, str]): Label → its wording; of labels with the same wording the
            first is read.
        RETURNS (ParsedOutput): Its mentions.
        """


def escape(text: str, special: str) -> str:
    """text (str): Text.
    special (str): The characters that mean something in a format.
    RETURNS (str): The text with a backslash before each of them.
    """
    return re.sub(f"[{re.escape(special)}]", r"\\\g<0>", text)


def unescape(text: str, special: str) -> str:
    """text (str): Escaped text.
    special (str): The characters that mean something in a format.
    RETURNS (str): The text; a backslash before another character stands for itself.
    """
    return re.sub(rf"\\([{re.escape(special)}])", r"\1", text)


class Grounding:
    """Says what a model's mentions can be: places on token boundaries, and labels.

    source (TokenizedText): The text.
    wordings (Mapping[str, str]): Label → its wording.
    """

    def __init__(self, source: TokenizedText, wordings: Mapping[str, str]) -> None:
        self._source = source
        self._starts = {start for start, _ in source.tokens}
        self._ends = {end for _, end in source.tokens}
        self._labels: dict[str, str] = {}
        for label, wording in wordings.items():
            self._labels.setdefault(wording, label)

    def on_boundaries(self, start: int, end: int) -> bool:
        """start (int): First character.
        end (int): One past the last character.
        RETURNS (bool): Whether this is one or more whole tokens.
        """
        return start < end and start in self._starts and end in self._ends

    def places(self, string: str) -> tuple[tuple[int, int], ...]:
        """string (str): What a model wrote.
        RETURNS (Tuple[Tuple[int, int], ...]): Where it is whole tokens of the text, in order.
        """
        spans = [(start, start + len(string)) for start, _ in self._source.tokens]
        return tuple(
            (start, end)
            for start, end in spans
            if self._source.text.startswith(string, start) and self.on_boundaries(start, end)
        )

    def label(self, wording: str) -> str | None:
        """wording (str): A label's wording as a model wrote it.
        RETURNS (Optional[str]): The label, `None` if there is none.
        """
        return self._labels.get(wording, self._labels.get(wording.strip()))
