from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

pytest.importorskip("spacy")
pytest.importorskip("pyarrow")

from tests.annotate.pipelines import rule_pipeline

Run = Callable[..., Result]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("Ada met Bob.\nIt rained.\n")
    return path


def test_the_bundled_model_finds_names(run: Run, texts: Path, tmp_path: Path):
    out = tmp_path / "new" / "out"
    result = run("annotate", texts, out)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"2 texts: 2 in {out}, 0 failed\n"
    first, second = map(json.loads, (out / "part-00000.jsonl").read_text().splitlines())
    assert {entity["label"] for entity in first["entities"]} == {"PER"}
    assert all(0.5 < entity["score"] <= 1 for entity in first["entities"])
    assert second == {"text": "It rained.", "entities": []}


def test_the_exit_status_says_that_texts_failed(run: Run, tmp_path: Path):
    rule_pipeline({}).to_disk(tmp_path / "rules")
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "Ada"}\n{"text": null}\n')
    command = ("annotate", path, tmp_path / "out", "--model", tmp_path / "rules")
    for _ in range(2):
        result = run(*command)
        assert result.exit_code == 3
        assert result.stdout == f"2 texts: 1 in {tmp_path / 'out'}, 1 failed\n"
        assert "failed.jsonl" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--num-actors", "2"), "[P517] --num-actors is an option of the engine ray"),
        (
            ("--engine", "ray", "--processes", "2"),
            "[P517] --processes is an option of the engine local",
        ),
        (("--model", "no_such_model"), "[P515] There is no pipeline 'no_such_model'"),
        (("--model", "padellm_en_small:decode"), "[P515]"),
    ],
)
def test_wrong_options(
    run: Run, texts: Path, tmp_path: Path, options: tuple[str, ...], message: str
):
    result = run("annotate", texts, tmp_path / "out", *options)
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_output_is_a_folder(run: Run, texts: Path, tmp_path: Path):
    result = run("annotate", texts, tmp_path / "out.jsonl")
    assert result.exit_code == 1 and "[P518]" in result.stderr
