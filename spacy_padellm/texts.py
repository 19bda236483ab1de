"""Texts with token boundaries, their gold mentions, and the entities found in them."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace

# First character and one past the last.
Span = tuple[int, int]

# Ideographs and kana one by one, other letters and digits as words, marks one by one.
_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
    r"|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+|\S"
)


@dataclass(frozen=True, order=True)
class Mention:
    """A labelled stretch of a text.

    Args:
        start: First character.
        end: One past the last character.
        label: Its label.
    """

    start: int
    end: int
    label: str

    def moved(self, by: int) -> Mention:
        """Move the mention by characters, to the left where they are negative."""
        return replace(self, start=self.start + by, end=self.end + by)


@dataclass(frozen=True)
class Entity:
    """A mention found in a text.

    Args:
        start: First character.
        end: One past the last character.
        label: Its label.
        score: Its probability, 0 to 1.
    """

    start: int
    end: int
    label: str
    score: float


@dataclass(frozen=True)
class TokenizedText:
    """A text and the boundaries its mentions may start and end on.

    Args:
        text: The text.
        tokens: Character offsets of each token, in order, not overlapping.
    """

    text: str
    tokens: tuple[Span, ...]

    @classmethod
    def split(cls, text: str) -> TokenizedText:
        """Take words, marks and ideographs as the tokens of a text that comes without any."""
        return cls(text, tuple(match.span() for match in _TOKEN.finditer(text)))

    def plain(self) -> TokenizedText:
        """Take text and tokens alone, without what a model's encoding adds to them."""
        return TokenizedText(self.text, self.tokens)

    def stretch(self, start: int, end: int) -> TokenizedText:
        """Cut out some characters, with the tokens that lie within."""
        first = bisect_left(self.tokens, start, key=lambda token: token[0])
        last = bisect_right(self.tokens, end, key=lambda token: token[1])
        tokens = tuple((a - start, b - start) for a, b in self.tokens[first:last])
        return TokenizedText(self.text[start:end], tokens)


@dataclass(frozen=True)
class AnnotatedText:
    """A text with its gold mentions.

    Args:
        source: The text.
        mentions: Gold mentions in order of appearance; may nest and overlap.
        labels: The labels the text is annotated for; `None` for all. A label not named here is
            unknown for this text, not absent from it.
    """

    source: TokenizedText
    mentions: tuple[Mention, ...]
    labels: tuple[str, ...] | None = None
