from __future__ import annotations

import threading

import pytest

pytest.importorskip("tenacity")
pytest.importorskip("httpx")

import httpx

from spacy_padellm.decode.state import Choice
from spacy_padellm.served.client import CompletionClient, RefusedError, Server, ServerError
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
        httpx.Response(520),
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
    "error",
    [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.DecodingError],
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
    with pytest.raises(ServerError, match=r"P090.*http://here.* in 0\.\d seconds.*503: overload"):
        client_of(server, retry_for=0.3).complete([IDS], ALLOWED, 1)
    assert len(server.bodies) > 1


class Recorder(threading.Event):
    """Notes how long is waited for it, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        return False


def test_it_waits_longer_and_longer_and_never_the_same_time():
    found = []
    for _ in range(2):
        recorder = Recorder()
        server = double(lambda number, body: httpx.Response(503) if number < 12 else None)
        client_of(server, retry_for=1e9).complete([IDS], ALLOWED, 1, recorder)
        assert len(recorder.waits) == 12
        limits = [min(10, 0.2 * 2**n) for n in range(12)]
        assert all(0 <= w <= most for w, most in zip(recorder.waits, limits, strict=True))
        assert sum(recorder.waits[6:]) > sum(recorder.waits[:3])
        found.append(recorder.waits)
    assert found[0] != found[1] and max(map(max, found)) > 1


def test_nothing_is_tried_again_once_it_is_stopped():
    stopped = threading.Event()

    def fault(number, body):
        stopped.set()
        return httpx.Response(503)

    server = double(fault)
    with pytest.raises(ServerError, match="P090"):
        client_of(server, retry_for=1e9).complete([IDS], ALLOWED, 1, stopped)
    assert len(server.bodies) == 1


def test_nothing_is_tried_again_once_it_is_stopped_meanwhile():
    class Stopped(threading.Event):
        """Set while it is waited for."""

        def wait(self, timeout: float | None = None) -> bool:
            self.set()
            return True

    server = double(lambda number, body: httpx.Response(503))
    with pytest.raises(ServerError, match="P090"):
        client_of(server, retry_for=1e9).complete([IDS], ALLOWED, 1, Stopped())
    assert len(server.bodies) == 1


def test_an_answer_may_take_long_but_a_connection_not():
    server = double()
    timeouts = []

    def answer(request: httpx.Request) -> httpx.Response:
        timeouts.append(request.extensions["timeout"])
        return server.answer(request)

    client_of(httpx.MockTransport(answer), timeout=600.0).complete([IDS], ALLOWED, 1)
    assert (timeouts[0]["read"], timeouts[0]["connect"]) == (600.0, 10.0)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, RefusedError) for status in (400, 413, 422)),
        *((status, ServerError) for status in (307, 401, 403, 404)),
    ],
)
def test_a_refusal_is_not_tried_again(status, kind):
    server = double(lambda number, body: httpx.Response(status, text="too long"))
    with pytest.raises(kind, match=rf"P091.*http://here.*status {status}: too long"):
        client_of(server).complete([IDS], ALLOWED, 1)
    assert len(server.bodies) == 1


@pytest.mark.parametrize("url", ["localhost:8000", "", "ftp://here", "http://", "http://h:x", None])
def test_an_address_that_is_none(url):
    with pytest.raises(ValueError, match=r"P098.*http://localhost:8000"):
        Server(url, NAME)


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


@pytest.mark.parametrize(
    ("name", "value", "missing"),
    [
        ("logprobs", {"content": []}, "logprobs"),
        ("logprobs", [-1.0, -1.0], "logprobs"),
        ("logprobs", {"token_logprobs": [-1.0]}, "a log-probability for each id"),
        ("logprobs", {"token_logprobs": [None]}, "logprobs"),
        ("token_ids", "abc", "token_ids"),
        ("index", [1], "an answer to each prompt"),
    ],
)
def test_an_answer_of_another_form(name, value, missing):
    def fault(number, body):
        answer = double().complete(body)
        answer["choices"][0][name] = value
        return httpx.Response(200, json=answer)

    with pytest.raises(ServerError, match=rf"P092.*without {missing}"):
        client_of(double(fault)).complete([IDS], ALLOWED, 2)


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


@pytest.mark.parametrize("answer", [{"data": [{"id": NAME}]}, {"data": None}, {"data": [{}]}])
def test_a_server_that_does_not_say_how_much_it_takes(answer):
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    with pytest.raises(ServerError, match=r"P092.*(max_model_len|a list of its models)"):
        _ = client_of(transport).max_depth


def test_an_adapter_takes_what_its_model_takes():
    cards = [
        {"id": "base", "max_model_len": 99, "parent": None},
        {"id": NAME, "max_model_len": None, "parent": "base"},
    ]
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"data": cards}))
    assert client_of(transport).max_depth == 99


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines", "   "])
def test_a_key_that_cannot_be_one_is_not_shown(monkeypatch, key):
    monkeypatch.setenv("PADELLM_KEY", key)
    with pytest.raises(ServerError, match=r"P093.*PADELLM_KEY") as caught:
        client_of(double(), api_key_env="PADELLM_KEY")
    assert key.strip() == "" or key not in str(caught.value)


def test_a_line_break_behind_a_key(monkeypatch):
    monkeypatch.setenv("PADELLM_KEY", "secret\n")
    server = double()
    client_of(server, api_key_env="PADELLM_KEY").complete([IDS], ALLOWED, 1)
    assert server.headers[0]["Authorization"] == "Bearer secret"
