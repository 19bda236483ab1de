"""The scorer: spaCy's entity scores, and the paper's scores over sets of mention strings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spacy.scorer import get_ner_prf
from spacy.tokens import Doc
from spacy.training import Example

from ..corpus.docs import annotated_labels, gold_spans, has_gold, unknown_stretches
from ..scoring import MentionScores
from ..settings import SPANS_KEY


def score_mentions(
    examples: Iterable[Example], *, spans_key: str | None = SPANS_KEY, **cfg: Any
) -> dict[str, Any]:
    """Score predicted entities and mentions.

    If a text states the labels that it is annotated for, predictions of other labels do not count.
    Nor do predictions where the annotation is missing.

    Args:
        examples: The examples.
        spans_key: The span group with all mentions, in predicted and reference docs. If a doc has
            no such group, its entities count.
        **cfg: Other settings that spaCy passes; ignored.

    Returns:
        `ents_p`, `ents_r`, `ents_f` and `ents_per_type`, as for spaCy's `ner`. `mentions_p`,
        `mentions_r` and `mentions_f`: micro-averages over the set of mention strings of each text
        and label (paper, section 4.2). `None` if no example is annotated.
    """
    examples = list(examples)
    scores = MentionScores()
    annotated = [eg for eg in examples if has_gold(eg.reference, spans_key)]
    for eg in annotated:
        scores.add(*mention_sets(eg.predicted, eg.reference, spans_key))
    return {
        **get_ner_prf([_of_annotated_labels(eg, spans_key) for eg in examples]),
        "mentions_p": scores.precision if annotated else None,
        "mentions_r": scores.recall if annotated else None,
        "mentions_f": scores.fscore if annotated else None,
    }


def mention_sets(
    predicted: Doc, reference: Doc, spans_key: str | None
) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """List the mention strings of a text, each with its label.

    Args:
        predicted: The text with what was found. What its annotation does not tell right or wrong is
            left out.
        reference: The text with its annotation.
        spans_key: The span group of either with its mentions.

    Returns:
        Those found, and the gold ones.
    """
    labels = annotated_labels(reference, spans_key)
    unknown = unknown_stretches(reference, spans_key)
    found = {
        (span.label_, span.text)
        for span in gold_spans(predicted, spans_key)
        if (labels is None or span.label_ in labels)
        and all(span.end_char <= each.start or each.end <= span.start_char for each in unknown)
    }
    return found, {(span.label_, span.text) for span in gold_spans(reference, spans_key)}


def _of_annotated_labels(example: Example, spans_key: str | None) -> Example:
    """Leave out predicted entities of labels that an example is not annotated for.

    They may well be right.
    """
    labels = annotated_labels(example.reference, spans_key)
    if labels is None:
        return example
    predicted = example.predicted.copy()
    predicted.set_ents([ent for ent in predicted.ents if ent.label_ in labels])
    return Example(predicted, example.reference)
