"""Texts of similar length are decoded together, as many as fit into a number of tokens."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import Errors
from ..causal_lm import CausalLM
from ..softmax import Softmax
from .cost import DecodingCost
from .writing import Writing, write_all


def make_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """lengths (Sequence[int]): Length of each item, in tokens.
    budget (int): Most tokens of a batch, padding included. A longer item is a batch of its own.
    RETURNS (List[List[int]]): The items' numbers, shortest first.
    """
    batches: list[list[int]] = []
    for item in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        # Sorted, so the newest is the longest.
        if batches and (len(batches[-1]) + 1) * lengths[item] <= budget:
            batches[-1].append(item)
        else:
            batches.append([item])
    return batches


def write_batches(
    lm: CausalLM,
    writings: Sequence[Writing],
    depths: Sequence[int],
    softmax: Softmax,
    cost: DecodingCost,
    budget: int,
) -> None:
    """Write everything, batch by batch.

    lm (CausalLM): The model.
    writings (Sequence[Writing]): What is to be written.
    depths (Sequence[int]): The deepest each tree may get, in tokens.
    softmax (Softmax): What log-probabilities are taken over.
    cost (DecodingCost): What it took is added here.
    budget (int): Most tokens run at once, padding included.
    RAISES (ValueError): The budget is below 1, or the model cannot run sequences as long as one of
        them; none is run then.
    """
    if budget < 1:
        raise ValueError(Errors.P032.format(name="batch_tokens", value=budget))
    for depth in depths:
        lm.check_depth(depth)
    for batch in make_batches([len(writing.tree) for writing in writings], budget):
        chosen = [writings[item] for item in batch]
        run = lm.open([each.tree for each in chosen], max(depths[item] for item in batch))
        write_all(run, chosen, softmax, cost)
