from __future__ import annotations

import copy
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("spacy")

import numpy as np
import torch
from spacy.language import Language
from thinc.api import SGD, Adam, Optimizer, RAdam

from spacy_padellm.checkpoints.options import LoadOptions, has_fast_bfloat16
from spacy_padellm.checkpoints.saving import save_checkpoint
from spacy_padellm.checkpoints.small_lm import SmallModelShape
from spacy_padellm.pipeline import shim as shim_module
from spacy_padellm.pipeline.shim import PaDeLLMShim, build_model, get_shim
from spacy_padellm.pipeline.sources import FreshSource, LMSource, PretrainedSource
from spacy_padellm.settings import DecodingOptions, Overrides
from spacy_padellm.train.supervised import target_log_probs
from spacy_padellm.tree.causal_lm import CausalLM
from tests.pipeline.toy_pipeline import (
    SMALL_MODEL,
    checkpoint_nlp,
    component,
    initialized_nlp,
    toy_examples,
)
from tests.tiny_models import tiny_model

ADAM: dict[str, Any] = {
    "beta1": 0.8,
    "beta2": 0.9,
    "eps": 1e-6,
    "L2": 0.1,
    "grad_clip": 0.05,
    "use_averages": False,
}
SMALL_SOURCE = FreshSource("cpu", shape=SmallModelShape(32, 1, 2, 64))


@pytest.fixture
def nlp() -> Language:
    return initialized_nlp()


def shim_of(nlp: Language) -> PaDeLLMShim:
    return component(nlp).shim


def shim_with(source: LMSource, stated: Overrides) -> PaDeLLMShim:
    return get_shim(build_model(source, stated, mixed_precision=False))


def weights_of(shim: PaDeLLMShim) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in shim.lm.model.named_parameters()}


def update(nlp: Language, optimizer: Adam | None, count: int = 4) -> float:
    return component(nlp).update(toy_examples(nlp)[:count], sgd=optimizer)["padellm_ner"]


def test_the_learning_rate_follows_the_schedule(nlp: Language, monkeypatch: pytest.MonkeyPatch):
    rates = []
    step = torch.optim.AdamW.step

    def recording_step(self: torch.optim.AdamW, *args: Any) -> None:
        rates.append([group["lr"] for group in self.param_groups])
        step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", recording_step)
    optimizer = Adam(iter([0.0, 0.25, 0.125]), use_averages=False)
    before = weights_of(shim_of(nlp))
    update(nlp, optimizer)
    # Nothing moves at rate zero, weight decay included.
    assert all(torch.equal(w, before[name]) for name, w in weights_of(shim_of(nlp)).items())
    for _ in range(2):
        optimizer.step_schedules()
        update(nlp, optimizer)
    assert rates == [[0.0], [0.25], [0.125]]
    moved = weights_of(shim_of(nlp))
    assert not any(torch.equal(weight, before[name]) for name, weight in moved.items())


def test_dropout_is_that_of_training_and_of_nothing_else(nlp: Language, tmp_path: Path):
    shim = shim_of(nlp)
    tokenizer, settings = shim.lm.tokenizer, replace(shim.settings, prefix_attention="causal")
    lm = CausalLM(tiny_model("gpt2", vocab_size=len(tokenizer)), tokenizer)
    save_checkpoint(tmp_path / "gpt2", lm, settings)
    nlp = checkpoint_nlp(tmp_path / "gpt2")
    pipe = component(nlp)
    docs = [eg.predicted for eg in toy_examples(nlp)]
    found = pipe.predict(docs)

    def losses(drop: float) -> set[float]:
        return {pipe.update(toy_examples(nlp), drop=drop)["padellm_ner"] for _ in range(2)}

    (whole,) = losses(0.0)
    dropped = losses(0.5)
    assert len(dropped) == 2 and whole not in dropped
    assert pipe.predict(docs) == found
    assert losses(0.0) == {whole}


