from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.tree.choices import Continuations, TagChoices


@pytest.mark.parametrize("over_vocabulary", [True, False])
def test_ids_are_padded(over_vocabulary):
    found = Continuations([[3], [0, 2, 1], []], over_vocabulary=over_vocabulary)
    assert found.ids.tolist() == [[3, -1, -1], [0, 2, 1], [-1, -1, -1]]
    for nothing in ([], [[]], [[], []]):
        found = Continuations(nothing, over_vocabulary=over_vocabulary)
        assert len(found.ids) == len(nothing)
        assert found.ids.tolist() in ([], [[]] * len(nothing))


def test_only_the_logits_of_admissible_ids_are_needed():
    admissible = [[7, 3], [5], [3, 9, 0]]
    assert Continuations(admissible, over_vocabulary=True).needed is None
    assert Continuations(admissible, over_vocabulary=False).needed.tolist() == [0, 3, 5, 7, 9]
    assert Continuations([[], []], over_vocabulary=False).needed.tolist() == []


def test_softmax_over_the_vocabulary():
    logits = torch.tensor([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]], requires_grad=True)
    found = Continuations([[2, 0], [1]], over_vocabulary=True).log_probs(logits)
    whole = logits.log_softmax(dim=1)
    assert torch.equal(found[1, 1], torch.tensor(-torch.inf))
    assert torch.allclose(found[0], whole[0, [2, 0]])
    assert torch.allclose(found[1, 0], whole[1, 1])
    found[0, 0].backward()
    shares = torch.softmax(logits[0].detach(), dim=0)
    assert torch.allclose(logits.grad[0], torch.tensor([0.0, 0.0, 1.0]) - shares)
    assert torch.equal(logits.grad[1], torch.zeros(3))


def test_softmax_over_what_is_admissible():
    logits = torch.tensor([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]], requires_grad=True)
    found = Continuations([[2, 0], [1]], over_vocabulary=False)
    log_probs = found.log_probs(logits[:, found.needed])
    expected = torch.tensor([0.3, 0.1]).log_softmax(dim=0)
    assert torch.allclose(log_probs[0], expected)
    assert torch.equal(log_probs[1], torch.tensor([0.0, -torch.inf]))
    log_probs[0, 0].backward()
    share = torch.softmax(torch.tensor([0.1, 0.3]), dim=0)
    assert torch.allclose(logits.grad[0], torch.tensor([-share[0], 0.0, 1 - share[1]]))
    assert torch.equal(logits.grad[1], torch.zeros(3))


@given(data=st.data(), over_vocabulary=st.booleans(), by_rows=st.booleans())
def test_log_probs_of_any_continuations(data, over_vocabulary, by_rows):
    """As written out one by one, also where several places have the same logits."""
    vocabulary = 12
    ids = st.lists(st.integers(0, vocabulary - 1), min_size=1, max_size=5, unique=True)
    admissible = data.draw(st.lists(ids, min_size=1, max_size=6))
    n = len(admissible)
    rows = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)) if by_rows else range(n)
    logits = torch.randn(max(rows) + 1, vocabulary, generator=torch.Generator().manual_seed(n))
    continuations = Continuations(admissible, over_vocabulary=over_vocabulary)
    given_logits = logits if over_vocabulary else logits[:, continuations.needed]
    places = torch.tensor(list(rows)) if by_rows else None
    found = continuations.log_probs(given_logits, places)
    assert found.shape == continuations.ids.shape
    for row, ids, log_probs in zip(rows, admissible, found, strict=True):
        total = logits[row] if over_vocabulary else logits[row, ids]
        expected = logits[row, ids] - total.logsumexp(0)
        assert torch.allclose(log_probs[: len(ids)], expected, atol=1e-6)
        assert (log_probs[len(ids) :] == -torch.inf).all()


