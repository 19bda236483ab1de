from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given

pytest.importorskip("spacy")

import spacy
from spacy.tokens import Doc, DocBin, Span, SpanGroup
from spacy.vocab import Vocab

from spacy_padellm.corpus.docs import (
    annotate_doc,
    annotated_labels,
    annotated_text,
    doc_from_tokens,
    docs_from_annotated_texts,
    gold_spans,
    has_gold,
    keep_labels,
    off_tokens,
    unknown_stretches,
)
from spacy_padellm.corpus.formats import read_annotated_texts
from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText
from tests.corpus.corpus_strategies import annotated_texts

BLANK = spacy.blank("en")
VOCAB = Vocab()
NEW_YORK = TokenizedText("In New York .", ((0, 2), (3, 6), (7, 11), (12, 13)))


def annotate(*mentions: Mention, labels: tuple[str, ...] | None = None) -> Doc:
    doc = doc_from_tokens(NEW_YORK, VOCAB)
    assert annotate_doc(doc, AnnotatedText(NEW_YORK, mentions, labels), spans_key="gold") == []
    return doc


def spans_of(spans: Iterable[Span]) -> list[tuple[int, int, str]]:
    return [(span.start_char, span.end_char, span.label_) for span in spans]


def read(doc: Doc, spans_key: str = "padellm") -> AnnotatedText:
    """The text with its tokens and gold mentions, as they came in."""
    mentions = sorted(Mention(*place) for place in spans_of(gold_spans(doc, spans_key)))
    tokens = tuple((t.idx, t.idx + len(t)) for t in doc if not t.text.isspace())
    source = TokenizedText(doc.text, tokens)
    labels = annotated_labels(doc, spans_key)
    return AnnotatedText(source, tuple(mentions), labels, unknown_stretches(doc, spans_key))


def entities(doc: Doc) -> list[tuple[str, str]]:
    return [(span.text, span.label_) for span in doc.ents]


def through_docbin(docs: list[Doc]) -> list[Doc]:
    data = DocBin(docs=docs, store_user_data=True).to_bytes()
    return list(DocBin(store_user_data=True).from_bytes(data).get_docs(Vocab()))


@given(texts=annotated_texts())
def test_round_trip_through_docs_and_docbin(texts: list[AnnotatedText]):
    docs = []
    for annotated in texts:
        docs.append(doc_from_tokens(annotated.source, VOCAB))
        assert docs[-1].text == annotated.source.text
        assert annotate_doc(docs[-1], annotated) == []
    assert [read(doc) for doc in docs] == texts
    assert [read(doc) for doc in through_docbin(docs)] == texts


@pytest.mark.parametrize(
    "text, tokens, words",
    [
        ("a b", ((0, 1), (2, 3)), ["a", "b"]),
        ("ab", ((0, 1), (1, 2)), ["a", "b"]),
        (" a  b\n", ((1, 2), (4, 5)), [" ", "a", " ", "b", "\n"]),
        ("a-b", ((0, 1), (2, 3)), ["a", "-", "b"]),
        ("", (), []),
        ("  ", (), ["  "]),
    ],
)
def test_doc_from_tokens(text: str, tokens: tuple, words: list[str]):
    doc = doc_from_tokens(TokenizedText(text, tokens), VOCAB)
    assert doc.text == text
    assert [token.text for token in doc] == words


def test_gold_is_the_span_group_else_the_entities():
    doc = BLANK("Ada left Rome")
    doc.set_ents([Span(doc, 0, 1, "PER")])
    assert spans_of(gold_spans(doc, "gold")) == [(0, 3, "PER")]
    doc.spans["gold"] = [Span(doc, 2, 3, "LOC")]
    assert spans_of(gold_spans(doc, "gold")) == [(9, 13, "LOC")]
    assert spans_of(gold_spans(doc, "other")) == [(0, 3, "PER")]
    # An empty group states that there is nothing.
    doc.spans["gold"] = []
    assert gold_spans(doc, "gold") == []


def test_annotation():
    doc = BLANK("Ada left Rome")
    assert not has_gold(doc, "gold")
    doc.set_ents([])
    assert has_gold(doc, "gold")
    doc = BLANK("Ada left Rome")
    doc.spans["gold"] = []
    assert has_gold(doc, "gold") and not has_gold(doc, "other")


def test_annotated_labels():
    doc = BLANK("Ada left Rome")
    assert annotated_labels(doc, "gold") is None
    doc.spans["gold"] = []
    assert annotated_labels(doc, "gold") is None
    doc.spans["gold"] = SpanGroup(doc, name="gold", attrs={"labels": ["PER", "ORG"]})
    assert annotated_labels(doc, "gold") == ("PER", "ORG")


def test_flat_gold_is_in_the_entities_alone():
    doc = annotate(Mention(0, 2, "X"), Mention(3, 11, "LOC"))
    assert entities(doc) == [("In", "X"), ("New York", "LOC")]
    assert "gold" not in doc.spans


