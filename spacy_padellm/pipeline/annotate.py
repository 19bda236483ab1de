"""Mentions → doc: `doc.spans`, `doc.ents` and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from spacy.tokens import Doc, Span, SpanGroup

from ..decode.mentions import ScoredMention, non_overlapping


def register_score_extension() -> None:
    """Make `span._.score` available."""
    if not Span.has_extension("score"):
        Span.set_extension("score", default=None)


def annotate_doc(
    doc: Doc, mentions: Sequence[ScoredMention], *, spans_key: str, overwrite: bool
) -> None:
    """Write mentions to a doc.

    doc (Doc): The doc, changed in place.
    mentions (Sequence[ScoredMention]): Its mentions, with its character offsets, on its token
        boundaries.
    spans_key (str): The span group all of them go to, with `attrs["scores"]`.
    overwrite (bool): Whether entities already there make way; if not, they stay, and what
        overlaps them does not become an entity.
    """
    spans = [_make_span(doc, mention) for mention in mentions]
    scores = np.array([mention.score for mention in mentions], dtype=np.float32)
    doc.spans[spans_key] = SpanGroup(doc, name=spans_key, spans=spans, attrs={"scores": scores})
    kept = [] if overwrite else list(doc.ents)
    taken = [(ent.start_char, ent.end_char) for ent in kept]
    chosen = non_overlapping(mentions, taken)
    entities = [_make_span(doc, mention) for mention in chosen]
    doc.set_ents([*kept, *entities])
    for entity, mention in zip(entities, chosen, strict=True):
        entity._.score = mention.score


def _make_span(doc: Doc, mention: ScoredMention) -> Span:
    # Never `None`: decoded mentions start and end on the doc's own tokens.
    return cast(Span, doc.char_span(mention.start, mention.end, label=mention.label))
