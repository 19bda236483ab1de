from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from spacy_padellm.checkpoints.conversion import find_conversion
from spacy_padellm.checkpoints.files import CheckpointFiles
from spacy_padellm.checkpoints.loading import load_causal_lm
from spacy_padellm.checkpoints.options import LoadOptions
from spacy_padellm.checkpoints.saving import save_checkpoint
from spacy_padellm.model import PaDeLLM
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.prompt.tokenization import TextEncoder
from spacy_padellm.settings import Settings
from spacy_padellm.tree.causal_lm import CausalLM
from tests.checkpoints.baichuan_folders import (
    CONFIG,
    LAYOUTS,
    random_weights,
    reference_logits,
    write_folder,
)
from tests.reference import Paper
from tests.sample_texts import CHINESE, ENGLISH, NASTY, TEXTS
from tests.sample_tokenizers import WORDINGS
from tests.tiny_models import plain_logits, tiny_lm

IDS = [300, 5, 9, 511, 7, 7, 5, 460, 0, 31]
# The first generation's 7B has another class, and the head of a Llama.
FIRST_7B = {**CONFIG, "architectures": ["BaiChuanForCausalLM"]}


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return random_weights()


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory, weights: dict[str, Tensor]) -> CausalLM:
    return load_causal_lm(write_folder(tmp_path_factory.mktemp("baichuan"), weights))


def close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_are_those_of_baichuans_own_code(layout, weights, tmp_path):
    lm = load_causal_lm(write_folder(tmp_path, weights, layout=layout))
    assert type(lm.model) is LlamaForCausalLM
    assert not lm.model.training
    for ids in (IDS, IDS[:1]):
        assert close(plain_logits(lm.model, ids), reference_logits(weights, ids))


def test_it_runs_as_a_llama(lm):
    assert lm.support == tiny_lm("llama").support
    assert lm.max_depth == CONFIG["max_position_embeddings"]
    assert lm.model.config.model_type == "llama"
    special = [lm.model.config.to_dict()[f"{name}_token_id"] for name in ("pad", "bos", "eos")]
    assert special == [0, 1, 2]


def test_mentions_are_those_of_separate_sequences(lm):
    template, wordings = TEMPLATES["zh"], WORDINGS["zh"]
    model = PaDeLLM(lm, Settings(template, wordings, max_mentions=4, max_mention_tokens=4))
    found = model.decoder.decode([model.encode(text) for text in TEXTS["zh"]])
    paper = Paper.of(lm, template, wordings)
    expected = [paper.decode(text, list(wordings)) for text in TEXTS["zh"]]
    assert any(expected)
    assert [[(m.label, m.places) for m in text] for text in found] == [
        [(m.label, m.places) for m in text] for text in expected
    ]


