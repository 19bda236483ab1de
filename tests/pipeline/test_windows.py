from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("spacy")

import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.util import registry

from spacy_padellm.core.mentions import ScoredMention
from spacy_padellm.core.texts import TokenizedText
from spacy_padellm.pipeline.windows import Window, get_windows, merge_windows

from .toy_pipeline import strided

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


def window_of(doc: Doc, start: int, end: int) -> Window:
    tokens = tuple((i, i + 1) for i in range(end - start))
    return Window(start, TokenizedText(doc.text[start:end], tokens))


def test_merging_moves_mentions_and_keeps_the_highest_score():
    doc = NLP("abcdefgh")
    windows = [window_of(doc, 0, 5), window_of(doc, 3, 8)]
    found = [
        [ScoredMention(3, 5, "X", 0.25), ScoredMention(3, 4, "X", 0.5)],
        [ScoredMention(0, 2, "X", 0.75), ScoredMention(2, 3, "X", 0.125)],
    ]
    assert merge_windows(windows, found) == [
        ScoredMention(3, 4, "X", 0.5),
        ScoredMention(3, 5, "X", 0.75),
        ScoredMention(5, 6, "X", 0.125),
    ]


def test_a_mention_at_an_edge_gives_way_to_a_window_that_reads_on():
    """Or the first half of a mention would count, because it is the more probable one."""
    doc = NLP("in New York now")
    windows = [window_of(doc, 0, 6), window_of(doc, 3, 15)]
    cut, whole = ScoredMention(3, 6, "X", 0.9), ScoredMention(3, 11, "X", 0.8)
    later = Window(2, TokenizedText(doc.text[2:], ((1, 4), (5, 9), (10, 13))))
    # The second window begins with it: it may be cut there as well.
    assert merge_windows(windows, [[cut], [replace(whole, start=0, end=8)]]) == [cut, whole]
    found = [[cut], [replace(whole, start=1, end=9)]]
    assert merge_windows([windows[0], later], found) == [whole]
    assert merge_windows([later, windows[0]], found[::-1]) == [whole]
    # Where nothing was found by who reads on, there is nothing.
    assert merge_windows([windows[0], later], [[cut], []]) == []


def test_a_mention_at_the_docs_own_edges_stays():
    doc = NLP("abcdefgh")
    windows = [window_of(doc, 0, 5), window_of(doc, 0, 8)]
    found = [[ScoredMention(0, 2, "X", 0.5)], [ScoredMention(6, 8, "X", 0.5)]]
    assert [(m.start, m.end) for m in merge_windows(windows, found)] == [(0, 2), (6, 8)]


def test_merging_keeps_the_most_probable_label_of_a_place():
    doc = NLP("abcdefgh")
    windows = [window_of(doc, 0, 6), window_of(doc, 2, 8)]
    found = [
        [ScoredMention(3, 4, "X", 0.25), ScoredMention(3, 5, "X", 0.5)],
        [ScoredMention(1, 2, "Y", 0.75), ScoredMention(1, 3, "Y", 0.125)],
    ]
    assert merge_windows(windows, found) == [
        ScoredMention(3, 4, "Y", 0.75),
        ScoredMention(3, 5, "X", 0.5),
    ]


def test_merging_keeps_the_order_of_the_text():
    doc = NLP("abcdefgh")
    windows = [window_of(doc, 0, 4), window_of(doc, 4, 8)]
    found = [[ScoredMention(2, 3, "X", 0.5)], [ScoredMention(0, 1, "X", 0.5)]]
    assert [m.start for m in merge_windows(windows, found)] == [2, 4]
    assert [m.start for m in merge_windows(windows[::-1], found[::-1])] == [2, 4]


def test_merging_nothing():
    assert merge_windows([], []) == []
    with pytest.raises(ValueError, match="zip"):
        merge_windows([], [[ScoredMention(0, 1, "X", 0.5)]])
