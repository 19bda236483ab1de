from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from spacy_padellm.tree.cached_run import CachedRun
from spacy_padellm.tree.causal_lm import CausalLM
from spacy_padellm.tree.choices import Continuations
from spacy_padellm.tree.kv_cache import KVCache
from spacy_padellm.tree.model_call import ModelCall
from spacy_padellm.tree.readout import Readout
from spacy_padellm.tree.run import TreeSupport
from spacy_padellm.tree.runs import RecomputedRun, SequencesRun, open_run
from spacy_padellm.tree.token_tree import TokenTree
from tests.tiny_models import plain_logits, tiny_lm, tiny_model
from tests.tree.forests import run_forest, written_forest

CACHED = TreeSupport("cached", "4d")
HALVES = TreeSupport("cached", "4d", in_halves=True)
RECOMPUTED = TreeSupport("recomputed", "4d")
SEQUENCES = TreeSupport("sequences", None)


@pytest.fixture
def call() -> ModelCall:
    return ModelCall(tiny_lm("llama").model)


def two_trees() -> list[TokenTree]:
    """
    1 - 2 - 3 - 4    1 - 9
          \\ 5
    """
    first, second = TokenTree([1, 2]), TokenTree([1])
    first.insert([3, 4], 1)
    first.insert([5], 1)
    second.insert([9], 0)
    return [first, second]


@pytest.mark.parametrize(
    "support, kind",
    [(CACHED, CachedRun), (RECOMPUTED, RecomputedRun), (SEQUENCES, SequencesRun)],
)
def test_each_way_has_its_run(call, support, kind):
    assert type(open_run(call, two_trees(), support)) is kind


@pytest.mark.parametrize(
    "support, first, second",
    # Passes and tokens after the first pass and after the second.
    [
        (CACHED, (1, 7), (2, 9)),
        (RECOMPUTED, (1, 7), (2, 7 + 9)),
        # 1 2 3 4, 1 2 5 and 1 9; then 1 2 3 4 6 and 1 9 6
        (SEQUENCES, (1, 9), (2, 9 + 8)),
    ],
)
def test_passes_and_tokens_are_counted_without_padding(call, support, first, second):
    trees = two_trees()
    run = open_run(call, trees, support)
    assert (run.passes, run.tokens) == (0, 0)
    run.logits([[3, 4], [1]])
    assert (run.passes, run.tokens) == first
    leaves = [trees[0].insert([6], 3)[0], trees[1].insert([6], 1)[0]]
    run.logits([[leaves[0]], [leaves[1]]])
    assert (run.passes, run.tokens) == second


@pytest.mark.parametrize("support", [CACHED, HALVES, RECOMPUTED, SEQUENCES])
def test_logits_come_tree_by_tree_in_the_order_asked_for(call, support):
    expected = {
        ids: plain_logits(call.model, ids)[-1]
        for ids in [(1, 2), (1, 2, 3), (1, 2, 3, 4), (1, 2, 5), (1, 9)]
    }
    found = open_run(call, two_trees(), support).logits([[4, 2, 3, 4, 1], [1]])
    order = [(1, 2, 5), (1, 2, 3), (1, 2, 3, 4), (1, 2, 5), (1, 2), (1, 9)]
    assert torch.allclose(found, torch.stack([expected[ids] for ids in order]), atol=1e-4)


