from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.corpus.options import ReadingOptions
from spacy_padellm.corpus.paper import character_offsets, parse_paper, word_offsets
from spacy_padellm.texts import Mention

Write = Callable[..., Path]


def dump(*values: Any) -> list[str]:
    return [json.dumps(value, ensure_ascii=False) for value in values]


def test_words(write: Write):
    ((line, text),) = parse_paper(write("", *dump(["In New York .", [1, 2, "New York", "LOC"]])))
    assert line == 2
    assert text.source.tokens == ((0, 2), (3, 6), (7, 11), (12, 13))
    assert text.mentions == (Mention(3, 11, "LOC"),)
    assert text.labels is None


def test_words_exclusive(write: Write):
    ((_, text),) = parse_paper(write(*dump(["In New York .", [1, 3, "New York", "LOC"]])))
    assert text.mentions == (Mention(3, 11, "LOC"),)
    assert len(text.source.tokens) == 4


def test_characters(write: Write):
    ((_, text),) = parse_paper(write(*dump(["在 北京。", [2, 3, "北京", "LOC"]])))
    assert text.mentions == (Mention(2, 4, "LOC"),)
    assert text.source.tokens == ((0, 1), (2, 3), (3, 4), (4, 5))


def test_mentions_nest_and_come_in_order(write: Write):
    row = ["a b c", [2, 2, "c", "X"], [0, 2, "a b c", "Y"], [0, 1, "a b", "X"]]
    ((_, text),) = parse_paper(write(*dump(row)))
    assert text.mentions == (Mention(0, 3, "X"), Mention(0, 5, "Y"), Mention(4, 5, "X"))


def test_the_whole_file_decides(write: Write):
    # The first line fits characters and words alike.
    path = write(*dump(["a b", [0, 0, "a", "X"]], ["one two", [1, 1, "two", "X"]]))
    assert [text.mentions for _, text in parse_paper(path)] == [
        (Mention(0, 1, "X"),),
        (Mention(4, 7, "X"),),
    ]


def test_offsets_that_fit_none(write: Write):
    good = ["New York", [0, 1, "New York", "LOC"]]
    path = write(*dump(good, good), "", *dump(["in Rome", [0, 0, "Rome", "LOC"]], good))
    with pytest.raises(ValueError) as caught:
        parse_paper(path)
    message = str(caught.value)
    assert message.startswith(f"[P108] {path}, line 4: the mention 'Rome' isn't at [0, 0]")
    assert "'words'" in message and "1 of 4 mentions differ" in message


@pytest.mark.parametrize("start, end", [(-1, 0), (0, 9), (1, 0), (5, 5)])
def test_offsets_out_of_the_text(write: Write, start: int, end: int):
    with pytest.raises(ValueError, match=r"\[P108\].*line 1"):
        parse_paper(write(*dump(["New York", [start, end, "New", "LOC"]])))


def test_stated_offsets_are_checked(write: Write):
    path = write(*dump(["New York", [0, 1, "New York", "LOC"]]))
    with pytest.raises(ValueError, match=r"\[P108\].*'characters'"):
        parse_paper(path, ReadingOptions(offsets="characters"))
    with pytest.raises(ValueError, match=r"\[P104\] Unknown offsets: 'bytes'"):
        parse_paper(path, ReadingOptions(offsets="bytes"))


@pytest.mark.parametrize("rows", [[["a b", [0, 0, "a", "X"]]], [["no mentions"], ["at all"]]])
def test_offsets_that_fit_several(write: Write, rows: list):
    path = write(*dump(*rows))
    with pytest.raises(ValueError, match=r"\[P109\].*words.*characters.*offsets"):
        parse_paper(path)
    assert len(parse_paper(path, ReadingOptions(offsets="words"))) == len(rows)


@pytest.mark.parametrize(
    "value, problem",
    [
        ({"text": "a"}, "not an array"),
        ([], "not an array"),
        ([1], "the text is 1"),
        (["a", "b"], "'b' isn't"),
        (["a", [0, 0, "a"]], "isn't [int, int, str, str]"),
        (["a", [0, True, "a", "X"]], "isn't [int, int, str, str]"),
        (["a", [0, 0.0, "a", "X"]], "isn't [int, int, str, str]"),
        (["a", [0, 0, "", "X"]], "nothing empty"),
        (["a", [0, 0, "a", ""]], "nothing empty"),
        (["a", [0, 0, "a", "X"], [0, 0, "a", "X"]], "is listed twice"),
        (["a", [0, 0, "a", None]], "isn't [int, int, str, str]"),
    ],
)
def test_malformed_lines(write: Write, value: Any, problem: str):
    path = write(*dump(["ok"], value))
    with pytest.raises(ValueError) as caught:
        parse_paper(path)
    assert f"[P107] {path}, line 2: " in str(caught.value)
    assert problem in str(caught.value)


def test_half_a_surrogate_pair(write: Write):
    with pytest.raises(ValueError, match=r"\[P120\].*line 1"):
        parse_paper(write('["a\\ud800"]'))


@given(st.text())
def test_words_are_what_splitting_yields(text: str):
    assert [text[start:end] for start, end in word_offsets(text)] == text.split()


@given(st.text())
def test_characters_are_all_but_whitespace(text: str):
    expected = [each for each in text if not each.isspace()]
    assert [text[start:end] for start, end in character_offsets(text)] == expected


WORDS = st.lists(st.text("abc我", min_size=1, max_size=4), min_size=1, max_size=6)


@given(words=WORDS, data=st.data(), exclusive=st.booleans())
def test_word_offsets_lead_to_the_mention(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], data: st.DataObject, exclusive: bool
):
    start = data.draw(st.integers(0, len(words) - 1))
    end = data.draw(st.integers(start, len(words) - 1))
    mention = " ".join(words[start : end + 1])
    path = tmp_path_factory.mktemp("paper") / "corpus.jsonl"
    path.write_text(json.dumps([" ".join(words), [start, end + exclusive, mention, "X"]]))
    offsets = "words-exclusive" if exclusive else "words"
    ((_, text),) = parse_paper(path, ReadingOptions(offsets=offsets))
    (found,) = text.mentions
    assert text.source.text[found.start : found.end] == mention
    starts, ends = zip(*text.source.tokens, strict=True)
    assert found.start in starts and found.end in ends


# Texts and mentions of each file. Detection raises if a single mention differs from its text.
TOTALS = {
    "conll03/train": (14041, 23499),
    "conll03/dev": (3250, 5942),
    "conll03/test": (3453, 5648),
    "ecommerce/train": (3989, 12109),
    "ecommerce/dev": (500, 1540),
    "ecommerce/test": (498, 1567),
    "genia/dev": (1669, 4367),
    "genia/test": (1854, 5506),
    "msra/test": (4361, 5511),
    "resume/train": (3819, 13438),
    "resume/dev": (463, 1497),
    "resume/test": (477, 1630),
    "weibo/train": (1350, 1894),
    "weibo/dev": (270, 389),
    "weibo/test": (270, 418),
    "youku/train": (8001, 12754),
    "youku/dev": (1000, 1581),
    "youku/test": (1001, 1570),
}


@pytest.mark.parametrize("name", TOTALS)
def test_real_files_are_read_in_full(data: Path, name: str):
    path = data / "paper" / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path}")
    texts = [each for _, each in parse_paper(path)]
    assert (len(texts), sum(len(each.mentions) for each in texts)) == TOTALS[name]


def test_every_real_file_has_totals(data: Path):
    found = {f"{path.parent.name}/{path.stem}" for path in (data / "paper").glob("*/*.jsonl")}
    assert found <= set(TOTALS)
