from __future__ import annotations

import copy
import pickle

import pytest
import torch

from spacy_padellm.tree.cached_run import CachedRun
from spacy_padellm.tree.causal_lm import CausalLM, TextTooLongError
from spacy_padellm.tree.readout import FIRST_VECTOR, Readout
from spacy_padellm.tree.run import TreeSupport
from spacy_padellm.tree.runs import RecomputedRun, SequencesRun
from spacy_padellm.tree.token_tree import TokenTree
from tests.sample_tokenizers import small_tokenizer
from tests.tiny_models import plain_logits, prefix_lm_logits, tiny_lm, tiny_model, ways_of
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


@pytest.mark.parametrize("way", ["cached", "recomputed", "sequences"])
@pytest.mark.parametrize("family", WINDOWED)
def test_so_are_trees_that_grow_as_they_are_written(family, way):
    lm = tiny_lm(family, **WINDOWED[family]).run_as(way)
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
    assert lm.max_depth == 8 and lm.fits(8) and not lm.fits(9)
    # Otherwise longer ones are run as separate sequences.
    assert tiny_lm(family, **WINDOWED[family]).max_depth == 128
    with pytest.raises(TextTooLongError, match=r"P024.* 9 tokens.*window of 8.*get_spans"):
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
    lm = tiny_lm("llama", "bidirectional").run_as(way)
    assert lm.bidirectional_prefix
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


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bert"])
def test_texts_longer_than_the_positions_are_an_error(family):
    lm = tiny_lm(family)
    assert lm.max_depth == 128
    trees = random_forest(0, 1, prefix=(2, 2)).plant()
    for depth in (129, 1000):
        message = rf"P023.* {depth} tokens.* 128 positions.*get_spans"
        assert not lm.fits(depth)
        for for_training in (False, True):
            with pytest.raises(TextTooLongError, match=message):
                lm.open(trees, depth, for_training=for_training)
        with pytest.raises(TextTooLongError, match=message):
            lm.check_depth(depth)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bert"])
def test_all_positions_can_be_used(family):
    lm = tiny_lm(family)
    forest = random_forest(0, 1, prefix=(124, 124), passes=1)
    assert depth_of(forest) == 128
    assert lm.fits(128)
    assert difference(lm, forest, 128, lambda ids, _: plain_logits(lm.model, ids)) < 1e-4


def test_a_model_without_positions_takes_any_length():
    lm = tiny_lm("bloom")
    assert lm.max_depth is None and lm.fits(10_000)
    forest = random_forest(0, 1, prefix=(200, 200), passes=1)
    assert difference(lm, forest, 204, lambda ids, _: plain_logits(lm.model, ids)) < 1e-4


def test_run_as_runs_the_same_model():
    lm = tiny_lm("llama")
    other = lm.run_as("sequences")
    assert other.model is lm.model
    assert other.tokenizer is lm.tokenizer
    assert other.support == TreeSupport("sequences", "4d", in_halves=True)
    assert lm.support == TreeSupport("cached", "4d", in_halves=True)


def test_support_that_is_known_is_not_probed():
    support = TreeSupport("recomputed", "4d")
    lm = CausalLM(tiny_model("llama"), small_tokenizer("en"), support=support)
    assert lm.support is support


@pytest.mark.parametrize(
    "way, kind",
    [("cached", RecomputedRun), ("recomputed", RecomputedRun), ("sequences", SequencesRun)],
)
def test_training_needs_no_cache(way, kind):
    lm = tiny_lm("llama").run_as(way)
    forest = random_forest(1, 2, prefix=(3, 5), passes=1)
    run = lm.open(forest.grown(), depth_of(forest), for_training=True)
    assert type(run) is kind
    run.logits(forest.asked[0]).sum().backward()
    gradient = lm.model.get_input_embeddings().weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
    lm.model.zero_grad(set_to_none=True)


def test_through_calls_the_same_model_through_its_wrapper():
    lm = tiny_lm("llama")
    calls = []

    class Wrapper(torch.nn.Module):
        def forward(self, *args, **kwargs):
            calls.append(kwargs["input_ids"].shape)
            return lm.model(*args, **kwargs)

    wrapped = lm.through(Wrapper())
    assert (wrapped.model, wrapped.tokenizer, wrapped.support) == (
        lm.model,
        lm.tokenizer,
        lm.support,
    )
    forest = random_forest(1, 2, prefix=(3, 5))
    alone = difference(wrapped, forest, depth_of(forest), lambda i, _: plain_logits(lm.model, i))
    assert alone < 1e-4
    assert len(calls) == len(forest.asked)
    run_forest(forest, lambda trees: lm.open(trees, depth_of(forest)))
    assert len(calls) == len(forest.asked)


