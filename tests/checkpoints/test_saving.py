from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from spacy_padellm.checkpoints.loading import load_checkpoint
from spacy_padellm.checkpoints.saving import load_average, save_checkpoint
from tests.trained import trained_lm


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "first", *trained_lm())
    return tmp_path / "first"


def moved(checkpoint: Path, folder: Path, by: float) -> str:
    """The same with all weights moved."""
    shutil.copytree(checkpoint, folder)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: weight + by for name, weight in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    return str(folder)


def test_weights_are_averaged(checkpoint: Path, tmp_path: Path):
    others = [moved(checkpoint, tmp_path / name, by) for name, by in (("a", 0.5), ("b", 0.25))]
    lm, settings = load_average([str(checkpoint), *others])
    expected, expected_settings = load_checkpoint(str(checkpoint))
    assert settings == expected_settings
    for ours, theirs in zip(lm.model.parameters(), expected.model.parameters(), strict=True):
        assert torch.allclose(ours, theirs + 0.25, atol=1e-6)


def test_of_one_it_is_that_one(checkpoint: Path):
    lm, _ = load_average([str(checkpoint)])
    expected, _ = load_checkpoint(str(checkpoint))
    for ours, theirs in zip(lm.model.parameters(), expected.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_checkpoints_that_differ(checkpoint: Path, tmp_path: Path):
    other = moved(checkpoint, tmp_path / "other", 0.0)
    settings = Path(other) / "padellm.json"
    changed = {**json.loads(settings.read_text()), "labels": {"PER": "person"}}
    settings.write_text(json.dumps(changed))
    with pytest.raises(ValueError, match=rf"\[P049\].*{checkpoint.name}.*other"):
        load_average([str(checkpoint), other])
