from __future__ import annotations

import pytest

pytest.importorskip("tenacity")
pytest.importorskip("httpx")

import httpx

from spacy_padellm.decode.state import Choice
from spacy_padellm.served.client import CompletionClient, Server, ServerError
from tests.served.server_double import NAME, ServerDouble
from tests.trained import trained_lm

IDS = [3, 7, 9]
ALLOWED = [4, 5, 6, 20, 30]


def double(fault=lambda number, body: None) -> ServerDouble:
    return ServerDouble(trained_lm()[0], fault)


def client_of(server: ServerDouble | httpx.BaseTransport, **changes) -> CompletionClient:
    transport = server.transport if isinstance(server, ServerDouble) else server
    stated = {"url": "http://here", "served_name": NAME, "retry_for": 5.0, **changes}
    return CompletionClient(Server(**stated), transport)


def first(response: httpx.Response):
    """A fault of the first request only."""
    return lambda number, body: response if number == 0 else None


def test_it_reads_ids_and_log_probabilities():
    plain = double()
    found = client_of(plain).complete([IDS, IDS[:1]], ALLOWED, 3)
    expected = plain.write(IDS, plain.bodies[0])
    assert [len(each) for each in found] == [3, 3]
    pairs = zip(expected["token_ids"], expected["logprobs"]["token_logprobs"], strict=True)
    assert found[0] == [Choice(*pair) for pair in pairs]
    assert {each.token_id for written in found for each in written} <= set(ALLOWED)


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(503, text="starting"),
        httpx.Response(500),
        httpx.Response(429),
        httpx.Response(408),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={"choices": [{"index": 0}]}),
        httpx.Response(200, json=[1]),
        # A server that is being stopped.
        httpx.Response(200, json={"choices": [{"index": 0, "finish_reason": "abort"}]}),
        httpx.Response(200, json={"choices": [{"index": 0, "finish_reason": None}]}),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(response):
    server = double(first(response))
    assert client_of(server).complete([IDS], ALLOWED, 2) == client_of(double()).complete(
        [IDS], ALLOWED, 2
    )
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    "error", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError]
)
def test_a_connection_that_fails_is_tried_again(error):
    server = double()
    failures = [error("no")]

    def answer(request: httpx.Request) -> httpx.Response:
        if failures:
            raise failures.pop()
        return server.answer(request)

    assert client_of(httpx.MockTransport(answer)).complete([IDS], ALLOWED, 1)


def test_a_failure_that_does_not_pass():
    server = double(lambda number, body: httpx.Response(503, text="overloaded"))
    with pytest.raises(ServerError, match=r"P090.*http://here.*0\.3 seconds.*503: overloaded"):
        client_of(server, retry_for=0.3).complete([IDS], ALLOWED, 1)
    assert len(server.bodies) > 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_not_tried_again(status):
    server = double(lambda number, body: httpx.Response(status, text="too long"))
    with pytest.raises(ServerError, match=rf"P091.*http://here.*status {status}: too long"):
        client_of(server).complete([IDS], ALLOWED, 1)
    assert len(server.bodies) == 1


def without(*names: str):
    """Answers without some fields."""

    def fault(number, body):
        answer = double().complete(body)
        for choice in answer["choices"]:
            for name in names:
                del choice[name]
        return httpx.Response(200, json=answer)

    return fault


@pytest.mark.parametrize("name", ["token_ids", "logprobs"])
def test_what_the_server_cannot_do_is_named(name):
    with pytest.raises(ServerError, match=rf"P092.*without {name}"):
        client_of(double(without(name))).complete([IDS], ALLOWED, 1)


def test_log_probabilities_of_another_form():
    def fault(number, body):
        answer = double().complete(body)
        answer["choices"][0]["logprobs"] = {"content": []}
        return httpx.Response(200, json=answer)

    with pytest.raises(ServerError, match=r"P092.*without logprobs"):
        client_of(double(fault)).complete([IDS], ALLOWED, 1)


def test_a_server_that_ignores_the_allowed_ids():
    def fault(number, body):
        return httpx.Response(200, json=double().complete({**body, "allowed_token_ids": [1]}))

    with pytest.raises(ServerError, match=r"P092.*without allowed_token_ids"):
        client_of(double(fault)).complete([IDS], ALLOWED, 1)


@pytest.mark.parametrize("change", [lambda c: c[:1], lambda c: [c[0], c[0]], lambda c: []])
def test_an_answer_for_each_prompt(change):
    def fault(number, body):
        return httpx.Response(200, json={"choices": change(double().complete(body)["choices"])})

    with pytest.raises(ServerError, match=r"P092.*an answer to each prompt"):
        client_of(double(fault)).complete([IDS, IDS], ALLOWED, 1)


def test_the_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    server = double()
    client_of(server, api_key_env="MY_KEY").complete([IDS], ALLOWED, 1)
    assert server.headers[0]["authorization"] == "Bearer secret"
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ServerError, match=r"P093.*MY_KEY"):
        client_of(server, api_key_env="MY_KEY")


def test_how_much_the_server_takes():
    assert client_of(double()).max_depth == 512
    with pytest.raises(ServerError, match=rf"P094.*'other'.*It serves: {NAME}"):
        _ = client_of(double(), served_name="other").max_depth


def test_a_server_that_does_not_say_how_much_it_takes():
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, json={"data": [{"id": NAME}]})
    )
    with pytest.raises(ServerError, match=r"P092.*max_model_len"):
        _ = client_of(transport).max_depth
