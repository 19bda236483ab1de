"""Record what a vLLM server answers, for tests without one.

    python -m tests.served.recorder --python VLLM/bin/python

writes `tests/served/recorded`: a checkpoint without its weights, and `vllm.json`.
"""

from __future__ import annotations

import argparse
import json
import runpy
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import torch

from spacy_padellm.checkpoints.loading import load_tokenizer
from spacy_padellm.checkpoints.saving import save_checkpoint
from spacy_padellm.checkpoints.small_lm import SmallModelShape, build_small_lm
from spacy_padellm.model import PaDeLLM
from spacy_padellm.served.client import CompletionClient, Server
from spacy_padellm.served.lm import ServedLM, ServedPaDeLLM
from spacy_padellm.settings import DecodingOptions
from tests.trained import TEXTS, trained_lm

SCRIPT = Path(__file__).parents[2] / "scripts" / "served.py"
RECORDED = Path(__file__).parent / "recorded"
# Few, as each answer repeats the ids of its prompts.
RECORDED_TEXTS = [text.source for text in TEXTS[:3]]
OPTIONS = DecodingOptions(tag_share=0.0, decode="all")
MAX_DEPTH = 256
# The server gives its requests this name.
REQUEST_ID = "recorded"


def save_random_checkpoint(folder: Path) -> None:
    """Save a random model: it leaves the trie often. vLLM takes no smaller heads."""
    lm, settings = trained_lm()
    torch.manual_seed(0)
    shape = SmallModelShape(width=128, depth=2, heads=2, feed_forward=128, max_positions=MAX_DEPTH)
    wide = build_small_lm(lm.tokenizer, shape, False)
    for weight in wide.model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.15)
    save_checkpoint(folder, wide, replace(settings, softmax="vocabulary"))


class Recorder(httpx.HTTPTransport):
    """A transport that notes each request with its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.exchanges: list[dict[str, Any]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["X-Request-Id"] = REQUEST_ID
        response = super().handle_request(request)
        content = response.read()
        self.exchanges.append(
            {
                "path": request.url.path,
                "body": json.loads(request.content) if request.content else None,
                "status": response.status_code,
                "answer": json.loads(content),
            }
        )
        return httpx.Response(response.status_code, content=content)


def record_faults(url: str, name: str) -> dict[str, dict[str, Any]]:
    """Ask for what a server refuses, and abort an answer."""
    recorder = Recorder()
    found = {}

    def ask(case: str, served_name: str, length: int, allowed: int, most: int) -> None:
        client = CompletionClient(Server(url, served_name, retry_for=0.0), recorder)
        with suppress(OSError, ValueError):
            client.complete([[5] * length], [allowed], most)
        found[case] = recorder.exchanges[-1]

    ask("another model", "another", 4, 6, 1)
    ask("a text that is too long", name, MAX_DEPTH + 1, 6, 1)
    ask("an id that is not in the vocabulary", name, 4, 10**6, 1)
    case = "an answer that is aborted"
    writing = threading.Thread(target=ask, args=(case, name, 4, 6, MAX_DEPTH - 8))
    with httpx.Client(base_url=url) as http:
        writing.start()
        while writing.is_alive():
            aborted = {"request_ids": [f"cmpl-{REQUEST_ID}-0"]}
            http.post("/inference/v1/abort_requests", json=aborted)
            time.sleep(0.005)
    return found


def main() -> None:
    """Start a server, and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True)
    arguments = parser.parse_args()
    script = runpy.run_path(str(SCRIPT))
    with TemporaryDirectory() as folder:
        save_random_checkpoint(Path(folder))
        expected = PaDeLLM.from_pretrained(folder, tag_share=0.0, decode="all")
        entities = [
            [(e.start, e.end, e.label, e.score) for e in each]
            for each in expected.predict(RECORDED_TEXTS)
        ]
        # With it, requests can be aborted from outside.
        options = ["--enable-scale-out"]
        vllm = script["VLLM"](arguments.python, Path(folder), 8124, MAX_DEPTH, options)
        try:
            vllm.start()
            recorder = Recorder()
            server = Server(vllm.url, script["NAME"])
            lm = ServedLM(folder, load_tokenizer(folder), server, 1, recorder)
            ServedPaDeLLM(lm, expected.settings, OPTIONS).predict(RECORDED_TEXTS)
            version = httpx.get(f"{vllm.url}/version").json()["version"]
            faults = record_faults(vllm.url, script["NAME"])
        finally:
            vllm.stop()
        shutil.rmtree(RECORDED, ignore_errors=True)
        shutil.copytree(folder, RECORDED, ignore=shutil.ignore_patterns("*.safetensors"))
    recorded = {
        "vllm": version,
        "entities": entities,
        "exchanges": recorder.exchanges,
        "faults": faults,
    }
    (RECORDED / "vllm.json").write_text(json.dumps(recorded) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
