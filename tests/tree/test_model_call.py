from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import torch
from transformers import PreTrainedModel

from spacy_padellm.tree.kv_cache import KVCache
from spacy_padellm.tree.model_call import ModelCall
from spacy_padellm.tree.readout import Readout
from tests.sample_tokenizers import TRANSFORMERS_5
from tests.tiny_models import FAMILIES, plain_logits, tiny_lm


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_at_some_places_are_the_models_own(family):
    """With what a model does after its output layer (Gemma 2's soft cap) and before it (BERT's
    transform).
    """
    model = tiny_lm(family).model
    ids = [[3, 4, 5, 6], [7, 8, 9, 10]]
    rows, columns = torch.tensor([1, 0, 1]), torch.tensor([3, 0, 1])
    found = ModelCall(model)(rows, columns, input_ids=torch.tensor(ids), use_cache=False)
    alone = [plain_logits(model, ids[0]), plain_logits(model, ids[1])]
    expected = torch.stack([alone[1][3], alone[0][0], alone[1][1]])
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_some_ids_are_the_same(family, gradients):
    model = tiny_lm(family).model
    place, ids = torch.tensor([0, 0]), torch.tensor([[3, 4, 5]])
    wanted = torch.tensor([2, 9, 40])
    with torch.set_grad_enabled(gradients):
        whole = ModelCall(model)(place, place + 1, input_ids=ids, use_cache=False)
        some = ModelCall(model)(place, place + 1, Readout(wanted), input_ids=ids, use_cache=False)
    assert some.shape == (2, 3)
    assert torch.allclose(some, whole[:, wanted], atol=1e-5)
    assert some.requires_grad == gradients
    # Nothing is left of it.
    assert ModelCall(model)(place, place, input_ids=ids, use_cache=False).shape == whole.shape


def test_another_kind_of_output_layer_is_asked_for_everything():
    """A quantized one, for example, whose weight is not a matrix of numbers."""

    class Quantized(torch.nn.Linear):
        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return torch.round(super().forward(hidden))

    model = copy.deepcopy(tiny_lm("llama").model)
    head = Quantized(model.lm_head.in_features, model.lm_head.out_features, bias=False)
    head.weight = torch.nn.Parameter(model.lm_head.weight * 100)
    model.lm_head = head
    place, ids = torch.tensor([1]), torch.tensor([[3, 4]])
    whole = ModelCall(model)(place - 1, place, input_ids=ids)
    assert torch.equal(whole, whole.round()) and whole.abs().max() > 0
    some = ModelCall(model)(place - 1, place, Readout(torch.tensor([5, 6])), input_ids=ids)
    assert torch.equal(some, whole[:, 5:7])


def test_what_a_model_does_not_know_is_left_out():
    call = ModelCall(tiny_lm("bloom").model)
    assert "position_ids" not in call.parameters
    ids = torch.tensor([[3, 4]])
    place = torch.tensor([0])
    found = call(place, place + 1, input_ids=ids, position_ids=torch.tensor([[7, 7]]))
    assert torch.allclose(found[0], plain_logits(call.model, [3, 4])[1], atol=1e-4)


def find_layers(model: PreTrainedModel) -> torch.nn.ModuleList:
    base = model.base_model
    for name in ("layers", "h", "encoder.layer", "decoder.layers"):
        with suppress(AttributeError):
            return base.get_submodule(name)
    raise LookupError


@pytest.mark.parametrize("family", FAMILIES)
def test_the_middle_layer_is_read_as_if_the_model_ended_there(family):
    """With all that a model does behind its layers; at other places it is the last one."""
    model = tiny_lm(family).model
    half = copy.deepcopy(model)
    layers = find_layers(half)
    assert len(layers) == 2
    del layers[1:]
    half.config.num_hidden_layers = 1
    ids = [[3, 4, 5], [6, 7, 8]]
    rows, columns = torch.tensor([0, 1, 0]), torch.tensor([2, 1, 0])
    middle = torch.tensor([0, 2])
    found = ModelCall(model)(rows, columns, Readout(middle=middle), input_ids=torch.tensor(ids))
    with torch.no_grad():
        expected = [
            plain_logits(half, ids[0])[2],
            plain_logits(model, ids[1])[1],
            plain_logits(half, ids[0])[0],
        ]
    assert torch.allclose(found, torch.stack(expected), atol=1e-4)
    # Nothing is left of it.
    after = ModelCall(model)(rows, columns, input_ids=torch.tensor(ids))
    assert torch.allclose(after[0], plain_logits(model, ids[0])[2], atol=1e-4)


