"""Tag schemes of token-per-line corpora: IOB1, BIO (IOB2), BIOES (also as BMES) and BILOU."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

# Some files write B_PER or b-per. Between tabs, a label may have spaces in it.
_TAG = re.compile(r"([BIESLUM])[-_](\S(?:.*\S)?)", re.IGNORECASE)


@dataclass(frozen=True)
class Tag:
    """A tag, split into prefix and label. `str` joins them again.

    Args:
        prefix: `O`, or the place in the entity (`B`, `I`, `E`, `S`, `L` or `U`).
        label: The entity's label, empty for `O`.
    """

    prefix: str
    label: str

    def __str__(self) -> str:
        return f"{self.prefix}-{self.label}" if self.label else self.prefix


OUTSIDE = Tag("O", "")
# Labels without prefixes. More of them are rather words of a text.
_LABEL = re.compile(r"[A-Za-z][\w./-]*")
# Tags of a scheme that is not read: without labels, or with the prefix in another form.
_PREFIXED = re.compile(r"[A-Za-z](?:[-_].*)?|.+[-_][BIESLU]")
_MOST_LABELS = 50
# BILOU has the tags of BIOES under other names.
_BILOU_TO_BIOES = {"L": "E", "U": "S"}


def split_tag(tag: str) -> Tag | None:
    """Split a tag such as `O` or `B-PER`; `None` if it isn't a tag of any scheme.

    M, as of BMES, becomes I.
    """
    if tag in ("O", "o"):
        return OUTSIDE
    match = _TAG.fullmatch(tag)
    return Tag(match[1].upper().replace("M", "I"), match[2]) if match else None


def are_nameless(tags: Iterable[str]) -> bool:
    """Tell whether tags are prefixes alone, such as `B`, `I` and `O`."""
    distinct = set(tags)
    return {"B", "O"} <= distinct <= set("BIESLUMO")


def are_plain(tags: Iterable[str]) -> bool:
    """Tell whether tags are labels without prefixes, and `O`.

    Then neighbours with the same label are one entity.
    """
    distinct = set(tags)
    labels = distinct - {"O"}
    return (
        "O" in distinct
        and 0 < len(labels) <= _MOST_LABELS
        and all(_LABEL.fullmatch(each) and not _PREFIXED.fullmatch(each) for each in labels)
    )


def _continues(previous: Tag, tag: Tag) -> bool:
    """Tell whether a tag continues the entity of the previous tag."""
    is_open = previous.prefix in ("B", "I") and previous.label == tag.label
    return is_open and tag.prefix in ("I", "E")


def _follows_in_bio(previous: Tag, tag: Tag) -> bool:
    return tag.prefix != "I" or _continues(previous, tag)


def _follows_in_strict_iob1(previous: Tag, tag: Tag) -> bool:
    return tag.prefix != "B" or (previous.prefix in ("B", "I") and previous.label == tag.label)


def _follows_in_bioes(previous: Tag, tag: Tag) -> bool:
    previous, tag = _to_bioes(previous), _to_bioes(tag)
    if previous.prefix in ("B", "I"):
        return _continues(previous, tag)
    return tag.prefix in ("O", "B", "S")


def _to_bioes(tag: Tag) -> Tag:
    return Tag(_BILOU_TO_BIOES.get(tag.prefix, tag.prefix), tag.label)


@dataclass(frozen=True)
class Scheme:
    """A tag scheme.

    Args:
        prefixes: The prefixes of its tags except `O`.
        follows: Tells whether the second tag may follow the first. The start and the end of a
            sentence count as `O`.
    """

    prefixes: str
    follows: Callable[[Tag, Tag], bool]


# Labels without prefixes, which become tags of IOB1.
PLAIN = "plain"
SCHEMES = {
    "iob1": Scheme("BI", lambda previous, tag: True),
    "bio": Scheme("BI", _follows_in_bio),
    "bioes": Scheme("BIES", _follows_in_bioes),
    "bilou": Scheme("BILU", _follows_in_bioes),
}
SCHEME_NAMES = ("auto", *SCHEMES, PLAIN)


def first_illegal(tags: Sequence[Tag], follows: Callable[[Tag, Tag], bool]) -> int | None:
    """Find the first tag of a sentence that may not follow the one before it.

    Args:
        tags: The tags of the sentence.
        follows: Tells whether the second tag may follow the first.

    Returns:
        The index of the tag. It is the number of tags if the last one leaves an entity unfinished,
        and `None` if all tags are legal.
    """
    pairs = enumerate(pairwise([OUTSIDE, *tags, OUTSIDE]))
    return next((index for index, pair in pairs if not follows(*pair)), None)


def detect_scheme(sentences: Iterable[Sequence[Tag]]) -> str | None:
    """Detect the tag scheme of a file.

    Tags with L- or U- make it BILOU, those with E- or S- make it BIOES. Otherwise it is BIO if no
    I- starts an entity, or IOB1 if every B- serves its purpose there: to separate an entity from
    one of the same label right before it. If both an I- starts an entity and a B- separates
    nothing, one of these tags is wrong. The file is then called BIO, whose rules find the I-.

    Args:
        sentences: The tags of each sentence in the file.

    Returns:
        The name of the scheme; `None` if tags of BILOU and BIOES are mixed.
    """
    sentences = list(sentences)
    prefixes = {tag.prefix for tags in sentences for tag in tags}
    if prefixes & {"L", "U"}:
        return None if prefixes & {"E", "S"} else "bilou"
    if prefixes & {"E", "S"}:
        return "bioes"
    if all(first_illegal(tags, _follows_in_bio) is None for tags in sentences):
        return "bio"
    is_iob1 = all(first_illegal(tags, _follows_in_strict_iob1) is None for tags in sentences)
    return "iob1" if is_iob1 else "bio"


def entities_from_tags(tags: Sequence[Tag]) -> list[tuple[int, int, str]]:
    """Read the entities from the legal tags of a sentence.

    Legal tags mean the same in every scheme.

    Returns:
        The first token, one past the last token, and the label of each entity, in order.
    """
    entities: list[tuple[int, int, str]] = []
    previous = OUTSIDE
    for index, tag in enumerate(map(_to_bioes, tags)):
        if tag != OUTSIDE:
            start = entities.pop()[0] if _continues(previous, tag) else index
            entities.append((start, index + 1, tag.label))
        previous = tag
    return entities
