from __future__ import annotations

from pathlib import Path

import pytest

from spacy_padellm.checkpoints.saving import save_checkpoint
from tests.trained import trained_lm


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a padellm.json, which tests leave as it is."""
    pytest.importorskip("accelerate")
    folder = tmp_path_factory.mktemp("finetuning") / "base"
    save_checkpoint(folder, *trained_lm())
    return folder
