"""Threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

pytest.importorskip("spacy")

from tests.pipeline.toy_pipeline import checkpoint_nlp, entities

TEXT = "Ada met Bob Hill in Rome ."

# Threads of torch's are there only after a first run, and in a process that has not forked yet.
SCRIPT = """
import sys, spacy, torch
nlp = spacy.load(sys.argv[1])
torch.set_num_threads(2)
torch.rand(600, 600) @ torch.rand(600, 600)
expected = [(e.text, e.label_) for e in nlp(sys.argv[2]).ents]
docs = list(nlp.pipe([sys.argv[2]] * 12, n_process=2, batch_size=3))
assert expected and [[(e.text, e.label_) for e in doc.ents] for doc in docs] == [expected] * 12
assert torch.get_num_threads() == 2
"""


FORKED = """
import multiprocessing, os, signal, sys, spacy, torch
nlp = spacy.load(sys.argv[1])
torch.set_num_threads(2)
torch.rand(600, 600) @ torch.rand(600, 600)
find = lambda text: [(e.text, e.label_) for e in nlp(text).ents]
expected = find(sys.argv[2]) if sys.argv[3] == "warm" else None
child = os.fork()
if child == 0:
    signal.alarm(60)
    found = find(sys.argv[2])
    assert found and expected in (None, found)
    piped = nlp.pipe([sys.argv[2]] * 3)
    assert [[(e.text, e.label_) for e in doc.ents] for doc in piped] == [found] * 3
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
def work(text):
    return find(text)
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map_async(work, [sys.argv[2]] * 4).get(timeout=60)
assert found == [find(sys.argv[2])] * 4
"""


@pytest.mark.parametrize("state", ["loaded", "warm"])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked on POSIX systems only")
def test_a_forked_process_finds_what_its_parent_finds(
    toy_checkpoint: Path, tmp_path: Path, state: str
):
    """As gunicorn forks with --preload, and Celery."""
    checkpoint_nlp(toy_checkpoint).to_disk(tmp_path / "pipeline")
    command = [sys.executable, "-c", FORKED, str(tmp_path / "pipeline"), TEXT, state]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    environment.pop("OMP_NUM_THREADS", None)
    subprocess.run(command, check=True, timeout=300, env=environment)


def test_threads_may_make_the_first_call_together(toy_checkpoint: Path):
    texts = [TEXT, "Cleo works for Acme ."] * 8
    nlp = checkpoint_nlp(toy_checkpoint)
    expected = [entities(nlp(text)) for text in texts]
    assert all(expected)
    cold = checkpoint_nlp(toy_checkpoint)
    barrier = Barrier(len(texts))

    def find(text: str) -> list[tuple[str, str]]:
        barrier.wait(60)
        return entities(cold(text))

    with ThreadPoolExecutor(len(texts)) as threads:
        assert list(threads.map(find, texts)) == expected


def test_threads_may_load_several_pipelines_at_once(toy_checkpoint: Path):
    """transformers changes settings of torch for the whole process while it loads."""
    expected = entities(checkpoint_nlp(toy_checkpoint)(TEXT))
    with ThreadPoolExecutor(6) as threads:
        found = threads.map(lambda _: entities(checkpoint_nlp(toy_checkpoint)(TEXT)), range(6))
        assert list(found) == [expected] * 6


@pytest.mark.parametrize("devices", [None, ["cpu", "cpu"]])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked on POSIX systems only")
def test_several_processes_do_not_wait_for_each_other(
    toy_checkpoint: Path, tmp_path: Path, devices: list[str] | None
):
    checkpoint_nlp(toy_checkpoint, model={"devices": devices}).to_disk(tmp_path / "pipeline")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "pipeline"), TEXT]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    environment.pop("OMP_NUM_THREADS", None)
    subprocess.run(command, check=True, timeout=300, env=environment)
