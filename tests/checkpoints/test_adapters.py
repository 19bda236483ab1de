from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

pytest.importorskip("peft")

import peft
from safetensors.torch import load_file, save_file

from spacy_padellm.checkpoints.adapters import find_adapted
from spacy_padellm.checkpoints.files import CheckpointFiles
from spacy_padellm.checkpoints.loading import load_causal_lm
from spacy_padellm.checkpoints.options import LoadOptions
from spacy_padellm.checkpoints.saving import save_checkpoint, save_settings
from spacy_padellm.model import PaDeLLM
from spacy_padellm.tree.causal_lm import CausalLM
from tests.tiny_models import plain_logits
from tests.trained import trained_lm

IDS = [1, 5, 9, 30, 7]


def make_adapter(base: Path, folder: Path, **changes) -> peft.PeftModel:
    """As training would leave it: weights that do something."""
    model = load_causal_lm(str(base)).model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        fields = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False, **changes}
        adapted = peft.get_peft_model(model, peft.LoraConfig(**fields))
    adapted.save_pretrained(folder)
    return adapted.eval()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "base"
    save_checkpoint(folder, *trained_lm())
    return folder


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    make_adapter(base, tmp_path / "adapter")
    return tmp_path / "adapter"


def test_the_model_is_found_and_the_adapter_merged(base: Path, tmp_path: Path):
    adapted = make_adapter(base, tmp_path / "adapter")
    lm = load_causal_lm(str(tmp_path / "adapter"))
    expected = plain_logits(adapted, IDS)
    assert torch.allclose(plain_logits(lm.model, IDS), expected, atol=1e-4)
    assert not torch.allclose(plain_logits(load_causal_lm(str(base)).model, IDS), expected)
    # Nothing of PEFT is left, so that it is saved and run as any model.
    names = set(lm.model.state_dict())
    assert names == set(load_causal_lm(str(base)).model.state_dict())
    assert lm.support.way == "cached"


def test_merged_it_can_be_trained(adapter: Path):
    lm = load_causal_lm(str(adapter))
    assert all(parameter.requires_grad for parameter in lm.model.parameters())


def test_an_adapter_of_one_of_two_tied_weights(base: Path, tmp_path: Path):
    """The head is the embeddings' weight: merged into that, it would change what both do."""
    assert load_causal_lm(str(base)).model.config.tie_word_embeddings
    adapted = make_adapter(base, tmp_path / "adapter", target_modules=["embed_tokens", "up_proj"])
    lm = load_causal_lm(str(tmp_path / "adapter"))
    expected = plain_logits(adapted, IDS)
    assert torch.allclose(plain_logits(lm.model, IDS), expected, atol=1e-4)
    save_checkpoint(tmp_path / "whole", lm, trained_lm()[1])
    again = load_causal_lm(str(tmp_path / "whole"))
    assert torch.allclose(plain_logits(again.model, IDS), expected, atol=1e-4)


def test_an_adapter_that_lacks_weights(adapter: Path):
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    dropped = sorted(weights)[0]
    save_file({name: each for name, each in weights.items() if name != dropped}, path)
    with pytest.raises(ValueError, match=r"(?s)P042.*missing adapter keys"):
        load_causal_lm(str(adapter))


def test_what_is_saved_over_an_adapter_is_what_is_loaded(adapter: Path, base: Path):
    model = PaDeLLM.from_pretrained(str(base))
    model.save_pretrained(adapter)
    again = load_causal_lm(str(adapter))
    assert torch.equal(plain_logits(again.model, IDS), plain_logits(model.lm.model, IDS))


def test_settings_come_from_the_adapters_folder(adapter: Path):
    with pytest.raises(ValueError, match=r"P041.*padellm.json"):
        PaDeLLM.from_pretrained(str(adapter))
    save_settings(adapter, trained_lm()[1])
    assert PaDeLLM.from_pretrained(str(adapter)).settings == trained_lm()[1]


def test_what_is_saved_is_whole(adapter: Path, tmp_path: Path):
    lm = load_causal_lm(str(adapter))
    save_checkpoint(tmp_path / "whole", lm, trained_lm()[1])
    shutil.rmtree(adapter)
    again = load_causal_lm(str(tmp_path / "whole"))
    assert torch.equal(plain_logits(again.model, IDS), plain_logits(lm.model, IDS))


