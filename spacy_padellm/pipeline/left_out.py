"""Warnings of what training data cannot teach."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence

from spacy.training import Example

from ..corpus.docs import annotated_labels, has_gold
from ..errors import Warnings
from ..train.coverage import check_depth_of
from ..train.gold import LeftOut
from ..train.objective import Objective
from .gold import gold_labels, windowed_texts
from .windows import SpanGetter


def warn_of_absent_labels(
    examples: Iterable[Example], labels: Sequence[str], spans_key: str
) -> None:
    """Warn of labels that texts are annotated for and no text has: a model learns that there are
    none.

    examples (Iterable[Example]): Examples.
    labels (Sequence[str]): The labels to teach.
    spans_key (str): The reference's span group with gold mentions.
    """
    annotated = [eg for eg in examples if has_gold(eg.reference, spans_key)]
    taught = {
        label for eg in annotated for label in annotated_labels(eg.reference, spans_key) or labels
    }
    missing = taught.intersection(labels).difference(gold_labels(annotated, spans_key))
    if missing:
        names = ", ".join(sorted(missing))
        warnings.warn(Warnings.W207.format(labels=names, total=len(annotated)), stacklevel=3)


def warn_of_left_out(
    examples: Iterable[Example],
    objective: Objective,
    labels: Sequence[str],
    *,
    spans_key: str,
    get_spans: SpanGetter | None,
    check_depth: Callable[[int], None],
) -> None:
    """Warn, once each, of gold mentions that cannot be taught and of texts that teach nothing.

    examples (Iterable[Example]): Examples.
    objective (Objective): What makes trees of them.
    labels (Sequence[str]): The labels to teach.
    spans_key (str): The reference's span group with gold mentions.
    get_spans (Optional[SpanGetter]): Makes the windows.
    check_depth (Callable[[int], None]): Raises a ValueError if a tree is too deep for the model.
    RAISES (ValueError): A text is too long for the model.
    """
    is_taught: list[bool] = []
    left_out, gold = LeftOut(), 0
    # One at a time: a corpus may be larger than memory.
    windowed = (text for eg in examples for text in windowed_texts([eg], spans_key, get_spans))
    for text in windowed:
        of_windows = []
        for _, window in text.windows:
            examined = objective.examine(window, labels)
            check_depth_of(window, examined.depth, check_depth)
            is_taught.append(examined.is_taught)
            of_windows.append(examined.left_out)
        count, more = text.find_left_out(labels, of_windows)
        gold += count
        left_out.extend(more)
    if left_out:
        details = left_out.describe()
        message = Warnings.W201.format(total=len(left_out), gold=gold, details=details)
        warnings.warn(message, stacklevel=3)
    if not all(is_taught):
        message = Warnings.W205.format(
            count=is_taught.count(False), total=len(is_taught), labels=", ".join(labels)
        )
        warnings.warn(message, stacklevel=3)
