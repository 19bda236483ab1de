from __future__ import annotations

import torch

from spacy_padellm.tree.softmax import admissible_logits, pad_admissible

CPU = torch.device("cpu")


def test_ids_are_padded():
    assert pad_admissible([[3], [0, 2, 1], []], CPU).tolist() == [
        [3, -1, -1],
        [0, 2, 1],
        [-1, -1, -1],
    ]
    assert pad_admissible([], CPU).shape == (0, 0)


def test_logits_of_admissible_ids():
    logits = torch.tensor([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]], requires_grad=True)
    found = admissible_logits(logits, torch.tensor([[2, 0], [1, -1]]))
    expected = torch.tensor([[0.3, 0.1], [2.0, -torch.inf]])
    assert torch.equal(found, expected)
    found.logsumexp(dim=1).sum().backward()
    share = torch.softmax(torch.tensor([0.1, 0.3]), dim=0)
    assert torch.allclose(logits.grad[0], torch.tensor([share[0], 0.0, share[1]]))
    assert torch.equal(logits.grad[1], torch.tensor([0.0, 1.0, 0.0]))
