from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data() -> Path:
    """The folder with the research corpora, which the repository doesn't hold."""
    folder = Path(os.environ.get("PADELLM_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no corpora in {folder}; set PADELLM_DATA to the folder that has them")
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write lines to a file and return its path."""

    def write_lines(*lines: str, name: str = "corpus.txt") -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
        return path

    return write_lines
