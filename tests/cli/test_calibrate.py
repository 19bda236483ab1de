from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

pytest.importorskip("spacy")

import spacy
from spacy.tokens import DocBin, Span

from spacy_padellm.corpus.docs import annotate_doc
from tests.pipeline.toy_pipeline import write_docs
from tests.toy_corpus import SENTENCES, parse

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the model knows, and, half as much, what it is wrong about."""
    folder = tmp_path_factory.mktemp("toy") / "dev"
    folder.mkdir()
    half = SENTENCES[: len(SENTENCES) // 2]
    write_docs(folder / "known.spacy", SENTENCES)
    write_docs(folder / "wrong.spacy", [each.replace("|PER]", "|ORG]") for each in half])
    return folder


@pytest.fixture
def checkpoint(toy_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_checkpoint, tmp_path / "checkpoint"))


@pytest.fixture
def pipeline(toy_checkpoint: Path, tmp_path: Path) -> Path:
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner", config={"model": {"name": str(toy_checkpoint)}})
    nlp.to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def test_scores_say_how_often_they_are_right(run: Run, checkpoint: Path, dev: Path, tmp_path: Path):
    out = tmp_path / "new" / "found.json"
    result = run("calibrate", checkpoint, dev, "--test", dev, "--output", out)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text(encoding="utf8"))
    before, after = (found["reliability"][str(dev)][time] for time in ("before", "after"))
    # Sure of all, it is often wrong.
    assert before["score"] > 0.95 and before["precision"] < 0.9
    assert (before["count"], before["precision"]) == (after["count"], after["precision"])
    assert after["error"] < 0.5 * before["error"]
    assert set(found["reliability"]) == {str(dev), "known", "wrong"}
    assert found["reliability"]["known"]["after"]["precision"] == 1
    temperatures = found["temperatures"]
    assert max(temperatures.values()) > 1
    stored = json.loads((checkpoint / "padellm.json").read_text())["calibration"]
    assert stored == temperatures
    assert f"The temperatures are stored in {checkpoint}." in result.stdout
    assert "chosen for other scores" not in result.stdout
    assert all(f"| {label} |" in result.stdout for label in ("PER", "LOC", "all"))
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner", config={"model": {"name": str(checkpoint)}})
    doc = nlp(parse(SENTENCES[0]).source.text)
    assert doc.ents and all(0.5 < ent._.score < 0.95 for ent in doc.ents)


def test_only_measured(run: Run, checkpoint: Path, dev: Path):
    content = (checkpoint / "padellm.json").read_text()
    result = run("calibrate", checkpoint, dev, "--no-store")
    assert result.exit_code == 0, result.output
    assert "Nothing is stored (--no-store)" in result.stdout
    assert (checkpoint / "padellm.json").read_text() == content


def test_thresholds_of_a_pipeline(run: Run, pipeline: Path, dev: Path, tmp_path: Path):
    out = tmp_path / "found.json"
    options = ("--threshold", "precision", "--precision", "0.99", "--output", out)
    result = run("calibrate", pipeline, dev, *options)
    assert result.exit_code == 0, result.output
    written = next(
        line for line in result.stdout.splitlines() if line.startswith("precision 0.99:")
    )
    thresholds = json.loads(written.partition("threshold = ")[2])
    assert thresholds
    nlp = spacy.load(pipeline)
    assert nlp.config["components"]["padellm_ner"]["threshold"] == thresholds
    found = json.loads(out.read_text())["thresholds"]
    assert set(found) == {"f", "precision", "recall"}
    chosen = found["precision"]
    assert chosen["threshold"] == thresholds and chosen["target"] == "precision 0.99"
    reached = {label: each["threshold"] for label, each in chosen["labels"].items() if each}
    assert reached == thresholds and chosen["labels"].keys() > reached.keys()
    assert "calibration" in json.loads((pipeline / "padellm_ner/model/padellm.json").read_text())


def test_a_threshold_for_other_scores_is_named(run: Run, checkpoint: Path, dev: Path):
    result = run("calibrate", f"{checkpoint}:threshold=0.5", dev)
    assert result.exit_code == 0, result.output
    assert "The pipeline's threshold (0.5) was chosen for other scores." in result.stdout
    assert "They hold for threshold = 0.5:" in result.stdout
    # The same again gives the same scores.
    result = run("calibrate", f"{checkpoint}:threshold=0.5", dev)
    assert "chosen for other scores" not in result.stdout


def test_a_limit_is_of_all_files(run: Run, checkpoint: Path, dev: Path, tmp_path: Path):
    out = tmp_path / "found.json"
    result = run("calibrate", checkpoint, dev, "--no-store", "--output", out, "--limit", "40")
    assert result.exit_code == 0, result.output
    first = [mention for each in SENTENCES[:40] for mention in parse(each).mentions]
    assert len(SENTENCES) >= 40
    assert sum(json.loads(out.read_text())["gold"].values()) == len(first)


@pytest.mark.skipif(not importlib.util.find_spec("matplotlib"), reason="needs matplotlib")
@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("SVG", b"<?xml")])
def test_a_picture(
    run: Run, checkpoint: Path, dev: Path, tmp_path: Path, suffix: str, start: bytes
):
    path = tmp_path / "new" / f"reliability.{suffix}"
    result = run("calibrate", checkpoint, dev, "--no-store", "--chart", path)
    assert result.exit_code == 0, result.output
    assert path.read_bytes().startswith(start)


@pytest.mark.skipif(not importlib.util.find_spec("matplotlib"), reason="needs matplotlib")
def test_a_picture_of_another_kind(run: Run, checkpoint: Path, dev: Path, tmp_path: Path):
    result = run("calibrate", checkpoint, dev, "--no-store", "--chart", tmp_path / "scores.xyz")
    assert result.exit_code == 1 and "[P436]" in result.output


def test_what_is_not_possible(run: Run, checkpoint: Path, dev: Path, tmp_path: Path):
    few = tmp_path / "few.spacy"
    DocBin(docs=[spacy.blank("en")("Nobody came .")]).to_disk(few)
    others = tmp_path / "others.spacy"
    docs = []
    nlp = spacy.blank("en")
    for annotated in map(parse, SENTENCES * 2):
        doc = nlp.make_doc(annotated.source.text)
        annotate_doc(doc, annotated)
        doc.spans.clear()
        doc.set_ents([Span(doc, ent.start, ent.end, f"X-{ent.label_}") for ent in doc.ents])
        docs.append(doc)
    DocBin(docs=docs, store_user_data=True).to_disk(others)
    for arguments, code in (
        ((checkpoint, others), "P430"),
        ((checkpoint, dev, "--test", dev / "known.spacy", "--test", dev / "known.spacy"), "P419"),
        ((checkpoint, dev, "--no-store", "--threshold", "f"), "P433"),
        ((checkpoint, dev, "--precision", "90"), "P431"),
        ((checkpoint, dev, "--threshold", "best"), "P432"),
        ((checkpoint, dev, "--threshold", "f"), "P429"),
        ((checkpoint, few), "P435"),
        ((checkpoint, dev, "--test", few), "P435"),
        ((checkpoint, tmp_path / "missing"), "P418"),
        (("padellm_en_small", dev), "P428"),
        ((checkpoint, dev, "--output", tmp_path), "P417"),
    ):
        result = run("calibrate", *arguments)
        assert result.exit_code == 1 and f"[{code}]" in result.output, (arguments, result.output)
    assert "calibration" not in json.loads((checkpoint / "padellm.json").read_text())
