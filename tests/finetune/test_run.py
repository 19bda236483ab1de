from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM, TrainerCallback

from spacy_padellm.calibration import UNCALIBRATED, Calibration
from spacy_padellm.checkpoints.loading import read_settings
from spacy_padellm.checkpoints.saving import save_settings
from spacy_padellm.finetune.run import find_last_step, prepare
from spacy_padellm.model import PaDeLLM
from spacy_padellm.texts import Mention
from tests.checkpoints.baichuan_folders import random_weights, write_folder
from tests.finetune.toys import DEV, TRAIN, config, toy
from tests.tiny_models import plain_logits
from tests.toy_corpus import parse

IDS = [1, 5, 9, 30, 7]
LORA = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False}


def load(folder: Path, **options) -> PaDeLLM:
    return PaDeLLM.from_pretrained(str(folder), **options)


def has_another_inside(mention: Mention, mentions: Iterable[Mention]) -> bool:
    return any(
        mention.start <= each.start and each.end <= mention.end
        for each in mentions
        if each != mention
    )


def found_in_dev(folder: Path, **options) -> list[set[Mention]]:
    found = load(folder, **options).predict([text.source for text in DEV], nested=True)
    return [{Mention(each.start, each.end, each.label) for each in of_text} for of_text in found]


def test_it_learns(base: Path, tmp_path: Path):
    training = {"num_train_epochs": 12, "learning_rate": 3e-3, "eval_strategy": "epoch"}
    figures = toy(
        base, tmp_path, training, dev="dev.jsonl", tag_text=0.3, texts=TRAIN + DEV
    ).train()
    assert load(tmp_path / "out").settings.text_tags
    gold = [set(text.mentions) for text in DEV]
    assert found_in_dev(tmp_path / "out", tag_share=0.0) == gold
    # With tags, a mention that has another one inside may be lost, or cut.
    nesting = [{m for m in of_text if has_another_inside(m, of_text)} for of_text in gold]
    assert sum(map(len, nesting)) == 2
    found = found_in_dev(tmp_path / "out")
    for of_text, ours, outer in zip(gold, found, nesting, strict=True):
        assert of_text - outer <= ours
        assert outer or ours == of_text
    assert figures["eval_mentions_r"] > 0.8


def test_it_learns_with_label_vectors(base: Path, tmp_path: Path):
    training = {"num_train_epochs": 12, "learning_rate": 3e-3}
    changes = {"softmax": "admissible", "label_vectors": True, "tag_text": 0.3}
    toy(base, tmp_path, training, texts=TRAIN + DEV, **changes).train()
    settings = load(tmp_path / "out").settings
    assert settings.label_vectors and settings.text_tags
    gold = [set(text.mentions) for text in DEV]
    assert found_in_dev(tmp_path / "out", tag_share=0.0) == gold
    # The tags alone find something, too, and each under its label.
    found = [
        each & of_text
        for each, of_text in zip(found_in_dev(tmp_path / "out", decode="tags"), gold, strict=True)
    ]
    assert sum(map(len, found)) > 0.5 * sum(map(len, gold))


def test_a_calibration_ends_with_training(base: Path, tmp_path: Path):
    calibrated = Path(shutil.copytree(base, tmp_path / "calibrated"))
    settings = replace(read_settings(base / "padellm.json"), calibration=Calibration(2.0, 3.0))
    save_settings(calibrated, settings)
    assert load(calibrated).settings.calibration == Calibration(2.0, 3.0)
    toy(calibrated, tmp_path, {"num_train_epochs": 1}).train()
    assert load(tmp_path / "out").settings.calibration == UNCALIBRATED


def test_it_goes_on_from_the_last_checkpoint(base: Path, tmp_path: Path):
    whole = toy(base, tmp_path / "whole", {"num_train_epochs": 2})
    whole.train()
    training = {"save_strategy": "epoch", "num_train_epochs": 2, "logging_steps": 1}
    parts = toy(base, tmp_path / "parts", training)
    parts.train()
    with pytest.raises(ValueError, match=r"P077.*steps.*--resume"):
        toy(base, tmp_path / "parts", training).train()
    longer = toy(base, tmp_path / "parts", {**training, "num_train_epochs": 3})
    losses = []

    class Losses(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **others) -> None:
            losses.extend([logs["loss"]] if "loss" in logs else [])

    figures = longer.train(resume=True, callbacks=[Losses()])
    assert figures["epoch"] == 3
    # The mean of the steps that were run now, not divided by the number of all.
    assert figures["train_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-3)
    weights = [each.padellm.lm.model.state_dict() for each in (whole, parts, longer)]
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[1][name], weights[2][name])


