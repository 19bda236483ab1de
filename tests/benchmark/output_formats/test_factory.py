from __future__ import annotations

import pytest

from spacy_padellm.benchmark.output_formats.augmented import AugmentedFormat
from spacy_padellm.benchmark.output_formats.factory import get_output_format
from spacy_padellm.benchmark.output_formats.structured import StructuredFormat


@pytest.mark.parametrize("kind", [AugmentedFormat, StructuredFormat])
def test_formats_are_found_by_name(kind):
    assert isinstance(get_output_format(kind.name), kind)


def test_unknown_name():
    with pytest.raises(ValueError, match=r"P031.*'tsv'.*'augmented', 'structured'"):
        get_output_format("tsv")
