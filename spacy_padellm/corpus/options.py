"""How to read a corpus, and which of its labels and texts to take."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import Errors
from ..texts import AnnotatedText, Mention
from .lines import line_error


@dataclass(frozen=True)
class ReadingOptions:
    """The options for reading a corpus file, from a spaCy config or the command line.

    Args:
        format: One of `FORMATS` in `formats.py`, such as `"conll"`. `"auto"` detects it from the
            content.
        scheme: Tag scheme of a conll file: `"bio"`, `"iob1"`, `"bioes"` or `"bilou"`. `"auto"`
            detects it from the tags. `"iob1"` also reads files in which some entities start with
            B- and others with I-.
        token_column: Column with the tokens of a conll file. 0 is the first column, -1 the last.
            For a table with a header, 0 stands for the column that the header names.
        tag_column: Column with the tags of a conll file, counted in the same way. -1 stands for
            the one that a header names.
        offsets: What the offsets in a file of the paper format count: `"words"`,
            `"words-exclusive"` (the end is one past the last word) or `"characters"`. `"auto"`
            finds out from the mentions.
        annotated_labels: The labels that the corpus is annotated for, after renaming. By default
            those that the file states, or all.
        label_map: Old labels → new labels. Other labels stay.
        dropped_labels: Old labels to leave out, as if the corpus did not have them.
        with_gold: Whether the texts need gold mentions. If not, files of plain text and texts that
            are not annotated are read, too.
        tag_names: The names of tags that are numbers, in order, for Hugging Face's datasets.

    Raises:
        ValueError: A label in `annotated_labels` or `label_map` is empty.
    """

    format: str = "auto"
    scheme: str = "auto"
    token_column: int = 0
    tag_column: int = -1
    offsets: str = "auto"
    annotated_labels: Sequence[str] | None = None
    label_map: Mapping[str, str] | None = None
    dropped_labels: Sequence[str] | None = None
    with_gold: bool = True
    tag_names: Sequence[str] | None = None

    @property
    def columns(self) -> tuple[int, int]:
        """The columns with tokens and tags."""
        return self.token_column, self.tag_column

    def __post_init__(self) -> None:
        if not all(self.annotated_labels or ()):
            raise ValueError(Errors.P119.format(option="the annotated labels"))
        if not all(all(names) for names in (self.label_map or {}).items()):
            raise ValueError(Errors.P119.format(option="the label map"))

    def relabel(self, annotated: AnnotatedText) -> AnnotatedText:
        """Drop and rename labels, in the mentions of a text and in its annotated labels."""
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
            # Two labels may become the same one. A dict keeps the order.
            labels = tuple(dict.fromkeys(rename(labels)))
        # An empty label stands for all.
        unknown = tuple(
            replace(each, label=label)
            for each in annotated.unknown
            for label in (rename([each.label]) if each.label else [""])
        )
        return replace(annotated, mentions=tuple(mentions), labels=labels, unknown=unknown)

    def state_labels(self, path: Path, line: int, annotated: AnnotatedText) -> AnnotatedText:
        """Set the labels that a text is annotated for, or check those that it states itself.

        Args:
            path: The file that the text is from.
            line: The number of the line that it starts on.
            annotated: The text, after renaming.

        Raises:
            ValueError: The text states other labels, or has a mention with another label.
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
        return replace(annotated, labels=labels)


# Options never change, so that all functions can share these defaults.
DEFAULTS = ReadingOptions()


def take_part(texts: Sequence[AnnotatedText], part: str) -> list[AnnotatedText]:
    """Take a part of a corpus that has no split of its own.

    The part is a run of neighbouring texts, so that most documents stay whole. Adjacent parts, such
    as 0:0.6 and 0.6:1, share no text and leave none out.

    Args:
        texts: The texts of the corpus.
        part: Start and end of the part, as fractions of the corpus, such as "0:0.6".

    Raises:
        ValueError: The part is malformed, or contains no text.
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
    """Put texts in a random order that depends only on the seed and the number of texts."""
    return random.Random(seed).sample(texts, len(texts))
