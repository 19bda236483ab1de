"""Fixtures that more than one part's tests use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from transformers import PreTrainedTokenizerBase

from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.tree import causal_lm
from spacy_padellm.tree.probe import PassCost
from tests.sample_tokenizers import TOKENIZERS, WORDINGS, load_tokenizer, make_encoder

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


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The models here are so small that a second thread only costs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def steady_drafts() -> Iterator[None]:
    """What is drafted does not depend on the time that passes take on this machine just now."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(causal_lm, "measure_cost", lambda *_, **__: PassCost(2e-3, 2e-4))
        yield


@pytest.fixture(scope="session", params=TOKENIZERS)
def any_tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return load_tokenizer(request.param, request)


@pytest.fixture(scope="session", params=["en", "zh"])
def any_encoder(
    request: pytest.FixtureRequest, any_tokenizer: PreTrainedTokenizerBase
) -> PromptEncoder:
    """Every tokenizer with both of the paper's templates."""
    lang: str = request.param
    return make_encoder(TEMPLATES[lang], WORDINGS[lang], any_tokenizer)
