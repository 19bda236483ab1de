"""What decoding took."""

from __future__ import annotations

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
