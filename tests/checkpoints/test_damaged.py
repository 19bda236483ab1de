"""Checkpoints that something happened to: the error names the file, and no code is run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from spacy_padellm.checkpoints.files import BUNDLED_FOLDER, loading_errors
from spacy_padellm.checkpoints.loading import load_tokenizer
from spacy_padellm.checkpoints.saving import sample_tokens, save_checkpoint
from spacy_padellm.checkpoints.small_lm import train_tokenizer
from spacy_padellm.model import PaDeLLM
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.settings import Settings
from tests.tiny_models import random_lm

Damage = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lm = random_lm("llama", "en", "causal", 0)
    save_checkpoint(tmp_path / "saved", lm, Settings(labels={"PER": "person"}))
    return tmp_path / "saved"


def cut(file: str, share: float) -> Damage:
    def damage(folder: Path) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: int(share * len(content))])

    return damage


def change(file: str, **changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        content = json.loads((folder / file).read_text(encoding="utf8"))
        (folder / file).write_text(json.dumps({**content, **changes}), encoding="utf8")

    return damage


def remove(file: str) -> Damage:
    return lambda folder: (folder / file).unlink()


def forget_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def swap_tokenizer(folder: Path) -> None:
    """It has fewer tokens, so nothing but what they are tells."""
    tokenizer = train_tokenizer(["Others said other words."], TEMPLATES["en"], ["X"], 2, 300)
    assert len(tokenizer) <= json.loads((folder / "config.json").read_text())["vocab_size"]
    for each in folder.glob("*token*"):
        each.unlink()
    tokenizer.save_pretrained(folder)


def swap_for_a_larger_one(folder: Path) -> None:
    """Nothing says which tokenizer was saved."""
    change("padellm.json", tokenizer={})(folder)
    for each in (BUNDLED_FOLDER / "padellm_en_small").glob("*token*"):
        shutil.copy(each, folder)


DAMAGED = [
    (cut("model.safetensors", 0.5), r"P042.*model\.safetensors can't be read"),
    (cut("model.safetensors", 0.0), r"P042.*model\.safetensors can't be read"),
    (cut("tokenizer.json", 0.5), r"P042.*tokenizer\.json can't be read"),
    (cut("config.json", 0.5), r"P042.*config\.json can't be read"),
    (cut("padellm.json", 0.5), r"P040.*padellm\.json"),
    (remove("model.safetensors"), r"P041.*weights \(model\.safetensors\) is missing"),
    (remove("tokenizer.json"), r"P041.*tokenizer\.json\) is missing"),
    (remove("config.json"), r"P041.*config\.json is missing"),
    (remove("padellm.json"), r"P041.*padellm\.json is missing"),
    (change("padellm.json", format=2), r"P040.*format is 2, and this version reads 1.*newer"),
    (change("padellm.json", heads=2), r"P040.*unknown entries \['heads'\].*newer"),
    (change("padellm.json", labels=["PER"]), "P040"),
    (change("padellm.json", tokenizer={"x": "y"}), r"P040.*tokenizer"),
    (change("padellm.json", tokenizer=["a"]), r"P040.*tokenizer"),
    (forget_a_weight, r"P044.*lack 1 of.*up_proj"),
    (change("config.json", hidden_size=64, head_dim=16), r"(?s)P042.*(shape|mismatch)"),
    (swap_tokenizer, r"P027.*token \d+ is .*but was"),
    (swap_for_a_larger_one, r"P028.*tokens.*embeddings"),
]


@pytest.mark.parametrize("damage, message", DAMAGED, ids=[message for _, message in DAMAGED])
def test_what_is_damaged_is_named(folder: Path, damage: Damage, message: str):
    damage(folder)
    with pytest.raises(ValueError, match=message) as caught:
        PaDeLLM.from_pretrained(str(folder))
    assert folder.name in str(caught.value)


@pytest.mark.parametrize("options", [{}, {"decode": "all", "tag_share": 0.0}, {"decode": "tags"}])
def test_weights_that_are_no_numbers(tmp_path: Path, options: dict[str, Any]):
    """They load, but whatever they give is an error, and not a text without entities."""
    folder = tmp_path / "copy"
    shutil.copytree(BUNDLED_FOLDER / "padellm_en_small", folder)
    weights = load_file(folder / "model.safetensors")
    name = next(each for each in sorted(weights) if ".0." in each and each.endswith("weight"))
    weights[name].view(-1)[0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    padellm = PaDeLLM.from_pretrained(str(folder), **options)
    with pytest.raises(ValueError, match="P029"):
        padellm.predict(["Ada met Bob ."])


class Code:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize(
    "save", [torch.save, lambda each, path: path.write_bytes(pickle.dumps(each))]
)
def test_pickles_are_not_read(folder: Path, tmp_path: Path, save: Callable[..., object]):
    (folder / "model.safetensors").unlink()
    save({"weight": Code(f"touch {tmp_path / 'run'}")}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"P042.*pytorch_model\.bin holds more than weights"):
        PaDeLLM.from_pretrained(str(folder))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["model", "tokenizer"])
def test_code_is_not_run(folder: Path, tmp_path: Path, kind: str):
    """A model of a kind that transformers lacks needs it, and is refused."""
    code = f"import os\nos.system('touch {tmp_path / 'run'}')\nclass Own: pass\n"
    (folder / "own.py").write_text(code)
    if kind == "model":
        auto = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
        change("config.json", model_type="own", auto_map=auto)(folder)
        with pytest.raises(ValueError, match=r"(?s)P042.*trust_remote_code"):
            PaDeLLM.from_pretrained(str(folder))
    else:
        change("tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Own", "own.Own"]})(folder)
        # transformers has one of its own for these files.
        assert PaDeLLM.from_pretrained(str(folder)).predict(["Ada met Bob ."]) is not None
    assert not (tmp_path / "run").exists()


def test_an_adapter_is_no_pickle_either(folder: Path, tmp_path: Path):
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Code(f"touch {tmp_path / 'run'}")}, folder / "adapter_model.bin")
    with (
        pytest.raises(ValueError, match=r"adapter_model\.bin holds more than weights"),
        loading_errors(str(folder)),
    ):
        raise RuntimeError("it can't be loaded")
    assert not (tmp_path / "run").exists()


def test_tokens_that_were_added_and_are_never_seen(folder: Path):
    """As Gemma 3's token for pictures, which has no embedding in models of text."""
    tokenizer = random_lm("llama", "en", "causal", 0).tokenizer
    tokenizer.save_pretrained(folder)
    more = type(tokenizer).from_pretrained(folder)
    more.add_tokens(["<picture>"])
    more.save_pretrained(folder)
    assert PaDeLLM.from_pretrained(str(folder)).predict(["Ada met Bob ."]) is not None


def test_a_tokenizer_without_weights_is_checked_too(folder: Path):
    assert load_tokenizer(str(folder)) is not None
    swap_tokenizer(folder)
    with pytest.raises(ValueError, match="P027"):
        load_tokenizer(str(folder))


def test_a_tokenizer_is_known_by_its_tokens(folder: Path):
    tokenizer = random_lm("llama", "en", "causal", 0).tokenizer
    sample = sample_tokens(tokenizer)
    assert 16 <= len(sample) <= 32
    assert json.loads((folder / "padellm.json").read_text())["tokenizer"] == sample
    padellm = PaDeLLM.from_pretrained(str(folder))
    assert padellm.settings.tokenizer == sample
    # Checkpoints that do not say it are read, too.
    change("padellm.json", tokenizer={})(folder)
    assert PaDeLLM.from_pretrained(str(folder)).settings == padellm.settings


def test_whole_checkpoints_are_loaded(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "copy")
    assert PaDeLLM.from_pretrained(str(tmp_path / "copy")).predict(["Ada met Bob ."]) is not None
