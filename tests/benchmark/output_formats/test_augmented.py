from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.benchmark.output_formats.augmented import AugmentedFormat
from spacy_padellm.benchmark.output_formats.base import ParsedMention
from spacy_padellm.texts import Mention, TokenizedText
from tests.benchmark.output_formats.strategies import (
    annotated,
    markup_texts,
    parse_grounded,
    wordings,
)
from tests.sample_texts import cut_at_characters, cut_at_spaces

FORMAT = AugmentedFormat()
WORDINGS = {"LOC": "LOC", "MISC": "MISC", "PER": "a person"}
JAPAN = cut_at_spaces("Japan , co-hosts of the World Cup in 2002")
JAPAN_MENTIONS = [Mention(0, 5, "LOC"), Mention(24, 33, "MISC")]
JAPAN_WRITTEN = "[Japan | LOC] , co-hosts of the [World Cup | MISC] in 2002"


def order(mention: Mention) -> tuple[int, int, str]:
    return mention.start, -mention.end, mention.label


def render(text: str, *mentions: tuple[int, int, str]) -> str:
    written, left_out = FORMAT.render(
        TokenizedText(text, ()), [Mention(*mention) for mention in mentions], WORDINGS
    )
    assert left_out == []
    return written


def read(output: str, source: TokenizedText) -> tuple[list[Mention], int, int]:
    """Mentions, malformed, ungrounded."""
    parsed = parse_grounded(FORMAT, output, source, WORDINGS)
    mentions = [Mention(*mention.places[0], mention.label) for mention in parsed.mentions]
    return mentions, parsed.malformed, parsed.ungrounded


def test_mentions_are_bracketed():
    assert FORMAT.render(JAPAN, JAPAN_MENTIONS, WORDINGS) == (JAPAN_WRITTEN, [])
    assert FORMAT.render(JAPAN, [], WORDINGS) == (JAPAN.text, [])


def test_pieces_are_what_is_between_the_brackets():
    parsed = FORMAT.parse(JAPAN_WRITTEN, JAPAN, WORDINGS)
    assert parsed.mentions == (
        ParsedMention("LOC", ((0, 5),), (1, 12)),
        ParsedMention("MISC", ((24, 33),), (33, 49)),
    )
    pieces = [JAPAN_WRITTEN[slice(*mention.piece)] for mention in parsed.mentions]
    assert pieces == ["Japan | LOC", "World Cup | MISC"]


def test_mentions_nest():
    nested = [(0, 9, "MISC"), (0, 4, "LOC"), (5, 9, "PER")]
    assert render("IL-2 gene", *nested) == "[[IL-2 | LOC] [gene | a person] | MISC]"


def test_one_place_with_two_labels_nests_in_their_order():
    written = render("x Rome", (2, 6, "MISC"), (2, 6, "LOC"))
    assert written == "x [[Rome | MISC] | LOC]"
    labels = [m.label for m in FORMAT.parse(written, cut_at_spaces("x Rome"), WORDINGS).mentions]
    assert labels == ["LOC", "MISC"]


def test_of_crossing_mentions_the_earlier_is_written():
    mentions = [Mention(2, 7, "PER"), Mention(0, 3, "LOC"), Mention(6, 9, "MISC")]
    assert FORMAT.render(cut_at_spaces("a b c d e"), mentions, WORDINGS) == (
        "[a b | LOC] c [d e | MISC]",
        [Mention(2, 7, "PER")],
    )


def test_of_crossing_mentions_that_begin_together_the_longer_is_written():
    mentions = [Mention(2, 5, "LOC"), Mention(2, 7, "MISC"), Mention(4, 9, "PER")]
    assert FORMAT.render(cut_at_spaces("a b c d e"), mentions, WORDINGS) == (
        "a [[b c | LOC] d | MISC] e",
        [Mention(4, 9, "PER")],
    )


def test_a_mention_listed_twice_stays_twice():
    mention = Mention(0, 5, "LOC")
    written = render("Japan", (0, 5, "LOC"), (0, 5, "LOC"))
    assert written == "[[Japan | LOC] | LOC]"
    assert read(written, cut_at_spaces("Japan")) == ([mention, mention], 0, 0)


