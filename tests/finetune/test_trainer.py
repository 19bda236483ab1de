from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers.trainer_callback import TrainerCallback, TrainerState

from spacy_padellm.finetune.run import find_last_step
from spacy_padellm.finetune.trainer import TreeTrainer
from spacy_padellm.train.supervised import target_log_probs
from spacy_padellm.tree.choices import Continuations
from tests.finetune.toys import toy


class Gradients(TrainerCallback):
    """Keeps those of the first step."""

    def __init__(self) -> None:
        self.kept: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args, state, control, model, **_) -> None:
        if not self.kept:
            self.kept = {
                name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
            }


def first_step(base: Path, folder: Path, training: dict, **changes):
    """The gradients of the first step, and its loss."""
    gradients = Gradients()
    stated = {"max_steps": 1, "max_grad_norm": 0, "logging_steps": 1, **training}
    trainer = toy(base, folder, stated, **changes).make_trainer([gradients])
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return gradients.kept, losses[0], trainer


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    assert found.keys() == expected.keys() and expected
    return all(torch.allclose(found[n], expected[n], rtol=1e-4, atol=1e-6) for n in expected)


def test_a_step_is_that_of_the_objective(base: Path, tmp_path: Path):
    prepared = toy(base, tmp_path)
    trees = prepared.rows[0]
    weights = torch.tensor([w for tree in trees for w in tree.weights])
    lm, encoder = prepared.padellm.lm, prepared.padellm.encoder
    loss = -(weights * target_log_probs(lm, trees, encoder)).sum() / weights.sum()
    loss.backward()
    expected = {n: p.grad for n, p in lm.model.named_parameters() if p.grad is not None}
    found, logged, _ = first_step(base, tmp_path, {})
    assert same(found, expected)
    assert logged == pytest.approx(float(loss.detach()), abs=1e-3)


def test_rows_that_fill_up_a_step_do_not_count(base: Path, tmp_path: Path):
    rows = len(toy(base, tmp_path).rows.rows)
    whole, loss, _ = first_step(base, tmp_path, {"per_device_train_batch_size": rows})
    filled, same_loss, _ = first_step(base, tmp_path, {"gradient_accumulation_steps": rows + 2})
    assert same(filled, whole)
    assert same_loss == pytest.approx(loss, abs=1e-3)


def test_the_best_step_is_known_once_it_is_there(base: Path, tmp_path: Path):
    """Another process may have looked for it too early."""
    trainer = toy(base, tmp_path).make_trainer()
    state, steps = TrainerState(), Path(str(trainer.args.output_dir))
    state.best_global_step, state.best_model_checkpoint = 8, None
    trainer.callback_handler.on_save(trainer.args, state, trainer.control)
    assert state.best_model_checkpoint is None
    (steps / "checkpoint-8").mkdir(parents=True)
    trainer.callback_handler.on_save(trainer.args, state, trainer.control)
    assert state.best_model_checkpoint == str(steps / "checkpoint-8")


def test_a_step_in_parts_is_the_step(base: Path, tmp_path: Path):
    whole, loss, _ = first_step(base, tmp_path, {"per_device_train_batch_size": 3})
    parts, same_loss, _ = first_step(base, tmp_path, {"gradient_accumulation_steps": 3})
    assert same(parts, whole)
    assert same_loss == pytest.approx(loss, abs=1e-3)


def test_separate_sequences_have_the_same_gradients(base: Path, tmp_path: Path):
    trees, _, _ = first_step(base, tmp_path, {})
    sequences, _, trainer = first_step(base, tmp_path, {}, sequences=True)
    assert trainer.lm.support.way == "sequences" != trainer.padellm.lm.support.way
    assert same(sequences, trees)


@pytest.mark.parametrize("changes", [{}, {"tag_text": 0.5}, {"lora": {"r": 4}}])
def test_gradient_checkpointing_changes_nothing(base: Path, tmp_path: Path, changes: dict):
    if "lora" in changes:
        pytest.importorskip("peft")
        changes = {"lora": {"r": 4, "target_modules": "all-linear", "init_lora_weights": False}}
    plain, _, _ = first_step(base, tmp_path, {}, **changes)
    again, _, trainer = first_step(base, tmp_path, {"gradient_checkpointing": True}, **changes)
    layers = trainer.lm.model.model.layers
    assert all(layer.gradient_checkpointing for layer in layers)
    assert same(again, plain)


