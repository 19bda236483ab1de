from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from spacy.language import Language


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """The models here are so small that a second thread only costs."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def toy_nlp() -> Language:
    """A pipeline that knows the toy corpus by heart. Tests leave it as it is."""
    from tests.pipeline.toy_pipeline import initialized_nlp, train_by_heart

    nlp = initialized_nlp()
    train_by_heart(nlp)
    return nlp


@pytest.fixture(scope="package")
def toy_folder(toy_nlp: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline on disk. Tests leave it as it is."""
    folder = tmp_path_factory.mktemp("toy") / "pipeline"
    toy_nlp.to_disk(folder)
    return folder


@pytest.fixture(scope="package")
def toy_checkpoint(toy_folder: Path) -> Path:
    """Its checkpoint folder. Tests leave it as it is."""
    return toy_folder / "padellm_ner" / "model"