@given(
    rows=st.integers(0, 20), times=st.integers(1, 3), dtype=st.sampled_from(["float32", "bfloat16"])
)
def test_gradients_over_the_vocabulary(rows, times, dtype):
    """As torch finds them, for any number of rows, also where several places share a row."""
    draw = torch.Generator().manual_seed(rows)
    logits = 5 * torch.randn(rows, 30, generator=draw)
    logits = logits.to(getattr(torch, dtype)).requires_grad_()
    places = torch.arange(rows).repeat(times)
    targets = torch.randint(30, (rows * times, 2), generator=draw)
    weights = torch.randn(rows * times, 2, generator=draw)
    found = Continuations(targets.tolist(), over_vocabulary=True).log_probs(logits, places)
    expected = logits.float().log_softmax(dim=1)[places[:, None], targets]
    (gradient,) = torch.autograd.grad((weights * found).sum(), logits)
    (wanted,) = torch.autograd.grad((weights * expected).sum(), logits)
    assert torch.allclose(found, expected, atol=1e-5)
    assert gradient.dtype == logits.dtype
    assert torch.allclose(gradient, wanted, atol=1e-5 if dtype == "float32" else 0.05)


@pytest.mark.parametrize("over_vocabulary", [True, False])
def test_log_probs_are_taken_in_full_precision(over_vocabulary):
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    found = Continuations([[0, 1, 2]], over_vocabulary=over_vocabulary)
    for dtype in (torch.bfloat16, torch.float16):
        log_probs = found.log_probs(logits.to(dtype))
        assert log_probs.dtype == torch.float32
        assert torch.equal(log_probs, found.log_probs(logits))


def test_logits_of_other_ids_may_be_needed_too():
    also = [torch.tensor([1, 7]), torch.tensor([4])]
    found = Continuations([[3, 9], [7]], over_vocabulary=False, also=also)
    assert found.needed.tolist() == [1, 3, 4, 7, 9]
    logits = torch.randn(2, 10, generator=torch.Generator().manual_seed(0))
    expected = Continuations([[3, 9], [7]], over_vocabulary=False)
    assert torch.equal(
        found.log_probs(logits[:, found.needed]), expected.log_probs(logits[:, expected.needed])
    )
    assert Continuations([[3]], over_vocabulary=True, also=also).needed is None


# Tags


def test_a_tag_of_one_id_has_its_logit():
    tags = TagChoices([[4], [0], [2]])
    assert tags.needed.tolist() == [0, 2, 4]
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(tags.log_probs(logits), logits[:, [4, 0, 2]].log_softmax(dim=1))


def test_a_tag_of_several_ids_has_the_logit_of_the_mean_row():
    generator = torch.Generator().manual_seed(0)
    hidden, rows = (torch.randn(n, 8, generator=generator) for n in (3, 6))
    tags = TagChoices([[1, 5], [2], [3, 3, 1]])
    means = torch.stack([rows[[1, 5]].mean(0), rows[2], rows[[3, 3, 1]].mean(0)])
    expected = (hidden @ means.T).log_softmax(dim=1)
    assert torch.allclose(tags.log_probs(hidden @ rows.T), expected, atol=1e-5)


def test_tags_that_are_not_allowed():
    tags = TagChoices([[1], [2], [0]])
    logits = torch.tensor([[0.5, 1.0, 2.0], [0.5, 1.0, 2.0]])
    allowed = torch.tensor([[True, False, True], [True, True, True]])
    found = tags.log_probs(logits, allowed=allowed)
    assert found[0, 1] == -torch.inf
    assert torch.allclose(found[0, [0, 2]], torch.tensor([1.0, 0.5]).log_softmax(dim=0))
    assert torch.equal(found[1], tags.log_probs(logits)[1])


@given(data=st.data())
def test_tags_of_any_ids(data):
    """Whichever logits are given beside those needed."""
    ids = st.integers(0, 11)
    spelled = data.draw(st.lists(st.lists(ids, min_size=1, max_size=4), min_size=1, max_size=5))
    tags = TagChoices(spelled)
    logits = torch.randn(2, 12, generator=torch.Generator().manual_seed(len(spelled)))
    others = data.draw(st.lists(ids))
    given = torch.tensor(sorted({*others, *tags.needed.tolist()}))
    scores = torch.stack([logits[:, each].mean(dim=1) for each in spelled], dim=1)
    for found in (tags.log_probs(logits), tags.log_probs(logits[:, given], given)):
        assert torch.allclose(found, scores.log_softmax(dim=1), atol=1e-5)


def test_log_probs_of_tags_are_taken_in_full_precision():
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    tags = TagChoices([[0], [1, 2]])
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(tags.log_probs(logits.to(dtype)), tags.log_probs(logits))
