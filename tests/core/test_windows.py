from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.core.checkpoint import CheckpointSettings
from spacy_padellm.core.extraction import MentionExtractor
from spacy_padellm.core.prompt import PromptEncoder
from spacy_padellm.core.texts import TokenizedText
from spacy_padellm.core.windows import Fit, find_windows

from ..toy_corpus import parse
from .trained import trained_lm

WORDS = ["Ada", "met", "New York", "😀", "北京", "supercalifragilistic", "."]

texts = st.lists(st.sampled_from(WORDS), max_size=60).map(lambda words: parse(" ".join(words)))


def fit_of(**changes: object) -> tuple[Fit, MentionExtractor]:
    lm, settings = trained_lm(**changes)
    encoder = PromptEncoder(settings.template, settings.labels, lm.tokenizer)
    return Fit(lm, encoder, settings), MentionExtractor(lm, settings)


def cut(text: TokenizedText, start: int, end: int) -> TokenizedText:
    first = text.tokens[start][0]
    tokens = tuple((i - first, k - first) for i, k in text.tokens[start:end])
    return TokenizedText(text.text[first:][: tokens[-1][1]], tokens)


@given(annotated=texts, most=st.integers(1, 40))
def test_windows_overlap_fit_and_hold_every_token(annotated, most):
    source = annotated.source

    def fits(text: TokenizedText) -> bool:
        return len(text.tokens) <= most

    windows = find_windows(source, fits)
    if fits(source):
        assert windows == [(0, len(source.tokens))]
        return
    assert windows[0][0] == 0 and windows[-1][1] == len(source.tokens)
    assert all(fits(cut(source, start, end)) for start, end in windows)
    for (start, end), (following, next_end) in pairwise(windows):
        assert start < following <= end < next_end
        assert end - following == (end - start) // 4


@given(annotated=texts)
def test_what_fits_can_be_read(annotated):
    """Whatever the model writes; what does not fit is cut until it does."""
    fit, extractor = fit_of()
    source = annotated.source
    for start, end in find_windows(source, fit) if source.tokens else []:
        window = cut(source, start, end)
        assert fit(window)
        extractor.extract([window])


def test_no_more_windows_than_needed():
    fit, extractor = fit_of()
    longest = max(n for n in range(1, 200) if fit(parse("Ada " * n).source))
    assert longest < 199
    extractor.extract([parse("Ada " * longest).source])
    # A little is left: a mention is thought as long as any of four tokens could be.
    with pytest.raises(ValueError, match="P023"):
        extractor.extract([parse("Ada " * (longest + 2)).source])


@pytest.mark.parametrize("output_format", ["augmented", "structured"])
def test_output_formats_need_room_for_writing(output_format):
    fit, _ = fit_of(output_format=output_format)
    lm, _ = trained_lm(output_format=output_format)
    ids = len(lm.tokenizer.encode("Ada " * 30))
    assert fit(parse("Ada").source)
    assert lm.max_depth is not None and ids < lm.max_depth < 3 * ids
    assert not fit(parse("Ada " * 30).source)


def test_nothing_fits():
    fit, _ = fit_of()
    source = parse("Ada saw " + "x" * 500).source
    assert find_windows(source, fit) == [(0, 3)]


def test_any_length_fits_a_model_without_positions():
    lm, settings = trained_lm()
    encoder = PromptEncoder(settings.template, settings.labels, lm.tokenizer)

    class Endless:
        max_depth = None

    assert Fit(Endless(), encoder, CheckpointSettings())(parse("Ada " * 9999).source)  # type: ignore[arg-type]
