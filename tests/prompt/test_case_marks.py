from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.prompt.case_marks import CaseMarks, find_case
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import PromptTemplate
from spacy_padellm.prompt.tokenization import TextEncoder
from tests.sample_tokenizers import lower_casing_tokenizer

CAPITALIZED, ALL_CAPITALS = 1001, 1002
MARKS = CaseMarks((CAPITALIZED,), (ALL_CAPITALS,))
ENCODER = TextEncoder(lower_casing_tokenizer())


@pytest.mark.parametrize(
    "word, case",
    [
        ("paris", "lower"),
        ("Paris", "capitalized"),
        ("McDonald", "capitalized"),
        ("A", "capitalized"),
        ("PARIS", "all_capitals"),
        ("COVID19", "all_capitals"),
        ("iPhone", "lower"),
        ("2nd", "lower"),
        ("A4", "capitalized"),
        ("42", "lower"),
        ("Élan", "capitalized"),
        ("李涛", "lower"),
    ],
)
def test_case(word, case):
    assert find_case(word) == case


def test_marks_stand_before_their_words():
    lower, *rest = ENCODER.encode(["paris in paris", "paris", " in "])
    paris, inside = rest
    texts = ["Paris in PARIS", "paris in paris", "in", "", "PARIS"]
    assert MARKS.encode(texts, ENCODER) == [
        [CAPITALIZED, *paris, *inside, ALL_CAPITALS, *paris],
        lower,
        inside,
        [],
        [ALL_CAPITALS, *paris],
    ]


def test_one_mark_may_do_for_both():
    (ids,) = CaseMarks((CAPITALIZED,)).encode(["PARIS"], ENCODER)
    assert ids[0] == CAPITALIZED
    (ids,) = CaseMarks((), (ALL_CAPITALS,)).encode(["Paris"], ENCODER)
    assert ids == ENCODER.encode(["paris"])[0]


@given(st.text(alphabet="aAéÉ1 -_.İ李", max_size=12))
def test_without_its_marks_a_text_is_as_ever(text):
    (ids,) = MARKS.encode([text], ENCODER)
    assert [i for i in ids if i < CAPITALIZED] == ENCODER.encode([text])[0]


@given(st.text(alphabet="aAéÉ1 -_.李", max_size=12))
def test_ids_are_told_where_they_are(text):
    ids, offsets = MARKS.encode_with_offsets(text, ENCODER)
    assert [ids] == MARKS.encode([text], ENCODER)
    assert len(ids) == len(offsets) and offsets == sorted(offsets)
    for token_id, (start, _) in zip(ids, offsets, strict=True):
        begins_word = text[start].isalnum() and not text[max(start - 1, 0) : start].isalnum()
        assert begins_word or token_id < CAPITALIZED


@given(st.text(alphabet="aA1 -.", max_size=12), st.integers(0, 12))
def test_what_is_read_first_has_the_same_ids_alone(text, place):
    """Where a word ends."""
    if not text[place : place + 1].isalnum():
        whole, start = MARKS.encode([text, text[:place]], ENCODER)
        assert whole[: len(start)] == start


def test_the_text_has_marks_and_a_mention_has_none():
    tokenizer = lower_casing_tokenizer()
    tokenizer.add_tokens(["<capitalized>", "<capitals>"], special_tokens=True)
    marks = tokenizer.convert_tokens_to_ids(["<capitalized>", "<capitals>"])
    template = PromptTemplate(
        "in {text} in {label} in", capitalized="<capitalized>", all_capitals="<capitals>"
    )
    encoder = PromptEncoder(template, {"PARIS": "Paris"}, tokenizer)
    (paris,) = encoder.mentions(["paris"])
    assert encoder.mentions(["Paris", "PARIS"]) == [paris, paris]
    assert encoder.text(["Paris", "PARIS"]) == [[marks[0], *paris[:-1]], [marks[1], *paris[:-1]]]
    assert not set(marks) & set(encoder.branch("PARIS"))
    assert encoder.prefix("PARIS")[-2:] == [marks[1], *paris[:-1]]
    # A text that spells a mark has none.
    assert not set(marks) & set(encoder.prefix("<capitals> <capitalized>"))
