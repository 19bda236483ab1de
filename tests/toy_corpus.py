"""A toy corpus that a tiny model learns by heart in a second; no spaCy, no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence

from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText

PEOPLE = ["Ada", "Bob Hill", "Cleo", "Dan"]
PLACES = ["Rome", "Oslo", "New York"]
FIRMS = ["Acme", "Globex Ltd"]
PATTERNS = [
    "[{p}|PER] met [{q}|PER] in [{l}|LOC] .",
    "[{p}|PER] works for [{f}|ORG] .",
    "It rains in [{l}|LOC] again .",
    "The [University of [{l}|LOC]|ORG] hired [{p}|PER] .",
    "Nothing happened today .",
    "[{p}|PER] asked [{p}|PER] why .",
    "[{f}|ORG] left [{l}|LOC] .",
]


def _sentence(number: int) -> str:
    return PATTERNS[number % len(PATTERNS)].format(
        p=PEOPLE[number % 4],
        q=PEOPLE[(number + 1 + number // 7 % 3) % 4],
        l=PLACES[number // 3 % 3],
        f=FIRMS[number // 2 % 2],
    )


SENTENCES = [_sentence(number) for number in range(63)]
LABELS = ["LOC", "ORG", "PER"]


def parse(markup: str, labels: Sequence[str] | None = None) -> AnnotatedText:
    """A text with its mentions from `[string|LABEL]`, which may nest; its tokens are what
    whitespace separates.
    """
    text, opened, mentions = "", [], []
    for piece in re.split(r"(\[|\|[^\[\]|]+\])", markup):
        if piece == "[":
            opened.append(len(text))
        elif piece.startswith("|"):
            mentions.append(Mention(opened.pop(), len(text), piece[1:-1]))
        else:
            text += piece
    tokens = tuple(match.span() for match in re.finditer(r"\S+", text))
    return AnnotatedText(
        TokenizedText(text, tokens),
        tuple(sorted(mentions)),
        None if labels is None else tuple(labels),
    )
