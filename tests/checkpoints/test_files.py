from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from spacy_padellm.checkpoints.files import CheckpointFiles, find_bundled
from tests.checkpoints.baichuan_folders import LAYOUTS, write_weights

WEIGHTS = {
    "a": torch.arange(6.0).view(2, 3),
    "b": torch.arange(4).bfloat16(),
    "c": torch.ones(1),
    "d.e": torch.zeros(2, 2, dtype=torch.float16),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_read_from_any_layout(layout, tmp_path):
    write_weights(tmp_path, WEIGHTS, layout)
    found = CheckpointFiles(str(tmp_path)).read_weights()
    assert found.keys() == WEIGHTS.keys()
    for name, weight in WEIGHTS.items():
        assert found[name].dtype == weight.dtype
        assert torch.equal(found[name], weight)


def test_files_of_old_versions_of_torch(tmp_path):
    torch.save(WEIGHTS, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    found = CheckpointFiles(str(tmp_path)).read_weights()
    assert all(torch.equal(found[name], weight) for name, weight in WEIGHTS.items())


def test_files_with_code_in_them_are_refused(tmp_path):
    torch.save({"a": Path("/")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"P042.*pytorch_model\.bin holds more than weights"):
        CheckpointFiles(str(tmp_path)).read_weights()


def test_safetensors_come_first(tmp_path):
    write_weights(tmp_path, {"a": torch.zeros(1)}, "bin")
    write_weights(tmp_path, {"a": torch.ones(1)}, "safetensors")
    assert CheckpointFiles(str(tmp_path)).read_weights()["a"] == 1


def test_no_weights(tmp_path):
    with pytest.raises(ValueError, match=r"P041.*weights \(model\.safetensors\) is missing"):
        CheckpointFiles(str(tmp_path)).read_weights()


@pytest.mark.parametrize("layout", ["sharded bin", "sharded safetensors"])
def test_a_missing_shard(layout, tmp_path):
    write_weights(tmp_path, WEIGHTS, layout)
    shard = next(iter(tmp_path.glob("*-00002-of-*")))
    shard.unlink()
    with pytest.raises(ValueError, match=rf"P041.*{shard.name} is missing"):
        CheckpointFiles(str(tmp_path)).read_weights()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_that_was_cut_off(layout, tmp_path):
    write_weights(tmp_path, WEIGHTS, layout)
    file = max(path for path in tmp_path.iterdir() if path.suffix != ".json")
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(ValueError, match=rf"(?s)P042.*Cannot load {tmp_path}"):
        CheckpointFiles(str(tmp_path)).read_weights()


def test_json(tmp_path):
    assert CheckpointFiles(str(tmp_path)).config == {}
    (tmp_path / "config.json").write_text(json.dumps({"名": 1}), encoding="utf8")
    assert CheckpointFiles(str(tmp_path)).config == {"名": 1}


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_json_that_cannot_be_read(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=rf"(?s)P042.*Cannot load {tmp_path}"):
        CheckpointFiles(str(tmp_path)).read_json("config.json")


# Checkpoints that come with the package


@pytest.mark.parametrize("name", ["", ".", "..", "../core", "/", "gpt2", "user/model", "core", "~"])
def test_other_names_stay(name):
    assert find_bundled(name) == name


def test_a_bundled_checkpoint_is_found_by_its_name(tmp_path, monkeypatch):
    folder = tmp_path / "padellm_xy_small"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (tmp_path / "other").mkdir()
    monkeypatch.setattr("spacy_padellm.checkpoints.files.BUNDLED_FOLDER", tmp_path)
    assert find_bundled("padellm_xy_small") == str(folder)
    # An ordinary folder may be given by its path.
    assert find_bundled(str(folder)) == str(folder)
