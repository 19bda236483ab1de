"""Token boundaries of texts that come without any, and mentions that miss the boundaries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..texts import AnnotatedText, Mention

_WORD = re.compile(r"\S+")
_CHARACTER = re.compile(r"\S")

Offsets = tuple[tuple[int, int], ...]


def word_offsets(text: str) -> Offsets:
    """Take each stretch without whitespace as a token.

    text (str): The text.
    RETURNS (Tuple[Tuple[int, int], ...]): Offsets of the tokens.
    """
    return tuple(match.span() for match in _WORD.finditer(text))


def character_offsets(text: str) -> Offsets:
    """Take each character that isn't whitespace as a token.

    text (str): The text.
    RETURNS (Tuple[Tuple[int, int], ...]): Offsets of the tokens.
    """
    return tuple(match.span() for match in _CHARACTER.finditer(text))


def has_gold_tokens(texts: Iterable[AnnotatedText]) -> bool:
    """Tell whether texts come with tokens of their own. A reader that finds none yields the
    characters as tokens, so texts whose tokens are all their characters have none.

    texts (Iterable[AnnotatedText]): The texts of one file.
    RETURNS (bool): Whether their tokens say more than their characters.
    """
    sources = (annotated.source for annotated in texts)
    return any(source.tokens != character_offsets(source.text) for source in sources)


def off_boundaries(tokens: Offsets, mentions: Sequence[Mention]) -> list[Mention]:
    """Find the mentions that don't start where a token starts or don't end where one ends.

    tokens (Tuple[Tuple[int, int], ...]): Offsets of the tokens.
    mentions (Sequence[Mention]): The mentions.
    RETURNS (List[Mention]): Those that no run of tokens covers exactly.
    """
    starts = {start for start, _ in tokens}
    ends = {end for _, end in tokens}
    return [each for each in mentions if each.start not in starts or each.end not in ends]


def count_overlapping(mentions: Sequence[Mention]) -> int:
    """Count the mentions that share a character with another one, nested or crossing.

    mentions (Sequence[Mention]): Mentions of one text.
    RETURNS (int): How many overlap.
    """
    overlapping: set[int] = set()
    order = sorted(range(len(mentions)), key=lambda index: mentions[index])
    for place, left in enumerate(order):
        for right in order[place + 1 :]:
            if mentions[right].start >= mentions[left].end:
                break
            overlapping.update((left, right))
    return len(overlapping)
