from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("peft")

from spacy_padellm.checkpoints.loading import load_causal_lm
from spacy_padellm.checkpoints.options import LoadOptions
from spacy_padellm.train.lora import add_lora, check_lora
from spacy_padellm.train.supervised_tree import target_log_probs
from tests.train.toys import toy

FIELDS = {"r": 4, "target_modules": ["q_proj", "up_proj"]}


def test_only_the_adapter_is_trained(base: Path):
    options = LoadOptions(dtype="bfloat16", revision="v1")
    model = load_causal_lm(str(base), options=options).model
    adapted = add_lora(model, FIELDS, str(base), options, gradient_checkpointing=False)
    trained = {name: p.dtype for name, p in adapted.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name for name in trained)
    assert set(trained.values()) == {torch.float32}
    assert model.dtype == torch.bfloat16
    config = adapted.peft_config["default"]
    assert config.base_model_name_or_path == str(base.resolve())
    assert config.revision == "v1" and config.task_type == "CAUSAL_LM"


def test_arguments_reach_the_model_through_it(base: Path, tmp_path: Path):
    prepared = toy(base, tmp_path, lora={**FIELDS, "init_lora_weights": False})
    adapted = prepared.make_trainer().model
    trees = prepared.rows[0]
    assert len(trees) > 1  # in one row, so that positions and mask matter
    with torch.no_grad():
        found = target_log_probs(prepared.lm.through(adapted), trees)
        one_by_one = torch.cat([target_log_probs(prepared.lm, [tree]) for tree in trees])
        with adapted.disable_adapter():
            plain = target_log_probs(prepared.lm, trees)
    assert torch.allclose(found, one_by_one, atol=1e-4)
    assert not torch.allclose(found, plain, atol=1e-2)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"rank": 4}, r"P070.*'lora.rank'"),
        ({"r": "many"}, r"P071.*lora.r is 'many'.*int"),
        ({"task_type": "SEQ_CLS"}, r"P072.*lora.task_type"),
        ({"base_model_name_or_path": "x"}, r"P072.*lora.base_model.*`checkpoint`"),
    ],
)
def test_fields_that_are_not_possible(base: Path, fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        check_lora(fields, str(base), LoadOptions())


def test_modules_that_there_are_not(base: Path, tmp_path: Path):
    prepared = toy(base, tmp_path, lora={"target_modules": ["nowhere"]})
    with pytest.raises(ValueError, match=r"P083.*lora.*nowhere"):
        prepared.make_trainer()


def test_an_adapter_is_no_model_for_another(base: Path, tmp_path: Path):
    toy(base, tmp_path, lora=FIELDS, save="adapter").train()
    with pytest.raises(ValueError, match=r"P079.*padellm export"):
        check_lora(FIELDS, str(tmp_path / "out"), LoadOptions())


def test_without_peft(base: Path, monkeypatch: pytest.MonkeyPatch):
    from importlib.util import find_spec

    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "peft" else find_spec(name)
    )
    with pytest.raises(ImportError, match=r"P301.*lora.*needs peft.*'llm'"):
        check_lora(FIELDS, str(base), LoadOptions())
