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
from spacy.tokens import DocBin

from tests.pipeline.toy_pipeline import write_docs
from tests.toy_corpus import SENTENCES, parse

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the model knows, and the same with people under another label."""
    folder = tmp_path_factory.mktemp("toy") / "corpora"
    folder.mkdir()
    for name, change in (("known", "PER"), ("other", "ORG")):
        markups = [markup.replace("|PER]", f"|{change}]") for markup in SENTENCES[:12]]
        write_docs(folder / f"{name}.spacy", markups)
    return folder


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that is none of ours."""
    nlp = spacy.blank("en")
    patterns = [{"label": "PER", "pattern": name} for name in ("Ada", "Cleo", "Dan", "Bob Hill")]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)
    folder = tmp_path_factory.mktemp("toy") / "rules"
    nlp.to_disk(folder)
    return folder


def test_pipelines_side_by_side(run: Run, toy_checkpoint, rules, corpora, tmp_path):
    out = tmp_path / "new" / "scores.json"
    result = run("evaluate", toy_checkpoint, rules, "--corpora", corpora, "--output", out)
    assert result.exit_code == 0, result.output
    rows = {(row["pipeline"], row["corpus"]): row for row in json.loads(out.read_text())["rows"]}
    ours, theirs = str(toy_checkpoint), str(rules)
    assert set(rows) == {(p, c) for p in (ours, theirs) for c in ("known", "other")}
    assert rows[ours, "known"]["mentions_f"] == 1
    assert rows[ours, "known"]["texts"] == 12 and rows[ours, "known"]["texts_per_s"] > 0
    # Nothing but people, all of them.
    assert rows[theirs, "known"]["ents_p"] == 1 and 0 < rows[theirs, "known"]["ents_r"] < 1
    assert rows[theirs, "other"]["ents_f"] == 0 < rows[ours, "other"]["ents_f"] < 1
    assert f"| {ours} | 1.0000 |" in result.stdout
    assert "| pipeline | known | other | mean |" in result.stdout


def test_some_labels_only(run: Run, toy_checkpoint, rules, corpora, tmp_path):
    out = tmp_path / "scores.json"
    options = ["--corpora", corpora / "known.spacy", "--labels", "PER", "--output", out]
    result = run("evaluate", rules, toy_checkpoint, *options)
    assert result.exit_code == 0, result.output
    for row in json.loads(out.read_text())["rows"]:
        assert (row["ents_f"], row["mentions_f"]) == (1, 1)


def test_labels_of_predictions_are_renamed(run: Run, rules, corpora, tmp_path):
    out = tmp_path / "scores.json"
    options = ["--corpora", corpora / "other.spacy", "--output", out]
    scores = []
    for renamed in ([], ["--map", "PER=ORG"], ["--map", "LOC=ORG"]):
        assert run("evaluate", rules, *options, *renamed).exit_code == 0
        written = json.loads(out.read_text())
        scores.append(written["rows"][0]["ents_p"])
        assert scores[-1] == written["rows"][0]["mentions_p"]
    assert scores == [0, 1, 0]
    assert run("evaluate", rules, *options, "--map", "PER").exit_code == 1
    # With the machine, so that they can be drawn.
    assert written["environment"]["device"] == "cpu"
    chart = run("chart", out, "--output", tmp_path / "chart.png")
    if importlib.util.find_spec("matplotlib") is None:
        assert chart.exit_code == 1 and "P301" in chart.output
    else:
        assert chart.exit_code == 0, chart.output


def test_the_first_texts_and_the_median_of_runs(run: Run, rules, corpora, tmp_path):
    out = tmp_path / "scores.json"
    options = ["--corpora", corpora / "known.spacy", "--limit", "5", "--repeat", "3"]
    assert run("evaluate", rules, *options, "--output", out).exit_code == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["texts"] == 5
    assert row["texts_per_s"] == pytest.approx(5 / row["seconds"])


