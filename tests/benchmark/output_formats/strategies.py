"""Texts, mentions and outputs the formats are tested with."""

from __future__ import annotations

from hypothesis import strategies as st

from spacy_padellm.benchmark.output_formats.base import OutputFormat, ParsedOutput
from spacy_padellm.texts import Mention, TokenizedText
from tests.sample_texts import (
    cut_at_characters,
    cut_at_spaces,
    mixed_texts,
    tokenized_texts,
)

LABELS = ["LOC", "MISC", "PER"]

# What means something in one of the formats, and must be nothing but text in a text.
MARKUP = st.sampled_from(
    [
        *"[]|\\(),",
        " | ",
        " | LOC]",
        "[Japan | LOC]",
        "[[",
        "[1]",
        "\\]",
        "\\\\",
        "()",
        "((LOC, Japan), ",
        "(LOC, Japan)",
        "), (",
        "))",
        "👩‍🔬",
    ]
)
markup_texts = st.lists(st.one_of(mixed_texts, MARKUP), max_size=8).map("".join)
sources = st.one_of(
    tokenized_texts(), markup_texts.map(cut_at_spaces), markup_texts.map(cut_at_characters)
)

_wordings = st.one_of(st.sampled_from(["LOC", "名称特指", "a, b (c)"]), MARKUP, st.text(min_size=1))


@st.composite
def wordings(draw: st.DrawFn) -> dict[str, str]:
    """A wording of its own for each label."""
    drawn = draw(st.lists(_wordings, min_size=len(LABELS), max_size=len(LABELS), unique=True))
    return dict(zip(LABELS, drawn, strict=True))


@st.composite
def annotated(draw: st.DrawFn) -> tuple[TokenizedText, list[Mention]]:
    """A text, and mentions of whole tokens in any order; they nest, cross and repeat."""
    source = draw(sources)
    if not source.tokens:
        return source, []
    token = st.integers(0, len(source.tokens) - 1)
    drawn = draw(st.lists(st.tuples(token, token, st.sampled_from(LABELS)), max_size=6))
    return source, [
        Mention(source.tokens[min(i, j)][0], source.tokens[max(i, j)][1], label)
        for i, j, label in drawn
    ]


@st.composite
def damaged(draw: st.DrawFn, output: str) -> str:
    """An output with some stretches replaced, and perhaps cut off."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(output)))
        end = min(len(output), start + draw(st.integers(0, 6)))
        output = output[:start] + draw(st.one_of(st.just(""), MARKUP, st.text())) + output[end:]
    return output[: draw(st.integers(0, len(output)))] if draw(st.booleans()) else output


def parse_grounded(
    output_format: OutputFormat, output: str, source: TokenizedText, wordings: dict[str, str]
) -> ParsedOutput:
    """What a format reads in an output, after a look that the text has it."""
    parsed = output_format.parse(output, source, wordings)
    assert parsed.malformed >= 0 and parsed.ungrounded >= 0
    starts, ends = zip(*source.tokens, strict=True) if source.tokens else ((), ())
    for mention in parsed.mentions:
        assert mention.label in wordings
        assert mention.places and list(mention.places) == sorted(set(mention.places))
        for start, end in mention.places:
            assert start < end and start in starts and end in ends
            spelled = iter(output[slice(*mention.piece)])
            assert all(character in spelled for character in source.text[start:end])
    pieces = [mention.piece for mention in parsed.mentions]
    assert pieces == sorted(pieces)
    return parsed