@pytest.mark.parametrize(
    "mentions",
    [
        (Mention(3, 6, "X"), Mention(3, 11, "LOC")),
        (Mention(0, 6, "X"), Mention(3, 13, "LOC")),
        (Mention(3, 11, "LOC"), Mention(3, 11, "X")),
    ],
)
def test_overlapping_gold_is_in_the_span_group_in_full(mentions: tuple[Mention, ...]):
    doc = annotate(*mentions)
    assert [(span.start_char, span.end_char, span.label_) for span in doc.spans["gold"]] == [
        (each.start, each.end, each.label) for each in mentions
    ]
    assert "labels" not in doc.spans["gold"].attrs
    assert [label for _, label in entities(doc)] == ["LOC"]


@pytest.mark.parametrize("mentions", [(), (Mention(3, 11, "LOC"),)])
def test_annotated_labels_are_kept(mentions: tuple[Mention, ...]):
    doc = annotate(*mentions, labels=("LOC", "PER"))
    assert len(doc.ents) == len(doc.spans["gold"]) == len(mentions)
    (loaded,) = through_docbin([doc])
    assert loaded.spans["gold"].attrs["labels"] == ["LOC", "PER"]
    assert annotated_labels(loaded, "gold") == ("LOC", "PER")


def test_entities_off_the_tokens_are_returned():
    doc = spacy.blank("en").make_doc("pre-war York")
    inside, good = Mention(1, 3, "X"), Mention(8, 12, "LOC")
    text = AnnotatedText(TokenizedText(doc.text, ()), (inside, good))
    assert annotate_doc(doc, text) == [inside] == off_tokens(doc, text.mentions)
    assert entities(doc) == [("York", "LOC")]


@pytest.mark.parametrize(
    "name, lang, off, nested",
    [
        ("paper/resume/test.jsonl", "zh", 0, 0),
        ("paper/ecommerce/test.jsonl", "zh", 1, 0),
        ("paper/genia/test.jsonl", "en", 0, 446),
        ("open/wnut17/dev.conll", "en", 0, 0),
    ],
)
def test_real_corpora(data: Path, name: str, lang: str, off: int, nested: int):
    texts = read_annotated_texts(data / name)
    made = list(docs_from_annotated_texts(texts, spacy.blank(lang)))
    assert [doc.text for doc, _ in made] == [each.source.text for each in texts]
    kept = sum(len(read(doc).mentions) for doc, _ in made)
    assert kept + off == sum(len(each.mentions) for each in texts)
    assert sum(len(misaligned) for _, misaligned in made) == off
    assert sum(bool(doc.spans) for doc, _ in made) == nested


def test_tokens_are_the_texts_own_or_the_pipelines():
    source = TokenizedText("don't", ((0, 5),))
    texts = [AnnotatedText(source, ()), AnnotatedText(source, (), has_tokens=False)]
    docs = [doc for doc, _ in docs_from_annotated_texts(texts, BLANK)]
    assert [[token.text for token in doc] for doc in docs] == [["don't"], ["do", "n't"]]


MISSING = (Mention(3, 6, ""), Mention(12, 13, ""))


@pytest.mark.parametrize(
    "mentions, labels",
    [((), None), ((), ("LOC",)), ((Mention(7, 11, "X"), Mention(7, 11, "LOC")), None)],
)
def test_missing_annotation_stays_missing(mentions, labels):
    """With and without a span group, which knows nothing of tokens."""
    doc = doc_from_tokens(NEW_YORK, VOCAB)
    annotate_doc(doc, AnnotatedText(NEW_YORK, mentions, labels, MISSING))
    assert [token.i for token in doc if token.ent_iob == 0] == [1, 3]
    (again,) = through_docbin([doc])
    assert annotated_text(again, "padellm").unknown == MISSING
    keep_labels(again, ["LOC"], "padellm")
    assert annotated_text(again, "padellm").unknown == MISSING


@pytest.mark.parametrize("labels", [None, ("X", "LOC")])
def test_mentions_off_the_tokens_leave_them_unknown(labels):
    """It cannot be said that nothing is there."""
    doc = spacy.blank("en").make_doc("Die Berlinerin in York")
    mentions = (Mention(4, 12, "X"), Mention(18, 22, "LOC"))
    text = AnnotatedText(TokenizedText(doc.text, ()), mentions, labels)
    assert annotate_doc(doc, text) == [mentions[0]]
    assert [token.ent_iob_ for token in doc] == ["O", "", "O", "B"]
    assert len(annotated_text(doc, "padellm").unknown) == 1


def test_spacys_own_missing_annotation():
    doc = Doc(VOCAB, words=["Ada", "Byron", "lives", "in", "Rome"])
    doc.set_ents([Span(doc, 0, 2, "PER")], default="missing")
    text = annotated_text(doc, "padellm")
    assert text.mentions == (Mention(0, 9, "PER"),) and text.unknown == (Mention(10, 23, ""),)