@pytest.mark.parametrize("allowed", [False, True])
def test_torchs_setting_for_attention_stays_as_it_was(allowed):
    backends = torch.backends.cuda
    before = backends.fp16_bf16_reduction_math_sdp_allowed()
    seen = []
    model = copy.deepcopy(tiny_lm("llama").model)
    model.register_forward_hook(
        lambda *_: seen.append(backends.fp16_bf16_reduction_math_sdp_allowed())
    )
    backends.allow_fp16_bf16_reduction_math_sdp(allowed)
    try:
        place = torch.tensor([0])
        with torch.enable_grad():
            ModelCall(model)(place, place, input_ids=torch.tensor([[3, 4]]))
        assert seen == [True]
        assert backends.fp16_bf16_reduction_math_sdp_allowed() == allowed
    finally:
        backends.allow_fp16_bf16_reduction_math_sdp(before)


def test_models_whose_layers_cannot_be_told():
    model = copy.deepcopy(tiny_lm("llama").model)
    model.config.num_hidden_layers = 3
    place, middle = torch.tensor([0]), Readout(middle=torch.tensor([0]))
    with pytest.raises(ValueError, match=r"P013.*LlamaForCausalLM.*tag_text = 0"):
        ModelCall(model)(place, place, middle, input_ids=torch.tensor([[3, 4]]))


def test_threads_may_share_a_model():
    model = tiny_lm("llama").model
    call = ModelCall(model)
    sequences = [[3 + i, *range(10, 12 + i)] for i in range(8)]
    expected = [plain_logits(model, ids)[[0, -1]] for ids in sequences]

    def run(ids: list[int]) -> torch.Tensor:
        rows, columns = torch.tensor([0, 0]), torch.tensor([0, len(ids) - 1])
        with torch.no_grad():
            return call(rows, columns, input_ids=torch.tensor([ids]), use_cache=False)

    with ThreadPoolExecutor(4) as pool:
        for found, logits in zip(pool.map(run, sequences * 10), expected * 10, strict=True):
            assert torch.allclose(found, logits, atol=1e-4)


def test_what_a_model_takes_is_read_when_the_call_is_made(monkeypatch):
    """A wrapper may change the model's own forward later, so that it tells no more."""
    model = copy.deepcopy(tiny_lm("llama").model)
    call = ModelCall(model)
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *args, **kwargs: forward(*args, **kwargs))
    place, ids = torch.tensor([0]), torch.tensor([[3, 4]])
    expected = plain_logits(tiny_lm("llama").model, [3, 4])[:1]
    for each in (call, call.through(Wrapper(model))):
        assert {"input_ids", "position_ids", "attention_mask"} <= each.parameters
        assert torch.allclose(each(place, place, input_ids=ids), expected, atol=1e-4)


def test_it_can_be_pickled():
    call = ModelCall(tiny_lm("llama").model)
    again = pickle.loads(pickle.dumps(call))
    place, ids = torch.tensor([0]), torch.tensor([[3, 4]])
    assert torch.equal(again(place, place, input_ids=ids), call(place, place, input_ids=ids))


def test_the_model_is_left_as_it_was():
    model = tiny_lm("llama").model
    call = ModelCall(model)
    place = torch.tensor([0])
    before = plain_logits(model, [3, 4])
    call(place, place, input_ids=torch.tensor([[3, 4]]))
    assert torch.equal(plain_logits(model, [3, 4]), before)
    with pytest.raises(IndexError):
        call(place, place, input_ids=torch.tensor([[3, 100_000]]))
    assert torch.equal(plain_logits(model, [3, 4]), before)


