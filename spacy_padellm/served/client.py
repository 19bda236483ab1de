"""Ask a model server to go on with sequences of token ids, over HTTP."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx
import tenacity

from ..decode.state import Choice
from ..errors import Errors

# A server that is busy or being restarted answers with one of these, or with a status of 500 or
# more; it may do better soon.
_TRY_AGAIN = (408, 429)
# With these a server refuses what it is asked. It may take the next request.
_REFUSED = (400, 413, 422)
# Why a complete answer ends. A server that is being stopped answers with 200 and "abort".
_COMPLETE = ("stop", "length")
# Seconds to wait for a connection, which is made at once or not at all.
_CONNECT = 10.0


class ServerError(OSError):
    """The error for a server that gives no usable answer."""


class RefusedError(ValueError):
    """The error for a request that a server refuses, though it may take others."""


class _Passing(Exception):
    """A failure that may pass."""


@dataclass(frozen=True)
class Server:
    """Where a model server is, and how to ask it.

    Args:
        url: Its address, such as `"http://localhost:8000"`; `/v1/completions` is added.
        served_name: The name under which it serves the model.
        api_key_env: The environment variable that has the key; `None` for no key.
        timeout: Seconds to wait for an answer.
        retry_for: Seconds in which a failure that may pass is tried again, from the first request
            on. Waiting for an answer counts.

    Raises:
        ValueError: The address is not one of a server.
    """

    url: str
    served_name: str
    api_key_env: str | None = None
    timeout: float = 600.0
    retry_for: float = 120.0

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url)
        except (httpx.InvalidURL, TypeError) as error:
            raise ValueError(Errors.P098.format(url=self.url)) from error
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(Errors.P098.format(url=self.url))


class CompletionClient:
    """A client of the completions API, as vLLM serves it. Several threads may use it.

    Args:
        server: The server.
        transport: How requests are sent; `None` for the network.
    """

    def __init__(self, server: Server, transport: httpx.BaseTransport | None = None) -> None:
        self.server = server
        self._transport = transport
        # The process that made the connections: they must not be used in a fork of it.
        self._of: int | None = None
        self._headers = _headers(server)

    @property
    def _http(self) -> httpx.Client:
        if self._of != os.getpid():
            self._connections, self._of = self._connect(), os.getpid()
        return self._connections

    def _connect(self) -> httpx.Client:
        seconds = self.server.timeout
        return httpx.Client(
            base_url=self.server.url,
            timeout=httpx.Timeout(seconds, connect=min(_CONNECT, seconds)),
            headers=self._headers,
            transport=self._transport,
            # How many there are at once is limited by the decoder.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        )

    @cached_property
    def max_depth(self) -> int:
        """The longest sequence that the server takes, in tokens.

        Raises:
            ServerError: The server cannot be reached, does not serve the model, or does not say it.
        """
        answer = self._retry("GET", "/v1/models")
        try:
            models = {model["id"]: model for model in answer["data"]}
        except (KeyError, TypeError) as error:
            missing = "a list of its models"
            raise ServerError(Errors.P092.format(url=self.server.url, missing=missing)) from error
        name = self.server.served_name
        if name not in models:
            served = ", ".join(map(str, models)) or "no model"
            raise ServerError(Errors.P094.format(url=self.server.url, name=name, served=served))
        # An adapter has no length of its own, but a model that it belongs to.
        base = models.get(models[name].get("parent"), {})
        found = models[name].get("max_model_len") or base.get("max_model_len")
        if not isinstance(found, int):
            raise ServerError(Errors.P092.format(url=self.server.url, missing="max_model_len"))
        return found

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        allowed: Sequence[int],
        most: int,
        stopped: threading.Event | None = None,
    ) -> list[list[Choice]]:
        """Let the server go on with some sequences, each time with the most probable allowed id.

        Args:
            prompts: The ids of each sequence.
            allowed: The ids that may be written.
            most: Most ids to write.
            stopped: Once it is set, nothing is tried again.

        Returns:
            For each sequence the ids written, with log-probabilities over the whole vocabulary.

        Raises:
            ServerError: The server refuses all requests, or gives no usable answer in time.
            RefusedError: The server refuses this request.
        """
        body = {
            "model": self.server.served_name,
            "prompt": [list(each) for each in prompts],
            "max_tokens": most,
            "temperature": 0,
            "logprobs": 0,
            "allowed_token_ids": list(allowed),
            "return_token_ids": True,
            "add_special_tokens": False,
            # A server takes what is not stated from the model's `generation_config.json`. A penalty
            # would change the choices, but not the log-probabilities.
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
        }
        answer = self._retry("POST", "/v1/completions", body, stopped)
        return self._read(answer, len(prompts), frozenset(allowed))

    def _retry(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        stopped: threading.Event | None = None,
    ) -> Mapping[str, Any]:
        """Send a request, again and again while it fails in a way that may pass."""
        stopped = stopped or threading.Event()
        begin = time.monotonic()
        # Each has its own time, and threads must not share the state of one.
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Passing),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
            stop=tenacity.stop_any(
                tenacity.stop_before_delay(self.server.retry_for),
                tenacity.stop_when_event_set(stopped),
            ),
            sleep=tenacity.sleep_using_event(stopped),
            reraise=True,
        )

        def send() -> Mapping[str, Any]:
            # It may have been set while this request waited to be sent again.
            if retrying.statistics["attempt_number"] > 1 and stopped.is_set():
                raise _Passing("others failed meanwhile")
            return self._send(method, path, body)

        try:
            return retrying(send)
        except _Passing as error:
            seconds = f"{time.monotonic() - begin:.1f}"
            raise ServerError(
                Errors.P090.format(url=self.server.url, seconds=seconds, error=error)
            ) from error

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Mapping[str, Any]:
        try:
            response = self._http.request(method, path, json=body)
        except httpx.RequestError as error:
            raise _Passing(repr(error)) from error
        status, text = response.status_code, response.text[:500]
        if status in _TRY_AGAIN or status >= 500:
            raise _Passing(f"status {status}: {text}")
        if not response.is_success:
            kind = RefusedError if status in _REFUSED else ServerError
            raise kind(Errors.P091.format(url=self.server.url, status=status, text=text))
        try:
            answer: Mapping[str, Any] = response.json()
            reasons = [choice["finish_reason"] for choice in answer.get("choices", ())]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _Passing(f"an answer that can't be read: {text}") from error
        if others := [each for each in reasons if each not in _COMPLETE]:
            raise _Passing(f"an answer that ended with {others[0]!r}")
        return answer

    def _read(
        self, answer: Mapping[str, Any], n_prompts: int, allowed: frozenset[int]
    ) -> list[list[Choice]]:
        """Read the ids and log-probabilities, and check that the server did what it was asked."""
        found: dict[str, list[Choice]] = {}
        for choice in answer.get("choices", ()):
            given = choice.get("logprobs")
            log_probs: Any = given.get("token_logprobs") if isinstance(given, Mapping) else None
            ids = choice.get("token_ids")
            for missing, values in (("token_ids", ids), ("logprobs", log_probs)):
                if not isinstance(values, list) or not all(
                    isinstance(each, int | float) for each in values
                ):
                    raise ServerError(Errors.P092.format(url=self.server.url, missing=missing))
            if len(ids) != len(log_probs):
                missing = "a log-probability for each id"
                raise ServerError(Errors.P092.format(url=self.server.url, missing=missing))
            found[str(choice.get("index"))] = list(map(Choice, ids, log_probs))
        numbers = [str(number) for number in range(n_prompts)]
        if found.keys() != set(numbers) or not all(found.values()):
            raise ServerError(
                Errors.P092.format(url=self.server.url, missing="an answer to each prompt")
            )
        # Unknown fields are ignored with status 200, so only the answer shows it.
        if any(each.token_id not in allowed for written in found.values() for each in written):
            raise ServerError(Errors.P092.format(url=self.server.url, missing="allowed_token_ids"))
        return [found[number] for number in numbers]


def _headers(server: Server) -> dict[str, str]:
    if server.api_key_env is None:
        return {}
    # A key that was read from a file often ends with a line break.
    key = os.environ.get(server.api_key_env, "").strip()
    # Errors about other characters would show the key.
    if not key or not (key.isascii() and key.isprintable()):
        raise ServerError(Errors.P093.format(name=server.api_key_env))
    return {"Authorization": f"Bearer {key}"}
