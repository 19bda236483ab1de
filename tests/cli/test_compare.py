from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Run = Callable[..., Result]


def test_report(run: Run, toy_checkpoint: Path, toy_corpus: Path):
    result = run("compare", toy_checkpoint, toy_corpus, "--max-mentions", "5", "--limit", "6")
    assert result.exit_code == 0, result.output
    way, sequences, batches, plain, *reasons = result.stdout.splitlines()
    assert way == "Trees are run as: cached; softmax over: admissible"
    for name, line in [
        ("separate sequences", sequences),
        ("padded batches with a KV cache", batches),
    ]:
        same = re.fullmatch(
            rf"Same mentions from the tree and from {name} on the same tries: 6 of 6 "
            r"texts; largest difference of a mention's log-probability: (\d\.\de[-+]\d+)",
            line,
        )
        assert same and float(same[1]) < 1e-3
    found = re.fullmatch(r"Same mentions from plain decoding: (\d+) of 6 texts", plain)
    if found and found[1] != "6":
        assert "only among the admissible tokens" in reasons.pop(0)
    counts = [re.fullmatch(r"  (\d+) differ: the model .+", line) for line in reasons]
    # Each text is the same, or has its reason why not.
    assert found and int(found[1]) + sum(int(each[1]) for each in counts if each) == 6
    assert all(counts)
    assert "texts/s" not in result.stderr


def test_options(run: Run, toy_checkpoint: Path, toy_corpus: Path):
    options = ["--limit", "2", "--max-mention-tokens", "1", "--max-mentions", "1"]
    result = run("compare", toy_checkpoint, toy_corpus, *options, "--format", "jsonl")
    assert result.exit_code == 0, result.output
    assert "2 of 2 texts" in result.stdout
    # Two-token names cannot be written then, but plain decoding knows no such limit.
    assert "Same mentions from plain decoding: 0 of 2 texts" in result.stdout


@pytest.mark.parametrize(
    "arguments, code", [(["--max-mentions", "0"], "P032"), (["--dtype", "float99"], "P043")]
)
def test_errors(run: Run, toy_checkpoint: Path, corpus: Path, arguments: list[str], code: str):
    result = run("compare", toy_checkpoint, corpus, *arguments)
    assert result.exit_code == 1 and result.stderr.startswith(f"Error: [{code}] ")


def test_an_output_format_is_decoded_in_one_way(run: Run, output_checkpoint: Path, corpus: Path):
    result = run("compare", output_checkpoint, corpus)
    assert result.exit_code == 1
    assert "Error: [P038] " in result.stderr and "'augmented'" in result.stderr


def test_no_checkpoint(run: Run, corpus: Path, tmp_path: Path):
    result = run("compare", tmp_path, corpus)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: [P041] {tmp_path} ")
