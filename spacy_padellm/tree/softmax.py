"""Which continuations a token's probability is taken over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

# "vocabulary": the model's own probability, as in the paper. "admissible": over the tokens that
# may come next only, which makes the model a pointer into the text and learns faster.
Softmax = Literal["vocabulary", "admissible"]


def pad_admissible(admissible: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """admissible (Sequence[Sequence[int]]): For each node, the ids that may come next.
    device (torch.device): Where to put them.
    RETURNS (Tensor): The ids, shape `(n, most)`, padded with -1.
    """
    most = max(map(len, admissible), default=0)
    rows = [[*ids, *[-1] * (most - len(ids))] for ids in admissible]
    return torch.tensor(rows, dtype=torch.long, device=device).reshape(len(rows), most)


def admissible_logits(logits: Tensor, admissible: Tensor) -> Tensor:
    """logits (Tensor): Shape `(n, vocabulary)`.
    admissible (Tensor): Ids padded with -1, shape `(n, most)`.
    RETURNS (Tensor): Their logits, minus infinity where padded, shape `(n, most)`.
    """
    picked = logits.gather(1, admissible.clamp_min(0))
    return picked.masked_fill(admissible < 0, -torch.inf)
