"""How a corpus is read, and which of its labels and texts are taken."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import Errors
from ..texts import AnnotatedText, Mention
from .lines import line_error


@dataclass(frozen=True)
class ReadingOptions:
    """How a corpus file is read: what spaCy's config and the command line state about one.

    Args:
        format: "paper", "conll" or "jsonl"; "auto" tells it by the content, see `detect_format`.
        scheme: Tag scheme of a conll file, one of `SCHEME_NAMES`; "auto" tells it by the tags, see
            `detect_scheme`. "iob1" also reads files which mix B- and I- at the start of entities.
        token_column: Column of the tokens of a conll file, from 0, or from -1 at the end.
        tag_column: Column of its tags, likewise.
        offsets: What offsets count in a file of the paper format, one of `OFFSETS`; "auto" tells it
            by the mentions, see `parse_paper`.
        annotated_labels: The labels the corpus is annotated for, after renaming; `None` for all, or
            for what a file states.
        label_map: New labels by old ones; labels not in it stay.
        dropped_labels: Old labels that are left out, as if there were no such thing.

    Raises:
        ValueError: A label is empty.
    """

    format: str = "auto"
    scheme: str = "auto"
    token_column: int = 0
    tag_column: int = -1
    offsets: str = "auto"
    annotated_labels: Sequence[str] | None = None
    label_map: Mapping[str, str] | None = None
    dropped_labels: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if not all(self.annotated_labels or ()):
            raise ValueError(Errors.P119.format(option="the annotated labels"))
        if not all(all(names) for names in (self.label_map or {}).items()):
            raise ValueError(Errors.P119.format(option="the label map"))

    def relabel(self, annotated: AnnotatedText) -> AnnotatedText:
        """Drop and rename labels, of mentions and of those that the text is annotated for."""
        dropped = self.dropped_labels or ()
        label_map = self.label_map or {}

        def rename(labels: Sequence[str]) -> list[str]:
            return [label_map.get(label, label) for label in labels if label not in dropped]

        mentions = sorted(
            Mention(each.start, each.end, label)
            for each in annotated.mentions
            for label in rename([each.label])
        )
        labels = annotated.labels
        if labels is not None:
            # Two labels may become one; a dict keeps the order.
            labels = tuple(dict.fromkeys(rename(labels)))
        return AnnotatedText(annotated.source, tuple(mentions), labels)

    def state_labels(self, path: Path, line: int, annotated: AnnotatedText) -> AnnotatedText:
        """State the labels a text is annotated for, or check those that it states itself.

        Args:
            path: The file the text is from.
            line: The line it starts on.
            annotated: The text, relabelled.

        Raises:
            ValueError: The text states others, or has a mention with another label.
        """
        given, labels = self.annotated_labels, annotated.labels
        if given is not None and labels is not None and set(labels) != set(given):
            values = {"stated": ", ".join(labels), "given": ", ".join(given)}
            raise line_error(Errors.P118, path, line, **values)
        labels = labels if given is None else tuple(given)
        for mention in annotated.mentions:
            if labels is not None and mention.label not in labels:
                values = {"label": mention.label, "labels": ", ".join(labels)}
                raise line_error(Errors.P117, path, line, **values)
        return AnnotatedText(annotated.source, annotated.mentions, labels)


# Options are values, so one for all who state none.
DEFAULTS = ReadingOptions()


def take_part(texts: Sequence[AnnotatedText], part: str) -> list[AnnotatedText]:
    """Take texts that stand together, so that what belongs to one document mostly stays so. Parts
    that meet, as 0:0.6 and 0.6:1, share no text and leave none out.

    Args:
        texts: The texts of a corpus that comes without a split.
        part: Where the part starts and ends, as fractions of the corpus: "0:0.6".

    Raises:
        ValueError: This is no such part, or there is no text in it.
    """
    start, colon, end = part.partition(":")
    try:
        first, last = (math.floor(float(bound) * len(texts) + 0.5) for bound in (start, end))
        is_part = bool(colon) and 0 <= float(start) < float(end) <= 1
    except (ValueError, OverflowError):
        is_part = False
    if not is_part or first == last:
        raise ValueError(Errors.P122.format(part=part, count=len(texts)))
    return list(texts[first:last])


def shuffle(texts: Sequence[AnnotatedText], seed: int) -> list[AnnotatedText]:
    """Put texts in an order that the seed and their number decide on."""
    return random.Random(seed).sample(texts, len(texts))