def test_markup_in_a_text_has_a_backslash():
    written = render(r"a[1] | b\]", (0, 4, "LOC"))
    assert written == r"[a\[1\] | LOC] \| b\\\]"


def test_of_labels_with_one_wording_the_first_is_read():
    parsed = FORMAT.parse("[Japan | place]", cut_at_spaces("Japan"), {"B": "place", "A": "place"})
    assert [mention.label for mention in parsed.mentions] == ["B"]


@pytest.mark.parametrize(
    "output, malformed, ungrounded, mentions",
    [
        ("[Japan|LOC] , co-hosts of the [World Cup |  MISC ] in 2002", 0, 0, [0, 1]),
        # Brackets without their counterpart.
        ("[Japan | LOC] , [co-hosts of the [World Cup | MISC] in 2002", 1, 0, [0, 1]),
        ("[Japan | LOC] , ]co-hosts of the [World Cup | MISC] in 2002", 1, 0, [0, 1]),
        ("Japan | LOC] , co-hosts of the [World Cup | MISC] in 2002", 1, 0, [1]),
        ("]Japan | PER], [[co-hosts of the [World Cup | MISC] in 2002", 5, 0, [1]),
        # A pair of brackets without a label counts once, and the text with them is another text.
        ("[Japan] , co-hosts of the [World Cup | MISC] in 2002", 2, 0, [1]),
        ("[[[Japan]] | LOC] , co-hosts of the [World Cup | MISC] in 2002", 3, 1, [1]),
        # Other words before, between, behind the mentions.
        ("Answer: " + JAPAN_WRITTEN, 1, 0, [0, 1]),
        ("[Japan | LOC] and the [World Cup | MISC] of 2002", 1, 0, [0, 1]),
        (JAPAN_WRITTEN + " .\n", 1, 0, [0, 1]),
        (JAPAN_WRITTEN + "\n" + JAPAN_WRITTEN, 1, 2, [0, 1]),
        # Cut off.
        (JAPAN_WRITTEN[:-1], 1, 0, [0, 1]),
        (JAPAN_WRITTEN[:50], 1, 0, [0, 1]),
        (JAPAN_WRITTEN[:49], 2, 0, [0]),
        (JAPAN_WRITTEN[:43], 2, 0, [0]),
        (JAPAN_WRITTEN[:33], 2, 0, [0]),
        (JAPAN_WRITTEN[:12], 2, 0, []),
        ("", 1, 0, []),
    ],
)
def test_what_cannot_be_read_is_counted(output, malformed, ungrounded, mentions):
    wanted = [JAPAN_MENTIONS[i] for i in mentions]
    assert read(output, JAPAN) == (wanted, malformed, ungrounded)


@pytest.mark.parametrize(
    "output, malformed, mentions",
    [
        # A label nobody asked for.
        ("[Japan | ORG] , co-hosts of the [World Cup | MISC] in 2002", 0, [1]),
        ("[Japan | ] , co-hosts of the [World Cup | MISC] in 2002", 0, [1]),
        # Parts of tokens, and nothing at all.
        ("[Jap | LOC]an , co-hosts of the [World Cup | MISC] in 2002", 0, [1]),
        ("[Japan | LOC] , co-[hosts | PER] of the [World Cup | MISC] in 2002", 0, [0, 1]),
        ("[Japan | LOC] , co-hosts of the[ World Cup | MISC] in 2002", 0, [0]),
        ("[ | PER][Japan | LOC] , co-hosts of the [World Cup | MISC] in 2002", 0, [0, 1]),
        # Spelled otherwise than in the text.
        ("[Japn | LOC] , co-hosts of the [World Cup | MISC] in 2002", 1, [1]),
        ("[Japan | LOC] , co-hosts of the [World  Cup | MISC] in 2002", 1, [0]),
        ("[Japan | LOC] , co-hosts of the [WorldCup | MISC] in 2002", 1, [0]),
        ("[JAPAN | LOC] , co-hosts of the [World Cup | MISC] in 2002", 1, [1]),
        # A word the text does not have, or not so often.
        ("[Japan | LOC] , co-hosts of the [Asian | LOC] [World Cup | MISC] in 2002", 1, [0, 1]),
        ("[Japan | LOC] [Japan | LOC] , co-hosts of the [World Cup | MISC] in 2002", 1, [0, 1]),
    ],
)
def test_what_the_text_does_not_have_is_left_out(output, malformed, mentions):
    assert read(output, JAPAN) == ([JAPAN_MENTIONS[i] for i in mentions], malformed, 1)