def test_a_training_goes_on_as_it_was_begun(base: Path, tmp_path: Path):
    pytest.importorskip("peft")
    training = {"save_strategy": "epoch", "num_train_epochs": 1}
    lora = {"r": 4, "target_modules": ["q_proj"]}
    toy(base, tmp_path, training, lora=lora).train()
    longer = {**training, "num_train_epochs": 2}
    for changes, names in [
        ({"lora": {**lora, "r": 8}}, "lora"),
        ({}, "lora"),
        ({"lora": lora, "labels": ["PER"]}, "settings"),
        ({"lora": lora, "row_tokens": 150}, "row_tokens"),
    ]:
        other = toy(base, tmp_path, longer, **changes)
        with pytest.raises(ValueError, match=rf"P084.*another configuration: {names} differ"):
            other.train(resume=True)
    # It may be made longer, and its result saved in another way.
    figures = toy(base, tmp_path, longer, lora=lora, save="adapter").train(resume=True)
    assert figures["epoch"] == 2


def test_resuming_what_has_not_begun_is_beginning(base: Path, tmp_path: Path):
    assert toy(base, tmp_path).train(resume=True)["epoch"] == 2


def test_texts_that_teach_nothing(base: Path, tmp_path: Path):
    with pytest.warns(match="W071"), pytest.raises(ValueError, match=r"P078.*PER"):
        toy(base, tmp_path, texts=[parse("Dan left .", labels=["X"])], labels=["PER"])


def test_nothing_to_train_or_evaluate_on(base: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"P085.*train.jsonl.*`train`"):
        toy(base, tmp_path, texts=[])
    stated = config(base, tmp_path, dev="dev.jsonl")
    with pytest.raises(ValueError, match=r"P085.*dev.jsonl.*`dev`"):
        prepare(stated, TRAIN)
    with pytest.warns(match=r"W076\].*\(LOC, ORG, PER\)"):
        prepare(stated, TRAIN, [parse("Nothing happened .")])


def test_large_texts_are_told(base: Path, tmp_path: Path):
    with pytest.warns(match=rf"W074\] {len(TRAIN)} texts .* 10 tokens"):
        prepared = toy(base, tmp_path, row_tokens=10)
    assert [len(row) for row in prepared.rows.rows] == [1] * len(TRAIN)


def test_augmented_texts_do_not_depend_on_what_was_read_before(base: Path, tmp_path: Path):
    """A training that is resumed sees only what is left of an epoch: of texts that are the same,
    too, each has versions of its own.
    """
    found = []
    for step in (1, -1):
        rows = toy(base, tmp_path, texts=TRAIN[:2] * 6, augment={"rate": 0.9}).rows
        rows.epoch = 1
        trees = [[tree.tree.ids for tree in rows[place]] for place in range(len(rows))[::step]]
        found.append(trees[::step])
    assert found[0] == found[1] and len(found[0]) > 1
    assert len({tuple(ids) for row in found[0] for ids in row}) > 2


def test_without_accelerate(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from importlib.util import find_spec

    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "accelerate" else find_spec(name)
    )
    with pytest.raises(ImportError, match=r"P301.*Fine-tuning needs accelerate.*'llm'"):
        toy(base, tmp_path)


def alike(logits: torch.Tensor, others: torch.Tensor) -> float:
    both = torch.stack([logits.flatten(), others.flatten()]).detach()
    return float(torch.corrcoef(both)[0, 1])


