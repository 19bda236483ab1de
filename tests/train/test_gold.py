from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_padellm.decode.windows import Window
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.settings import Settings
from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText
from spacy_padellm.train.gold import Examination, GoldReport, LeftOut, WindowedText
from spacy_padellm.train.objective import ParallelObjective
from tests.sample_texts import cut_at_spaces, tokenized_texts
from tests.sample_tokenizers import lower_casing_tokenizer, make_encoder
from tests.toy_corpus import parse
from tests.train.samples import LIMITS, objective

TEXT = cut_at_spaces("Anna Bob Cleo Dan Eve Finn  Gil")


def left_out_of(*mentions: Mention, limits: dict[str, int] = LIMITS) -> dict[str, list[str]]:
    each = objective(labels=("PER",), **limits)
    text = AnnotatedText(TEXT, mentions)
    tree, left_out = each.build(text)
    found = left_out.by_reason
    assert each.examine(text).left_out.by_reason == found
    assert all(source == TEXT.text for entries in found.values() for source, _ in entries)
    assert len(left_out) == sum(map(len, found.values()))
    if "unaligned" in found:
        # The model could not find it, and must not learn that nothing is there.
        assert not tree.teaches and not each.examine(text).is_taught
    else:
        # The others are taught, and counted.
        taught = len(mentions) - len(left_out)
        assert tree.targets[0] == each.encoder.count_ids[taught][0]
    assert list(left_out) == [(reason, m) for reason in found for _, m in found[reason]]
    return {
        reason: [TEXT.text[m.start : m.end] for _, m in entries]
        for reason, entries in found.items()
    }


def test_gold_that_cannot_be_taught():
    anna, bob = Mention(0, 4, "PER"), Mention(5, 8, "PER")
    assert left_out_of(anna, bob) == {}
    assert left_out_of(anna, Mention(5, 7, "PER")) == {"unaligned": ["Bo"]}
    assert left_out_of(anna, Mention(4, 8, "PER")) == {"unaligned": [" Bob"]}
    assert left_out_of(anna, Mention(3, 3, "PER")) == {"unaligned": [""]}
    five, six = Mention(0, 21, "PER"), Mention(0, 26, "PER")
    assert left_out_of(five) == {}
    assert left_out_of(six, bob) == {"too_long": ["Anna Bob Cleo Dan Eve Finn"]}
    names = [Mention(s, e, "PER") for s, e in TEXT.tokens]
    assert left_out_of(*names) == {"too_many": ["Eve", "Finn", "Gil"]}
    # What cannot be taught for another reason does not count.
    few = {"max_mentions": 2, "max_mention_tokens": 5}
    found = left_out_of(anna, Mention(1, 3, "PER"), six, bob, names[2], limits=few)
    assert found == {
        "unaligned": ["nn"],
        "too_long": ["Anna Bob Cleo Dan Eve Finn"],
        "too_many": ["Cleo"],
    }


@settings(max_examples=200)
@given(source=tokenized_texts(), longest=st.integers(1, 3), data=st.data())
def test_gold_is_taught_if_it_can_be_decoded(source, longest, data):
    """Exactly what the source trie can write; else it is said why not."""
    offsets = st.integers(0, len(source.text))
    boundaries = [offset for token in source.tokens for offset in token]
    offsets |= st.sampled_from(boundaries or [0])
    start, end = sorted(data.draw(st.tuples(offsets, offsets)))
    each = objective(labels=("PER",), max_mentions=1, max_mention_tokens=longest)
    any_length = objective(labels=("PER",), max_mentions=1, max_mention_tokens=1000)
    left_out = each.examine(AnnotatedText(source, (Mention(start, end, "PER"),))).left_out
    reason = next(iter(left_out.by_reason), None)
    if (start, end) in each.encoder.encode(source).spans:
        assert reason is None
    elif (start, end) in any_length.encoder.encode(source).spans:
        assert reason == "too_long"
    else:
        assert reason == "unaligned"


