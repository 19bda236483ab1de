"""Texts with token boundaries and gold mentions: what readers yield and the core takes."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, order=True)
class Mention:
    """A labelled stretch of a text.

    start (int): First character.
    end (int): One past the last character.
    label (str): Its label.
    """

    start: int
    end: int
    label: str

    def moved(self, by: int) -> Mention:
        """by (int): Characters, negative to the left.
        RETURNS (Mention): The mention where the text begins so much earlier.
        """
        return replace(self, start=self.start + by, end=self.end + by)


@dataclass(frozen=True)
class TokenizedText:
    """A text and the boundaries its mentions may start and end on.

    text (str): The text.
    tokens (Tuple[Tuple[int, int], ...]): Character offsets `(start, end)` of each token, in order,
        not overlapping.
    """

    text: str
    tokens: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class AnnotatedText:
    """A text with its gold mentions.

    source (TokenizedText): The text.
    mentions (Tuple[Mention, ...]): Gold mentions in order of appearance; may nest and overlap.
    labels (Optional[Tuple[str, ...]]): The labels the text is annotated for; `None` for all.
        A label not named here is unknown for this text, not absent from it.
    """

    source: TokenizedText
    mentions: tuple[Mention, ...]
    labels: tuple[str, ...] | None = None
