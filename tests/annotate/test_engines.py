from __future__ import annotations

import json
import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("spacy")
pytest.importorskip("pyarrow")

from spacy_padellm.annotate.annotator import Annotator
from spacy_padellm.annotate.engines import Engine, LocalEngine, RayEngine
from spacy_padellm.annotate.run import FAILED, MANIFEST, Job, annotate_corpus
from tests.annotate.pipelines import (
    DeadlyAnnotator,
    KnowingAnnotator,
    SleepingAnnotator,
    UnloadableAnnotator,
    rule_pipeline,
)
from tests.annotate.test_run import HereEngine, parts, read_jsonl


@pytest.fixture
def rules(tmp_path: Path) -> str:
    rule_pipeline({"Ada": "PER"}, component="fails_on_no").to_disk(tmp_path / "rules")
    return str(tmp_path / "rules")


def make_job(folder: Path, annotator: Annotator, texts: list[str], name: str = "out") -> Job:
    (folder / "in.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    return Job(str(folder / "in.jsonl"), folder / name, annotator, shard_size=2)


def check_deaths(engine: Engine, model: str, folder: Path) -> None:
    """Whatever dies: no text is lost, none is written twice, and the bytes are the same."""
    texts = [f"Ada {n}" for n in range(12)]
    texts[3], texts[6], texts[8] = "Ada says no", "once kill", "kill"
    deadly = DeadlyAnnotator(model)
    deadly.once = folder / "once"
    job = make_job(folder, deadly, texts)
    outcome = annotate_corpus(job, engine)
    # The shard of "kill" has two texts; "no" fails alone.
    assert (outcome.texts, outcome.failed, outcome.written) == (12, 3, 9)
    (shard,) = outcome.given_up
    assert "in.jsonl, 2 lines from 9 on" in shard
    failed = read_jsonl(job.output / FAILED)
    assert [(each["row"], each.get("records", 1)) for each in failed] == [(4, 1), (9, 2)]
    assert "[P516]" in failed[1]["error"]
    assert not (job.output / "part-00004.jsonl").exists()
    # The same command tries again what was given up.
    texts_again = replace_annotator(job, KnowingAnnotator(model))
    assert annotate_corpus(texts_again, engine).failed == 1
    whole = make_job(folder, Annotator(model), texts, "whole")
    annotate_corpus(whole, HereEngine())
    assert parts(job.output) == parts(whole.output)
    assert (job.output / FAILED).read_bytes() == (whole.output / FAILED).read_bytes()


def replace_annotator(job: Job, annotator: Annotator) -> Job:
    return Job(job.source, job.output, annotator, job.form, job.shard_size)


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_that_die(rules, tmp_path, processes):
    check_deaths(LocalEngine(processes), rules, tmp_path)


@pytest.mark.slow
def test_actors_that_die(rules, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    # Actors import the annotators from here.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    check_deaths(RayEngine(2), rules, tmp_path)


def test_processes_that_die_before_they_begin(rules, tmp_path):
    job = make_job(tmp_path, UnloadableAnnotator(rules), ["Ada"])
    with pytest.raises(OSError, match=r"\[P511\].*exit code 9"):
        annotate_corpus(job, LocalEngine())


def test_an_error_ends_the_work(tmp_path):
    rule_pipeline({}, component="is_gone").to_disk(tmp_path / "gone")
    job = make_job(tmp_path, DeadlyAnnotator(str(tmp_path / "gone")), ["Ada"] * 8)
    with pytest.raises(OSError, match="the server is gone"):
        annotate_corpus(job, LocalEngine(2))
    assert len(read_jsonl(job.output / MANIFEST)) == 1
    assert not (job.output / FAILED).exists()


def is_running(pid: str) -> bool:
    """Whether a process, maybe of another parent now, has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_a_process_ends_with_its_parent_amid_a_shard(tmp_path):
    rules = str(tmp_path / "rules")
    rule_pipeline({"Ada": "PER"}).to_disk(rules)
    annotator = SleepingAnnotator(rules)
    annotator.began = tmp_path / "began"
    job = make_job(tmp_path, annotator, ["Ada"])
    context = multiprocessing.get_context("spawn")
    driver = context.Process(target=annotate_corpus, args=(job, LocalEngine()))
    driver.start()
    while not annotator.began.exists() or not annotator.began.read_text():
        assert driver.is_alive()
        time.sleep(0.02)
    driver.kill()
    driver.join()
    deadline = time.monotonic() + 10
    while is_running(annotator.began.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_driver_that_is_killed(tmp_path):
    """Its processes end by themselves, and the same command goes on."""
    rules = str(tmp_path / "rules")
    rule_pipeline({"Ada": "PER"}).to_disk(rules)
    job = make_job(tmp_path, Annotator(rules), [f"Ada {n}" for n in range(4000)])
    command = [sys.executable, "-m", "spacy_padellm", "annotate", job.source, str(job.output)]
    command += ["--model", rules, "--shard-size", "2"]
    process = subprocess.Popen(command)
    manifest = job.output / MANIFEST
    while not manifest.exists() or manifest.read_bytes().count(b"\n") < 5:
        assert process.poll() is None
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers = children.read_text().split() if children.exists() else []
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 10
    # Or they would write to a folder that may belong to another run by then.
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    before = manifest.read_bytes().count(b"\n") - 1
    assert before < 2000
    engine = HereEngine()
    outcome = annotate_corpus(job, engine)
    assert (outcome.texts, outcome.failed) == (4000, 0)
    assert len(engine.ran) <= 2000 - before + 1
    written = [
        record["text"] for path in sorted(job.output.glob("part-*")) for record in read_jsonl(path)
    ]
    assert written == [f"Ada {n}" for n in range(4000)]
