"""Fixtures that more than one part's tests use; nothing here imports torch or spaCy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# What a test loads is made by the test: a look at the hub would only wait for the network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# The same examples at every run; HYPOTHESIS_PROFILE=explore looks for new ones. No deadline, as
# the first example also pays for what is loaded once.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

ROOT = Path(__file__).parents[1]


def _shared_folder(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable, ROOT.parent / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing; set {variable} to the folder")
    return folder


@pytest.fixture(scope="session")
def shared_tokenizers() -> Path:
    """The folder with the Llama-2 and GPT-2 tokenizers, which are not the project's to hold."""
    return _shared_folder("PADELLM_TOKENIZERS", "tokenizers")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the research corpora, likewise."""
    return _shared_folder("PADELLM_DATA", "data")
