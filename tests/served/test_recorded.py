"""What a vLLM server answered when `tests/served/recorder.py` asked it, given again."""

from __future__ import annotations

import json
import threading

import pytest

pytest.importorskip("httpx")
pytest.importorskip("tenacity")

import httpx

from spacy_padellm.checkpoints.loading import load_settings, load_tokenizer
from spacy_padellm.served.client import CompletionClient, RefusedError, Server, ServerError
from spacy_padellm.served.lm import ServedLM, ServedPaDeLLM
from tests.served.recorder import OPTIONS, RECORDED, RECORDED_TEXTS
from tests.served.server_double import NAME

VLLM = json.loads((RECORDED / "vllm.json").read_text(encoding="utf-8"))
# Nothing is tried again.
SERVER = Server("http://here", NAME, retry_for=0.0)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_the_entities_are_those_of_the_model_in_process(concurrency):
    left = [dict(exchange) for exchange in VLLM["exchanges"]]
    lock = threading.Lock()

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        # Several threads ask at once: without the lock, one skips what another has just moved.
        with lock:
            for number, exchange in enumerate(left):
                if (exchange["path"], exchange["body"]) == (request.url.path, body):
                    del left[number]
                    return httpx.Response(exchange["status"], json=exchange["answer"])
        raise AssertionError(f"not recorded: {request.url.path} {body}")

    name = str(RECORDED)
    transport = httpx.MockTransport(answer)
    lm = ServedLM(name, load_tokenizer(name), SERVER, concurrency, transport)
    settings = load_settings(name, with_weights=False)
    found = ServedPaDeLLM(lm, settings, OPTIONS).predict(RECORDED_TEXTS)
    assert len(found) == len(VLLM["entities"])
    for own, recorded in zip(found, VLLM["entities"], strict=True):
        assert [[e.start, e.end, e.label] for e in own] == [each[:3] for each in recorded]
        assert [e.score for e in own] == pytest.approx([each[3] for each in recorded], rel=1e-3)
    assert not left


def answer_of(fault: str) -> httpx.MockTransport:
    recorded = VLLM["faults"][fault]
    return httpx.MockTransport(
        lambda request: httpx.Response(recorded["status"], json=recorded["answer"])
    )


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("another model", ServerError, r"P091.*404.*`another` does not exist"),
        ("a text that is too long", RefusedError, r"P091.*400.*maximum context length is 256"),
        ("an id that is not in the vocabulary", RefusedError, r"P091.*400.*out-of-vocab token"),
        ("an answer that is aborted", ServerError, r"P090.*ended with 'abort'"),
    ],
)
def test_faults(fault, error, message):
    with pytest.raises(error, match=message):
        CompletionClient(SERVER, answer_of(fault)).complete([[5] * 4], [6], 8)


def test_all_recorded_faults_are_tested():
    (mark,) = test_faults.pytestmark
    assert {case[0] for case in mark.args[1]} == set(VLLM["faults"])
