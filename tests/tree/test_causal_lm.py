from __future__ import annotations

import pytest
import torch

from spacy_padellm.tree.causal_lm import CausalLM
from spacy_padellm.tree.runs import CachedRun, RecomputedRun, SequencesRun
from spacy_padellm.tree.support import TreeSupport
from tests.sample_tokenizers import small_tokenizer
from tests.tiny_models import plain_logits, prefix_lm_logits, tiny_lm, tiny_model
from tests.tree.forests import expected_logits, random_forest, run_forest, written_forest

WINDOWED = {
    "mistral": {"sliding_window": 8},
    "gemma2": {"sliding_window": 8},
    "phi3": {"sliding_window": 8},
    "qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
}


def difference(lm: CausalLM, forest, depth: int, run_alone) -> float:
    found = run_forest(forest, lambda trees: lm.open(trees, depth))
    return (found - expected_logits(forest, run_alone)).abs().max().item()


def depth_of(forest) -> int:
    return 1 + max(depth for tree in forest.grown() for depth in tree.depths)


@pytest.mark.parametrize("family", WINDOWED)
def test_trees_longer_than_the_window_are_right(family):
    lm = tiny_lm(family, **WINDOWED[family])
    for seed in range(6):
        forest = random_forest(seed, 3, prefix=(6, 12))
        depth = depth_of(forest)
        assert depth > 8
        assert type(lm.open(forest.plant(), depth)) is SequencesRun
        alone = difference(lm, forest, depth, lambda ids, _: plain_logits(lm.model, ids))
        assert alone < 1e-4


@pytest.mark.parametrize("way", ["batch", "batch_shared", "one_by_one"])
@pytest.mark.parametrize("family", WINDOWED)
def test_so_are_padded_batches(family, way):
    lm = tiny_lm(family, **WINDOWED[family]).forced(way)
    for seed in range(4):
        forest = written_forest(seed, 2)
        depth = depth_of(forest)
        assert depth > 8
        alone = difference(lm, forest, depth, lambda ids, _: plain_logits(lm.model, ids))
        assert alone < 1e-4


@pytest.mark.parametrize("family", WINDOWED)
def test_the_window_is_the_last_depth_trees_are_run_at(family):
    lm = tiny_lm(family, **WINDOWED[family])
    trees = random_forest(0, 1, prefix=(2, 2)).plant()
    assert type(lm.open(trees, 8)) is CachedRun
    assert type(lm.open(trees, 9)) is SequencesRun


def test_without_falling_back_they_would_be_wrong():
    lm = tiny_lm("mistral", sliding_window=8)
    forest = random_forest(0, 3, prefix=(12, 12))
    # As if the trees were short.
    assert difference(lm, forest, 8, lambda ids, _: plain_logits(lm.model, ids)) > 0.1


@pytest.mark.parametrize("family", WINDOWED)
def test_trees_within_the_window_are_cached_and_right(family):
    """However many nodes they have."""
    lm = tiny_lm(family, **WINDOWED[family])
    seen = 0
    for seed in range(40):
        forest = random_forest(seed, 2, prefix=(1, 3), passes=2)
        depth = depth_of(forest)
        if depth > 8 or max(map(len, forest.grown())) <= 8:
            continue
        seen += 1
        assert type(lm.open(forest.plant(), depth)) is CachedRun
        assert difference(lm, forest, 8, lambda ids, _: plain_logits(lm.model, ids)) < 1e-4
    assert seen >= 5


@pytest.mark.parametrize("family", WINDOWED)
def test_a_bidirectional_prefix_has_to_fit_into_the_window(family):
    lm = tiny_lm(family, "bidirectional", **WINDOWED[family])
    with pytest.raises(ValueError, match=r"P024.* 9 tokens.*window of 8.*get_spans"):
        lm.open(random_forest(0, 1, prefix=(9, 9)).plant(), 9)
    forest = random_forest(4, 1, prefix=(3, 3), passes=1)
    assert depth_of(forest) <= 8
    assert (
        difference(
            lm, forest, 8, lambda ids, tree: prefix_lm_logits(lm.model, ids, tree.prefix_length)
        )
        < 1e-4
    )