def test_gold_of_other_labels_is_not_left_out_but_not_asked_for():
    text = AnnotatedText(TEXT, (Mention(1, 3, "ORG"), Mention(0, 4, "PER")))
    assert len(objective(labels=("PER",)).build(text)[1]) == 0
    assert len(objective(labels=("PER", "ORG")).build(text)[1]) == 1


def test_gold_without_ids_is_left_out():
    labels = {"PER": "paris"}
    encoder = make_encoder(TEMPLATES["en"], labels, lower_casing_tokenizer(), **LIMITS)
    source = cut_at_spaces("in \u200d paris")
    text = AnnotatedText(source, (Mention(3, 4, "PER"), Mention(5, 10, "PER")))
    settings = Settings(TEMPLATES["en"], labels, **LIMITS)
    tree, left_out = ParallelObjective(encoder, settings).build(text)
    assert left_out.by_reason == {"unaligned": [(source.text, Mention(3, 4, "PER"))]}
    assert not tree.teaches


def test_left_out_gold_adds_up():
    text, anna, bob = "Anna met Bob", Mention(0, 4, "PER"), Mention(9, 12, "PER")
    total = LeftOut()
    for reason, mention in [("unaligned", anna), ("unaligned", bob), ("too_long", anna)]:
        total.add(reason, text, [mention])
    total.add("too_many", text, [bob])
    total.add("across_windows", text, [bob])
    total.add("crossing", text, [])
    assert total.by_reason == {
        "unaligned": [(text, anna), (text, bob)],
        "too_long": [(text, anna)],
        "too_many": [(text, bob)],
        "across_windows": [(text, bob)],
    }
    assert len(total) == 5
    assert total.describe() == (
        "2 unaligned (for example PER 'Anna'); 1 too long (for example PER 'Anna'); "
        "1 too many (for example PER 'Bob'); 1 across windows (for example PER 'Bob')"
    )
    assert LeftOut().describe() == "" and not LeftOut()


WHOLE = parse("in [New York|LOC] [Ada|PER] met [Bob Hill|PER] again")
NEW_YORK, BOB_HILL = Mention(3, 11, "LOC"), Mention(20, 28, "PER")


def strided(text: AnnotatedText, size: int, stride: int) -> WindowedText:
    source, windows = text.source, []
    for first in range(0, len(source.tokens), stride):
        tokens = source.tokens[first : first + size]
        start, end = tokens[0][0], tokens[-1][1]
        windows.append(Window(start, objective().encoder.encode(source.stretch(start, end))))
    return WindowedText.cut(text, windows)


def long_ones(text: AnnotatedText) -> LeftOut:
    """As if mentions of five characters and more could not be taught."""
    found = LeftOut()
    long = [mention for mention in text.mentions if mention.end - mention.start >= 5]
    found.add("too_long", text.source.text, long)
    return found


def examination(found: LeftOut, is_taught: bool = True) -> Examination:
    return Examination(found, is_taught, depth=99, size=99, sequence_tokens=99)


def report_of(
    windowed: WindowedText,
    find: Callable[[AnnotatedText], LeftOut] = lambda text: LeftOut(),
    labels: Sequence[str] = ("LOC", "PER"),
    check_depth: Callable[[int], None] = lambda depth: None,
) -> GoldReport:
    report = GoldReport(labels, check_depth)
    report.add(windowed, [examination(find(window)) for _, window in windowed.windows])
    return report


def left_out(*args, **kwargs) -> tuple[int, dict[str, list[Mention]]]:
    report = report_of(*args, **kwargs)
    found = report.left_out.by_reason
    assert all(text == WHOLE.source.text for each in found.values() for text, _ in each)
    return report.gold, {reason: [m for _, m in each] for reason, each in found.items()}


def test_windows_have_the_mentions_within_them():
    windowed = strided(parse("in [New York|LOC] [Ada|PER] met", ["LOC", "PER"]), 2, 2)
    assert [(start, text.source.text, text.mentions) for start, text in windowed.windows] == [
        (0, "in New", ()),
        (7, "York Ada", (Mention(5, 8, "PER"),)),
        (16, "met", ()),
    ]
    assert all(text.labels == ("LOC", "PER") for _, text in windowed.windows)