@pytest.mark.parametrize("layers, middle", [(1, 1), (2, 1), (3, 2), (6, 3)])
@pytest.mark.parametrize("support", [CACHED, RECOMPUTED, SEQUENCES])
def test_logits_read_at_the_middle_layer_are_those_of_a_model_that_ends_there(
    support, layers, middle
):
    whole = tiny_model("llama", num_hidden_layers=layers)
    lower = copy.deepcopy(whole)
    lower.model.layers = lower.model.layers[:middle]
    sequences = [(1, 2, 5), (1, 2, 3), (1, 2, 3, 4), (1, 9)]
    flags = torch.tensor([True, False, True, True])
    run = open_run(ModelCall(whole), two_trees(), support)
    found = run.logits([[4, 2, 3], [1]], Readout(middle=flags))
    expected = [
        plain_logits(lower if early else whole, ids)[-1]
        for ids, early in zip(sequences, flags, strict=True)
    ]
    assert torch.allclose(found, torch.stack(expected), atol=1e-4)
    if middle < layers:
        assert not torch.allclose(found[0], plain_logits(whole, sequences[0])[-1], atol=1e-2)
    # Nothing is left of it.
    again = open_run(ModelCall(whole), two_trees(), support).logits([[], [1]])
    assert torch.allclose(again[0], plain_logits(whole, (1, 9))[-1], atol=1e-4)


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("support", [RECOMPUTED, SEQUENCES])
def test_gradients_of_the_middle_layer_are_those_of_a_model_that_ends_there(support, bfloat16):
    whole = tiny_model("llama", num_hidden_layers=4)
    lower = copy.deepcopy(whole)
    lower.model.layers = lower.model.layers[:2]
    nodes = [[4, 2], [1]]
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        found, expected = (
            open_run(ModelCall(model), two_trees(), support).logits(nodes, readout).float()
            for model, readout in (
                (whole, Readout(middle=torch.tensor([True, True, True]))),
                (lower, Readout()),
            )
        )
    found.square().sum().backward()
    expected.square().sum().backward()
    gradients = {name: p.grad for name, p in whole.named_parameters() if p.grad.any()}
    assert not any(".layers.2." in name or ".layers.3." in name for name in gradients)
    for name, parameter in lower.named_parameters():
        difference = (gradients[name] - parameter.grad).norm() / parameter.grad.norm()
        assert difference < (0.05 if bfloat16 else 1e-4), name


@pytest.mark.parametrize("support", [CACHED, HALVES, RECOMPUTED, SEQUENCES])
@pytest.mark.parametrize("nodes", [[[], [1]], [[4], []], [[], []]])
def test_a_tree_may_be_asked_for_nothing(call, support, nodes):
    expected = [plain_logits(call.model, ids)[-1] for ids in [(1, 2, 5)] if nodes[0]]
    expected += [plain_logits(call.model, ids)[-1] for ids in [(1, 9)] if nodes[1]]
    found = open_run(call, two_trees(), support).logits(nodes)
    assert found.shape == (len(expected), call.model.config.vocab_size)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_a_cached_node_cannot_be_asked_for_later(call):
    trees = two_trees()
    run = open_run(call, trees, CACHED)
    run.logits([[3], [1]])
    trees[0].insert([6], 3)
    with pytest.raises(ValueError, match="not later"):
        run.logits([[3], []])


def test_a_bidirectional_prefix_needs_a_mask(call):
    with pytest.raises(ValueError, match=r"P021.*LlamaForCausalLM.*prefix_attention='causal'"):
        open_run(call, two_trees(), SEQUENCES, bidirectional_prefix=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("support", [CACHED, RECOMPUTED])
def test_what_is_not_seen_has_the_lowest_number_of_the_models_precision(
    call, support, dtype, monkeypatch
):
    model = copy.deepcopy(call.model).to(dtype)
    call = ModelCall(model)
    masks = []
    forward = model.forward

    def record(**inputs):
        masks.append(inputs["attention_mask"])
        return forward(**inputs)

    monkeypatch.setattr(model, "forward", record)
    tree = TokenTree([1])
    leaves = [tree.insert([token], 0)[0] for token in (2, 3)]
    with torch.no_grad():
        open_run(call, [tree], support).logits([leaves])
    (mask,) = masks
    unseen = torch.finfo(dtype).min
    assert mask.dtype == dtype
    assert mask.tolist() == [[[[0.0, unseen, unseen], [0.0, 0.0, unseen], [0.0, unseen, 0.0]]]]


@pytest.mark.parametrize("support", [RECOMPUTED, SEQUENCES])
def test_gradients_are_those_of_the_sequences(call, support):
    weights = [p for p in call.model.parameters() if p.requires_grad]
    nodes = [[3, 4], [1]]
    found = open_run(call, two_trees(), support).logits(nodes).square().sum()
    sequences = [(1, 2, 3, 4), (1, 2, 5), (1, 9)]
    expected = sum(plain_logits(call.model, ids)[-1].square().sum() for ids in sequences)
    for ours, theirs in zip(
        torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights), strict=True
    ):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("support", [CACHED, HALVES, RECOMPUTED, SEQUENCES])
def test_finished_trees_leave_the_others_as_they_are(call, support):
    trees = two_trees()
    run = open_run(call, trees, support)
    with torch.no_grad():
        run.logits([[3, 4], [1]])
        run.retire([0])
        (leaf,) = trees[1].insert([6], 1)
        found = run.logits([[], [leaf]])
    assert torch.allclose(found[0], plain_logits(call.model, (1, 9, 6))[-1], atol=1e-4)


