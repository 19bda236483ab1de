from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.decode.windows import Window
from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText
from spacy_padellm.train.coverage import WindowedText, check_depth_of
from spacy_padellm.train.gold import LeftOut
from tests.toy_corpus import parse

TEXT = parse("in [New York|LOC] [Ada|PER] met [Bob Hill|PER] again")
NEW_YORK, BOB_HILL = Mention(3, 11, "LOC"), Mention(20, 28, "PER")


def strided(text: AnnotatedText, size: int, stride: int) -> WindowedText:
    source, windows = text.source, []
    for first in range(0, len(source.tokens), stride):
        tokens = source.tokens[first : first + size]
        start, end = tokens[0][0], tokens[-1][1]
        moved = tuple((i - start, k - start) for i, k in tokens)
        windows.append(Window(start, TokenizedText(source.text[start:end], moved)))
    return WindowedText.cut(text, windows)


def long_ones(text: AnnotatedText) -> LeftOut:
    """As if mentions of five characters and more could not be taught."""
    found = [mention for mention in text.mentions if mention.end - mention.start >= 5]
    return LeftOut(too_long=[(text.source.text, mention) for mention in found])


def left_out(
    windowed: WindowedText,
    find: Callable[[AnnotatedText], LeftOut] = lambda text: LeftOut(),
    labels: Sequence[str] = ("LOC", "PER"),
) -> tuple[int, dict[str, list[Mention]]]:
    gold, found = windowed.find_left_out(labels, [find(window) for _, window in windowed.windows])
    assert all(text == TEXT.source.text for each in vars(found).values() for text, _ in each)
    return gold, {reason: [m for _, m in each] for reason, each in vars(found).items() if each}


def test_windows_have_the_mentions_within_them():
    windowed = strided(parse("in [New York|LOC] [Ada|PER] met", ["LOC", "PER"]), 2, 2)
    assert [(start, text.source.text, text.mentions) for start, text in windowed.windows] == [
        (0, "in New", ()),
        (7, "York Ada", (Mention(5, 8, "PER"),)),
        (16, "met", ()),
    ]
    assert all(text.labels == ("LOC", "PER") for _, text in windowed.windows)


def test_gold_in_no_window_is_left_out():
    assert left_out(strided(TEXT, 7, 7)) == (3, {})
    assert left_out(strided(TEXT, 4, 3)) == (3, {})
    assert left_out(strided(TEXT, 2, 2)) == (3, {"across_windows": [NEW_YORK, BOB_HILL]})


def test_gold_in_several_windows_counts_once():
    found = (3, {"too_long": [NEW_YORK, BOB_HILL]})
    assert left_out(strided(TEXT, 4, 2), long_ones) == found

    def in_first(text: AnnotatedText) -> LeftOut:
        return long_ones(text) if text.source.text.startswith("in") else LeftOut()

    # Of the two windows with Bob Hill, the second one can teach him.
    assert left_out(strided(TEXT, 7, 3), in_first) == (3, {"too_long": [NEW_YORK]})


def test_gold_of_labels_that_are_not_taught_does_not_count():
    assert left_out(strided(TEXT, 2, 2), labels=["LOC"]) == (1, {"across_windows": [NEW_YORK]})


@given(st.integers(1, 8), st.integers(1, 8))
def test_a_mention_is_left_out_if_no_window_holds_it(size: int, stride: int):
    windowed = strided(TEXT, size, stride)
    held = {m.moved(start) for start, window in windowed.windows for m in window.mentions}
    assert held <= set(TEXT.mentions)
    _, found = left_out(windowed)
    assert set(found.get("across_windows", [])) == set(TEXT.mentions) - held


def test_a_text_that_is_too_deep_is_named():
    def refuse(depth: int) -> None:
        raise ValueError(f"{depth} are too many")

    with pytest.raises(ValueError, match=r"P208.*99 are too many\nIt begins: 'in New York Ada"):
        check_depth_of(TEXT, 99, refuse)
    check_depth_of(TEXT, 99, lambda depth: None)