def test_full_training_leaves_a_checkpoint(base: Path, tmp_path: Path):
    prepared = toy(base, tmp_path)
    figures = prepared.train()
    assert figures["train_loss"] > 0
    folder = tmp_path / "out"
    trained = load(folder)
    lm, settings = trained.lm, trained.settings
    assert settings == prepared.padellm.settings and set(settings.labels.values()) <= {
        *settings.trained
    }
    expected = plain_logits(prepared.padellm.lm.model.eval(), IDS)
    assert torch.equal(plain_logits(lm.model, IDS), expected)
    assert not torch.allclose(plain_logits(load(base).lm.model, IDS), expected)
    assert torch.equal(plain_logits(AutoModelForCausalLM.from_pretrained(folder), IDS), expected)
    assert not (folder / "training_args.bin").exists()
    assert trained.predict([DEV[0].source])[0]


def test_an_adapter_is_left_alone(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    peft = pytest.importorskip("peft")
    prepared = toy(base, tmp_path, lora=LORA, save="adapter")
    prepared.train()
    folder = tmp_path / "out"
    assert (folder / "adapter_config.json").is_file()
    assert not (folder / "model.safetensors").exists()
    # From wherever it is loaded.
    monkeypatch.chdir(tmp_path)
    trained = load(folder)
    lm = trained.lm
    assert trained.settings == prepared.padellm.settings
    expected = plain_logits(prepared.padellm.lm.model.eval(), IDS)
    assert torch.allclose(plain_logits(lm.model, IDS), expected, atol=1e-4)
    auto = peft.AutoPeftModelForCausalLM.from_pretrained(folder).eval()
    assert torch.allclose(plain_logits(auto, IDS), expected, atol=1e-4)
    hub = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.allclose(plain_logits(hub, IDS), expected, atol=1e-4)


def test_an_adapter_is_merged(base: Path, tmp_path: Path):
    pytest.importorskip("peft")
    prepared = toy(base, tmp_path, lora=LORA, save="merged")
    prepared.train()
    folder = tmp_path / "out"
    assert not list(folder.rglob("adapter_config.json"))
    trained = load(folder)
    lm = trained.lm
    assert trained.settings == prepared.padellm.settings
    expected = plain_logits(prepared.padellm.lm.model.eval(), IDS)
    assert torch.allclose(plain_logits(lm.model, IDS), expected, atol=1e-4)
    hub = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.allclose(plain_logits(hub, IDS), expected, atol=1e-4)


@pytest.mark.parametrize("save", ["merged", "adapter"])
def test_an_adapter_of_a_gguf_file(tmp_path: Path, save: str):
    pytest.importorskip("peft")
    pytest.importorskip("gguf")
    pytest.importorskip("sentencepiece")
    from tests.checkpoints.gguf_files import gemma, sentencepiece_entries, write_gguf

    model = gemma(len(sentencepiece_entries()["tokens"]))
    file = write_gguf(tmp_path / "tiny.gguf", model)
    prepared = toy(file, tmp_path, {"max_steps": 2}, lora=LORA, save=save, row_tokens=400)
    prepared.train()
    trained = load(tmp_path / "out")
    expected = plain_logits(prepared.padellm.lm.model.eval(), IDS)
    assert torch.allclose(plain_logits(trained.lm.model, IDS), expected, atol=1e-4)
    assert not torch.allclose(plain_logits(model, IDS), expected, atol=1e-2)
    text = TRAIN[0].source.text
    assert trained.lm.tokenizer(text).input_ids == prepared.padellm.lm.tokenizer(text).input_ids


def test_an_adapter_on_a_model_in_bfloat16(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("peft")
    # Put back afterwards: transformers leave it set, for all that is trained in the process.
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    prepared = toy(base, tmp_path, {"bf16": True}, lora=LORA, load={"dtype": "bfloat16"})
    prepared.train()
    layer = prepared.padellm.lm.model.model.layers[0].self_attn.q_proj
    assert layer.base_layer.weight.dtype == torch.bfloat16
    assert layer.lora_B["default"].weight.dtype == torch.float32
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.bfloat16}


def test_an_adapter_is_trained_further_as_a_whole_model(base: Path, tmp_path: Path):
    pytest.importorskip("peft")
    toy(base, tmp_path, lora=LORA, save="adapter").train()
    further = toy(tmp_path / "out", tmp_path / "further")
    before = plain_logits(further.padellm.lm.model.eval(), IDS)
    further.train()
    lm = load(tmp_path / "further" / "out").lm
    assert not torch.allclose(plain_logits(lm.model, IDS), before, atol=1e-3)


def test_what_could_not_be_saved_is_not_trained(base: Path, tmp_path: Path):
    pytest.importorskip("peft")
    pytest.importorskip("bitsandbytes")
    load(base, quantization="8bit").save_pretrained(tmp_path / "quantized")
    with pytest.raises(ValueError, match=r"P080.*save: adapter"):
        toy(tmp_path / "quantized", tmp_path, lora=LORA)
    toy(tmp_path / "quantized", tmp_path, lora=LORA, save="adapter").train()
    with pytest.raises(ValueError, match="P074"):
        toy(tmp_path / "quantized", tmp_path)


def test_an_adapter_of_a_baichuan_model_is_merged(tmp_path: Path):
    """It is trained as a Llama, whose modules the checkpoint that it would name does not have."""
    pytest.importorskip("peft")
    pytest.importorskip("sentencepiece")
    folder = tmp_path / "baichuan"
    folder.mkdir()
    write_folder(folder, random_weights())
    lora = {"r": 4, "target_modules": ["q_proj"]}
    with pytest.raises(ValueError, match=r"P081.*save: merged"):
        toy(folder, tmp_path, lora=lora, save="adapter")
    toy(folder, tmp_path, {"max_steps": 1}, lora=lora).train()
    lm = load(tmp_path / "out").lm
    assert type(lm.model) is LlamaForCausalLM


@pytest.mark.parametrize("save", ["adapter", "merged"])
@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_an_adapter_on_quantized_weights(base: Path, tmp_path: Path, quantization: str, save: str):
    pytest.importorskip("peft")
    pytest.importorskip("bitsandbytes")
    training = {"gradient_checkpointing": True, "logging_steps": 1, "num_train_epochs": 4}
    prepared = toy(
        base,
        tmp_path,
        training,
        lora={"r": 4, "target_modules": "all-linear"},
        load={"quantization": quantization},
        save=save,
    )
    prepared.train()
    layer = prepared.padellm.lm.model.model.layers[0].mlp.up_proj
    assert "bit" in type(layer.base_layer).__name__
    assert layer.lora_A["default"].weight.dtype == torch.float32
    assert layer.lora_B["default"].weight.abs().sum() > 0
    # Whole weights again, with what the adapter has learnt.
    lm = load(tmp_path / "out").lm
    assert lm.model.dtype == torch.float32
    trained = plain_logits(prepared.padellm.lm.model.eval(), IDS)
    assert alike(plain_logits(lm.model, IDS), trained) > 0.95
    if save == "adapter":
        lm = load(tmp_path / "out", quantization=quantization).lm
        assert alike(plain_logits(lm.model, IDS), trained) > 0.999


def test_a_result_of_another_kind_is_replaced(base: Path, tmp_path: Path):
    pytest.importorskip("peft")
    toy(base, tmp_path, lora=LORA, save="adapter").train()
    prepared = toy(base, tmp_path)
    prepared.train()
    lm = load(tmp_path / "out").lm
    expected = plain_logits(prepared.padellm.lm.model.eval(), IDS)
    assert torch.equal(plain_logits(lm.model, IDS), expected)


def test_trainers_checkpoints_are_checkpoints(base: Path, tmp_path: Path):
    prepared = toy(base, tmp_path, {"save_strategy": "epoch"})
    prepared.train()
    last = find_last_step(tmp_path / "out" / "steps")
    assert last is not None
    trained = load(last)
    lm, settings = trained.lm, trained.settings
    assert settings == prepared.padellm.settings
    expected = plain_logits(prepared.padellm.lm.model.eval(), IDS)
    assert torch.equal(plain_logits(lm.model, IDS), expected)


def test_the_last_whole_one_is_found(tmp_path: Path):
    assert find_last_step(tmp_path / "missing") is None
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-11", "checkpoint-best"):
        (tmp_path / name).mkdir()
    for name in ("checkpoint-9", "checkpoint-10"):
        (tmp_path / name / "trainer_state.json").write_text("{}")
    assert find_last_step(tmp_path) == tmp_path / "checkpoint-10"
