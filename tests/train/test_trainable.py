from __future__ import annotations

import copy
import warnings

import pytest
import torch

from spacy_padellm.train.trainable import check_trainable
from tests.tiny_models import random_lm


def test_full_precision_is_trained_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_trainable(random_lm("llama", "en", "causal").model)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_steps_that_weights_are_too_short_for(dtype: str):
    model = copy.deepcopy(random_lm("llama", "en", "causal").model).to(getattr(torch, dtype))
    with pytest.warns(match=rf"W075\].* {dtype}: .*`lora`"):
        check_trainable(model)


def test_quantized_weights():
    model = copy.deepcopy(random_lm("llama", "en", "causal").model)
    model.is_quantized = True
    with pytest.raises(ValueError, match=r"P074.*`lora`"):
        check_trainable(model)
