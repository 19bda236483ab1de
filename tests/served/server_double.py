"""A double of a model server: the protocol of vLLM's completions API, answered by a model here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("httpx")

import httpx

from spacy_padellm.tree.causal_lm import CausalLM
from tests.tiny_models import plain_logits

NAME = "padellm"


class ServerDouble:
    """A server of a model.

    Args:
        lm: The model.
        fault: Called with the number of each request to complete, from 0, and its body; what it
            returns is the response, if it is not `None`.
        max_depth: The longest sequence that it takes.

    Attributes:
        paths: What was asked for, in order.
        bodies: The requests to complete, in order.
        headers: Their headers.
        most_at_once: Most of them that were answered at the same time.
    """

    def __init__(
        self,
        lm: CausalLM,
        fault: Callable[[int, dict[str, Any]], httpx.Response | None] = lambda number, body: None,
        max_depth: int = 512,
    ) -> None:
        self.lm = lm
        self.fault = fault
        self.max_depth = max_depth
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[httpx.Headers] = []
        self.paths: list[str] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.answer)

    def answer(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.paths.append(request.url.path)
        if request.url.path == "/v1/models":
            return httpx.Response(
                200, json={"data": [{"id": NAME, "max_model_len": self.max_depth}]}
            )
        assert request.url.path == "/v1/completions"
        body = json.loads(request.content)
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.headers.append(request.headers)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if (response := self.fault(number, body)) is not None:
                return response
            return httpx.Response(200, json=self.complete(body))
        finally:
            with self._lock:
                self._at_once -= 1

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body["model"] == NAME and body["temperature"] == 0
        # Otherwise vLLM takes them from the checkpoint's `generation_config.json`.
        assert body["repetition_penalty"] == 1
        assert body["presence_penalty"] == body["frequency_penalty"] == 0
        choices = [self.write(ids, body) for ids in body["prompt"]]
        # In any order: `index` says which is which.
        return {"choices": [{"index": i, **each} for i, each in enumerate(choices)][::-1]}

    @torch.inference_mode()
    def write(self, ids: list[int], body: dict[str, Any]) -> dict[str, Any]:
        allowed = torch.tensor(body["allowed_token_ids"])
        written: list[int] = []
        log_probs: list[float] = []
        reason = "length"
        while len(written) < body["max_tokens"]:
            raw = plain_logits(self.lm.model, [*ids, *written])[-1].log_softmax(dim=0)
            token_id = int(allowed[raw[allowed].argmax()])
            written.append(token_id)
            log_probs.append(float(raw[token_id]))
            if token_id == self.lm.tokenizer.eos_token_id:
                reason = "stop"
                break
        return {
            "text": "",
            "finish_reason": reason,
            "token_ids": written,
            "logprobs": {"token_logprobs": log_probs},
        }
