"""Fine-tuning by Trainer beside the component: the same objective, and what one leaves the other
reads.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("spacy")
pytest.importorskip("accelerate")

from transformers.trainer_callback import TrainerCallback

from spacy_padellm.checkpoints.saving import save_checkpoint
from tests.finetune.toys import DEV, TRAIN, toy
from tests.pipeline.toy_pipeline import checkpoint_nlp, component, entities, toy_examples
from tests.toy_corpus import SENTENCES
from tests.trained import trained_lm


class Gradients(TrainerCallback):
    def __init__(self) -> None:
        self.kept: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args, state, control, model, **_) -> None:
        self.kept = {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetuning") / "base"
    save_checkpoint(folder, *trained_lm())
    return folder


@pytest.mark.parametrize("tag_text", [0.0, 0.5])
@pytest.mark.parametrize("softmax", ["vocabulary", "admissible"])
def test_a_step_is_that_of_spacy_train(base: Path, tmp_path: Path, softmax: str, tag_text: float):
    model = {"softmax": softmax, "tag_text": tag_text, "mixed_precision": False}
    pipe = component(nlp := checkpoint_nlp(base, model=model))
    examples = toy_examples(nlp, SENTENCES[: len(TRAIN)])
    log_probs, backprop = pipe.model.begin_update(pipe.make_trees(examples))
    loss, gradient = pipe.get_loss(examples, log_probs)
    backprop(gradient)
    expected = {name: p.grad for name, p in pipe.shim.lm.model.named_parameters()}

    gradients = Gradients()
    training = {"max_steps": 1, "max_grad_norm": 0, "logging_steps": 1}
    stated = {"row_tokens": 10_000, "softmax": softmax, "tag_text": tag_text}
    trainer = toy(base, tmp_path, training, **stated).make_trainer([gradients])
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(loss, abs=1e-4)
    assert gradients.kept.keys() == expected.keys() and expected
    for name, value in gradients.kept.items():
        assert torch.allclose(value, expected[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("changes", [{}, {"save": "adapter"}, {"save": "merged"}])
def test_the_component_reads_what_is_left(base: Path, tmp_path: Path, changes: dict):
    if changes:
        pytest.importorskip("peft")
        changes["lora"] = {"r": 8, "target_modules": "all-linear"}
    training = {"num_train_epochs": 8, "learning_rate": 3e-3}
    prepared = toy(base, tmp_path, training, texts=TRAIN + DEV, **changes)
    prepared.train()
    nlp = checkpoint_nlp(tmp_path / "out")
    assert component(nlp).labels == tuple(prepared.padellm.settings.labels)
    text = "Bob Hill works for Acme ."
    assert entities(nlp(text)) == [("Bob Hill", "PER"), ("Acme", "ORG")]
