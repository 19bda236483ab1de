"""Texts with token boundaries, their gold mentions, and the entities found in them."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field, replace

# Character offsets: the first, and one past the last.
Span = tuple[int, int]

# A token is one ideograph or kana, a word of other letters and digits, or one mark.
_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
    r"|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+|\S"
)


@dataclass(frozen=True, order=True)
class Mention:
    """A labelled stretch of a text.

    Args:
        start: Offset of the first character.
        end: Offset one past the last character.
        label: The label.
    """

    start: int
    end: int
    label: str

    def moved(self, by: int) -> Mention:
        """Return a copy moved by a number of characters, to the left if it is negative."""
        return replace(self, start=self.start + by, end=self.end + by)


@dataclass(frozen=True)
class Entity:
    """A mention that was found in a text.

    Args:
        start: Offset of the first character.
        end: Offset one past the last character.
        label: The label.
        score: The probability, from 0 to 1.
        written: The probability that it was written with, before calibration; 0 if it could have
            been, and was not; `None` if it could not.
        tagged: The probability that the text tags give it, before calibration; `None` if they were
            not read.
    """

    start: int
    end: int
    label: str
    score: float
    written: float | None = field(default=None, compare=False)
    tagged: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class TokenizedText:
    """A text with its tokens, on whose boundaries mentions start and end.

    Args:
        text: The text.
        tokens: Character offsets of each token, in order, without overlap.
    """

    text: str
    tokens: tuple[Span, ...]

    @classmethod
    def split(cls, text: str) -> TokenizedText:
        """Split a string into tokens: words, marks and single ideographs."""
        return cls(text, tuple(match.span() for match in _TOKEN.finditer(text)))

    def plain(self) -> TokenizedText:
        """Return only the text and the tokens, without the ids of an encoded text."""
        return TokenizedText(self.text, self.tokens)

    def stretch(self, start: int, end: int) -> TokenizedText:
        """Return the characters from `start` up to `end` as a text, with the tokens within."""
        first = bisect_left(self.tokens, start, key=lambda token: token[0])
        last = bisect_right(self.tokens, end, key=lambda token: token[1])
        tokens = tuple((a - start, b - start) for a, b in self.tokens[first:last])
        return TokenizedText(self.text[start:end], tokens)


@dataclass(frozen=True)
class AnnotatedText:
    """A text with its gold mentions.

    Args:
        source: The text.
        mentions: The gold mentions, in order of appearance. They may nest and overlap.
        labels: The labels that the text is annotated for; `None` for all. Whether it has mentions
            of other labels is unknown.
        unknown: The stretches in which it is unknown whether there are mentions of a label. An
            empty label stands for all labels.
        has_tokens: Whether the tokens are the corpus's own. If not, a reader made them, and a
            pipeline's tokenizer makes others.
    """

    source: TokenizedText
    mentions: tuple[Mention, ...]
    labels: tuple[str, ...] | None = None
    unknown: tuple[Mention, ...] = ()
    has_tokens: bool = True
