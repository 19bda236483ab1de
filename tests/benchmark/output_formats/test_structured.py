from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.benchmark.output_formats.base import ParsedMention
from spacy_padellm.benchmark.output_formats.structured import StructuredFormat
from spacy_padellm.texts import Mention
from tests.benchmark.output_formats.strategies import (
    annotated,
    markup_texts,
    parse_grounded,
    sources,
    wordings,
)
from tests.sample_texts import cut_at_characters, cut_at_spaces

FORMAT = StructuredFormat()
WORDINGS = {"LOC": "LOC", "MISC": "MISC", "PER": "a person"}
JAPAN = cut_at_spaces("Japan , co-hosts of the World Cup in 2002 , Japan")
JAPAN_PLACES = [("LOC", ((0, 5), (44, 49))), ("MISC", ((24, 33),))]
JAPAN_WRITTEN = "((LOC, Japan), (MISC, World Cup))"


def read(output, source):
    """Mentions, malformed, ungrounded."""
    parsed = parse_grounded(FORMAT, output, source, WORDINGS)
    mentions = [(mention.label, mention.places) for mention in parsed.mentions]
    return mentions, parsed.malformed, parsed.ungrounded


def test_mentions_are_listed():
    mentions = [Mention(24, 33, "MISC"), Mention(0, 5, "LOC")]
    assert FORMAT.render(JAPAN, mentions, WORDINGS) == (JAPAN_WRITTEN, [])
    assert FORMAT.render(JAPAN, [], WORDINGS) == ("()", [])


def test_mentions_are_in_order_of_start_end_and_label():
    mentions = [
        Mention(2, 3, "LOC"),
        Mention(0, 3, "MISC"),
        Mention(0, 3, "LOC"),
        Mention(0, 1, "PER"),
    ]
    written, _ = FORMAT.render(cut_at_spaces("a b"), mentions, WORDINGS)
    assert written == "((a person, a), (LOC, a b), (MISC, a b), (LOC, b))"


def test_pieces_are_what_is_between_the_brackets():
    parsed = FORMAT.parse(JAPAN_WRITTEN, JAPAN, WORDINGS)
    assert parsed.mentions == (
        ParsedMention("LOC", ((0, 5), (44, 49)), (2, 12)),
        ParsedMention("MISC", ((24, 33),), (16, 31)),
    )
    pieces = [JAPAN_WRITTEN[slice(*mention.piece)] for mention in parsed.mentions]
    assert pieces == ["LOC, Japan", "MISC, World Cup"]


def test_places_may_overlap_and_are_whole_tokens():
    source = cut_at_spaces("a a a aa a")
    assert read("((LOC, a a))", source) == ([("LOC", ((0, 3), (2, 5)))], 0, 0)


def test_a_mention_listed_twice_stays_twice():
    assert read("((LOC, Japan), (LOC, Japan))", JAPAN) == ([JAPAN_PLACES[0]] * 2, 0, 0)


def test_markup_has_a_backslash():
    source = cut_at_characters("(a,\\b)")
    output, _ = FORMAT.render(source, [Mention(0, 6, "X")], {"X": "x, (y\\z)"})
    assert output == r"((x\, \(y\\z\), (a,\\b\)))"


def test_of_labels_with_one_wording_the_first_is_read():
    parsed = FORMAT.parse("((place, Japan))", JAPAN, {"B": "place", "A": "place"})
    assert [mention.label for mention in parsed.mentions] == ["B"]


@pytest.mark.parametrize("output", ["()", "( )", " ()\n"])
def test_no_mentions(output):
    assert read(output, JAPAN) == ([], 0, 0)


