from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.corpus.options import ReadingOptions, shuffle, take_part
from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText
from tests.sample_texts import cut_at_spaces

SOURCE = TokenizedText("Ada in Rome", ((0, 3), (4, 6), (7, 11)))
TEXT = AnnotatedText(SOURCE, (Mention(0, 3, "person"), Mention(7, 11, "city")))
PATH = Path("corpus.txt")


def state_labels(annotated: AnnotatedText, labels: list[str] | None) -> AnnotatedText:
    return ReadingOptions(annotated_labels=labels).state_labels(PATH, 3, annotated)


def test_drop_labels():
    text = AnnotatedText(SOURCE, TEXT.mentions, ("city", "person", "river"))
    dropped = ReadingOptions(dropped_labels=["city", "lake"]).relabel(text)
    assert [mention.label for mention in dropped.mentions] == ["person"]
    assert dropped.labels == ("person", "river") and dropped.source == SOURCE
    assert ReadingOptions(dropped_labels=[]).relabel(TEXT) == TEXT


def test_rename_labels():
    renamed = ReadingOptions(label_map={"city": "LOC", "absent": "X"}).relabel(TEXT)
    assert [mention.label for mention in renamed.mentions] == ["person", "LOC"]
    assert renamed.labels is None


def test_renaming_also_renames_annotated_labels_and_merges_them():
    text = AnnotatedText(SOURCE, TEXT.mentions, ("city", "person", "river"))
    renamed = ReadingOptions(label_map={"city": "LOC", "river": "LOC"}).relabel(text)
    assert renamed.labels == ("LOC", "person")


def test_state_labels():
    assert state_labels(TEXT, None) == TEXT
    stated = state_labels(TEXT, ["person", "city", "river"])
    assert stated.labels == ("person", "city", "river")
    assert state_labels(stated, None) == stated
    assert state_labels(stated, ["river", "city", "person"]).mentions == TEXT.mentions


def test_mentions_beyond_the_annotated_labels():
    with pytest.raises(ValueError, match=r"\[P117\] corpus.txt, line 3: .*'city'.*\(person\)"):
        state_labels(TEXT, ["person"])
    with pytest.raises(ValueError, match=r"\[P117\] corpus.txt, line 3"):
        state_labels(AnnotatedText(SOURCE, TEXT.mentions, ("city",)), None)


def test_conflicting_statements():
    stated = state_labels(TEXT, ["person", "city"])
    with pytest.raises(ValueError, match=r"\[P118\] corpus.txt, line 3.*\(person, city\)"):
        state_labels(stated, ["person", "city", "river"])


def test_empty_labels_in_options():
    ReadingOptions()
    ReadingOptions(annotated_labels=["PER"], label_map={"person": "PER"})
    with pytest.raises(ValueError, match=r"\[P119\].*annotated labels"):
        ReadingOptions(annotated_labels=["PER", ""])
    with pytest.raises(ValueError, match=r"\[P119\].*label map"):
        ReadingOptions(label_map={"person": ""})


def texts(count: int) -> list[AnnotatedText]:
    return [AnnotatedText(cut_at_spaces(str(number)), ()) for number in range(count)]


@pytest.mark.parametrize(
    "part, numbers",
    [("0:0.6", range(6)), ("0.6:1", range(6, 10)), ("0:1", range(10)), ("0.25:.5", range(3, 5))],
)
def test_parts(part, numbers):
    assert take_part(texts(10), part) == [texts(10)[number] for number in numbers]


@given(count=st.integers(3, 50), place=st.floats(0.2, 0.8))
def test_parts_that_meet_share_nothing_and_leave_nothing_out(count, place):
    whole = texts(count)
    assert take_part(whole, f"0:{place}") + take_part(whole, f"{place}:1") == whole


@pytest.mark.parametrize(
    "part", ["", "0.5", "0.5:0.5", "0.6:0.5", "-0.1:1", "0:1.1", "a:b", "0:0.01"]
)
def test_what_is_no_part(part):
    with pytest.raises(ValueError, match=r"P122.*10 texts.*0:0.7"):
        take_part(texts(10), part)


@given(count=st.integers(0, 50), seed=st.integers(0, 9))
def test_shuffling_keeps_every_text_and_is_decided_by_the_seed(count, seed):
    shuffled = shuffle(texts(count), seed)
    assert sorted(shuffled, key=lambda each: int(each.source.text)) == texts(count)
    assert shuffle(texts(count), seed) == shuffled


def test_seeds_differ():
    assert (
        len({tuple(each.source.text for each in shuffle(texts(20), seed)) for seed in range(5)})
        == 5
    )
