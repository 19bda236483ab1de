from __future__ import annotations

import copy
import json
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from spacy_padellm.checkpoints import files, loading
from spacy_padellm.checkpoints.files import CheckpointFiles
from spacy_padellm.checkpoints.loading import (
    check_trainable,
    load_causal_lm,
    load_model,
    load_settings,
)
from spacy_padellm.checkpoints.options import LoadOptions
from spacy_padellm.checkpoints.saving import save_checkpoint
from spacy_padellm.model import PaDeLLM
from spacy_padellm.texts import Entity
from spacy_padellm.tree.causal_lm import CausalLM
from tests.tiny_models import plain_logits, random_lm
from tests.trained import TEXTS, trained_lm

IDS = [1, 5, 9, 30, 7]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loading") / "trained"
    save_checkpoint(folder, *trained_lm())
    return folder


def found_by(lm: CausalLM) -> list[list[Entity]]:
    texts = [text.source for text in TEXTS]
    return PaDeLLM(lm, trained_lm()[1]).predict(texts, nested=True)


# Where to


def test_a_device_that_is_not_there(checkpoint: Path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match=r"P045.*'cuda:7'"):
        load_causal_lm(str(checkpoint), options=LoadOptions(device="cuda:7"))


@pytest.mark.parametrize(
    "device_map",
    ["auto", {"": "cpu"}, {"model.embed_tokens": "cpu", "model": "cpu", "lm_head": "cpu"}],
)
def test_a_device_map(checkpoint: Path, device_map: str | dict):
    pytest.importorskip("accelerate")
    lm = load_causal_lm(str(checkpoint), options=LoadOptions(device_map=device_map))
    assert found_by(lm) == found_by(trained_lm()[0])


def test_a_device_map_with_weights_fetched_when_they_are_needed(checkpoint: Path, monkeypatch):
    """As where a model does not fit: parts of it are nowhere but on disk, the output layer too."""
    accelerate = pytest.importorskip("accelerate")
    lm = load_causal_lm(str(checkpoint))
    expected = found_by(lm)
    accelerate.cpu_offload(lm.model, torch.device("cpu"))
    assert lm.model.lm_head.weight.device.type == "meta"
    assert found_by(lm) == expected


def test_a_device_map_without_accelerate(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"P301.*needs accelerate.*'llm'"):
        load_causal_lm(str(checkpoint), options=LoadOptions(device_map="auto"))


# In which precision


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_dtypes(checkpoint: Path, dtype: str):
    lm = load_causal_lm(str(checkpoint), options=LoadOptions(dtype=dtype))
    assert {p.dtype for p in lm.model.parameters()} == {getattr(torch, dtype)}


def test_the_dtype_that_is_stored(tmp_path: Path):
    lm = random_lm("llama")
    half = CausalLM(type(lm.model)(lm.model.config).bfloat16(), lm.tokenizer, support=lm.support)
    save_checkpoint(tmp_path, half, trained_lm()[1])
    loaded = load_causal_lm(str(tmp_path), options=LoadOptions(dtype="stored"))
    assert loaded.model.dtype == torch.bfloat16