def test_a_tokenizer_of_its_own_with_more_tokens(base: Path, tmp_path: Path):
    lm = load_causal_lm(str(base))
    lm.tokenizer.add_tokens(["<new>"])
    lm.model.resize_token_embeddings(len(lm.tokenizer), mean_resizing=False)
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    adapted = peft.get_peft_model(lm.model, config)
    with torch.no_grad():
        adapted.get_input_embeddings().weight[-1] += 1
    adapted.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    loaded = load_causal_lm(str(tmp_path))
    token = loaded.tokenizer.convert_tokens_to_ids("<new>")
    assert token == len(lm.tokenizer) - 1
    ids = [*IDS, token, 3]
    assert torch.allclose(
        plain_logits(loaded.model, ids), plain_logits(adapted.eval(), ids), atol=1e-4
    )


def test_on_quantized_weights_it_stays_beside_them(base: Path, tmp_path: Path):
    pytest.importorskip("bitsandbytes")
    adapted = make_adapter(base, tmp_path / "adapter")
    lm = load_causal_lm(str(tmp_path / "adapter"), options=LoadOptions(quantization="8bit"))
    layer = lm.model.model.layers[0].self_attn.q_proj
    assert type(layer.base_layer).__name__ == "Linear8bitLt" and "default" in layer.lora_A
    expected = plain_logits(adapted, IDS)
    found = plain_logits(lm.model, IDS)
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.99
    # It would be neither of the two.
    with pytest.raises(ValueError, match=r"P054.*save_weights = false"):
        save_checkpoint(tmp_path / "both", lm, trained_lm()[1])


def test_weights_that_were_saved_quantized(base: Path, tmp_path: Path):
    """No option says so, and nothing is merged into them."""
    pytest.importorskip("bitsandbytes")
    quantized = load_causal_lm(str(base), options=LoadOptions(quantization="8bit"))
    save_checkpoint(tmp_path / "base", quantized, trained_lm()[1])
    make_adapter(base, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(tmp_path / "base")
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    layer = load_causal_lm(str(tmp_path / "adapter")).model.model.layers[0].self_attn.q_proj
    assert type(layer.base_layer).__name__ == "Linear8bitLt"


def test_without_peft(adapter: Path, monkeypatch: pytest.MonkeyPatch):
    from importlib.util import find_spec

    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "peft" else find_spec(name)
    )
    with pytest.raises(ImportError, match=r"P301.*An adapter needs peft.*'llm'"):
        load_causal_lm(str(adapter))


def test_a_folder_without_an_adapter(base: Path):
    assert find_adapted(CheckpointFiles(str(base))) is None


def test_the_revision_of_the_model_is_the_adapters_word(adapter: Path, base: Path):
    change(adapter, revision="v7")
    options = LoadOptions(revision="main", dtype="bfloat16")
    found = find_adapted(CheckpointFiles(str(adapter), options))
    assert found == CheckpointFiles(str(base), LoadOptions(revision="v7", dtype="bfloat16"))


def change(adapter: Path, **changes) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"base_model_name_or_path": None}, r"P051.*base_model_name_or_path"),
        ({"base_model_name_or_path": "/gone/folder"}, r"P053.*/gone/folder.*P041"),
        ({"peft_type": "PREFIX_TUNING"}, r"P052.*PREFIX_TUNING"),
    ],
)
def test_adapters_that_cannot_be_loaded(adapter: Path, changes: dict, message: str):
    change(adapter, **changes)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        load_causal_lm(str(adapter))


def test_a_configuration_that_is_cut_off(adapter: Path):
    path = adapter / "adapter_config.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(ValueError, match="P050"):
        load_causal_lm(str(adapter))


def test_weights_are_missing(adapter: Path):
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"P041.*weights \(adapter_model.safetensors\)"):
        load_causal_lm(str(adapter))


def test_an_adapter_of_another_model(adapter: Path, tmp_path: Path):
    from tests.tiny_models import random_lm

    lm = random_lm("llama")
    save_checkpoint(tmp_path / "other", CausalLM(lm.model, lm.tokenizer), trained_lm()[1])
    change(adapter, base_model_name_or_path=str(tmp_path / "other"))
    with pytest.raises(ValueError, match=r"P042.*size mismatch|(?s:P042.*mismatch)"):
        load_causal_lm(str(adapter))
