from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from spacy_padellm.checkpoints.options import LoadOptions
from spacy_padellm.model import PaDeLLM
from spacy_padellm.texts import TokenizedText
from tests.toy_corpus import SENTENCES, parse

Run = Callable[..., Result]
FEW = ("--max-mentions", "5")


def test_predictions_and_scores(run: Run, toy_checkpoint: Path, toy_corpus: Path, tmp_path: Path):
    out = tmp_path / "new" / "found.jsonl"
    result = run("predict", toy_checkpoint, toy_corpus, out, *FEW)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in out.read_text(encoding="utf8").splitlines()]
    texts = [parse(markup) for markup in SENTENCES[:24]]
    assert [line["text"] for line in lines] == [text.source.text for text in texts]
    for line, text in zip(lines, texts, strict=True):
        places = [(m["start"], m["end"], m["label"]) for m in line["mentions"]]
        assert places == [(m.start, m.end, m.label) for m in text.mentions]
        assert all(0 < m["score"] <= 1 for m in line["mentions"])
    found = sum(len(text.mentions) for text in texts)
    # The same string twice in a text is one mention to the scores.
    strings = sum(
        len({(m.label, text.source.text[m.start : m.end]) for m in text.mentions}) for text in texts
    )
    assert strings < found
    first, second, third = result.stdout.splitlines()
    assert first == f"24 texts: {out}"
    passes, tokens = second.removesuffix(" tokens run").split(" forward passes, ")
    assert int(passes) > 0 and int(tokens) > 24 * 10
    assert third == (
        f"mentions_p 1.0000, mentions_r 1.0000, mentions_f 1.0000 (of {strings} gold mentions)"
    )
    # No progress bar where there's no terminal; transformers may have its own.
    assert "texts/s" not in result.stderr


def test_thresholds(run: Run, toy_checkpoint: Path, toy_corpus: Path, tmp_path: Path):
    found = {}
    for threshold in ("0", "PER=1.0", "PER=0, LOC=1"):
        out = tmp_path / "found.jsonl"
        result = run("predict", toy_checkpoint, toy_corpus, out, *FEW, "--threshold", threshold)
        assert result.exit_code == 0, result.output
        lines = [json.loads(line) for line in out.read_text(encoding="utf8").splitlines()]
        found[threshold] = [m for line in lines for m in line["mentions"]]
    every = found["0"]
    assert found["PER=1.0"] == [m for m in every if m["label"] != "PER"] != every
    assert found["PER=0, LOC=1"] == [m for m in every if m["label"] != "LOC"] != every
    for wrong, code in (("high", "P312"), ("PER=high", "P312"), ("7", "P030")):
        result = run("predict", toy_checkpoint, toy_corpus, out, "--threshold", wrong)
        assert result.exit_code == 1 and f"[{code}]" in result.output


def test_an_output_format(run: Run, output_checkpoint: Path, toy_corpus: Path, tmp_path: Path):
    out = tmp_path / "found.jsonl"
    result = run("predict", output_checkpoint, toy_corpus, out, "--limit", "8")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in out.read_text(encoding="utf8").splitlines()]
    places = [[(m["start"], m["end"], m["label"]) for m in line["mentions"]] for line in lines]
    texts = [parse(markup) for markup in SENTENCES[:8]]
    assert places == [[(m.start, m.end, m.label) for m in text.mentions] for text in texts]
    _, _, unread, scores = result.stdout.splitlines()
    assert unread == "0 stretches of the augmented output malformed, 0 mentions ungrounded"
    assert scores.startswith("mentions_p 1.0000, mentions_r 1.0000")


def test_outputs_that_cannot_be_read_are_counted(
    run: Run, output_checkpoint: Path, corpus: Path, tmp_path: Path
):
    """Words it never saw are not copied rightly."""
    result = run("predict", output_checkpoint, corpus, tmp_path / "found.jsonl")
    assert result.exit_code == 0, result.output
    unread = result.stdout.splitlines()[2]
    assert unread.endswith(" ungrounded") and int(unread.split()[0]) > 0


