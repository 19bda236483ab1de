from __future__ import annotations

from collections.abc import Sequence

import pytest

pytest.importorskip("spacy")

import numpy as np
import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab

from spacy_padellm.decode.mentions import ScoredMention
from spacy_padellm.pipeline.annotate import annotate_doc, register_score_extension
from tests.pipeline.toy_pipeline import entities, mentions

TEXT = "University of New York City in New York"
NESTED = [
    ScoredMention(0, 27, "ORG", 0.5),
    ScoredMention(14, 22, "LOC", 0.25),
    ScoredMention(14, 27, "LOC", 0.75),
    ScoredMention(18, 34, "X", 0.625),
    ScoredMention(31, 39, "LOC", 0.125),
]


def annotated(
    found: Sequence[ScoredMention],
    *,
    before: Sequence[tuple[int, int, str]] = (),
    spans_key: str = "padellm",
    overwrite: bool = False,
) -> Doc:
    register_score_extension()
    doc = spacy.blank("en").make_doc(TEXT)
    doc.set_ents([Span(doc, *place, span_id="id") for place in before], default="missing")
    annotate_doc(doc, found, spans_key=spans_key, overwrite=overwrite)
    return doc


def scores_of(doc: Doc, spans_key: str = "padellm") -> list[float]:
    return doc.spans[spans_key].attrs["scores"].tolist()


def test_spans_hold_every_mention_with_its_score():
    doc = annotated(NESTED)
    assert mentions(doc) == [(TEXT[m.start : m.end], m.label) for m in NESTED]
    assert scores_of(doc) == [0.5, 0.25, 0.75, 0.625, 0.125]
    assert doc.spans["padellm"].attrs["scores"].dtype == np.float32


def test_entities_are_the_most_probable_that_do_not_overlap():
    doc = annotated(NESTED)
    assert entities(doc) == [("New York City", "LOC"), ("New York", "LOC")]
    assert [ent._.score for ent in doc.ents] == [0.75, 0.125]
    assert doc[1:2]._.score is None


def test_the_most_probable_chain_wins_over_more_mentions():
    found = [ScoredMention(*m, "X", s) for *m, s in [(0, 13, 0.5), (11, 27, 0.75), (23, 39, 0.5)]]
    assert entities(annotated(found)) == [("of New York City", "X")]


def test_of_equals_the_longer_then_the_earlier_wins():
    found = [ScoredMention(*m, "X", 0.5) for m in [(0, 13), (11, 27), (23, 30)]]
    assert entities(annotated(found)) == [("of New York City", "X")]
    found = [ScoredMention(*m, "X", 0.5) for m in [(14, 30), (23, 39)]]
    assert entities(annotated(found[::-1])) == [("New York City in", "X")]
    same = [ScoredMention(14, 22, label, 0.5) for label in ("B", "A")]
    assert entities(annotated(same)) == [("New York", "A")]


def test_entities_already_there_stay():
    doc = annotated(NESTED, before=[(2, 4, "GPE")])
    assert entities(doc) == [("New York", "GPE"), ("New York", "LOC")]
    assert [ent._.score for ent in doc.ents] == [None, 0.125]
    assert [ent.id_ for ent in doc.ents] == ["id", ""]
    # Only the entities: among the spans there is room for all.
    assert len(doc.spans["padellm"]) == len(NESTED)


def test_entities_already_there_make_way():
    doc = annotated(NESTED, before=[(2, 4, "GPE"), (0, 1, "GPE")], overwrite=True)
    assert entities(doc) == [("New York City", "LOC"), ("New York", "LOC")]


def test_no_mentions():
    doc = annotated([], before=[(2, 4, "GPE")])
    assert entities(doc) == [("New York", "GPE")]
    assert mentions(doc) == [] and scores_of(doc) == []
    assert annotated([], before=[(2, 4, "GPE")], overwrite=True).ents == ()
    assert annotated([]).has_annotation("ENT_IOB", require_complete=True)


def test_the_group_has_the_key_asked_for():
    doc = annotated(NESTED[:1], spans_key="found")
    assert list(doc.spans) == ["found"] and scores_of(doc, "found") == [0.5]


def test_annotating_again_replaces_the_group():
    doc = annotated(NESTED)
    annotate_doc(doc, NESTED[:1], spans_key="padellm", overwrite=True)
    assert mentions(doc) == [("University of New York City", "ORG")] and scores_of(doc) == [0.5]


def through_docbin(doc: Doc) -> Doc:
    data = DocBin(docs=[doc], store_user_data=True).to_bytes()
    (loaded,) = DocBin(store_user_data=True).from_bytes(data).get_docs(Vocab())
    return loaded


def through_bytes(doc: Doc) -> Doc:
    return Doc(Vocab()).from_bytes(doc.to_bytes())


@pytest.mark.parametrize("copy", [through_docbin, through_bytes])
def test_round_trips(copy):
    doc = annotated(NESTED, before=[(6, 8, "GPE")])
    loaded = copy(doc)
    assert entities(loaded) == entities(doc) == [("New York City", "LOC"), ("New York", "GPE")]
    assert [ent._.score for ent in loaded.ents] == [0.75, None]
    assert mentions(loaded) == mentions(doc)
    assert scores_of(loaded) == scores_of(doc)
