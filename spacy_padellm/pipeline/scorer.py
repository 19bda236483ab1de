"""The scorer: spaCy's entity scores, and the paper's scores over sets of mention strings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spacy.scorer import get_ner_prf
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
        labels = annotated_labels(eg.reference, spans_key)
        unknown = unknown_stretches(eg.reference, spans_key)
        found = {
            (s.label_, s.text)
            for s in gold_spans(eg.predicted, spans_key)
            if all(s.end_char <= each.start or each.end <= s.start_char for each in unknown)
        }
        gold = {(s.label_, s.text) for s in gold_spans(eg.reference, spans_key)}
        if labels is not None:
            found = {(label, string) for label, string in found if label in labels}
        scores.add(found, gold)
    return {
        **get_ner_prf([_of_annotated_labels(eg, spans_key) for eg in examples]),
        "mentions_p": scores.precision if annotated else None,
        "mentions_r": scores.recall if annotated else None,
        "mentions_f": scores.fscore if annotated else None,
    }


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