def test_options(run: Run, toy_checkpoint: Path, toy_corpus: Path, tmp_path: Path):
    out = tmp_path / "found.jsonl"
    options = ["--limit", "3", "--batch-size", "2", "--threshold", "1", "--format", "jsonl"]
    result = run("predict", toy_checkpoint, toy_corpus, out, *FEW, *options, "--dtype", "bfloat16")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 3
    assert all(m["score"] == 1 for line in lines for m in line["mentions"])
    result = run("predict", toy_checkpoint, toy_corpus, out, "--max-mentions", "1", *options[:2])
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    labels = [[m["label"] for m in line["mentions"]] for line in lines]
    assert labels and all(len(set(each)) == len(each) for each in labels)


def test_several_devices_find_the_same(
    run: Run, toy_checkpoint: Path, toy_corpus: Path, tmp_path: Path
):
    found = []
    for devices in ("cpu", "cpu, cpu"):
        out = tmp_path / f"{len(devices)}.jsonl"
        result = run("predict", toy_checkpoint, toy_corpus, out, *FEW, "--device", devices)
        assert result.exit_code == 0, result.output
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        found.append([[{**m, "score": None} for m in line["mentions"]] for line in lines])
    assert found[0] == found[1] and any(found[0])


@pytest.mark.parametrize("command", ["predict", "compare"])
def test_options_of_loading(
    run: Run,
    toy_checkpoint: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
):
    """As stated, and the model is loaded by them."""
    from spacy_padellm.checkpoints import loading
    from spacy_padellm.checkpoints.files import CheckpointFiles

    seen: list[LoadOptions] = []
    load_model = loading.load_model

    def look(files: CheckpointFiles) -> Any:
        seen.append(files.options)
        return load_model(files)

    monkeypatch.setattr(loading, "load_model", look)
    out = [tmp_path / "found.jsonl"] if command == "predict" else []
    stated = ["--device", "cpu", "--dtype", "bfloat16", "--attn-implementation", "eager"]
    stated += ["--local-files-only", "--trust-remote-code", "--device-map", "cpu"]
    result = run(command, toy_checkpoint, corpus, *out, *stated, "--revision", "main")
    assert result.exit_code == 0, result.output
    assert seen == [LoadOptions("cpu", "bfloat16", "cpu", "eager", None, "main", True, True)]
    result = run(command, toy_checkpoint, corpus, *out, "--quantization", "2bit")
    assert result.exit_code == 1 and "Error: [P031] " in result.stderr


def test_gold_of_other_labels_is_named_and_does_not_count(
    run: Run, toy_checkpoint: Path, tmp_path: Path
):
    corpus = tmp_path / "corpus.conll"
    corpus.write_text("Ada\tB-PER\nworks\tO\nfor\tO\nAcme\tB-FIRM\n.\tO\n")
    result = run("predict", toy_checkpoint, corpus, tmp_path / "found.jsonl", *FEW)
    assert result.exit_code == 0, result.output
    *_, others, scores = result.stdout.splitlines()
    assert others == "1 gold mentions are not counted, as the model lacks their labels: FIRM"
    assert "mentions_r 1.0000" in scores and scores.endswith("(of 1 gold mentions)")


def test_batches_find_the_same(run: Run, toy_checkpoint: Path, toy_corpus: Path, tmp_path: Path):
    found = []
    for size in ("1", "24"):
        out = tmp_path / f"{size}.jsonl"
        result = run("predict", toy_checkpoint, toy_corpus, out, *FEW, "--batch-size", size)
        assert result.exit_code == 0, result.output
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        found.append([[{**m, "score": None} for m in line["mentions"]] for line in lines])
    assert found[0] == found[1] and any(found[0])


def test_only_annotated_labels_count(run: Run, toy_checkpoint: Path, tmp_path: Path):
    text = {
        "text": "Ada works for Acme .",
        "tokens": [[0, 3], [4, 9], [10, 13], [14, 18], [19, 20]],
        "mentions": [{"start": 0, "end": 3, "label": "PER"}],
        "labels": ["PER"],
    }
    corpus, out = tmp_path / "corpus.jsonl", tmp_path / "found.jsonl"
    for stated in (text, {key: value for key, value in text.items() if key != "labels"}):
        corpus.write_text(json.dumps(stated))
        result = run("predict", toy_checkpoint, corpus, out, *FEW)
        assert len(json.loads(out.read_text())["mentions"]) == 2
        precision = "1.0000" if "labels" in stated else "0.5000"
        assert f"mentions_p {precision}, mentions_r 1.0000" in result.stdout


