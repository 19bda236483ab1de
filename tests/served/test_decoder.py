from __future__ import annotations

import threading
from dataclasses import replace
from itertools import chain

import pytest

pytest.importorskip("tenacity")
pytest.importorskip("httpx")

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_padellm.decode.decoder import ParallelDecoder
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.served.client import CompletionClient, Server, ServerError
from spacy_padellm.served.decoder import ServedDecoder
from spacy_padellm.settings import DecodingOptions
from spacy_padellm.tree.causal_lm import TextTooLongError
from tests.sample_texts import ENGLISH, cut_at_spaces
from tests.served.server_double import NAME, ServerDouble
from tests.trained import TEXTS, trained_lm

OPTIONS = DecodingOptions(tag_share=0.0, decode="all")


def make_encoder() -> PromptEncoder:
    lm, own = trained_lm()
    return PromptEncoder(
        own.template,
        own.labels,
        lm.tokenizer,
        max_mentions=own.max_mentions,
        max_mention_tokens=own.max_mention_tokens,
    )


def served(double: ServerDouble, concurrency: int = 1, **changes) -> ServedDecoder:
    server = Server("http://here", NAME, **changes)
    client = CompletionClient(server, double.transport)
    return ServedDecoder(client, make_encoder(), concurrency=concurrency)


def in_process() -> ParallelDecoder:
    lm, own = trained_lm()
    return ParallelDecoder(lm, make_encoder(), replace(own, softmax="vocabulary"), OPTIONS)


def assert_same(found, expected) -> None:
    assert [[(m.label, m.places) for m in each] for each in found] == [
        [(m.label, m.places) for m in each] for each in expected
    ]
    for a, b in zip(chain.from_iterable(found), chain.from_iterable(expected), strict=True):
        assert a.log_prob == pytest.approx(b.log_prob, abs=1e-4)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_it_writes_what_the_model_writes_here(concurrency):
    encoder = make_encoder()
    texts = [encoder.encode(text.source) for text in TEXTS]
    double = ServerDouble(trained_lm()[0])
    decoder = served(double, concurrency)
    found = decoder.decode(texts)
    assert_same(found, in_process().decode([encoder.encode(text.source) for text in TEXTS]))
    assert sum(map(len, found)) > 5
    assert 1 <= double.most_at_once <= concurrency
    assert not any("trie" in vars(text) for text in texts)
    # Counts and mentions.
    assert decoder.cost.passes == len(double.bodies) <= 3 * len(texts)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(ENGLISH))
def test_texts_that_it_was_not_taught(text):
    """Answers leave the trie there."""
    encoder = make_encoder()
    source = cut_at_spaces(text[:80])
    found = served(ServerDouble(trained_lm()[0])).decode([encoder.encode(source)])
    assert_same(found, in_process().decode([encoder.encode(source)]))


def test_windows_fit_what_the_server_takes():
    text = make_encoder().encode(TEXTS[0].source)
    double = ServerDouble(trained_lm()[0])
    assert served(double).fits(text)
    double.max_depth = len(text.prefix)
    assert not served(double).fits(text)
    assert not double.bodies
    again = make_encoder().encode(TEXTS[0].source)
    assert not served(double).fits(again)
    assert "trie" not in vars(again)


def test_as_many_at_once_as_stated():
    meet = threading.Barrier(3, timeout=30)

    def fault(number, body):
        # The first three are answered only once all of them are there.
        if number < 3:
            meet.wait()

    double = ServerDouble(trained_lm()[0], fault)
    encoder = make_encoder()
    served(double, concurrency=3).decode([encoder.encode(text.source) for text in TEXTS])
    assert double.most_at_once == 3


def test_a_server_that_is_gone_fails_the_batch_at_once():
    double = ServerDouble(trained_lm()[0], lambda number, body: httpx.Response(404, text="gone"))
    encoder = make_encoder()
    texts = [encoder.encode(text.source) for text in TEXTS]
    with pytest.raises(ServerError, match=r"P091.*404: gone"):
        served(double, concurrency=2).decode(texts)
    # Not text by text: at most those of which both threads were asking.
    assert len(double.bodies) <= 2


def test_a_server_that_cannot_be_reached_any_more():
    double = ServerDouble(trained_lm()[0])
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path != "/v1/models":
            raise httpx.ConnectError("refused")
        return double.answer(request)

    client = CompletionClient(
        Server("http://here", NAME, retry_for=0.5), httpx.MockTransport(answer)
    )
    encoder = make_encoder()
    texts = [encoder.encode(text.source) for text in TEXTS * 4]
    with pytest.raises(ServerError, match=r"P090.*ConnectError"):
        ServedDecoder(client, encoder, concurrency=2).decode(texts)
    # Far fewer than one for each text, though each is tried several times.
    assert 2 <= len(asked) < len(texts)


def test_other_threads_give_up_when_one_has_failed():
    """One request is refused while the other is tried again, for as long as that takes."""

    def fault(number, body):
        return httpx.Response(503) if number == 0 else httpx.Response(401)

    double = ServerDouble(trained_lm()[0], fault)
    encoder = make_encoder()
    texts = [encoder.encode(text.source) for text in TEXTS]
    with pytest.raises(ServerError, match=r"P091.*401"):
        served(double, concurrency=2, retry_for=1e6).decode(texts)
    assert len(double.bodies) <= 2


def test_a_text_that_is_too_long_is_not_sent():
    encoder = make_encoder()
    texts = [encoder.encode(text.source) for text in TEXTS]
    double = ServerDouble(trained_lm()[0], max_depth=len(texts[0].prefix))
    with pytest.raises(TextTooLongError, match="P023"):
        served(double).decode(texts[:1])
    assert not double.bodies