@pytest.mark.parametrize(
    "output, malformed, mentions",
    [
        ("((LOC,Japan),(MISC,World Cup))", 0, [0, 1]),
        (" (\n (LOC, Japan) ,\n ( MISC , World Cup)\n)\n", 0, [0, 1]),
        # Outer brackets, commas.
        ("(LOC, Japan), (MISC, World Cup)", 2, [0, 1]),
        ("((LOC, Japan) (MISC, World Cup))", 1, [0, 1]),
        ("((LOC, Japan),, (MISC, World Cup),)", 2, [0, 1]),
        ("(((LOC, Japan), (MISC, World Cup)))", 2, [0, 1]),
        # Pairs that are none.
        ("((Japan), (LOC, Japan), (MISC, World Cup))", 1, [0, 1]),
        ("((LOC, Japan), (LOC) (Japan), (MISC, World Cup))", 1, [0, 1]),
        ("((LOC, Japan), LOC, Japan, (MISC, World Cup))", 1, [0, 1]),
        ("((LOC Japan), (LOC, Japan), (LOC Japan), (MISC, World Cup), (LOC Japan))", 3, [0, 1]),
        ("((LOC (MISC, World Cup))", 1, [1]),
        # Other words around the list.
        ("Mentions: ((LOC, Japan), (MISC, World Cup)).", 2, [0, 1]),
        # Cut off.
        (JAPAN_WRITTEN[:-1], 1, [0, 1]),
        (JAPAN_WRITTEN[:-2], 1, [0]),
        (JAPAN_WRITTEN[:20], 1, [0]),
        (JAPAN_WRITTEN[:15], 1, [0]),
        (JAPAN_WRITTEN[:14], 1, [0]),
        (JAPAN_WRITTEN[:13], 1, [0]),
        (JAPAN_WRITTEN[:12], 1, []),
        ("(", 1, []),
        ("", 1, []),
        ("None.", 1, []),
        ("()()", 1, []),
        ("((LOC, Japan\\", 1, []),
    ],
)
def test_what_cannot_be_read_is_counted(output, malformed, mentions):
    assert read(output, JAPAN) == ([JAPAN_PLACES[i] for i in mentions], malformed, 0)


@pytest.mark.parametrize(
    "pair",
    [
        "(ORG, Japan)",
        "(, Japan)",
        "(LOC, China)",
        "(LOC, JAPAN)",
        "(LOC, Jap)",
        "(LOC, hosts)",
        "(LOC, )",
        "(LOC,  Japan)",
        "(LOC, Japan, World Cup)",
        "(LOC, Japan (MISC, World Cup)",
    ],
)
def test_what_the_text_does_not_have_is_left_out(pair):
    assert read(f"((LOC, Japan), {pair}, (MISC, World Cup))", JAPAN) == (JAPAN_PLACES, 0, 1)


@pytest.mark.parametrize("output", [r"((LOC, a\b))", r"((LOC, a\\b))"])
def test_backslashes_may_stand_alone(output):
    assert read(output, cut_at_spaces(r"x a\b")) == ([("LOC", ((2, 5),))], 0, 0)


def test_brackets_without_a_backslash_end_the_mention():
    source = cut_at_spaces("a) a")
    assert read(r"((LOC, a\)))", source) == ([("LOC", ((0, 2),))], 0, 0)
    assert read("((LOC, a)))", source) == ([("LOC", ((3, 4),))], 1, 0)


@given(annotated(), wordings())
def test_what_is_written_is_read(text, wordings):
    source, mentions = text
    output, left_out = FORMAT.render(source, mentions, wordings)
    parsed = parse_grounded(FORMAT, output, source, wordings)
    assert (left_out, parsed.malformed, parsed.ungrounded) == ([], 0, 0)
    for mention, found in zip(sorted(mentions), parsed.mentions, strict=True):
        string = source.text[mention.start : mention.end]
        assert found.label == mention.label
        assert (mention.start, mention.end) in found.places
        assert all(source.text[start:end] == string for start, end in found.places)


@given(sources.filter(lambda source: source.tokens), st.data())
def test_every_place_is_found(source, data):
    spans = [(start, end) for start, _ in source.tokens for _, end in source.tokens if start < end]
    start, end = data.draw(st.sampled_from(spans))
    output, _ = FORMAT.render(source, [Mention(start, end, "LOC")], WORDINGS)
    (found,) = FORMAT.parse(output, source, WORDINGS).mentions
    string = source.text[start:end]
    assert found.places == tuple((i, j) for i, j in spans if source.text[i:j] == string)


@given(annotated(), wordings(), st.data())
def test_what_is_written_before_a_cut_is_read(text, wordings, data):
    source, mentions = text
    output, _ = FORMAT.render(source, mentions, wordings)
    cut = data.draw(st.integers(0, len(output) - 1))
    whole = FORMAT.parse(output, source, wordings).mentions
    found = parse_grounded(FORMAT, output[:cut], source, wordings)
    assert found.mentions == tuple(mention for mention in whole if mention.piece[1] < cut)
    assert (found.malformed, found.ungrounded) == (1, 0)


@given(annotated(), wordings(), markup_texts)
def test_what_is_written_before_rubbish_is_read(text, wordings, rubbish):
    source, mentions = text
    output, _ = FORMAT.render(source, mentions, wordings)
    whole = FORMAT.parse(output, source, wordings).mentions
    found = parse_grounded(FORMAT, f"{output}.{rubbish}", source, wordings)
    assert found.mentions[: len(whole)] == whole
    assert found.malformed > 0
