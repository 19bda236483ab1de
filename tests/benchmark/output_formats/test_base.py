"""What holds for every output format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.benchmark.output_formats import get_output_format
from spacy_padellm.benchmark.output_formats.augmented import AugmentedFormat
from spacy_padellm.benchmark.output_formats.structured import StructuredFormat
from spacy_padellm.texts import Mention
from tests.benchmark.output_formats.strategies import (
    annotated,
    damaged,
    markup_texts,
    parse_grounded,
    sources,
    wordings,
)
from tests.sample_texts import cut_at_spaces

FORMATS = pytest.mark.parametrize("each", [AugmentedFormat(), StructuredFormat()])


@FORMATS
def test_a_label_needs_a_wording(each):
    with pytest.raises(KeyError, match="ORG"):
        each.render(cut_at_spaces("Japan"), [Mention(0, 5, "ORG")], {"LOC": "LOC"})


@FORMATS
@given(annotated(), wordings(), st.data())
def test_what_is_read_in_a_damaged_output_is_in_the_text(each, text, wordings, data):
    source, mentions = text
    output, _ = each.render(source, mentions, wordings)
    parse_grounded(each, data.draw(damaged(output)), source, wordings)


@FORMATS
@given(st.one_of(st.text(), markup_texts), sources, wordings())
def test_anything_can_be_parsed(each, output, source, wordings):
    parse_grounded(each, output, source, wordings)


@pytest.mark.parametrize("kind", [AugmentedFormat, StructuredFormat])
def test_formats_are_found_by_name(kind):
    assert isinstance(get_output_format(kind.name), kind)


def test_unknown_name():
    with pytest.raises(ValueError, match=r"P031.*'tsv'.*'augmented', 'structured'"):
        get_output_format("tsv")
