from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from spacy_padellm.benchmark.subjects import SHAPES, build_random_lm
from tests.sample_tokenizers import small_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    small_tokenizer("en").save_pretrained(folder)
    return str(folder)


def test_a_named_shape(tokenizer):
    lm = build_random_lm("tiny", tokenizer)
    assert lm.model.config.hidden_size == SHAPES["tiny"]["hidden_size"]
    assert (lm.support.way, lm.model.training) == ("cached", False)
    again = build_random_lm("tiny", tokenizer)
    other = build_random_lm("tiny", tokenizer, seed=1)
    weights = [each.model.get_input_embeddings().weight for each in (lm, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_random_state_stays(tokenizer):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_random_lm("tiny", tokenizer)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name, millions", [("llama-160m", 162), ("llama2-7b", 6738)])
def test_named_shapes_have_their_size(name, millions):
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**SHAPES[name]))
    assert sum(p.numel() for p in model.parameters()) // 10**6 == millions


def test_a_config_file(tokenizer, tmp_path: Path):
    path = tmp_path / "config.json"
    config = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 1, "vocab_size": 500}
    path.write_text(json.dumps(config))
    lm = build_random_lm(str(path), tokenizer, dtype="bfloat16")
    assert type(lm.model).__name__ == "GPT2LMHeadModel"
    assert lm.model.dtype == torch.bfloat16


@pytest.mark.parametrize("content", ["[", "{}", '{"model_type": "nothing"}', "[1]"])
def test_a_file_that_is_no_config(tokenizer, tmp_path: Path, content):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"P407.*config\.json"):
        build_random_lm(str(path), tokenizer)


def test_a_shape_that_is_not_there(tokenizer):
    with pytest.raises(ValueError, match=r"P405.*'huge'.*llama-160m"):
        build_random_lm("huge", tokenizer)


def test_a_tokenizer_that_is_not_there(tmp_path: Path):
    with pytest.raises(ValueError, match=r"P042.*nowhere"):
        build_random_lm("tiny", str(tmp_path / "nowhere"))


def test_a_vocabulary_that_is_too_small(tokenizer, tmp_path: Path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**SHAPES["tiny"], "vocab_size": 100}))
    with pytest.raises(ValueError, match=r"P406.*a vocabulary of only 100"):
        build_random_lm(str(path), tokenizer)
