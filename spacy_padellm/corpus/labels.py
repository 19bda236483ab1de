"""Labels of a corpus: renamed, and stated as those it's annotated for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import Errors
from ..texts import AnnotatedText
from .lines import NumberedText


def drop_labels(annotated: AnnotatedText, dropped: Collection[str]) -> AnnotatedText:
    """Leave out labels, as if there was no such thing.

    annotated (AnnotatedText): A text.
    dropped (Collection[str]): The labels.
    RETURNS (AnnotatedText): The text without their mentions.
    """
    mentions = tuple(each for each in annotated.mentions if each.label not in dropped)
    labels = annotated.labels
    if labels is not None:
        labels = tuple(label for label in labels if label not in dropped)
    return AnnotatedText(annotated.source, mentions, labels)


def rename_labels(annotated: AnnotatedText, label_map: Mapping[str, str]) -> AnnotatedText:
    """Rename labels, of mentions and of the labels the text is annotated for.

    annotated (AnnotatedText): A text.
    label_map (Mapping[str, str]): New labels by old ones; labels not in it stay.
    RETURNS (AnnotatedText): The text with the new labels.
    """
    mentions = [
        replace(each, label=label_map.get(each.label, each.label)) for each in annotated.mentions
    ]
    labels = annotated.labels
    if labels is not None:
        # Two labels may become one; a dict keeps the order.
        labels = tuple(dict.fromkeys(label_map.get(label, label) for label in labels))
    return AnnotatedText(annotated.source, tuple(sorted(mentions)), labels)


def state_labels(path: Path, numbered: NumberedText, labels: Sequence[str] | None) -> AnnotatedText:
    """State the labels a text is annotated for, or check those that it states itself.

    path (Path): The file the text is from.
    numbered (NumberedText): The text and the number of its line.
    labels (Optional[Sequence[str]]): The labels, `None` to keep what the text states.
    RETURNS (AnnotatedText): The text with its labels.
    RAISES (ValueError): If the text states others, or has a mention with another label.
    """
    line, annotated = numbered
    if labels is not None:
        stated = annotated.labels
        if stated is not None and set(stated) != set(labels):
            raise ValueError(
                Errors.P118.format(
                    path=path, line=line, stated=", ".join(stated), given=", ".join(labels)
                )
            )
        annotated = replace(annotated, labels=tuple(labels))
    _check_mentions(path, line, annotated)
    return annotated


def check_label_options(
    annotated_labels: Sequence[str] | None, label_map: Mapping[str, str]
) -> None:
    """Check the labels that options name.

    annotated_labels (Optional[Sequence[str]]): The labels texts are annotated for.
    label_map (Mapping[str, str]): New labels by old ones.
    RAISES (ValueError): If a label is empty.
    """
    if not all(annotated_labels or ()):
        raise ValueError(Errors.P119.format(option="the annotated labels"))
    if not all([*label_map.keys(), *label_map.values()]):
        raise ValueError(Errors.P119.format(option="the label map"))


def _check_mentions(path: Path, line: int, annotated: AnnotatedText) -> None:
    if annotated.labels is None:
        return
    for mention in annotated.mentions:
        if mention.label not in annotated.labels:
            raise ValueError(
                Errors.P117.format(
                    path=path,
                    line=line,
                    label=mention.label,
                    labels=", ".join(annotated.labels),
                )
            )
