"""What is registered for configs: architectures, batchers, templates, augmenters."""

from __future__ import annotations

import inspect
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("spacy")

import spacy
from spacy.util import registry
from thinc.api import Config, Model

from spacy_padellm.pipeline.registered import (
    build_causal_lm_v1,
    build_encoder_lm_v1,
    build_small_causal_lm_v1,
)
from spacy_padellm.pipeline.shim import PaDeLLMShim, get_shim
from spacy_padellm.prompt.template import TEMPLATES, PromptTemplate
from spacy_padellm.tree.causal_lm import CausalLM
from tests.pipeline.toy_pipeline import component, fresh_nlp, make_example

# Architectures

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
label_vectors = false
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
label_vectors = false
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
label_vectors = false
"""


@pytest.mark.parametrize("other", ['device = "cuda:1"', 'devices = ["cpu", "cpu"]'])
def test_a_device_map_takes_the_place_of_devices(other: str):
    with pytest.raises(ValueError, match=r"P068\].*device_map"):
        make(f'[model]\n@architectures = "spacy_padellm.CausalLM.v1"\ndevice_map = "auto"\n{other}')


def make(config: str) -> Model[Any, Any]:
    return registry.resolve(Config().from_str(config))["model"]


def make_shim(config: str) -> PaDeLLMShim:
    return get_shim(make(config))


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
    shim = make_shim(config)
    assert not shim.is_known


def test_what_a_config_states_reaches_the_model():
    shim = make_shim(SMALL_CAUSAL_LM.replace('"cuda"', '"cpu"'))
    assert (shim.settings.prefix_attention, shim.settings.softmax) == ("causal", "vocabulary")
    shim.set_labels({"PER": "PER"})
    assert shim.tag_text == 0.5
    shim.create(["Ada left"])
    config = shim.lm.model.config
    assert (config.hidden_size, config.num_hidden_layers) == (48, 1)
    assert (config.num_attention_heads, config.intermediate_size) == (2, 64)
    assert config.vocab_size <= 300 and shim.lm.max_depth == 32


@pytest.mark.parametrize("line", ["width = 10.5", 'dtype = "float32"', "layers = 2"])
def test_wrong_settings_are_named(line: str):
    from confection import ConfigValidationError

    name = line.partition(" ")[0]
    with pytest.raises(ConfigValidationError, match=name):
        make(f'[model]\n@architectures = "spacy_padellm.SmallCausalLM.v1"\n{line}\n')


def test_dtype_and_device(toy_checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    moved = []
    monkeypatch.setattr(CausalLM, "to", lambda self, device: moved.append(device) or self)
    plain = CAUSAL_LM.replace('{"model": 0, "lm_head": "cuda:1"}', "null").replace('"4bit"', "null")
    plain = plain.replace('device = "cpu"', 'device = "cuda:1"')
    shim = make_shim(plain.replace("/absent/folder", str(toy_checkpoint)))
    assert str(shim.lm.model.dtype) == "torch.bfloat16"
    assert moved == ["cuda:1"]


# Batchers


def make_batcher(size: int, buffer: int = 400) -> Callable[[Iterable[str]], Iterator[list[str]]]:
    batcher: Callable[[Iterable[str]], Iterator[list[str]]]
    batcher = registry.batchers.get("spacy_padellm.batch_by_padded.v1")(size, buffer)
    return batcher


def test_batches_are_of_similar_lengths_and_hold_everything_once():
    texts = ["x" * (7 * n % 40) + str(n) for n in range(200)]
    batches = list(make_batcher(100)(iter(texts)))
    assert Counter(text for batch in batches for text in batch) == Counter(texts)
    assert all(len(batch) * max(map(len, batch)) <= 100 for batch in batches)
    padded = sum(len(batch) * max(map(len, batch)) for batch in batches)
    assert padded < 1.15 * sum(map(len, texts))


def test_their_order_is_random_within_a_buffer():
    texts = ["x" * n for n in range(1, 41)]
    random.seed(0)
    orders = {tuple(len(batch[0]) for batch in make_batcher(40)(texts)) for _ in range(10)}
    assert len(orders) > 5
    for batches in (list(make_batcher(40, buffer=20)(texts)) for _ in range(5)):
        lengths = [len(text) for batch in batches for text in batch]
        assert sorted(lengths[:20]) == list(range(1, 21))


def test_a_text_that_is_too_long_is_a_batch_of_its_own():
    assert sorted(make_batcher(3)(["aaaaa", "b", "c"]), key=len) == [["aaaaa"], ["b", "c"]]


def test_nothing_makes_no_batch():
    assert list(make_batcher(10)([])) == []


# Templates

OWN = {
    "@misc": "spacy_padellm.PromptTemplate.v1",
    "prompt": "read: {text} | find: {label} = ",
    "count_end": ";",
    "mention": "({n}) ",
}


def make_template(**fields: str) -> PromptTemplate:
    config = {"template": {"@misc": "spacy_padellm.PromptTemplate.v1", **fields}}
    return registry.resolve(config)["template"]


def test_own_wording():
    template = make_template(prompt="{text}?{label}:", count_end=";", mention="#{n} ")
    assert template == PromptTemplate("{text}?{label}:", ";", "#{n} ")
    assert make_template(prompt="{text}?{label}:") == PromptTemplate("{text}?{label}:")


@pytest.mark.parametrize(
    "fields, code",
    [
        ({"prompt": "{text}"}, "P001"),
        ({"prompt": "{label} {text}"}, "P002"),
        ({"prompt": "{text} {label}", "mention": "<>"}, "P003"),
        ({"prompt": "{text} {label}", "mention": "No {n}"}, "P003"),
        ({"prompt": "{text} {label}", "mention": "{n}0:"}, "P003"),
        ({"prompt": "{text} {label}", "count_end": ""}, "P004"),
        ({"prompt": "{text} {label}", "count_end": "0"}, "P004"),
    ],
)
def test_wrong_wording(fields: dict[str, str], code: str):
    with pytest.raises(ValueError, match=rf"\[{code}\]"):
        make_template(**fields)


@pytest.mark.filterwarnings("ignore:.*W202.*template")
@pytest.mark.parametrize(
    "template, expected",
    [
        (None, TEMPLATES["en"]),
        ("zh", TEMPLATES["zh"]),
        (OWN, PromptTemplate(*[OWN[name] for name in ("prompt", "count_end", "mention")])),
    ],
)
def test_the_wording_is_trained_and_saved(template: Any, expected: PromptTemplate, tmp_path: Path):
    nlp = fresh_nlp(template=template)
    nlp.initialize(lambda: [make_example(nlp, "[Ada|PER] left")])
    nlp.to_disk(tmp_path / "pipeline")
    # A saved pipeline keeps its wording whatever the config says: it was trained with it.
    config = {"components": {"padellm_ner": {"template": "en"}}}
    for loaded in (
        spacy.load(tmp_path / "pipeline"),
        spacy.load(tmp_path / "pipeline", config=config),
    ):
        settings = component(loaded).shim.settings
        assert settings.template == expected
        tokenizer = component(loaded).shim.lm.tokenizer
        assert expected.before_label in tokenizer.get_vocab()


def test_unknown_name():
    with pytest.raises(ValueError, match=r"\[P005\].*'fr'.*en, zh"):
        fresh_nlp(template="fr")