def test_trained_in_bfloat16_it_learns(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Put back afterwards: transformers leave it set, for all that is trained in the process.
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    prepared = toy(base, tmp_path, {"bf16": True, "num_train_epochs": 3, "logging_steps": 1})
    trainer = prepared.make_trainer()
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    assert prepared.padellm.lm.model.dtype == torch.float32


@pytest.mark.parametrize("lora", [None, {"r": 4, "target_modules": "all-linear"}])
def test_in_bfloat16_nothing_is_converted_and_converted_back(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: dict | None
):
    """Neither the logits, nor the inputs of an adapter."""
    # Put back afterwards: transformers leave it set, for all that is trained in the process.
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    logits, inputs = [], []

    def watch(continuations: Continuations, given: torch.Tensor, *others) -> torch.Tensor:
        logits.append(given.dtype)
        return log_probs(continuations, given, *others)

    class Watch(TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **_) -> None:
            for name, module in model.named_modules():
                if name.endswith("up_proj.lora_A.default"):
                    module.register_forward_pre_hook(lambda _, args: inputs.append(args[0].dtype))

    log_probs = Continuations.log_probs
    monkeypatch.setattr(Continuations, "log_probs", watch)
    changes = {} if lora is None else {"lora": lora, "load": {"dtype": "bfloat16"}}
    toy(base, tmp_path, {"bf16": True}, **changes).train(callbacks=[Watch()])
    assert set(logits) == {torch.bfloat16}
    assert set(inputs) == (set() if lora is None else {torch.bfloat16})


def evaluations(folder: Path) -> list[dict]:
    """The evaluations that the last of Trainer's checkpoints lists."""
    last = find_last_step(folder / "out" / "steps")
    assert last is not None
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in history if "eval_mentions_f" in entry]


def test_scores_are_logged_and_choose_the_best(base: Path, tmp_path: Path):
    training = {"eval_strategy": "epoch", "save_strategy": "epoch", "num_train_epochs": 3}
    prepared = toy(base, tmp_path, training, dev="dev.jsonl", patience=1)
    figures = prepared.train()
    assert prepared.arguments.metric_for_best_model == "mentions_f"
    assert 0 < figures["eval_mentions_f"] <= 1 and figures["eval_loss"] > 0
    evaluated = [e["eval_mentions_f"] for e in evaluations(tmp_path)]
    assert len(evaluated) == 3 and figures["eval_mentions_f"] == max(evaluated)


def test_training_stops_when_it_does_not_get_better(base: Path, tmp_path: Path):
    # So slowly that every evaluation gives the same.
    training = {
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "num_train_epochs": 9,
        "learning_rate": 1e-9,
    }
    trainer = toy(base, tmp_path, training, dev="dev.jsonl", patience=2)
    assert trainer.train()["epoch"] == 3


def test_without_texts_to_evaluate_on(base: Path, tmp_path: Path):
    trainer = toy(base, tmp_path).make_trainer()
    assert isinstance(trainer, TreeTrainer)
    assert trainer.evaluate() == {}


def test_operations_are_counted(base: Path, tmp_path: Path):
    prepared = toy(base, tmp_path)
    trainer = prepared.make_trainer()
    inputs = {"trees": prepared.rows[0]}
    tokens = sum(len(tree.tree) for tree in prepared.rows[0])
    parameters = prepared.padellm.lm.model.num_parameters(exclude_embeddings=True)
    assert trainer.floating_point_ops(inputs) == 6 * tokens * parameters


def test_an_epoch_has_an_order_of_its_own(base: Path, tmp_path: Path):
    prepared = toy(base, tmp_path, {"num_train_epochs": 3})
    seen: dict[int, list[list[int]]] = {}

    class Watch(TrainerCallback):
        def on_epoch_end(self, args, state, control, **_) -> None:
            rows = [prepared.rows[place] for place in range(len(prepared.rows))]
            seen[prepared.rows.epoch] = [[len(tree.tree) for tree in row] for row in rows]

    prepared.make_trainer([Watch()]).train()
    assert list(seen) == [0, 1, 2]
    first, second, third = seen.values()
    assert sorted(first) == sorted(second) == sorted(third)
    assert first != second != third


def test_workers_see_the_epoch(base: Path, tmp_path: Path):
    weights = []
    for workers in (0, 1):
        prepared = toy(base, tmp_path, {"dataloader_num_workers": workers}, augment={"rate": 0.9})
        prepared.make_trainer().train()
        weights.append(prepared.padellm.lm.model.state_dict())
    assert all(torch.equal(weights[1][name], each) for name, each in weights[0].items())
