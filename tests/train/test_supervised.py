from __future__ import annotations

import torch

from spacy_padellm.train.supervised import weighted_loss


def test_where_nothing_is_taught_nothing_is_lost():
    log_probs = torch.zeros(0, requires_grad=True)
    loss = weighted_loss([], log_probs)
    assert loss.item() == 0.0
    loss.backward()
