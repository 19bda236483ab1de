from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from .sample_tokenizers import TOKENIZERS


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """The models here are so small that a second thread only costs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", params=TOKENIZERS)
def any_tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return TOKENIZERS[request.param](request)