@pytest.mark.parametrize(
    "arguments, code, named",
    [
        (["--threshold", "2"], "P030", "threshold is 2"),
        (["--decode", "some"], "P031", "decode"),
        (["--decode", "tags"], "P039", "tag_text"),
        (["--max-mentions", "0"], "P032", "max_mentions is 0"),
        (["--max-mention-tokens", "0"], "P032", "max_mention_tokens is 0"),
        (["--dtype", "int8"], "P043", "'int8'"),
        (["--format", "paper"], "P106", "line 1"),
    ],
)
def test_wrong_options_have_no_traceback(
    run: Run,
    toy_checkpoint: Path,
    corpus: Path,
    tmp_path: Path,
    arguments: list[str],
    code: str,
    named: str,
):
    out = tmp_path / "found.jsonl"
    result = run("predict", toy_checkpoint, corpus, out, *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: [{code}] ") and named in result.stderr
    assert "Traceback" not in result.output and not out.exists()


@pytest.mark.parametrize(
    "name, missing",
    [
        ("config.json", "config.json"),
        ("model.safetensors", "weights"),
        ("tokenizer.json", "a tokenizer"),
        ("padellm.json", "padellm.json"),
    ],
)
def test_incomplete_checkpoints(
    run: Run, toy_checkpoint: Path, corpus: Path, tmp_path: Path, name: str, missing: str
):
    folder = shutil.copytree(toy_checkpoint, tmp_path / "checkpoint")
    (folder / name).unlink()
    result = run("predict", folder, corpus, tmp_path / "found.jsonl")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: [P041] {folder} ") and missing in result.stderr


def test_no_checkpoint(run: Run, corpus: Path, tmp_path: Path):
    result = run("predict", tmp_path / "absent", corpus, tmp_path / "found.jsonl")
    assert result.exit_code == 1 and "[P041]" in result.stderr


def test_long_texts_are_read_in_windows(run: Run, toy_checkpoint: Path, tmp_path: Path):
    corpus = tmp_path / "corpus.conll"
    corpus.write_text("Ada\tB-PER\n" + "left\tO\n" * 200 + "in\tO\nRome\tB-LOC\n.\tO\n")
    found = tmp_path / "found.jsonl"
    result = run("predict", toy_checkpoint, corpus, found)
    assert result.exit_code == 0, result.output
    (line,) = map(json.loads, found.read_text().splitlines())
    assert any(m["start"] > 5 * 190 for m in line["mentions"])


def test_half_a_file_is_not_taken_for_a_whole_one(
    run: Run, corpus: Path, toy_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    predict = PaDeLLM.predict
    calls: list[int] = []

    def fail_later(self: PaDeLLM, texts: Sequence[TokenizedText], **options: Any) -> Any:
        calls.append(len(texts))
        if len(calls) > 1:
            raise ValueError("[P999] out of luck")
        return predict(self, texts, **options)

    monkeypatch.setattr(PaDeLLM, "predict", fail_later)
    found = tmp_path / "found.jsonl"
    result = run("predict", toy_checkpoint, corpus, found, "--batch-size", "1")
    assert result.exit_code == 1 and "Error: [P999]" in result.stderr
    assert not found.exists()
    assert len(found.with_name("found.jsonl.part").read_text().splitlines()) == 1


def test_texts_without_annotation(run: Run, toy_checkpoint: Path, tmp_path: Path):
    """Lines of text, JSON lines and docs: there is nothing to compare with."""
    text = "Ada met Bob Hill in Rome ."
    (tmp_path / "texts.txt").write_text(f"\ufeff{text}\r\n\r\nIt rains .\r\n", encoding="utf8")
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": text, "id": 3}) + "\n")
    names = ["texts.txt", "texts.jsonl"]
    if find_spec("spacy") is not None:
        import spacy
        from spacy.tokens import DocBin

        DocBin(docs=[spacy.blank("en")(text)]).to_disk(tmp_path / "texts.spacy")
        names.append("texts.spacy")
    for name in names:
        out = tmp_path / "found.jsonl"
        result = run("predict", toy_checkpoint, tmp_path / name, out, *FEW)
        assert result.exit_code == 0, result.output
        assert "mentions_f" not in result.stdout
        first = json.loads(out.read_text(encoding="utf8").splitlines()[0])
        found = [(text[m["start"] : m["end"]], m["label"]) for m in first["mentions"]]
        assert found == [("Ada", "PER"), ("Bob Hill", "PER"), ("Rome", "LOC")]
