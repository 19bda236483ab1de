from __future__ import annotations

import pytest

pytest.importorskip("spacy")

import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.util import registry

from spacy_padellm.pipeline.windows import get_windows
from tests.pipeline.toy_pipeline import strided

NLP = spacy.blank("en")
NLP.add_pipe("sentencizer")
PIECES = ["Ada", "don't", "北京", "😀", "e\u0301", ".", "!", " ", "  ", "\n", "\n\n", ",", "U.S."]

texts = st.lists(st.sampled_from(PIECES), max_size=15).map(" ".join)


def sentences():
    return registry.span_getters.get("spacy-transformers.sent_spans.v1")()


def whole_docs():
    return registry.span_getters.get("spacy-transformers.doc_spans.v1")()


@st.composite
def getters(draw: st.DrawFn):
    stride = draw(st.integers(1, 6))
    window = strided(stride + draw(st.integers(0, 6)), stride)
    return draw(st.sampled_from([None, window, sentences(), whole_docs()]))


@given(text=texts, get_spans=getters())
def test_windows_are_stretches_of_the_doc(text, get_spans):
    doc = NLP(text)
    (windows,) = get_windows([doc], get_spans)
    places = {token.idx: token for token in doc}
    seen = set()
    for window in windows:
        end = window.start + len(window.source.text)
        assert doc.text[window.start : end] == window.source.text
        assert window.source.tokens
        for start, end in window.source.tokens:
            token = places[window.start + start]
            assert window.source.text[start:end] == token.text
            seen.add(token.i)
    # Each token is in at least one of them.
    assert seen == set(range(len(doc)))


def test_each_doc_has_its_own_windows():
    docs = [NLP("a b c"), NLP(""), NLP("d . e ! f .")]
    assert [[w.source.text for w in of_doc] for of_doc in get_windows(docs, None)] == [
        ["a b c"],
        [],
        ["d . e ! f ."],
    ]
    assert [[w.source.text for w in of_doc] for of_doc in get_windows(docs, strided(3, 2))] == [
        ["a b c"],
        [],
        ["d . e", "e ! f", "f ."],
    ]
    assert [[w.source.text for w in of_doc] for of_doc in get_windows(docs, sentences())] == [
        ["a b c"],
        [],
        ["d .", "e !", "f ."],
    ]
