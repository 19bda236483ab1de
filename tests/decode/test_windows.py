from __future__ import annotations

import logging
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.checkpoints.settings import CheckpointSettings
from spacy_padellm.decode.extraction import MentionExtractor
from spacy_padellm.decode.mentions import ScoredMention
from spacy_padellm.decode.windows import Fit, Window, cut_windows, find_windows, merge_windows
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.texts import TokenizedText
from tests.toy_corpus import parse
from tests.trained import trained_lm

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


def test_tokens_that_do_not_fit_are_in_no_window(caplog: pytest.LogCaptureFixture):
    fit, extractor = fit_of()
    short = parse("Ada met Ada . " * 9 + "in Rome .").source
    text = f"{short.text} {'x' * 500} {short.text} {'y' * 500}"
    source = parse(text).source
    with caplog.at_level(logging.WARNING):
        windows = cut_windows(source, fit)
    assert ["xxx" in r.getMessage() for r in caplog.records] == [True, False]
    assert all("500 characters is too long" in r.getMessage() for r in caplog.records)
    seen = {(a + w.start, b + w.start) for w in windows for a, b in w.source.tokens}
    assert seen == {place for place in source.tokens if place[1] - place[0] < 500}
    found = extractor.extract_windows([text], [windows])
    once = cut_windows(short, fit)
    (expected,) = extractor.extract_windows([short.text], [once])
    second = source.tokens[len(short.tokens) + 1][0]
    again = [replace(m, start=m.start + second, end=m.end + second) for m in expected]
    assert expected and found == [[*expected, *again]]


def test_nothing_fits():
    fit, extractor = fit_of()
    source = parse("x" * 500).source
    assert find_windows(source, fit) == cut_windows(source, fit) == []
    assert extractor.extract_windows([source.text], [[]]) == [[]]


def test_any_length_fits_a_model_without_positions():
    lm, settings = trained_lm()
    encoder = PromptEncoder(settings.template, settings.labels, lm.tokenizer)

    class Endless:
        max_depth = None

    assert Fit(Endless(), encoder, CheckpointSettings())(parse("Ada " * 9999).source)  # type: ignore[arg-type]


def window_of(text: str, start: int, end: int) -> Window:
    tokens = tuple((i, i + 1) for i in range(end - start))
    return Window(start, TokenizedText(text[start:end], tokens))


def test_merging_moves_mentions_and_keeps_the_highest_score():
    text = "abcdefgh"
    windows = [window_of(text, 0, 5), window_of(text, 3, 8)]
    found = [
        [ScoredMention(3, 5, "X", 0.25), ScoredMention(3, 4, "X", 0.5)],
        [ScoredMention(0, 2, "X", 0.75), ScoredMention(2, 3, "X", 0.125)],
    ]
    assert merge_windows(windows, found) == [
        ScoredMention(3, 4, "X", 0.5),
        ScoredMention(3, 5, "X", 0.75),
        ScoredMention(5, 6, "X", 0.125),
    ]


def test_a_mention_at_an_edge_gives_way_to_a_window_that_reads_on():
    """Or the first half of a mention would count, because it is the more probable one."""
    text = "in New York now"
    windows = [window_of(text, 0, 6), window_of(text, 3, 15)]
    cut, whole = ScoredMention(3, 6, "X", 0.9), ScoredMention(3, 11, "X", 0.8)
    later = Window(2, TokenizedText(text[2:], ((1, 4), (5, 9), (10, 13))))
    # The second window begins with it: it may be cut there as well.
    assert merge_windows(windows, [[cut], [replace(whole, start=0, end=8)]]) == [cut, whole]
    found = [[cut], [replace(whole, start=1, end=9)]]
    assert merge_windows([windows[0], later], found) == [whole]
    assert merge_windows([later, windows[0]], found[::-1]) == [whole]
    # Where nothing was found by who reads on, there is nothing.
    assert merge_windows([windows[0], later], [[cut], []]) == []


def test_a_mention_at_the_texts_own_edges_stays():
    text = "abcdefgh"
    windows = [window_of(text, 0, 5), window_of(text, 0, 8)]
    found = [[ScoredMention(0, 2, "X", 0.5)], [ScoredMention(6, 8, "X", 0.5)]]
    assert [(m.start, m.end) for m in merge_windows(windows, found)] == [(0, 2), (6, 8)]


def test_merging_keeps_the_most_probable_label_of_a_place():
    text = "abcdefgh"
    windows = [window_of(text, 0, 6), window_of(text, 2, 8)]
    found = [
        [ScoredMention(3, 4, "X", 0.25), ScoredMention(3, 5, "X", 0.5)],
        [ScoredMention(1, 2, "Y", 0.75), ScoredMention(1, 3, "Y", 0.125)],
    ]
    assert merge_windows(windows, found) == [
        ScoredMention(3, 4, "Y", 0.75),
        ScoredMention(3, 5, "X", 0.5),
    ]


def test_merging_keeps_the_order_of_the_text():
    text = "abcdefgh"
    windows = [window_of(text, 0, 4), window_of(text, 4, 8)]
    found = [[ScoredMention(2, 3, "X", 0.5)], [ScoredMention(0, 1, "X", 0.5)]]
    assert [m.start for m in merge_windows(windows, found)] == [2, 4]
    assert [m.start for m in merge_windows(windows[::-1], found[::-1])] == [2, 4]


def test_merging_nothing():
    assert merge_windows([], []) == []
    with pytest.raises(ValueError, match="zip"):
        merge_windows([], [[ScoredMention(0, 1, "X", 0.5)]])