def test_a_finished_tree_is_finished(call):
    trees = two_trees()
    run = open_run(call, trees, CACHED)
    run.logits([[3, 4], [1]])
    run.retire([0])
    (leaf,) = trees[0].insert([6], 3)
    with pytest.raises(ValueError, match="retired"):
        run.logits([[leaf], []])


def test_finished_trees_are_no_rows_any_more(call, monkeypatch):
    trees = two_trees()
    run = open_run(call, trees, CACHED)
    shapes = []
    forward = call.model.forward

    def record(**inputs):
        shapes.append(tuple(inputs["input_ids"].shape))
        return forward(**inputs)

    monkeypatch.setattr(call.model, "forward", record)
    run.logits([[3, 4], [1]])
    run.retire([1])
    (leaf,) = trees[0].insert([6], 3)
    run.logits([[leaf], []])
    assert shapes == [(1, 7), (1, 1)]


@pytest.mark.parametrize("support", [CACHED, HALVES])
def test_the_place_of_new_tokens_in_the_cache_is_told(call, monkeypatch, support):
    """Also after nodes were cut off and trees moved to other rows."""
    widths, moves = [], []
    make_inputs, move = ModelCall.make_inputs, KVCache.move

    def record(self, tokens, positions, visible, mask_form, cached):
        widths.append((cached, visible.shape[-1] - tokens.shape[1]))
        return make_inputs(self, tokens, positions, visible, mask_form, cached)

    def count(self, rows, slots):
        moves.append(rows.shape)
        move(self, rows, slots)

    monkeypatch.setattr(ModelCall, "make_inputs", record)
    monkeypatch.setattr(KVCache, "move", count)
    for seed in range(6):
        run_forest(written_forest(seed, 4), lambda trees: open_run(call, trees, support))
    assert all(told == real for told, real in widths)
    assert moves


@pytest.mark.parametrize("support", [CACHED, HALVES, RECOMPUTED, SEQUENCES])
def test_what_was_cut_is_run_anew(call, support):
    trees = two_trees()
    run = open_run(call, trees, support)
    with torch.no_grad():
        run.logits([[3, 4], [1]])
        trees[0].cut(3)
        branch = trees[0].insert([6, 7, 8], 2)
        (leaf,) = trees[1].insert([6], 1)
        found = run.logits([branch, [leaf]])
    sequences = [(1, 2, 3, 6), (1, 2, 3, 6, 7), (1, 2, 3, 6, 7, 8), (1, 9, 6)]
    for ours, ids in zip(found, sequences, strict=True):
        assert torch.allclose(ours, plain_logits(call.model, ids)[-1], atol=1e-4)


def test_what_was_cut_is_told_from_what_has_its_number(call):
    """The same token below another node, and in a batch where one tree only was cut."""
    trees = two_trees()
    run = open_run(call, trees, CACHED)
    with torch.no_grad():
        run.logits([[3, 4], [1]])
        trees[0].cut(4)
        (other,) = trees[0].insert([5], 2)
        assert other == 4 and trees[0].ids[4] == 5
        (leaf,) = trees[1].insert([6], 1)
        found = [run.logits([[other], [leaf]])]
        trees[0].cut(2)
        trees[1].cut(1)
        found.append(run.logits([trees[0].insert([8, 9], 1), trees[1].insert([4], 0)]))
    sequences = [(1, 2, 3, 5), (1, 9, 6), (1, 2, 8), (1, 2, 8, 9), (1, 4)]
    for ours, ids in zip(torch.cat(found), sequences, strict=True):
        assert torch.allclose(ours, plain_logits(call.model, ids)[-1], atol=1e-4)
    assert run.tokens == 7 + 2 + 3


def test_what_was_cut_is_in_the_cache_no_more(call, monkeypatch):
    tree = TokenTree([1, 2])
    tree.insert([3, 4, 5], 1)
    run = open_run(call, [tree], CACHED)
    widths = []
    forward = call.model.forward

    def record(**inputs):
        widths.append(inputs["cache" if "cache" in inputs else "past_key_values"].get_seq_length())
        return forward(**inputs)

    monkeypatch.setattr(call.model, "forward", record)
    run.logits([[4]])
    tree.cut(3)
    run.logits([tree.insert([7, 8], 2)])
    run.logits([tree.insert([9], 4)])
    assert widths == [0, 3, 5]
    assert (run.passes, run.tokens) == (3, 5 + 2 + 1)


