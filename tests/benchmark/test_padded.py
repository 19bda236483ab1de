"""What the baselines run: whole prompts once, then a token a row."""

from __future__ import annotations

import pytest
import torch

from spacy_padellm.benchmark.one_by_one import OneByOneRun
from spacy_padellm.benchmark.padded import PaddedRun
from spacy_padellm.tree.model_call import ModelCall
from spacy_padellm.tree.support import TreeSupport
from spacy_padellm.tree.token_tree import TokenTree
from spacy_padellm.tree.ways import open_run
from tests.tiny_models import tiny_lm


@pytest.fixture
def call() -> ModelCall:
    return ModelCall(tiny_lm("llama").model)


@torch.inference_mode()
def run_two_steps(call: ModelCall, way: str):
    """Two labels, the second of which takes two tokens to count, then three mentions."""
    tree = TokenTree([1, 2, 3, 4])
    run = open_run(call, [tree], TreeSupport(way, "4d"))
    first, second = tree.insert([5, 6], 3)[-1], tree.insert([7, 8, 9], 3)[-1]
    costs = []

    def ask(*nodes: int) -> None:
        assert run.logits([list(nodes)]).shape == (len(nodes), call.model.config.vocab_size)
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


def test_a_batch_runs_every_prompt_whole(call):
    run, costs = run_two_steps(call, "batch")
    assert isinstance(run, PaddedRun)
    # 4 + 2 and 4 + 3; one token; 4 + 2 + 2 and twice 4 + 4 + 2; two tokens.
    assert costs == [(1, 13), (2, 14), (3, 42), (4, 44)]


def test_a_shared_prefix_is_run_once(call):
    _, costs = run_two_steps(call, "batch_shared")
    assert costs == [(2, 4 + 2 + 3), (3, 10), (4, 10 + 4 + 6 + 6), (5, 28)]


def test_one_by_one_counts_the_slowest(call):
    run, costs = run_two_steps(call, "one_by_one")
    assert isinstance(run, OneByOneRun)
    assert costs == [(1, 13), (2, 14), (3, 42), (4, 44)]
    assert run.simulated_seconds > 0


def test_the_slowest_of_each_step_is_what_counts(call, monkeypatch):
    """Not the sum, nor only those that are still going on."""
    clock = iter([0, 5, 5, 6, 6, 7, 10, 11, 11, 14, 14, 16, 20, 21, 21, 22])
    monkeypatch.setattr(OneByOneRun, "_now", lambda run: next(clock))
    run, _ = run_two_steps(call, "one_by_one")
    # Counting: 5 and 1 + 1; mentions: 1, 3 + 1 and 2 + 1.
    assert run.simulated_seconds == 5 + 4


def test_models_without_a_cache_cannot(call, monkeypatch):
    forward = call.model.forward

    def forget(**inputs):
        output = forward(**inputs)
        output["past_key_values"] = None
        return output

    monkeypatch.setattr(call.model, "forward", forget)
    tree = TokenTree([1])
    tree.insert([2], tree.prefix_end)
    run = open_run(call, [tree], TreeSupport("batch", "4d"))
    with pytest.raises(ValueError, match=r"P025.*no KV cache"):
        run.logits([[1]])


def test_nothing_inside_a_prefix(call):
    run = open_run(call, [TokenTree([1, 2])], TreeSupport("batch", "4d"))
    with pytest.raises(ValueError, match="inside a prefix"):
        run.logits([[0]])
