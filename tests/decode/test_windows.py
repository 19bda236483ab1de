from __future__ import annotations

import logging
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.decode.mentions import keep_most_probable
from spacy_padellm.decode.windows import Window, cut_windows, merge_windows
from spacy_padellm.model import PaDeLLM
from spacy_padellm.prompt.encoder import EncodedText
from spacy_padellm.settings import DecodingOptions
from spacy_padellm.texts import Entity, TokenizedText
from tests.decode.decoders import make_decoder
from tests.tiny_models import random_lm
from tests.toy_corpus import parse
from tests.trained import trained_lm

WORDS = ["Ada", "met", "New York", "😀", "北京", "supercalifragilistic", "."]

texts = st.lists(st.sampled_from(WORDS), max_size=60).map(lambda words: parse(" ".join(words)))


def trained() -> PaDeLLM:
    return PaDeLLM(*trained_lm())


def cut(model: PaDeLLM, text: TokenizedText) -> list[Window]:
    return cut_windows(text, model.encode, model.decoder.fits)


def tokens_of(text: TokenizedText, window: Window) -> tuple[int, int]:
    """The first of the text's tokens in the window, and one past the last."""
    first = text.tokens.index((window.start, window.start + window.text.tokens[0][1]))
    return first, first + len(window.text.tokens)


def assert_stretches(text: TokenizedText, windows: list[Window]) -> None:
    """Windows hold what stands there, from a token to a token, encoded as it stands."""
    for window in windows:
        end = window.start + len(window.text.text)
        assert window.text.text == text.text[window.start : end]
        moved = tuple((a + window.start, b + window.start) for a, b in window.text.tokens)
        first, last = tokens_of(text, window)
        assert moved == text.tokens[first:last]
        assert (moved[0][0], moved[-1][1]) == (window.start, end)


@given(annotated=texts, most=st.integers(1, 40))
def test_windows_overlap_fit_and_hold_every_token(annotated, most):
    source = annotated.source

    def fits(text: EncodedText) -> bool:
        return len(text.tokens) <= most

    windows = cut_windows(source, trained().encode, fits)
    assert_stretches(source, windows)
    places = [tokens_of(source, window) for window in windows]
    if len(source.tokens) <= most:
        assert places == ([(0, len(source.tokens))] if source.tokens else [])
        return
    assert places[0][0] == 0 and places[-1][1] == len(source.tokens)
    assert all(fits(window.text) for window in windows)
    for (start, end), (following, next_end) in pairwise(places):
        assert start < following <= end < next_end
        assert end - following == (end - start) // 4


def test_no_window_is_encoded_behind_one_that_does_not_fit():
    source, encoded = TokenizedText.split("a " * 81), []

    def encode(text: TokenizedText) -> EncodedText:
        encoded.append(len(text.tokens))
        return trained().encode(text)

    cut_windows(source, encode, lambda text: len(text.tokens) <= 24)
    assert encoded[:4] == [81, 54, 36, 24]
    assert all(length <= 24 for length in encoded[4:])


@given(annotated=texts)
def test_what_fits_can_be_read(annotated):
    """Whatever the model writes; what does not fit is cut until it does."""
    model = trained()
    windows = cut(model, annotated.source)
    assert_stretches(annotated.source, windows)
    assert all(model.decoder.fits(window.text) for window in windows)
    model.decoder.decode([window.text for window in windows])


def test_no_more_windows_than_needed():
    model = trained()

    def fits(n: int) -> bool:
        return model.decoder.fits(model.encode(parse("Ada " * n).source))

    longest = max(n for n in range(1, 200) if fits(n))
    assert longest < 199
    model.decoder.decode([model.encode(parse("Ada " * longest).source)])
    # A little is left: a mention is thought as long as any of four tokens could be.
    with pytest.raises(ValueError, match="P023"):
        model.decoder.decode([model.encode(parse("Ada " * (longest + 2)).source)])


def test_what_fits_is_known_to_the_token():
    """Room is first guessed from bytes, of which there are no fewer than ids, then counted."""
    each = make_decoder(random_lm("llama", "en", "causal", 1))
    fitting = [each.fits(each.encoder.encode(parse("win " * n).source)) for n in range(1, 60)]
    assert fitting == sorted(fitting, reverse=True)
    longest = sum(fitting)
    text = each.encoder.encode(parse("win " * longest).source)
    most = each.encoder.depth_before_mentions(text, each.settings.labels) + text.trie.depth - 1
    assert most <= 128 < most + len("win win win win")