def test_steps_are_those_of_adamw_with_the_configs_settings(nlp: Language):
    expected = copy.deepcopy(shim_of(nlp).lm.model)
    reference = torch.optim.AdamW(
        expected.parameters(), lr=1e-2, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.1
    )
    optimizer = Adam(1e-2, **ADAM)
    for _ in range(2):
        update(nlp, None)
        gradients = [p.grad.clone() for p in shim_of(nlp).lm.model.parameters()]
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        assert norm > 0.05
        for parameter, gradient in zip(expected.parameters(), gradients, strict=True):
            parameter.grad = gradient * 0.05 / norm
        reference.step()
        component(nlp).finish_update(optimizer)
    for (name, weight), wanted in zip(
        shim_of(nlp).lm.model.named_parameters(), expected.parameters(), strict=True
    ):
        torch.testing.assert_close(weight, wanted, rtol=1e-4, atol=1e-6, msg=name)


def test_gradients_start_from_nothing_after_a_step(nlp: Language):
    update(nlp, Adam(1e-3, **ADAM))
    parameters = list(shim_of(nlp).lm.model.parameters())
    assert all(p.grad is None or not p.grad.any() for p in parameters)


def test_frozen_weights_stay(nlp: Language):
    shim = shim_of(nlp)
    frozen = shim.lm.model.get_input_embeddings().weight
    frozen.requires_grad_(False)
    before = weights_of(shim)
    for _ in range(2):
        update(nlp, Adam(1e-2, **ADAM))
    unmoved = [name for name, w in weights_of(shim).items() if torch.equal(w, before[name])]
    assert unmoved == ["model.embed_tokens.weight"]