def test_gold_in_no_window_is_left_out():
    assert left_out(strided(WHOLE, 7, 7)) == (3, {})
    assert left_out(strided(WHOLE, 4, 3)) == (3, {})
    assert left_out(strided(WHOLE, 2, 2)) == (3, {"across_windows": [NEW_YORK, BOB_HILL]})


def test_gold_in_several_windows_counts_once():
    found = (3, {"too_long": [NEW_YORK, BOB_HILL]})
    assert left_out(strided(WHOLE, 4, 2), long_ones) == found

    def in_first(text: AnnotatedText) -> LeftOut:
        return long_ones(text) if text.source.text.startswith("in") else LeftOut()

    # Of the two windows with Bob Hill, the second one can teach him.
    assert left_out(strided(WHOLE, 7, 3), in_first) == (3, {"too_long": [NEW_YORK]})


def test_gold_of_labels_that_are_not_taught_does_not_count():
    assert left_out(strided(WHOLE, 2, 2), labels=["LOC"]) == (1, {"across_windows": [NEW_YORK]})


@given(st.integers(1, 8), st.integers(1, 8))
def test_a_mention_is_left_out_if_no_window_holds_it(size: int, stride: int):
    windowed = strided(WHOLE, size, stride)
    held = {m.moved(start) for start, window in windowed.windows for m in window.mentions}
    assert held <= set(WHOLE.mentions)
    _, found = left_out(windowed)
    assert set(found.get("across_windows", [])) == set(WHOLE.mentions) - held


def test_what_is_unknown_in_a_window():
    """What is unknown in the text, and what the window has of a mention that it cuts."""
    text = replace(WHOLE, unknown=(Mention(16, 23, ""),))
    windows = strided(text, 3, 3).windows
    found = [
        [(each.label, part.source.text[each.start : each.end]) for each in part.unknown]
        for _, part in windows
    ]
    assert [part.source.text for _, part in windows] == ["in New York", "Ada met Bob", "Hill again"]
    assert found == [[], [("", "met Bob"), ("PER", "Bob")], [("PER", "Hill")]]
    assert [len(part.mentions) for _, part in windows] == [1, 1, 0]


def test_gold_beside_the_tokens_is_in_no_window():
    """A text is read from its first token to its last one."""
    text = AnnotatedText(TokenizedText(" Ada ", ((1, 4),)), (Mention(0, 4, "PER"),))
    windowed = WindowedText.cut(
        text, [Window(1, objective().encoder.encode(text.source.stretch(1, 4)))]
    )
    assert list(report_of(windowed).left_out) == [("unaligned", Mention(0, 4, "PER"))]
    empty = AnnotatedText(TokenizedText("Ada", ()), (Mention(0, 3, "PER"),))
    assert list(report_of(WindowedText(empty, ())).left_out) == [
        ("unaligned", Mention(0, 3, "PER"))
    ]


def test_what_is_told_of_a_corpus():
    text = parse("[Ada|PER] left [Rome|LOC] .")
    idle = parse("in [Oslo|LOC]", labels=["LOC"])
    report = GoldReport(["PER", "ORG"], lambda depth: None)
    for each, is_taught in ((text, True), (idle, False)):
        report.add(WindowedText(each, ((0, each),)), [examination(LeftOut(), is_taught)])
    assert (report.gold, report.windows, report.idle) == (1, 2, 1)
    assert (report.others, report.absent) == ({"LOC": 2}, ["ORG"])

    def prepare() -> None:
        report.warn()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare()
    assert [str(each.message)[1:5] for each in caught] == ["W071", "W072", "W073"]
    assert {each.filename for each in caught} == {__file__}
    assert "1 of 2 annotated texts" in str(caught[0].message)


def test_a_text_that_is_too_deep_is_named():
    def refuse(depth: int) -> None:
        raise ValueError(f"{depth} are too many")

    whole = strided(WHOLE, 100, 100)
    with pytest.raises(ValueError, match=r"P208.*99 are too many\nIt begins: 'in New York Ada"):
        report_of(whole, check_depth=refuse)
    report_of(whole)
