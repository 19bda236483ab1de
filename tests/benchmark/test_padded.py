"""What the baselines run: whole prompts once, then a token a row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spacy_padellm.benchmark.meters import Clock
from spacy_padellm.benchmark.padded import OneByOneRun, PaddedLM, PaddedRun
from spacy_padellm.tree.token_tree import TokenTree
from tests.tiny_models import FAMILIES, plain_logits, prefix_lm_logits, tiny_lm
from tests.tree.forests import expected_logits, run_forest, written_forest

WAYS = ["batch", "batch_shared", "one_by_one"]
WINDOWED = {
    "mistral": {"sliding_window": 8},
    "gemma2": {"sliding_window": 8},
    "phi3": {"sliding_window": 8},
    "qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
}
# No sequence here is longer.
DEPTH = 30


@pytest.fixture
def lm():
    return tiny_lm("llama")


@torch.inference_mode()
def run_two_steps(lm, way: str):
    """Two labels, the second of which takes two tokens to count, then three mentions."""
    tree = TokenTree([1, 2, 3, 4])
    run = PaddedLM(lm, way).open([tree], DEPTH)
    first, second = tree.insert([5, 6], 3)[-1], tree.insert([7, 8, 9], 3)[-1]
    costs = []

    def ask(*nodes: int) -> None:
        assert run.logits([list(nodes)]).shape == (len(nodes), lm.model.config.vocab_size)
        costs.append((run.passes, run.tokens))

    ask(first, second)
    (longer,) = tree.insert([10], second)
    ask(longer)
    mentions = [
        tree.insert(ids, parent)[-1]
        for parent, ids in [(first, [11, 12]), (longer, [11, 13]), (longer, [11, 14])]
    ]
    ask(*mentions)
    ask(*[tree.insert([20], node)[0] for node in mentions[1:]])
    return run, costs


def test_a_batch_runs_every_prompt_whole(lm):
    run, costs = run_two_steps(lm, "batch")
    assert isinstance(run, PaddedRun)
    # 4 + 2 and 4 + 3; one token; 4 + 2 + 2 and twice 4 + 4 + 2; two tokens.
    assert costs == [(1, 13), (2, 14), (3, 42), (4, 44)]


def test_a_shared_prefix_is_run_once(lm):
    _, costs = run_two_steps(lm, "batch_shared")
    assert costs == [(2, 4 + 2 + 3), (3, 10), (4, 10 + 4 + 6 + 6), (5, 28)]


def test_one_by_one_counts_the_slowest(lm):
    run, costs = run_two_steps(lm, "one_by_one")
    assert isinstance(run, OneByOneRun)
    assert costs == [(1, 13), (2, 14), (3, 42), (4, 44)]
    assert run.simulated_seconds > 0


def test_the_slowest_of_each_step_is_what_counts(lm, monkeypatch):
    """Not the sum, nor only those that are still going on."""
    times = iter([0, 5, 5, 6, 6, 7, 10, 11, 11, 14, 14, 16, 20, 21, 21, 22])
    monkeypatch.setattr(Clock, "now", lambda clock: next(times))
    run, _ = run_two_steps(lm, "one_by_one")
    # Counting: 5 and 1 + 1; mentions: 1, 3 + 1 and 2 + 1.
    assert run.simulated_seconds == 5 + 4


def test_models_without_a_cache_cannot(lm, monkeypatch):
    forward = lm.model.forward
    # As it is called in transformers 5.24 and later, and before.
    names = {"cache", "past_key_values"}
    assert names & lm.call.parameters

    def forget(**inputs):
        output = forward(**inputs)
        for name in names & output.keys():
            output[name] = None
        return output

    monkeypatch.setattr(lm.model, "forward", forget)
    tree = TokenTree([1])
    tree.insert([2], tree.prefix_end)
    run = PaddedLM(lm, "batch").open([tree], DEPTH)
    with pytest.raises(ValueError, match=r"P025.*no KV cache"):
        run.logits([[1]])


def test_nothing_inside_a_prefix(lm):
    run = PaddedLM(lm, "batch").open([TokenTree([1, 2])], DEPTH)
    with pytest.raises(ValueError, match="inside a prefix"):
        run.logits([[0]])


@pytest.mark.parametrize("way", WAYS)
def test_separate_sequences_with_a_cache_are_not_cut(lm, way):
    tree = TokenTree([1, 2])
    run = PaddedLM(lm, way).open([tree], DEPTH)
    with torch.no_grad():
        run.logits([tree.insert([3], 1)])
    tree.cut(2)
    with pytest.raises(ValueError, match="cut off"):
        run.logits([tree.insert([4], 1)])


def test_texts_longer_than_the_positions_are_an_error(lm):
    with pytest.raises(ValueError, match=r"P023.* 129 tokens.* 128 positions"):
        PaddedLM(lm, "batch").open([TokenTree([1])], 129)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_baselines_have_the_logits_of_the_sequences(family, way, bidirectional):
    model = tiny_lm(family).model
    if bidirectional and tiny_lm(family).support.mask_form is None:
        pytest.skip("takes no custom mask")
    padded = PaddedLM(tiny_lm(family, "bidirectional" if bidirectional else "causal"), way)

    def run_alone(ids: list[int], tree: TokenTree) -> Tensor:
        if bidirectional:
            return prefix_lm_logits(padded.model, ids, tree.prefix_length)
        return plain_logits(model, ids)

    longest = 0
    for seed in range(8):
        forest = written_forest(seed, 1 + seed % 3)
        longest = max(longest, len(forest.asked))
        found = run_forest(forest, lambda trees: padded.open(trees, DEPTH))
        assert (found - expected_logits(forest, run_alone)).abs().max() < 1e-4
    assert longest == 6


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", WINDOWED)
def test_sequences_longer_than_the_window_are_right(family, way):
    lm = tiny_lm(family, **WINDOWED[family])
    assert lm.support.max_depth == 8
    for seed in range(4):
        forest = written_forest(seed, 2)
        depth = 1 + max(depth for tree in forest.grown() for depth in tree.depths)
        assert depth > 8
        found = run_forest(forest, lambda trees, depth=depth: PaddedLM(lm, way).open(trees, depth))
        expected = expected_logits(forest, lambda ids, _: plain_logits(lm.model, ids))
        assert (found - expected).abs().max() < 1e-4