@pytest.mark.parametrize("is_fast", [True, False])
@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
def test_the_fastest_dtype_on_a_cpu(checkpoint, tmp_path, monkeypatch, caplog, stored, is_fast):
    monkeypatch.setattr(loading, "has_fast_bfloat16", lambda device: is_fast)
    lm = load_causal_lm(str(checkpoint), options=LoadOptions(dtype=stored))
    save_checkpoint(tmp_path, lm, trained_lm()[1])
    with caplog.at_level(logging.INFO, logger=loading.__name__):
        loaded = load_causal_lm(str(tmp_path), options=LoadOptions(dtype="auto"))
    kept = is_fast and stored == "bfloat16"
    assert loaded.model.dtype == (torch.bfloat16 if kept else torch.float32)
    # Which one is said.
    (said,) = [record.getMessage() for record in caplog.records if record.name == loading.__name__]
    assert ("predict in bfloat16" in said) == (is_fast and not kept)
    assert ("as stored" in said) == kept
    full = load_causal_lm(str(tmp_path), options=LoadOptions(dtype="float32"))
    expected = plain_logits(full.model, IDS)
    # With gradients, as in training, layers of float32 weights multiply in float32.
    assert torch.equal(plain_logits(loaded.model, IDS).float(), expected) != kept
    with torch.no_grad():
        found = plain_logits(loaded.model, IDS).float()
    assert torch.equal(found, expected) != is_fast
    assert torch.allclose(found, expected, atol=0.1)
    # What was learnt by heart outlives the rounding.
    assert [[(m.label, m.start, m.end) for m in mentions] for mentions in found_by(loaded)] == [
        [(m.label, m.start, m.end) for m in mentions] for mentions in found_by(trained_lm()[0])
    ]


@pytest.mark.parametrize("quantization, layer", [("4bit", "Linear4bit"), ("8bit", "Linear8bitLt")])
def test_quantized_weights(checkpoint: Path, tmp_path: Path, quantization: str, layer: str):
    pytest.importorskip("bitsandbytes")
    options = LoadOptions(quantization=quantization)  # type: ignore[arg-type]
    lm = load_causal_lm(str(checkpoint), options=options)
    assert type(lm.model.model.layers[0].self_attn.q_proj).__name__ == layer
    # What was learnt by heart outlives the rounding.
    found = [[(m.label, m.start, m.end) for m in mentions] for mentions in found_by(lm)]
    exact = found_by(trained_lm()[0])
    assert found == [[(m.label, m.start, m.end) for m in mentions] for mentions in exact]
    save_checkpoint(tmp_path, lm, trained_lm()[1])
    again = load_causal_lm(str(tmp_path), options=options)
    assert torch.allclose(plain_logits(again.model, IDS), plain_logits(lm.model, IDS), atol=0.05)


def test_quantization_needs_bitsandbytes(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"P301.*needs bitsandbytes.*'quantization'"):
        load_causal_lm(str(checkpoint), options=LoadOptions(quantization="4bit"))


def test_quantized_weights_on_a_device_that_is_not_there(checkpoint: Path):
    pytest.importorskip("bitsandbytes")
    options = LoadOptions(device="nowhere", quantization="8bit")
    with pytest.raises(ValueError, match=r"P045.*'nowhere'"):
        load_causal_lm(str(checkpoint), options=options)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_implementations(checkpoint: Path, implementation: str):
    lm = load_causal_lm(str(checkpoint), options=LoadOptions(attn_implementation=implementation))
    assert lm.model.config._attn_implementation == implementation
    expected = plain_logits(trained_lm()[0].model, IDS)
    assert torch.allclose(plain_logits(lm.model, IDS), expected, atol=1e-5)


def test_an_attention_implementation_without_masks(checkpoint: Path, monkeypatch):
    """As if it were installed; it asks for more than there is here."""
    options = LoadOptions(attn_implementation="flash_attention_2")
    with pytest.raises(ValueError, match=r"P0(20|42)"):
        load_causal_lm(str(checkpoint), options=options)


# From where