@pytest.mark.parametrize("way", ["cached", "recomputed", "sequences"])
def test_the_prefix_attention_is_passed_on(way):
    lm = tiny_lm("llama", "bidirectional").forced(way)
    assert lm.prefix_attention == "bidirectional"
    forest = random_forest(0, 3, prefix=(3, 8))
    assert (
        difference(
            lm, forest, 40, lambda ids, tree: prefix_lm_logits(lm.model, ids, tree.prefix_length)
        )
        < 1e-4
    )


def test_a_model_without_custom_masks_has_no_bidirectional_prefix():
    with pytest.raises(ValueError, match=r"P021.*BloomForCausalLM.*prefix_attention='causal'"):
        tiny_lm("bloom", "bidirectional")


def test_unknown_prefix_attention():
    with pytest.raises(ValueError, match=r"P031.*'sideways'.*'causal', 'bidirectional'"):
        tiny_lm("llama", "sideways")


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bert"])
def test_texts_longer_than_the_positions_are_an_error(family):
    lm = tiny_lm(family)
    assert lm.max_positions == 128
    trees = random_forest(0, 1, prefix=(2, 2)).plant()
    for depth in (129, 1000):
        message = rf"P023.* {depth} tokens.* 128 positions.*get_spans"
        with pytest.raises(ValueError, match=message):
            lm.open(trees, depth)
        with pytest.raises(ValueError, match=message):
            lm.open_for_training(trees, depth)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bert"])
def test_all_positions_can_be_used(family):
    lm = tiny_lm(family)
    forest = random_forest(0, 1, prefix=(124, 124), passes=1)
    assert depth_of(forest) == 128
    assert difference(lm, forest, 128, lambda ids, _: plain_logits(lm.model, ids)) < 1e-4


def test_a_model_without_positions_takes_any_length():
    lm = tiny_lm("bloom")
    assert lm.max_positions is None
    forest = random_forest(0, 1, prefix=(200, 200), passes=1)
    assert difference(lm, forest, 204, lambda ids, _: plain_logits(lm.model, ids)) < 1e-4


def test_forced_runs_the_same_model():
    lm = tiny_lm("llama")
    forced = lm.forced("sequences")
    assert forced.model is lm.model
    assert forced.tokenizer is lm.tokenizer
    assert forced.support == TreeSupport("sequences", "4d")
    assert lm.support == TreeSupport("cached", "4d")


def test_support_that_is_known_is_not_probed():
    support = TreeSupport("recomputed", "4d")
    lm = CausalLM(tiny_model("llama"), small_tokenizer("en"), support=support)
    assert lm.support is support


@pytest.mark.parametrize(
    "way, kind",
    [("cached", RecomputedRun), ("recomputed", RecomputedRun), ("sequences", SequencesRun)],
)
def test_training_needs_no_cache(way, kind):
    lm = tiny_lm("llama").forced(way)
    forest = random_forest(1, 2, prefix=(3, 5), passes=1)
    run = lm.open_for_training(forest.grown(), depth_of(forest))
    assert type(run) is kind
    run.logits(forest.asked[0]).sum().backward()
    gradient = lm.model.get_input_embeddings().weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
    lm.model.zero_grad(set_to_none=True)


def test_to_moves_the_model():
    lm = CausalLM(tiny_model("llama"), small_tokenizer("en"))
    assert lm.to("meta") is lm
    assert {p.device for p in lm.model.parameters()} == {torch.device("meta")}


@pytest.mark.parametrize("device", ["nowhere", "cuda:99", "gpu"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(ValueError, match=rf"(?s)P045.*'{device}'.*for example 'cpu'"):
        tiny_lm("llama").to(device)
    assert tiny_lm("llama").to("cpu").model.device.type == "cpu"