def test_backward_gives_autograds_gradients(nlp: Language):
    shim = shim_of(nlp)
    trees = component(nlp).make_trees(toy_examples(nlp)[:3])
    log_probs, backprop = shim.begin_update(trees)
    gradient = np.linspace(-1, 1, len(log_probs), dtype="float32")
    assert backprop(gradient) == []
    found = [p.grad.clone() for p in shim.lm.model.parameters()]
    shim.lm.model.zero_grad()
    expected = target_log_probs(shim.lm, trees, shim.padellm.encoder)
    np.testing.assert_allclose(log_probs, expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    (expected * torch.from_numpy(gradient)).sum().backward()
    for ours, parameter in zip(found, shim.lm.model.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad)


def test_prediction_keeps_no_graph_and_leaves_the_model_in_evaluation_mode(nlp: Language):
    shim = shim_of(nlp)
    trees = component(nlp).make_trees(toy_examples(nlp)[:2])
    log_probs, backprop = component(nlp).model(trees, is_train=False)
    assert isinstance(log_probs, np.ndarray)
    with pytest.raises(RuntimeError, match="does not require grad"):
        backprop(log_probs)
    update(nlp, Adam(1e-3, **ADAM))
    assert not shim.lm.model.training


@pytest.fixture
def bfloat16_model() -> PaDeLLMShim:
    """The same model, trained in mixed precision."""
    return shim_of(initialized_nlp(model={**SMALL_MODEL, "mixed_precision": True}))


def test_mixed_precision(
    nlp: Language, bfloat16_model: PaDeLLMShim, monkeypatch: pytest.MonkeyPatch
):
    trees = component(nlp).make_trees(toy_examples(nlp)[:2])
    full, _ = shim_of(nlp)(trees, True)
    monkeypatch.setattr(shim_module, "has_fast_bfloat16", lambda device: True)
    mixed, _ = bfloat16_model(trees, True)
    assert mixed.dtype == np.float32
    assert not np.array_equal(mixed, full)
    np.testing.assert_allclose(mixed, full, atol=0.1)
    # Only in training.
    np.testing.assert_array_equal(bfloat16_model(trees, False)[0], shim_of(nlp)(trees, False)[0])


def test_without_fast_bfloat16_training_is_in_full_precision(
    nlp: Language,
    bfloat16_model: PaDeLLMShim,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    trees = component(nlp).make_trees(toy_examples(nlp)[:2])
    full, _ = shim_of(nlp)(trees, True)
    monkeypatch.setattr(shim_module, "has_fast_bfloat16", lambda device: False)
    with caplog.at_level(logging.WARNING, logger=shim_module.__name__):
        for _ in range(2):
            np.testing.assert_array_equal(bfloat16_model(trees, True)[0], full)
    # Said once.
    assert [record.getMessage() for record in caplog.records] == [
        "cpu has no fast bfloat16: training in full precision"
    ]


def test_fast_bfloat16_by_device(monkeypatch: pytest.MonkeyPatch):
    for fast in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda fast=fast: fast)
        assert has_fast_bfloat16("cpu") is fast
        assert has_fast_bfloat16("cuda") is fast
    assert has_fast_bfloat16("mps") is False


def test_overrides_hold_until_something_is_loaded(toy_checkpoint: Path):
    source = PretrainedSource(str(toy_checkpoint), LoadOptions(), saves_weights=True)
    for stated, softmax in (
        (Overrides(), "admissible"),
        (Overrides(softmax="vocabulary"), "vocabulary"),
    ):
        shim = shim_with(source, stated)
        shim.configure(Overrides(labels={"X": "x"}), DecodingOptions())
        assert not shim.is_known
        assert shim.settings.labels == {"X": "x"} and shim.settings.softmax == softmax
    with pytest.warns(UserWarning, match=r"\[W202\].*softmax, labels \(X\)"):
        shim.load(toy_checkpoint)
    assert list(shim.settings.labels) == ["LOC", "ORG", "PER"]
    assert shim.settings.softmax == "admissible"


def test_saving_needs_a_model(tmp_path: Path):
    shim = shim_with(SMALL_SOURCE, Overrides())
    with pytest.raises(ValueError, match=r"\[P202\]"):
        shim.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_loading_needs_a_complete_folder(toy_checkpoint: Path, tmp_path: Path):
    folder = shutil.copytree(toy_checkpoint, tmp_path / "model")
    (folder / "padellm.json").unlink()
    shim = shim_with(SMALL_SOURCE, Overrides())
    with pytest.raises(ValueError, match=r"\[P041\].*padellm\.json is missing"):
        shim.load(folder)


def test_devices_by_thincs_names(nlp: Language, monkeypatch: pytest.MonkeyPatch):
    moved = []
    shim = shim_of(nlp)
    monkeypatch.setattr(shim.lm, "to", moved.append)
    shim.to_device("gpu", 1)
    shim.to_device("cpu", 0)
    shim.to_device("mps", 0)
    assert moved == ["cuda:1", "cpu", "mps"]


def test_averages_change_nothing(nlp: Language):
    before = weights_of(shim_of(nlp))
    with nlp.use_params({("x", 1): np.zeros(1)}):
        after = weights_of(shim_of(nlp))
    assert all(torch.equal(weight, before[name]) for name, weight in after.items())


@pytest.mark.parametrize(
    "optimizer, remedy",
    [
        (Adam(1e-3, use_averages=True), "use_averages = false"),
        (RAdam(1e-3, use_averages=False), '@optimizers = "Adam.v1"'),
        (SGD(1e-3, use_averages=False), '@optimizers = "Adam.v1"'),
        (
            Adam(1e-3, use_averages=False, L2=0.1, L2_is_weight_decay=False),
            "L2_is_weight_decay = true",
        ),
    ],
)
def test_settings_that_adamw_ignores(nlp: Language, optimizer: Optimizer, remedy: str):
    with pytest.warns(UserWarning, match=rf"\[W203\].*set {remedy}\."):
        update(nlp, optimizer)


@pytest.mark.filterwarnings("error")
def test_settings_that_adamw_knows(nlp: Language):
    update(nlp, Adam(1e-3, use_averages=False, L2=0.0, L2_is_weight_decay=False))
    update(nlp, nlp.create_optimizer())
