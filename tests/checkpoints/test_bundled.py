from __future__ import annotations

import pytest

from spacy_padellm.checkpoints.bundled import find_bundled


@pytest.mark.parametrize("name", ["", ".", "..", "../core", "/", "gpt2", "user/model", "core", "~"])
def test_other_names_stay(name):
    assert find_bundled(name) == name


def test_a_bundled_checkpoint_is_found_by_its_name(tmp_path, monkeypatch):
    folder = tmp_path / "padellm_xy_small"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (tmp_path / "other").mkdir()
    monkeypatch.setattr("spacy_padellm.checkpoints.bundled.FOLDER", tmp_path)
    assert find_bundled("padellm_xy_small") == str(folder)
    # An ordinary folder may be given by its path.
    assert find_bundled(str(folder)) == str(folder)
