from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import Result

from spacy_padellm.model import PaDeLLM

Run = Callable[..., Result]


def test_a_checkpoint_in_half_the_space(run: Run, toy_checkpoint: Path, tmp_path: Path):
    out = tmp_path / "new" / "half"
    result = run("export", toy_checkpoint, out, "--dtype", "float16")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{out}: ") and "MB, labels LOC, ORG, PER" in result.stdout
    assert {w.dtype for w in load_file(out / "model.safetensors").values()} == {torch.float16}
    saved = json.loads((toy_checkpoint / "padellm.json").read_text())
    assert json.loads((out / "padellm.json").read_text()) == saved
    whole, half = (
        PaDeLLM.from_pretrained(str(folder)).lm.model for folder in (toy_checkpoint, out)
    )
    assert half.dtype == torch.float32
    for ours, theirs in zip(half.parameters(), whole.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-2)


@pytest.mark.parametrize("folder", ["pipeline", "pipeline/padellm_ner/model"])
def test_of_a_trained_pipeline(run: Run, toy_checkpoint: Path, tmp_path: Path, folder: str):
    inner = tmp_path / "pipeline" / "padellm_ner" / "model"
    inner.parent.mkdir(parents=True)
    inner.symlink_to(toy_checkpoint)
    result = run("export", tmp_path / folder, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "padellm.json").is_file()


def test_weights_stay_in_their_type(run: Run, toy_checkpoint: Path, tmp_path: Path):
    run("export", toy_checkpoint, tmp_path / "half", "--dtype", "float16")
    run("export", tmp_path / "half", tmp_path / "same")
    half, same = (load_file(tmp_path / name / "model.safetensors") for name in ("half", "same"))
    assert half.keys() == same.keys()
    assert all(torch.equal(same[name], w) and w.dtype == torch.float16 for name, w in half.items())


def test_of_several_the_average(run: Run, toy_checkpoint: Path, tmp_path: Path):
    result = run("export", toy_checkpoint, toy_checkpoint, tmp_path / "out")
    assert result.exit_code == 0, result.output
    one, average = (
        load_file(folder / "model.safetensors") for folder in (toy_checkpoint, tmp_path / "out")
    )
    assert all(torch.equal(average[name], weight) for name, weight in one.items())


@pytest.mark.parametrize("shares", ["1", "1,0", "1,-1", "1,2,3", "1,inf", "nan,1", "much,little"])
def test_shares_that_do_not_fit(run: Run, toy_checkpoint: Path, tmp_path: Path, shares: str):
    out = tmp_path / "out"
    result = run("export", toy_checkpoint, toy_checkpoint, out, "--shares", shares)
    assert result.exit_code == 1 and not out.exists()
    assert "[P015]" in result.stderr and "State 2 numbers above 0" in result.stderr


def test_nothing_to_export(run: Run, tmp_path: Path):
    result = run("export", tmp_path, tmp_path / "out")
    assert result.exit_code == 1
    assert "[P041]" in result.stderr and not (tmp_path / "out").exists()


def test_a_bias_for_other_labels(run: Run, toy_checkpoint: Path, tmp_path: Path):
    run("export", toy_checkpoint, tmp_path / "more", "--other-tag-bias", "1.5")
    more = PaDeLLM.from_pretrained(str(tmp_path / "more")).settings
    assert more.other_tag_bias == 1.5 and more.usual == tuple(more.labels.values())
    # It stays if nothing else is said.
    run("export", tmp_path / "more", tmp_path / "same")
    assert PaDeLLM.from_pretrained(str(tmp_path / "same")).settings == more