def test_what_is_not_there(run: Run, rules, corpora, tmp_path):
    result = run("evaluate", tmp_path / "absent", "--corpora", corpora)
    assert result.exit_code == 1 and result.stderr.startswith("Error: [E050] ")
    for absent in (tmp_path, tmp_path / "absent.spacy"):
        result = run("evaluate", rules, "--corpora", corpora, "--corpora", absent)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"Error: [P418] There's no .spacy file in {absent}.")
    (tmp_path / "texts.txt").write_text("Ada left.")
    result = run("evaluate", rules, "--corpora", tmp_path / "texts.txt")
    assert result.exit_code == 1 and result.stderr.startswith("Error: [P123] ")
    result = run("evaluate", rules, "--corpora", corpora, "--corpora", corpora / "known.spacy")
    assert result.exit_code == 1 and result.stderr.startswith("Error: [P419] ")


def test_texts_that_were_trained_on_are_left_out(run: Run, rules, corpora, tmp_path):
    nlp = spacy.blank("en")
    texts = [parse(markup).source.text for markup in SENTENCES[:12]]
    # In other case and spacing they are the same texts.
    seen = DocBin(docs=[nlp.make_doc(f" {text.upper()}") for text in texts[:5]])
    seen.to_disk(tmp_path / "seen.spacy")
    out = tmp_path / "scores.json"
    # Some are there twice.
    left_out = sum(text in texts[:5] for text in texts)
    known = corpora / "known.spacy"
    exclude = ("--exclude", tmp_path / "seen.spacy", "--output", out)
    result = run("evaluate", rules, "--corpora", known, *exclude)
    assert result.exit_code == 0, result.output
    assert f"known: {left_out} texts left out" in result.output
    (row,) = json.loads(out.read_text())["rows"]
    assert (row["texts"], row["left_out"]) == (12 - left_out, left_out)
    result = run("evaluate", rules, "--corpora", known, "--exclude", corpora)
    assert result.exit_code == 1 and "[P420]" in result.output


def test_scores(run: Run, tmp_path: Path):
    path = tmp_path / "metrics.json"
    metrics = {"mentions_f": 0.75, "mentions_p": 0.7, "ents_f": None, "ents_per_type": {}}
    path.write_text(json.dumps(metrics))
    result = run("scores", path)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "mentions_p  0.7000",
        "mentions_r  -",
        "mentions_f  0.7500",
        "ents_p      -",
        "ents_r      -",
        "ents_f      -",
    ]


def test_scores_of_no_file(run: Run, tmp_path: Path):
    result = run("scores", tmp_path / "absent.json")
    assert result.exit_code == 2 and "absent.json" in result.output


def test_settings_of_a_checkpoint_and_of_a_pipeline(run: Run, toy_checkpoint, corpora, tmp_path):
    """Each with its own, in one run."""
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner", config={"model": {"name": str(toy_checkpoint)}})
    nlp.to_disk(tmp_path / "pipeline")
    out = tmp_path / "scores.json"
    names = [
        f"{toy_checkpoint}:tag_share=0.0",
        # Nothing is so probable.
        f"{toy_checkpoint}:threshold=1.0,model.dtype=float32",
        f"{tmp_path / 'pipeline'}:threshold=1.0",
    ]
    known = corpora / "known.spacy"
    result = run("evaluate", *names, "--corpora", known, "--output", out)
    assert result.exit_code == 0, result.output
    rows = {row["pipeline"]: row["mentions_f"] for row in json.loads(out.read_text())["rows"]}
    assert rows == {names[0]: 1, names[1]: 0, names[2]: 0}


def test_a_path_with_an_equals_sign(run: Run, toy_checkpoint, corpora, tmp_path):
    for name in ("rate=0.1", "at 9:rate=0.1"):
        folder = tmp_path / name
        shutil.copytree(toy_checkpoint, folder)
        for pipeline in (folder, f"{folder}:threshold=0.0"):
            result = run("evaluate", pipeline, "--corpora", corpora / "known.spacy")
            assert result.exit_code == 0, result.output


def test_a_setting_without_a_value(run: Run, toy_checkpoint, corpora):
    result = run("evaluate", f"{toy_checkpoint}:threshold=1.0,decode", "--corpora", corpora)
    assert result.exit_code == 1
    assert "P423" in result.output and "'decode'" in result.output