def test_tokens_that_do_not_fit_are_in_no_window(caplog: pytest.LogCaptureFixture):
    model = trained()
    short = parse("Ada met Ada . " * 9 + "in Rome .").source
    text = f"{short.text} {'x' * 500} {short.text} {'y' * 500}"
    source = parse(text).source
    with caplog.at_level(logging.WARNING):
        windows = cut(model, source)
    assert ["xxx" in r.getMessage() for r in caplog.records] == [True, False]
    assert all("500 characters is too long" in r.getMessage() for r in caplog.records)
    assert_stretches(source, windows)
    seen = {(a + w.start, b + w.start) for w in windows for a, b in w.text.tokens}
    assert seen == {place for place in source.tokens if place[1] - place[0] < 500}
    found = model.predict_windows([text], [windows])
    once = cut(model, short)
    (expected,) = model.predict_windows([short.text], [once])
    second = source.tokens[len(short.tokens) + 1][0]
    again = [replace(m, start=m.start + second, end=m.end + second) for m in expected]
    assert expected and found == [[*expected, *again]]


def test_nothing_fits():
    model = trained()
    source = parse("x" * 500).source
    assert cut(model, source) == []
    assert model.predict_windows([source.text], [[]]) == [[]]


def test_any_length_fits_a_model_without_positions():
    each = make_decoder(random_lm("bloom"))
    assert each.lm.max_depth is None
    assert each.fits(each.encoder.encode(parse("Ada " * 9999).source))


def window_of(text: str, start: int, end: int) -> Window:
    tokens = tuple((i, i + 1) for i in range(end - start))
    return Window(start, trained().encode(TokenizedText(text[start:end], tokens)))


def test_merging_moves_mentions_and_keeps_the_highest_score():
    text = "abcdefgh"
    windows = [window_of(text, 0, 5), window_of(text, 3, 8)]
    found = [
        [Entity(3, 5, "X", 0.25), Entity(3, 4, "X", 0.5)],
        [Entity(0, 2, "X", 0.75), Entity(2, 3, "X", 0.125)],
    ]
    assert merge_windows(windows, found) == [
        Entity(3, 4, "X", 0.5),
        Entity(3, 5, "X", 0.75),
        Entity(5, 6, "X", 0.125),
    ]


def test_a_mention_at_an_edge_gives_way_to_a_window_that_reads_on():
    """Or the first half of a mention would count, because it is the more probable one."""
    text = "in New York now"
    windows = [window_of(text, 0, 6), window_of(text, 3, 15)]
    cut, whole = Entity(3, 6, "X", 0.9), Entity(3, 11, "X", 0.8)
    later = window_of(text, 2, 15)
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
    found = [[Entity(0, 2, "X", 0.5)], [Entity(6, 8, "X", 0.5)]]
    assert [(m.start, m.end) for m in merge_windows(windows, found)] == [(0, 2), (6, 8)]


def test_windows_that_differ_in_label():
    """No place is lost because the label that a window prefers is not that of the string."""
    text = "abcdefga"
    windows = [window_of(text, 0, 6), window_of(text, 2, 8)]
    found = [[Entity(3, 4, "X", 0.25), Entity(3, 5, "X", 0.5)], [Entity(1, 2, "Y", 0.75)]]
    merged = merge_windows(windows, found)
    assert merged == [
        Entity(3, 4, "X", 0.25),
        Entity(3, 4, "Y", 0.75),
        Entity(3, 5, "X", 0.5),
    ]
    assert keep_most_probable(text, merged, DecodingOptions()) == merged[1:]
    sure = "abcdefgd"
    elsewhere = Entity(7, 8, "X", 0.875)
    kept = keep_most_probable(sure, [*merged, elsewhere], DecodingOptions())
    assert kept == [merged[0], merged[2], elsewhere]
    by_place = keep_most_probable(sure, [*merged, elsewhere], DecodingOptions(deduplicate="span"))
    assert by_place == [merged[1], merged[2], elsewhere]


def test_merging_keeps_the_order_of_the_text():
    text = "abcdefgh"
    windows = [window_of(text, 0, 4), window_of(text, 4, 8)]
    found = [[Entity(2, 3, "X", 0.5)], [Entity(0, 1, "X", 0.5)]]
    assert [m.start for m in merge_windows(windows, found)] == [2, 4]
    assert [m.start for m in merge_windows(windows[::-1], found[::-1])] == [2, 4]


def test_merging_nothing():
    assert merge_windows([], []) == []
    with pytest.raises(ValueError, match="zip"):
        merge_windows([], [[Entity(0, 1, "X", 0.5)]])
