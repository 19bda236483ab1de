from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from spacy_padellm.core.prompt import PromptEncoder
from spacy_padellm.core.template import TEMPLATES

from .sample_tokenizers import TOKENIZERS, WORDINGS, load_tokenizer


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """The models here are so small that a second thread only costs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", params=TOKENIZERS)
def any_tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return load_tokenizer(request.param, request)


@pytest.fixture(scope="session", params=["en", "zh"])
def any_encoder(
    request: pytest.FixtureRequest, any_tokenizer: PreTrainedTokenizerBase
) -> PromptEncoder:
    """Every tokenizer with both of the paper's templates."""
    lang: str = request.param
    return PromptEncoder(TEMPLATES[lang], WORDINGS[lang], any_tokenizer)
