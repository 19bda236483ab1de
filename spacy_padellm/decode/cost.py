"""What decoding took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass
class DecodingCost:
    """What decoding took.

    passes (int): Forward passes of the model.
    tokens (int): Tokens run, padding left out.
    distinct_tokens (int): Tokens of the finished trees: what was kept of them, each counted once.
    malformed (int): Stretches of the output that could not be read.
    ungrounded (int): Mentions written that the text does not have, or of no known label.
    simulated_seconds (Optional[float]): Time of what the run stands for, where it is simulated.
    """

    passes: int = 0
    tokens: int = 0
    distinct_tokens: int = 0
    malformed: int = 0
    ungrounded: int = 0
    simulated_seconds: float | None = None


def sum_costs(costs: Iterable[DecodingCost]) -> DecodingCost:
    """costs (Iterable[DecodingCost]): What several decoders took.
    RETURNS (DecodingCost): What they took together.
    """
    each = list(costs)
    simulated = [cost.simulated_seconds for cost in each if cost.simulated_seconds is not None]
    return DecodingCost(
        passes=sum(cost.passes for cost in each),
        tokens=sum(cost.tokens for cost in each),
        distinct_tokens=sum(cost.distinct_tokens for cost in each),
        malformed=sum(cost.malformed for cost in each),
        ungrounded=sum(cost.ungrounded for cost in each),
        simulated_seconds=sum(simulated) if simulated else None,
    )
