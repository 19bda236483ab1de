from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.corpus.boundaries import (
    character_offsets,
    count_overlapping,
    has_gold_tokens,
    off_boundaries,
    word_offsets,
)
from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText


@given(st.text())
def test_words_are_what_splitting_yields(text: str):
    assert [text[start:end] for start, end in word_offsets(text)] == text.split()


@given(st.text())
def test_characters_are_all_but_whitespace(text: str):
    expected = [each for each in text if not each.isspace()]
    assert [text[start:end] for start, end in character_offsets(text)] == expected


def test_has_gold_tokens_looks_at_the_whole_corpus():
    characters = AnnotatedText(TokenizedText("我 I", ((0, 1), (2, 3))), ())
    words = AnnotatedText(TokenizedText("am", ((0, 2),)), ())
    assert not has_gold_tokens([characters])
    assert has_gold_tokens([characters, words])
    assert not has_gold_tokens([])


def test_off_boundaries():
    tokens = ((0, 2), (3, 5))
    inside, across, late = Mention(0, 1, "X"), Mention(0, 5, "X"), Mention(2, 5, "X")
    assert off_boundaries(tokens, [inside, across, late]) == [inside, late]


def test_count_overlapping():
    outer, inner, apart = Mention(0, 9, "X"), Mention(2, 4, "Y"), Mention(9, 12, "X")
    assert count_overlapping([outer, inner, apart]) == 2
    assert count_overlapping([apart, Mention(5, 7, "X"), inner, outer]) == 3
    assert count_overlapping([inner, Mention(4, 6, "X")]) == 0
    assert count_overlapping([Mention(0, 1, "X"), Mention(0, 1, "Y")]) == 2