@pytest.mark.parametrize(
    "output, found, malformed",
    [
        ("a [1] b", [], 1),
        ("[a [1] | LOC] b", [Mention(0, 5, "LOC")], 1),
        (r"[a \[1] | LOC] b", [], 3),
        (r"[a \[1\] | LOC] b", [Mention(0, 5, "LOC")], 0),
    ],
)
def test_brackets_without_a_backslash(output, found, malformed):
    assert read(output, cut_at_spaces("a [1] b")) == (found, malformed, 0)


@pytest.mark.parametrize(
    "output", [r"[a|b\c | LOC]", r"[a\|b\c | LOC]", r"[a|b\\c | LOC]", r"[a\|b\\c | LOC]"]
)
def test_bars_and_backslashes_may_stand_alone(output):
    assert read(output, cut_at_spaces(r"a|b\c")) == ([Mention(0, 5, "LOC")], 0, 0)


@given(annotated(), wordings())
def test_what_is_written_is_read(text, wordings):
    source, mentions = text
    output, left_out = FORMAT.render(source, mentions, wordings)
    parsed = parse_grounded(FORMAT, output, source, wordings)
    found = [Mention(*mention.places[0], mention.label) for mention in parsed.mentions]
    assert sorted(found + left_out, key=order) == sorted(mentions, key=order)
    assert found == sorted(found, key=order)
    assert (parsed.malformed, parsed.ungrounded) == (0, 0)


@given(annotated(), wordings())
def test_only_crossing_mentions_are_left_out(text, wordings):
    source, mentions = text
    _, left_out = FORMAT.render(source, mentions, wordings)
    written = [mention for mention in mentions if mention not in left_out]
    for one in left_out:
        assert any(other.start < one.start < other.end < one.end for other in written)


@given(annotated(), wordings(), st.data())
def test_what_is_written_before_a_cut_is_read(text, wordings, data):
    source, mentions = text
    output, _ = FORMAT.render(source, mentions, wordings)
    cut = data.draw(st.integers(0, len(output)))
    whole = FORMAT.parse(output, source, wordings).mentions
    found = parse_grounded(FORMAT, output[:cut], source, wordings).mentions
    assert found == tuple(mention for mention in whole if mention.piece[1] < cut)


@given(annotated(), wordings(), markup_texts)
def test_what_is_written_before_rubbish_is_read(text, wordings, rubbish):
    source, mentions = text
    output, _ = FORMAT.render(source, mentions, wordings)
    whole = FORMAT.parse(output, source, wordings).mentions
    found = parse_grounded(FORMAT, f"{output} {rubbish}", source, wordings)
    assert found.mentions[: len(whole)] == whole
    assert found.malformed > 0


def test_deep_nesting_is_no_recursion():
    output = "[" * 5000 + "x" + " | LOC]" * 5000
    found, malformed, ungrounded = read(output, cut_at_characters("x"))
    assert (len(found), malformed, ungrounded) == (5000, 0, 0)


def test_alignment_is_bounded(monkeypatch):
    source, output = cut_at_characters("a" * 50), "[a | LOC]b" * 50
    assert read(output, source) == ([Mention(i, i + 1, "LOC") for i in range(50)], 1, 0)
    monkeypatch.setattr("spacy_padellm.benchmark.output_formats.augmented.MAX_COMPARED", 5000)
    found, malformed, ungrounded = read(output, source)
    assert 1 < len(found) < 10
    assert (malformed, ungrounded) == (1, 50 - len(found))
