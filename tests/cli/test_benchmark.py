from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.sample_tokenizers import small_tokenizer

FIELDS = {
    "dataset",
    "decoder",
    "texts",
    "passes",
    "tokens",
    "distinct_tokens",
    "latency_ms",
    "texts_per_s",
    "peak_memory_mb",
    "ents_f",
    "mentions_f",
    "malformed",
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    small_tokenizer("en").save_pretrained(folder)
    return folder


def replay(tokenizer: Path) -> list[str]:
    return ["benchmark", "--replay", "--shape", "tiny", "--tokenizer", str(tokenizer)]


def test_a_replay(run, tokenizer, toy_corpus, tmp_path):
    output = tmp_path / "made" / "out.json"
    result = run(
        *replay(tokenizer),
        "--datasets",
        toy_corpus,
        "--limit",
        4,
        "--decoders",
        "tree, batch,structured,augmented",
        "--output",
        output,
    )
    assert result.exit_code == 0, result.output
    written = json.loads(output.read_text())
    assert [row["decoder"] for row in written["rows"]] == [
        "tree",
        "batch",
        "structured",
        "augmented",
    ]
    for row in written["rows"]:
        assert set(row) >= FIELDS
        assert (row["dataset"], row["texts"]) == ("corpus", 4)
        assert set(row["latency_ms"]) == {"mean", "p50", "p95"}
        assert row["ents_f"] is row["mentions_f"] is row["malformed"] is None
    environment = written["environment"]
    assert environment["shape"] == "tiny"
    assert {"date", "torch", "transformers", "device", "cpu_threads"} <= set(environment)
    assert "| corpus | tree | 4 |" in result.output
    assert "quality is not" in result.output


def test_a_trained_pipeline(run, toy_checkpoint, toy_corpus, tmp_path):
    """The folder of a pipeline stands for the checkpoint in it."""
    pipeline = tmp_path / "pipeline"
    (pipeline / "padellm_ner").mkdir(parents=True)
    (pipeline / "padellm_ner" / "model").symlink_to(toy_checkpoint)
    output = tmp_path / "out.json"
    for name in (toy_checkpoint, pipeline):
        result = run(
            "benchmark",
            name,
            "--datasets",
            toy_corpus,
            "--decoders",
            "tree,batch-tries",
            "--limit",
            5,
            "--threads",
            1,
            "--output",
            output,
        )
        assert result.exit_code == 0, result.output
        rows = json.loads(output.read_text())["rows"]
        assert [row["mentions_f"] for row in rows] == [1.0, 1.0]
        assert [row["malformed"] for row in rows] == [0, 0]
        assert "quality is not" not in result.output


def test_replicas(run, tokenizer, toy_checkpoint, toy_corpus, tmp_path):
    output = tmp_path / "out.json"
    arguments = ["--datasets", toy_corpus, "--decoders", "tree,replicas", "--limit", 3]
    for subject in (replay(tokenizer), ["benchmark", toy_checkpoint]):
        result = run(*subject, *arguments, "--devices", "cpu, cpu", "--output", output)
        assert result.exit_code == 0, result.output
        written = json.loads(output.read_text())
        tree, several = written["rows"]
        assert (tree["decoder"], several["decoder"]) == ("tree", "replicas")
        # A single text's labels are divided, so it is run twice.
        assert several["distinct_tokens"] > tree["distinct_tokens"]
        assert several["mentions_f"] == tree["mentions_f"]
        assert written["environment"]["devices"] == "cpu, cpu"
        assert written["environment"]["device"] == "cpu"


def test_a_chart(run, tokenizer, toy_corpus, tmp_path):
    """Drawn from what one or several benchmarks wrote."""
    results = [tmp_path / "first.json", tmp_path / "second.json"]
    for path, decoder in zip(results, ("tree", "batch"), strict=True):
        arguments = ["--datasets", toy_corpus, "--limit", 2, "--decoders", decoder]
        assert run(*replay(tokenizer), *arguments, "--output", path).exit_code == 0
    chart = tmp_path / "new" / "chart.png"
    result = run("chart", *results, "--output", chart)
    if importlib.util.find_spec("matplotlib") is None:
        assert result.exit_code == 1
        assert "P301" in result.output and "pip install matplotlib" in result.output
    else:
        assert result.exit_code == 0, result.output
        assert chart.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"rows": [{}], "environment": {}}', None])
def test_what_is_no_result_cannot_be_drawn(run, tmp_path, content):
    path = tmp_path / "result.json"
    if content is not None:
        path.write_text(content)
    result = run("chart", path, "--output", tmp_path / "chart.png")
    assert result.exit_code == 1
    assert "P421" in result.output and "result.json" in result.output


