from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("peft")

from spacy_padellm.checkpoints.loading import load_causal_lm
from spacy_padellm.finetune.lora import add_lora, make_lora
from spacy_padellm.train.supervised import target_log_probs
from tests.finetune.toys import config, toy

FIELDS = {"r": 4, "target_modules": ["q_proj", "up_proj"]}


def test_only_the_adapter_is_trained(base: Path, tmp_path: Path):
    stated = config(base, tmp_path, lora=FIELDS, load={"dtype": "bfloat16", "revision": "v1"})
    model = load_causal_lm(str(base), options=stated.load).model
    adapted = add_lora(model, stated, gradient_checkpointing=False)
    trained = {name: p.dtype for name, p in adapted.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name for name in trained)
    assert set(trained.values()) == {torch.float32}
    assert model.dtype == torch.bfloat16
    lora = adapted.peft_config["default"]
    assert lora.base_model_name_or_path == str(base.resolve())
    assert lora.revision == "v1" and lora.task_type == "CAUSAL_LM"


def test_arguments_reach_the_model_through_it(base: Path, tmp_path: Path):
    prepared = toy(base, tmp_path, lora={**FIELDS, "init_lora_weights": False})
    adapted = prepared.make_trainer().model
    trees = prepared.rows[0]
    assert len(trees) > 1  # in one row, so that positions and mask matter
    lm, encoder = prepared.padellm.lm, prepared.padellm.encoder
    with torch.no_grad():
        found = target_log_probs(lm.through(adapted), trees, encoder)
        one_by_one = torch.cat([target_log_probs(lm, [tree], encoder) for tree in trees])
        with adapted.disable_adapter():
            plain = target_log_probs(lm, trees, encoder)
    assert torch.allclose(found, one_by_one, atol=1e-4)
    assert not torch.allclose(found, plain, atol=1e-2)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"rank": 4}, r"P070.*'lora.rank'"),
        ({"r": "many"}, r"P071.*lora.r is 'many'.*a valid integer"),
        ({"target_modules": "x", "layers_to_transform": 1}, r"P083.*lora.*layers_to_transform"),
        ({"layer_replication": [[0, 1, 2]]}, r"P083.*lora.layer_replication.0.*2 items"),
        ({"eva_config": {"rh": 2}}, r"P083.*lora.eva_config.rh"),
        ({"task_type": "SEQ_CLS"}, r"P072.*lora.task_type"),
        ({"base_model_name_or_path": "x"}, r"P072.*lora.base_model.*`checkpoint`"),
    ],
)
def test_fields_that_are_not_possible(base: Path, tmp_path: Path, fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make_lora(config(base, tmp_path, lora=fields))


def test_fields_that_are_classes_of_peft(base: Path, tmp_path: Path):
    fields = {"layer_replication": [[0, 1], [0, 2]], "eva_config": {"rho": 3.0}}
    made = make_lora(config(base, tmp_path, lora={**FIELDS, **fields}))
    assert made.layer_replication == [(0, 1), (0, 2)]
    assert made.eva_config is not None and made.eva_config.rho == 3.0


def test_modules_that_there_are_not(base: Path, tmp_path: Path):
    prepared = toy(base, tmp_path, lora={"target_modules": ["nowhere"]})
    with pytest.raises(ValueError, match=r"P083.*lora.*nowhere"):
        prepared.make_trainer()


def test_an_adapter_is_no_model_for_another(base: Path, tmp_path: Path):
    toy(base, tmp_path, lora=FIELDS, save="adapter").train()
    with pytest.raises(ValueError, match=r"P079.*padellm export"):
        make_lora(config(tmp_path / "out", tmp_path / "further", lora=FIELDS))


def test_without_peft(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from importlib.util import find_spec

    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "peft" else find_spec(name)
    )
    with pytest.raises(ImportError, match=r"P301.*lora.*needs peft.*'llm'"):
        make_lora(config(base, tmp_path, lora=FIELDS))