def test_to_moves_the_model():
    lm = CausalLM(tiny_model("llama"), small_tokenizer("en"))
    assert lm.to("meta") is lm
    assert {p.device for p in lm.model.parameters()} == {torch.device("meta")}


@pytest.mark.parametrize("device", ["nowhere", "cuda:99", "gpu"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(ValueError, match=rf"(?s)P045.*'{device}'.*for example 'cpu'"):
        tiny_lm("llama").to(device)
    assert tiny_lm("llama").to("cpu").model.device.type == "cpu"


# Layers that predict in bfloat16


def short_lm(family: str = "llama") -> CausalLM:
    lm = copy.deepcopy(tiny_lm(family))
    lm.predict_in_bfloat16()
    return lm


@torch.no_grad()
def predicted(lm: CausalLM) -> torch.Tensor:
    return plain_logits(lm.model, [3, 4, 5, 6])


def test_linear_layers_predict_in_bfloat16():
    exact, lm = tiny_lm("llama"), short_lm()
    difference = (predicted(lm) - predicted(exact)).abs().max()
    assert 0 < difference < 0.1
    assert predicted(lm).dtype == torch.float32
    layer = short_lm("bert").model.base_model.encoder.layer[0].output.dense
    given = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        product = given.bfloat16() @ layer.weight.bfloat16().T
        assert torch.allclose(layer(given), product.float() + layer.bias, atol=1e-6)
        # The bias is not rounded.
        layer.bias.add_(1000.001)
        assert torch.allclose(layer(given), product.float() + layer.bias, atol=1e-4)


def test_they_train_in_float32():
    gradients = []
    for lm in (copy.deepcopy(tiny_lm("llama")), short_lm()):
        plain_logits(lm.model, [3, 4, 5, 6]).sum().backward()
        gradients.append({name: p.grad for name, p in lm.model.named_parameters()})
    exact, found = gradients
    assert found.keys() == exact.keys()
    assert all(torch.equal(found[name], exact[name]) for name in exact)
    # Also where a pass in training needs no gradients, as with gradient checkpointing.
    lm = short_lm()
    lm.model.train()
    assert torch.equal(predicted(lm), predicted(tiny_lm("llama")))


# Fused steps leave no trace on the weights, nor does what is written to their data.
@pytest.mark.parametrize("change", ["sgd", "fused", "data"])
def test_they_predict_with_what_was_trained_since(change):
    lm = short_lm()
    before = predicted(lm)
    plain_logits(lm.model, [3, 4, 5, 6]).sum().backward()
    if change == "data":
        for weight in lm.model.parameters():
            weight.data.add_(weight.grad, alpha=0.01)
    elif change == "fused":
        torch.optim.AdamW(lm.model.parameters(), lr=1e-2, fused=True).step()
    else:
        torch.optim.SGD(lm.model.parameters(), lr=1e-2).step()
    after = predicted(lm)
    assert not torch.equal(after, before)
    fresh = copy.deepcopy(tiny_lm("llama"))
    fresh.model.load_state_dict(lm.model.state_dict())
    fresh.predict_in_bfloat16()
    assert torch.equal(predicted(fresh), after)


@pytest.mark.parametrize("family", ["llama", "bert", "gpt2"])
def test_trees_and_copies_run_in_bfloat16_too(family):
    lm = short_lm(family)
    for seed in range(3):
        forest = random_forest(seed, 3, prefix=(2, 6))
        depth = depth_of(forest)
        with torch.no_grad():
            found = run_forest(forest, lambda trees, depth=depth: lm.open(trees, depth))
            expected = expected_logits(forest, lambda ids, _: plain_logits(lm.model, ids))
        assert torch.allclose(found, expected, atol=0.1)
    for copied in (copy.deepcopy(lm), pickle.loads(pickle.dumps(lm))):
        assert torch.equal(predicted(copied), predicted(lm))


def test_their_copies_are_not_pickled():
    lm = short_lm()
    fresh = pickle.dumps(lm)
    predicted(lm)
    assert len(pickle.dumps(lm)) == len(fresh)


def test_they_may_be_made_in_inference_mode():
    with torch.inference_mode():
        copied = copy.deepcopy(short_lm())
        found = predicted(copied)
    assert torch.equal(found, predicted(short_lm()))


def test_the_output_layer_is_left_out():
    lm = copy.deepcopy(tiny_lm("llama"))
    # As in families that have no base model.
    lm.model.base_model_prefix = ""
    assert lm.predict_in_bfloat16() > 0
    assert type(lm.model.get_output_embeddings()) is torch.nn.Linear
    # Its layers are of another kind.
    assert copy.deepcopy(tiny_lm("gpt2")).predict_in_bfloat16() == 0


LABELS = [(5, 6, 7), (8,), (5, 6, 7, 9, 10), (11, 12)]
ENCODING = [("llama", "causal"), ("llama", "bidirectional"), ("bert", "bidirectional")]


@pytest.mark.parametrize("family, prefix_attention", ENCODING)
def test_a_labels_vector_is_the_mean_of_the_middle_layers_output(family, prefix_attention):
    """In any way to run trees."""
    lm = tiny_lm(family, prefix_attention, num_hidden_layers=4)
    layers = lm.model.model.layers if family == "llama" else lm.model.bert.encoder.layer
    kept = []

    def keep(layer, args, output):
        kept.append(output[0] if isinstance(output, tuple) else output)

    run = plain_logits if prefix_attention == "causal" else prefix_lm_logits
    hook = layers[1].register_forward_hook(keep)
    with torch.no_grad():
        for ids in LABELS:
            run(lm.model, ids, *([] if prefix_attention == "causal" else [len(ids)]))
        hook.remove()
        expected = torch.stack([each[0].mean(dim=0) for each in kept])
        for way in ways_of(lm):
            found = lm.run_as(way).encode_labels(LABELS)
            assert torch.allclose(found, expected, atol=1e-5)
        # With others or alone, and to train or not.
        alone = torch.cat([lm.encode_labels([ids], for_training=True) for ids in LABELS])
        assert torch.allclose(alone, expected, atol=1e-5)


def test_vectors_of_labels_are_those_of_the_weights_as_they_are():
    lm = CausalLM(tiny_model("llama"), small_tokenizer("en"))
    with torch.no_grad():
        before = lm.encode_labels(LABELS)
        assert torch.equal(lm.encode_labels(LABELS[::-1]), before.flip(0))
    # As in a training step.
    lm.encode_labels(LABELS, for_training=True).sum().backward()
    with torch.no_grad():
        for weight in lm.model.parameters():
            weight += 0.1 * torch.randn_like(weight)
        after = lm.encode_labels(LABELS)
        assert not torch.allclose(after, before, atol=1e-2)
        assert torch.equal(after, CausalLM(lm.model, lm.tokenizer).encode_labels(LABELS))


def test_many_labels_are_encoded(monkeypatch):
    """More than are kept."""
    monkeypatch.setattr("spacy_padellm.tree.causal_lm._MOST_VECTORS", 2)
    lm = tiny_lm("llama")
    with torch.no_grad():
        expected = lm.encode_labels(LABELS, for_training=True)
        for part in (slice(2), slice(1, 4), slice(4)):
            assert torch.allclose(lm.encode_labels(LABELS[part]), expected[part], atol=1e-6)


@pytest.mark.parametrize("way", ["cached", "recomputed", "sequences"])
def test_vectors_are_compared_with_the_middle_layers_output(way):
    lm = tiny_lm("llama").run_as(way)
    tree = TokenTree([1, 2, 3, 4])
    vectors = torch.randn(3, lm.model.config.hidden_size)
    ids = torch.tensor([7, 9, FIRST_VECTOR, FIRST_VECTOR + 2])
    nodes = [[1, 3]]
    with torch.no_grad():
        plain = lm.open([tree], 4).logits(nodes)
        hidden = lm.open([tree], 4).logits(nodes, Readout(torch.tensor([0]), hidden=True))
        found = lm.open([tree], 4).logits(nodes, Readout(ids, vectors=vectors))
        assert torch.allclose(found[:, :2], plain[:, [7, 9]], atol=1e-5)
        compared = hidden @ vectors[[0, 2]].T * lm.model.config.hidden_size**-0.5
    assert torch.allclose(found[:, 2:], compared, atol=1e-5)