@pytest.mark.parametrize("layout", ["bin", "safetensors"])
def test_half_precision(layout, weights, tmp_path):
    """The head's rows are normalised before they are rounded."""
    folder = write_folder(tmp_path, weights, layout=layout)
    model = load_causal_lm(folder, options=LoadOptions(dtype="bfloat16")).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    head = normalize(weights["lm_head.weight"]).bfloat16()
    assert torch.equal(model.lm_head.weight, head)
    packed = weights["model.layers.1.self_attn.W_pack.weight"].bfloat16()
    attention = model.model.layers[1].self_attn
    parts = [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
    assert torch.equal(torch.cat(parts), packed)


@pytest.mark.parametrize(
    "stated, expected",
    [
        ({"torch_dtype": "float16"}, torch.float16),
        ({"dtype": "float32", "torch_dtype": "float16"}, torch.float32),
        ({}, torch.bfloat16),
    ],
)
def test_the_precision_it_is_stored_in(stated, expected, weights, tmp_path):
    config = {key: value for key, value in CONFIG.items() if key != "torch_dtype"}
    stored = {name: weight.bfloat16() for name, weight in weights.items()}
    folder = write_folder(tmp_path, stored, config={**config, **stated})
    model = load_causal_lm(folder, options=LoadOptions(dtype="stored")).model
    assert {parameter.dtype for parameter in model.parameters()} == {expected}


def test_other_options(weights, tmp_path):
    folder = write_folder(tmp_path, weights)
    options = LoadOptions(attn_implementation="eager", trust_remote_code=True)
    model = load_causal_lm(folder, options=options).model
    assert type(model) is LlamaForCausalLM
    assert model.config._attn_implementation == "eager"
    assert close(plain_logits(model, IDS), reference_logits(weights, IDS))


def test_a_device_map(weights, tmp_path):
    pytest.importorskip("accelerate")
    folder = write_folder(tmp_path, weights, layout="sharded safetensors")
    model = load_causal_lm(folder, options=LoadOptions(device_map={"": "cpu"})).model
    assert close(plain_logits(model, IDS), reference_logits(weights, IDS))


def test_the_first_generation_has_an_ordinary_head(weights, tmp_path):
    # Its rotary embedding kept in the weights what is computed.
    rates = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    lm = load_causal_lm(write_folder(tmp_path, {**weights, **rates}, config=FIRST_7B))
    assert close(plain_logits(lm.model, IDS), reference_logits(weights, IDS, norm_head=False))


def test_the_first_generation_is_known_by_its_vocabulary(tmp_path):
    config = {**CONFIG, "vocab_size": 64000, "architectures": None}
    weights = random_weights(config)
    lm = load_causal_lm(write_folder(tmp_path, weights, config=config))
    assert close(plain_logits(lm.model, IDS), reference_logits(weights, IDS, norm_head=False))


def test_saved_it_is_a_llama(lm, weights, tmp_path):
    save_checkpoint(tmp_path, lm, Settings())
    assert find_conversion(CheckpointFiles(str(tmp_path))) is None
    found = PaDeLLM.from_pretrained(str(tmp_path)).lm
    expected = reference_logits(weights, IDS)
    assert close(plain_logits(found.model, IDS), expected)
    assert close(plain_logits(AutoModelForCausalLM.from_pretrained(tmp_path), IDS), expected)
    texts = [*ENGLISH, *CHINESE, *NASTY, "  a\tb\n\n   c"]
    encoders = [TextEncoder(loaded.tokenizer) for loaded in (found, lm)]
    assert encoders[0].encode(texts) == encoders[1].encode(texts)
    assert encoders[0].bos_ids == []
    assert encoders[0].end_id == 2
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert [tokenizer(text).input_ids for text in texts] == [
        lm.tokenizer(text).input_ids for text in texts
    ]


def test_training_leaves_the_files_as_they_are(weights, tmp_path):
    """Weights that are mapped from files change in memory only."""
    folder = write_folder(tmp_path, weights)
    lm = load_causal_lm(folder)
    with torch.no_grad():
        for parameter in lm.model.parameters():
            parameter.mul_(1.5)
    again = load_causal_lm(folder)
    assert close(plain_logits(again.model, IDS), reference_logits(weights, IDS))


def test_a_hub_id(weights, tmp_path):
    """In a process of its own, as transformers read where the hub's files are when imported."""
    files = tmp_path / "models--somebody--baichuan"
    snapshot = files / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (files / "refs").mkdir()
    (files / "refs" / "main").write_text("0123abcd")
    write_folder(snapshot, weights, layout="sharded bin")
    code = (
        "from spacy_padellm.checkpoints.loading import load_causal_lm\n"
        "from spacy_padellm.checkpoints.options import LoadOptions\n"
        "import torch, sys\n"
        "options = LoadOptions(revision='main', local_files_only=True)\n"
        "lm = load_causal_lm('somebody/baichuan', options=options)\n"
        f"logits = lm.model(input_ids=torch.tensor([{IDS}])).logits[0]\n"
        "torch.save(logits, sys.argv[1])\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "logits.pt")],
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        check=True,
    )
    assert close(torch.load(tmp_path / "logits.pt"), reference_logits(weights, IDS))


# Errors


def changed(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**config, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    "config, reason",
    [
        # As released, those of 13B state no number of positions.
        (changed(CONFIG, max_position_embeddings=None), "ALiBi"),
        (changed(CONFIG, hidden_size=5120), "ALiBi"),
        (changed(CONFIG, quantization_config={"load_in_4bit": True}), "quantized"),
    ],
)
def test_models_that_are_no_llama(config, reason, weights, tmp_path):
    folder = write_folder(tmp_path, weights, config=config)
    with pytest.raises(ValueError, match=rf"\[P060\] {folder} .*{reason}.*Give Baichuan2-7B"):
        load_causal_lm(folder)


@pytest.mark.parametrize(
    "missing, named",
    [
        ("model.norm.weight", "1 of .*model.norm.weight"),
        ("lm_head.weight", "1 of .*lm_head.weight"),
        ("model.layers.1.self_attn.W_pack.weight", "3 of .*layers.1.self_attn.k_proj.weight"),
    ],
)
def test_missing_weights(missing, named, weights, tmp_path):
    rest = {name: weight for name, weight in weights.items() if name != missing}
    with pytest.raises(ValueError, match=rf"\[P044\].*lack {named}"):
        load_causal_lm(write_folder(tmp_path, rest))


def test_no_weights_at_all(weights, tmp_path):
    folder = write_folder(
        tmp_path, {}, layout="sharded bin", config={**CONFIG, "torch_dtype": None}
    )
    with pytest.raises(ValueError, match=r"\[P044\].*lack 21 of"):
        load_causal_lm(folder, options=LoadOptions(dtype="auto"))


def test_weights_that_are_left_over(weights, tmp_path):
    more = {"model.layers.0.self_attn.W_pack.lora_A.weight": torch.ones(2)}
    with pytest.raises(ValueError, match=r"\[P062\].*contain 1 .*W_pack\.lora_A\.weight"):
        load_causal_lm(write_folder(tmp_path, {**weights, **more}))


@pytest.mark.parametrize(
    "name, shape",
    [
        ("model.layers.0.self_attn.W_pack.weight", (90, 32)),
        ("model.layers.0.self_attn.W_pack.weight", (2, 32)),
        ("lm_head.weight", (500, 32)),
        ("model.norm.weight", (31,)),
    ],
)
def test_weights_of_another_shape(name, shape, weights, tmp_path):
    folder = write_folder(tmp_path, {**weights, name: torch.ones(shape)})
    with pytest.raises(ValueError, match=rf"(?s)\[P042\] Cannot load {folder}"):
        load_causal_lm(folder)


def test_missing_files(weights, tmp_path):
    folder = write_folder(tmp_path, weights, layout="sharded bin")
    (tmp_path / "pytorch_model-00002-of-00003.bin").unlink()
    with pytest.raises(ValueError, match=r"P041.*pytorch_model-00002-of-00003\.bin is missing"):
        load_causal_lm(folder)
    (tmp_path / "tokenizer.model").unlink()
    with pytest.raises(ValueError, match=r"P041.*a tokenizer .* is missing"):
        load_causal_lm(folder)


def test_other_models_are_not_taken_for_it(tmp_path):
    for config in ({}, {"model_type": "llama"}, {"model_type": "baichuan_m1"}):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert find_conversion(CheckpointFiles(str(tmp_path))) is None