def test_a_chart_that_cannot_be_written(run, tokenizer, toy_corpus, tmp_path):
    output = tmp_path / "result.json"
    arguments = ["--datasets", toy_corpus, "--limit", 2, "--output", output]
    assert run(*replay(tokenizer), *arguments).exit_code == 0
    result = run("chart", output, "--output", tmp_path)
    assert result.exit_code == 1
    assert "P417" in result.output and "it is a folder" in result.output
    result = run("chart", output, "--output", tmp_path / "chart.txt")
    assert result.exit_code == 1 and "P436" in result.output


def test_ctrl_c_keeps_what_was_measured(run, tokenizer, toy_corpus, tmp_path, monkeypatch):
    from spacy_padellm.benchmark.run import Contender

    measured = []
    measure = Contender.measure

    def interrupt(self, texts):
        measured.append(texts)
        # Both have warmed up and been measured on two texts.
        if len(measured) == 2 + 2 * 2 + 1:
            raise KeyboardInterrupt
        return measure(self, texts)

    monkeypatch.setattr(Contender, "measure", interrupt)
    output = tmp_path / "out.json"
    result = run(*replay(tokenizer), "--datasets", toy_corpus, "--output", output)
    assert result.exit_code == 130, result.output
    assert "Interrupted: here is what was measured" in result.output
    written = json.loads(output.read_text())
    assert [row["texts"] for row in written["rows"]] == [2, 2]
    assert written["environment"]["interrupted"] is True


def test_interrupted_before_anything_was_measured(
    run, toy_corpus, tokenizer, tmp_path, monkeypatch
):
    from spacy_padellm.benchmark.run import Contender

    def interrupt(self, texts):
        raise KeyboardInterrupt

    monkeypatch.setattr(Contender, "measure", interrupt)
    output = tmp_path / "out.json"
    output.write_text("of an earlier run")
    result = run(*replay(tokenizer), "--datasets", toy_corpus, "--output", output)
    assert result.exit_code == 130, result.output
    assert "nothing was measured yet" in result.output and "|" not in result.stdout
    assert output.read_text() == "of an earlier run"


def test_nothing_to_draw(run, toy_corpus, tokenizer, tmp_path):
    pytest.importorskip("matplotlib")
    output, chart = tmp_path / "result.json", tmp_path / "chart.png"
    arguments = ["--datasets", toy_corpus, "--decoders", "tree@4", "--output", output]
    assert run(*replay(tokenizer), *arguments).exit_code == 0
    result = run("chart", output, "--output", chart)
    assert result.exit_code == 1
    assert "P404" in result.output and "one text at a time" in result.output
    assert not chart.exists()


@pytest.mark.parametrize(
    "arguments, error",
    [
        (["--datasets", "CORPUS"], "P410"),
        (["--replay", "--datasets", "CORPUS"], "P411"),
        (["CHECKPOINT", "--replay", "--shape", "tiny", "--datasets", "CORPUS"], "P411"),
        (["CHECKPOINT", "--decoders", "forest", "--datasets", "CORPUS"], "P408"),
        (["CHECKPOINT", "--decoders", "structured", "--datasets", "CORPUS"], "P412"),
        (["CHECKPOINT", "CHECKPOINT", "--datasets", "CORPUS"], "P413"),
        (["CHECKPOINT"], "P415"),
        (["CHECKPOINT", "--shape", "tiny", "--datasets", "CORPUS"], "P416"),
        (["CHECKPOINT", "--n-labels", "9", "--datasets", "CORPUS"], "P416"),
        (["CHECKPOINT", "--datasets", "CORPUS", "--output", "FOLDER"], "P417"),
        (["CHECKPOINT", "--datasets", "missing.jsonl"], "P401"),
        (["CHECKPOINT", "--datasets", "CORPUS", "--devices", "cpu,cpu"], "P067"),
        (["CHECKPOINT", "--datasets", "CORPUS", "--decoders", "replicas"], "P067"),
    ],
)
def test_wrong_calls(run, toy_checkpoint, toy_corpus, arguments, error):
    places = {"CORPUS": toy_corpus, "CHECKPOINT": toy_checkpoint, "FOLDER": toy_checkpoint}
    result = run("benchmark", *[places.get(each, each) for each in arguments])
    assert result.exit_code == 1
    assert f"[{error}]" in result.output


def test_one_device_or_several(run, toy_checkpoint, toy_corpus):
    arguments = ["--datasets", toy_corpus, "--decoders", "replicas", "--devices", "cpu,cpu"]
    result = run("benchmark", toy_checkpoint, *arguments, "--device", "cuda")
    assert result.exit_code == 1
    assert "[P065]" in result.output
