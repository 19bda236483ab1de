"""Case marks: what a lower-casing tokenizer would lose, as tokens of its own.

As machine translation has them, a mark stands before each capitalised and another one before each
all-capital word of the text; mentions have none, so that they are copied as ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .tokenization import Offsets, TextEncoder

Case = Literal["lower", "capitalized", "all_capitals"]

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class CaseMarks:
    """The ids put before words.

    capitalized (Tuple[int, ...]): Before a word with a first capital.
    all_capitals (Tuple[int, ...]): Before a word of several letters, all of them capitals.
    """

    capitalized: tuple[int, ...] = ()
    all_capitals: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.capitalized or self.all_capitals)

    def encode(self, texts: Sequence[str], encoder: TextEncoder) -> list[list[int]]:
        """texts (Sequence[str]): Texts.
        encoder (TextEncoder): Encodes what is between the marks.
        RETURNS (List[List[int]]): The ids of each, with marks.
        """
        cut = [list(self._cut(text)) for text in texts]
        distinct = list(dict.fromkeys(piece for pieces in cut for _, piece in pieces))
        ids = dict(zip(distinct, encoder.encode(distinct), strict=True))
        return [[i for mark, piece in pieces for i in (*mark, *ids[piece])] for pieces in cut]

    def encode_with_offsets(
        self, text: str, encoder: TextEncoder
    ) -> tuple[list[int], list[Offsets]]:
        """text (str): A text.
        encoder (TextEncoder): Encodes what is between the marks.
        RETURNS (Tuple[List[int], List[Offsets]]): Its ids, with marks, and where in the text each
            starts and ends; a mark is at the first letter of its word.
        """
        ids: list[int] = []
        offsets: list[Offsets] = []
        start = 0
        for mark, piece in self._cut(text):
            piece_ids, within = encoder.encode_with_offsets(piece)
            ids += [*mark, *piece_ids]
            offsets += [(start, start + 1)] * len(mark)
            offsets += [(start + first, start + last) for first, last in within]
            start += len(piece)
        return ids, offsets

    def _cut(self, text: str) -> Iterator[tuple[tuple[int, ...], str]]:
        """YIELDS (Tuple[Tuple[int, ...], str]): A mark's ids, and the stretch behind it up to the
        next one.
        """
        mark: tuple[int, ...] = ()
        start = 0
        for word in _WORD.finditer(text):
            if following := self._mark(word[0]):
                if mark or word.start() > start:
                    yield mark, text[start : word.start()]
                mark, start = following, word.start()
        yield mark, text[start:]

    def _mark(self, word: str) -> tuple[int, ...]:
        case = find_case(word)
        if case == "all_capitals":
            return self.all_capitals or self.capitalized
        return self.capitalized if case == "capitalized" else ()


def find_case(word: str) -> Case:
    """word (str): Letters and digits.
    RETURNS (Case): Whether all its letters are capitals, of which there are several, its first
        character is one, or neither.
    """
    if word.isupper() and sum(map(str.isalpha, word)) > 1:
        return "all_capitals"
    return "capitalized" if word[:1].isupper() else "lower"