class Hub:
    """Stands in for the hub: what is asked for is looked up in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, str, str | None, bool]] = []

    def cached_file(self, name: str, file: str, **options) -> str | None:
        self.asked.append((name, file, options["revision"], options["local_files_only"]))
        if (self.folder / file).is_file():
            return str(self.folder / file)
        if options.get("_raise_exceptions_for_missing_entries", True):
            raise OSError(f"{name} has no {file}")
        return None


@pytest.fixture
def hub(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(Path(shutil.copytree(checkpoint, tmp_path / "hub")))
    monkeypatch.setattr(files, "cached_file", hub.cached_file)
    return hub


def test_a_revision_is_asked_for(hub: Hub):
    options = LoadOptions(revision="v2", local_files_only=True)
    assert load_settings("me/model", options) == trained_lm()[1]
    assert hub.asked == [
        ("me/model", "config.json", "v2", True),
        ("me/model", "padellm.json", "v2", True),
    ]


def test_a_hub_id_without_settings(hub: Hub):
    (hub.folder / "padellm.json").unlink()
    assert load_settings("me/model") is None


def test_an_adapter_on_the_hub_has_no_config(hub: Hub):
    (hub.folder / "config.json").rename(hub.folder / "adapter_config.json")
    assert load_settings("me/adapter") == trained_lm()[1]


def test_a_hub_id_that_is_neither(hub: Hub):
    (hub.folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"P042.*me/nothing has no config.json"):
        load_settings("me/nothing")


def test_options_reach_transformers(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    for loader in (LlamaForCausalLM, AutoTokenizer):
        load = loader.from_pretrained

        def spy(name, *, load=load, **options):
            asked.append(options)
            return load(name, **options)

        monkeypatch.setattr(loader, "from_pretrained", spy)
    options = {"revision": "v3", "local_files_only": True, "trust_remote_code": True}
    PaDeLLM.from_pretrained(str(checkpoint), **options)
    assert len(asked) == 2
    for each in asked:
        assert each["revision"] == "v3"
        assert each["local_files_only"] is each["trust_remote_code"] is True


def test_code_that_comes_along_is_not_run_unless_asked_for(checkpoint: Path, tmp_path: Path):
    folder = Path(shutil.copytree(checkpoint, tmp_path / "remote"))
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "no_such_type"
    config["auto_map"] = {
        "AutoConfig": "remote.RemoteConfig",
        "AutoModelForCausalLM": "remote.RemoteModel",
    }
    (folder / "config.json").write_text(json.dumps(config))
    ran = tmp_path / "ran"
    (folder / "remote.py").write_text(
        "from pathlib import Path\n"
        "from transformers import LlamaConfig as RemoteConfig, LlamaForCausalLM as RemoteModel\n"
        f"Path({str(ran)!r}).touch()\n"
    )
    with pytest.raises(ValueError, match=r"(?s)P042.*trust_remote_code"):
        load_causal_lm(str(folder))
    assert not ran.exists()


@pytest.mark.parametrize(
    "changes, is_asked",
    [
        ({}, False),
        # Trained for something else, written by hand, with code of its own, a family with parts.
        ({"architectures": ["LlamaModel"]}, True),
        ({"architectures": None}, True),
        ({"auto_map": {"AutoModelForCausalLM": "remote.RemoteModel"}}, True),
        ({"model_type": "emu3", "architectures": ["Emu3ForCausalLM"]}, True),
    ],
)
def test_transformers_chooses_the_class_unless_it_is_clear(
    checkpoint: Path, tmp_path: Path, monkeypatch, changes: dict[str, Any], is_asked: bool
):
    folder = Path(shutil.copytree(checkpoint, tmp_path / "changed"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    asked = []

    def choose(name: str, **options: Any) -> Any:
        asked.append(name)
        return LlamaForCausalLM.from_pretrained(checkpoint, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", choose)
    model = load_model(CheckpointFiles(str(folder)))
    assert asked == [str(folder)] * is_asked
    assert torch.equal(plain_logits(model.eval(), IDS), plain_logits(trained_lm()[0].model, IDS))


# Whether it can be trained


def test_full_precision_is_trained_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_trainable(random_lm("llama", "en", "causal").model)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_steps_that_weights_are_too_short_for(dtype: str):
    model = copy.deepcopy(random_lm("llama", "en", "causal").model).to(getattr(torch, dtype))
    with pytest.warns(match=rf"W075\].* {dtype}, .*`lora`"):
        check_trainable(model)


def test_quantized_weights_are_not_trained():
    model = copy.deepcopy(random_lm("llama", "en", "causal").model)
    model.is_quantized = True
    with pytest.raises(ValueError, match=r"P074.*`lora`"):
        check_trainable(model)