@pytest.mark.parametrize("support", [CACHED, HALVES, RECOMPUTED, SEQUENCES])
@pytest.mark.parametrize("over_vocabulary", [True, False])
def test_log_probs_of_a_trees_continuations(call, support, over_vocabulary):
    """Only the logits needed are asked for, and they do."""
    admissible = [[4, 7], [6], [2, 9, 8]]
    continuations = Continuations(admissible, over_vocabulary=over_vocabulary)
    with torch.no_grad():
        run = open_run(call, two_trees(), support)
        logits = run.logits([[3, 4], [1]], Readout(continuations.needed))
        found = continuations.log_probs(logits)
    for sequence, ids, log_probs in zip(
        [(1, 2, 3, 4), (1, 2, 5), (1, 9)], admissible, found, strict=True
    ):
        alone = plain_logits(call.model, sequence)[-1]
        expected = alone[ids] - (alone if over_vocabulary else alone[ids]).logsumexp(0)
        assert torch.allclose(log_probs[: len(ids)], expected, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "bert"])
@pytest.mark.parametrize("layers", [2, 3, 5])
def test_the_layers_above_the_middle_one_catch_up(family, layers):
    """On the trees that are left, without what was cut off since."""
    whole = tiny_model(family, num_hidden_layers=layers)
    lm = CausalLM(whole, tiny_lm(family).tokenizer)
    trees = [TokenTree([1, 2, 3]), TokenTree([4, 5]), TokenTree([6, 7, 8, 9])]
    trees[0].insert([8, 9], 2)
    run = lm.open(trees, 9, in_halves=True)
    lower = open_run(lm.call, trees, TreeSupport("recomputed", lm.support.mask_form))
    nodes = [[0, 4], [1], [2, 3]]
    middle = Readout(middle=torch.ones(5, dtype=torch.bool))
    with torch.no_grad():
        assert torch.allclose(run.logits(nodes, middle), lower.logits(nodes, middle), atol=1e-4)
        trees[0].cut(4)
        trees[0].insert([3, 4], 2)
        (leaf,) = trees[2].insert([5], 3)
        once_more = Readout(middle=torch.ones(1, dtype=torch.bool))
        run.logits([[], [], [leaf]], once_more)
        run.retire([1])
        (other,) = trees[2].insert([1], 3)
        found = [run.logits([[2, 3, 5], [], [3, leaf, other]])]
        (last,) = trees[0].insert([7], 5)
        found.append(run.logits([[last], [], []]))
    sequences = [(1, 2, 3), (1, 2, 3, 8), (1, 2, 3, 3, 4)]
    sequences += [(6, 7, 8, 9), (6, 7, 8, 9, 5), (6, 7, 8, 9, 1), (1, 2, 3, 3, 4, 7)]
    for ours, ids in zip(torch.cat(found), sequences, strict=True):
        assert torch.allclose(ours, plain_logits(whole, ids)[-1], atol=1e-4)
    assert (run.passes, run.tokens) == (4, 11 + 3 + 1 + 1)


def test_in_halves_a_pass_is_read_at_one_layer(call):
    run = open_run(call, two_trees(), HALVES)
    with pytest.raises(ValueError, match="middle layer or at the last"):
        run.logits([[4], [1]], Readout(middle=torch.tensor([True, False])))


def test_threads_that_share_a_model_run_its_halves_in_turn():
    lm = CausalLM(tiny_model("llama", num_hidden_layers=4), tiny_lm("llama").tokenizer)
    middle = Readout(middle=torch.ones(2, dtype=torch.bool))

    def run_both(number: int) -> torch.Tensor:
        trees = [TokenTree([number, 2]), TokenTree([3])]
        with torch.no_grad():
            run = lm.open(trees, 9, in_halves=True)
            lower = run.logits([[1], [0]], middle)
            (leaf,) = trees[0].insert([5], 1)
            return torch.cat([lower, run.logits([[leaf], [0]])])

    expected = [run_both(number) for number in range(8)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(run_both, [*range(8)] * 10))
    for number, each in enumerate(found):
        assert torch.allclose(each, expected[number % 8], atol=1e-5)