# A model's own, and the tuples that older ones take and give back.
@pytest.mark.parametrize("family, mask_form", [("llama", "4d"), ("bert", "3d")])
def test_a_cache_is_kept_cut_and_copied_row_by_row(family, mask_form):
    if family == "bert" and TRANSFORMERS_5:
        pytest.skip("keeps what all others keep")
    model = tiny_lm(family).model
    call, cache = ModelCall(model), KVCache(mask_form)

    def run(ids: list[list[int]], seen: int, cache: KVCache) -> torch.Tensor:
        """The logits at the last place of each row."""
        tokens = torch.tensor(ids)
        n, length = tokens.shape
        places = torch.arange(seen, seen + length)
        with torch.no_grad():
            return call(
                torch.arange(n),
                torch.full((n,), length - 1),
                cache=cache,
                input_ids=tokens,
                position_ids=places.expand(n, -1),
                attention_mask=torch.ones(n, seen + length, dtype=torch.long),
                cache_position=places,
            )

    def alone(*ids: int) -> torch.Tensor:
        with torch.no_grad():
            return plain_logits(model, ids)[-1]

    # Nothing is kept yet.
    cache.select(torch.tensor([0]))
    cache = KVCache(mask_form)
    run([[3, 4], [5, 6], [7, 8]], 0, cache)
    copied = cache.copy()
    cache.select(torch.tensor([2, 0]))
    found = run([[9, 10], [11, 12]], 2, cache)
    expected = torch.stack([alone(7, 8, 9, 10), alone(3, 4, 11, 12)])
    assert torch.allclose(found, expected, atol=1e-4)
    cache.cut(1)
    found = run([[13], [14]], 3, cache)
    assert torch.allclose(found, torch.stack([alone(7, 8, 9, 13), alone(3, 4, 11, 14)]), atol=1e-4)
    # The copy has all rows, and nothing that came later.
    found = run([[9], [9], [9]], 2, copied)
    expected = torch.stack([alone(3, 4, 9), alone(5, 6, 9), alone(7, 8, 9)])
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_model_that_keeps_nothing():
    class Forgetful(torch.nn.Module):
        def forward(self, input_ids, use_cache=False, **_):
            return model(input_ids=input_ids, use_cache=False)

    model = tiny_lm("llama").model
    call = ModelCall(model).through(Forgetful())
    place = torch.tensor([0])
    with pytest.raises(ValueError, match=r"P025.*LlamaForCausalLM"):
        call(place, place, cache=KVCache("4d"), input_ids=torch.tensor([[3, 4]]))


class Wrapper(torch.nn.Module):
    """Hides what it takes, as adapters and what trains on several devices do."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls = 0

    def forward(self, *args, **kwargs):
        self.calls += 1
        return self.inner(*args, **kwargs)


def test_a_model_is_called_through_what_wraps_it():
    model = tiny_lm("llama").model
    wrapper = Wrapper(model)
    call = ModelCall(model).through(wrapper)
    place, ids = torch.tensor([0, 0]), torch.tensor([[3, 4, 5]])
    positions = torch.tensor([[0, 7, 9]])
    readout = Readout(torch.tensor([2, 9]), torch.tensor([True, False]))
    inputs = {"input_ids": ids, "position_ids": positions}
    found = call(place, place + 1, readout, **inputs)
    assert wrapper.calls == 1 and call.model is model
    assert torch.equal(found, ModelCall(model)(place, place + 1, readout, **inputs))
    # It is still asked for what the model itself knows.
    assert not torch.allclose(found, call(place, place + 1, readout, input_ids=ids))


@pytest.mark.parametrize("middle", [None, torch.tensor([True, False])])
def test_gradients_are_the_same_with_layers_that_are_run_again(middle):
    place, ids = torch.tensor([0, 0]), torch.tensor([[3, 4, 5]])
    gradients = []
    for again in (False, True):
        model = copy.deepcopy(tiny_lm("llama").model).train()
        if again:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        readout = Readout(torch.tensor([2, 9]), middle)
        ModelCall(model)(place, place + 1, readout, input_ids=ids).sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
        assert all(layer.gradient_checkpointing == again for layer in model.model.layers)
    for name, expected in gradients[0].items():
        assert torch.allclose(gradients[1][name], expected, atol=1e-4), name
