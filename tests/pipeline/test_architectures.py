from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("spacy")

from spacy.util import registry
from thinc.api import Config, Model

from spacy_padellm.pipeline.architectures import (
    build_causal_lm_v1,
    build_encoder_lm_v1,
    build_small_causal_lm_v1,
)
from spacy_padellm.pipeline.model import get_shim

CAUSAL_LM = """
[model]
@architectures = "spacy_padellm.CausalLM.v1"
name = "/absent/folder"
device = "cpu"
dtype = "bfloat16"
device_map = {"model": 0, "lm_head": "cuda:1"}
attn_implementation = "eager"
quantization = "4bit"
revision = "main"
local_files_only = true
trust_remote_code = true
save_weights = false
mixed_precision = true
prefix_attention = "causal"
softmax = "vocabulary"
tag_text = 0.5
devices = null
"""
ENCODER_LM = """
[model]
@architectures = "spacy_padellm.EncoderLM.v1"
name = "/absent/folder"
device = "cuda:1"
mixed_precision = true
prefix_attention = "causal"
softmax = "vocabulary"
tag_text = 0.5
"""
SMALL_CAUSAL_LM = """
[model]
@architectures = "spacy_padellm.SmallCausalLM.v1"
width = 48
depth = 1
heads = 2
feed_forward = 64
vocab_size = 300
max_positions = 32
device = "cuda"
mixed_precision = true
prefix_attention = "causal"
softmax = "vocabulary"
tag_text = 0.5
"""


@pytest.mark.parametrize("other", ['device = "cuda:1"', 'devices = ["cpu", "cpu"]'])
def test_a_device_map_takes_the_place_of_devices(other: str):
    with pytest.raises(ValueError, match=r"P068\].*device_map"):
        make(f'[model]\n@architectures = "spacy_padellm.CausalLM.v1"\ndevice_map = "auto"\n{other}')


def make(config: str) -> Model[Any, Any]:
    return registry.resolve(Config().from_str(config))["model"]


@pytest.mark.parametrize(
    "config, build",
    [
        (CAUSAL_LM, build_causal_lm_v1),
        (ENCODER_LM, build_encoder_lm_v1),
        (SMALL_CAUSAL_LM, build_small_causal_lm_v1),
    ],
)
def test_configs_name_every_setting_and_load_nothing(config: str, build: Any):
    stated = Config().from_str(config)["model"]
    assert set(stated) - {"@architectures"} == set(inspect.signature(build).parameters)
    # The folder is not there, and neither is the device.
    shim = get_shim(make(config))
    assert not shim.configured.is_known


def test_what_a_config_states_reaches_the_model():
    shim = get_shim(make(SMALL_CAUSAL_LM.replace('"cuda"', '"cpu"')))
    assert (shim.settings.prefix_attention, shim.settings.softmax) == ("causal", "vocabulary")
    shim.configured.override(labels={"PER": "PER"})
    assert shim.tag_text == 0.5
    shim.create(["Ada left"])
    config = shim.lm.model.config
    assert (config.hidden_size, config.num_hidden_layers) == (48, 1)
    assert (config.num_attention_heads, config.intermediate_size) == (2, 64)
    assert config.vocab_size <= 300 and shim.lm.max_positions == 32


@pytest.mark.parametrize("line", ["width = 10.5", 'dtype = "float32"', "layers = 2"])
def test_wrong_settings_are_named(line: str):
    from confection import ConfigValidationError

    name = line.partition(" ")[0]
    with pytest.raises(ConfigValidationError, match=name):
        make(f'[model]\n@architectures = "spacy_padellm.SmallCausalLM.v1"\n{line}\n')


def test_dtype_and_device(toy_checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    from spacy_padellm.tree.causal_lm import CausalLM

    moved = []
    monkeypatch.setattr(CausalLM, "to", lambda self, device: moved.append(device) or self)
    plain = CAUSAL_LM.replace('{"model": 0, "lm_head": "cuda:1"}', "null").replace('"4bit"', "null")
    plain = plain.replace('device = "cpu"', 'device = "cuda:1"')
    model = make(plain.replace("/absent/folder", str(toy_checkpoint)))
    assert str(get_shim(model).lm.model.dtype) == "torch.bfloat16"
    assert moved == ["cuda:1"]
