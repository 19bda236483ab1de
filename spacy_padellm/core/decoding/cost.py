"""What decoding took."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class DecodingCost:
    """What decoding took.

    passes (int): Forward passes of the model.
    tokens (int): Tokens run, padding left out.
    distinct_tokens (int): Tokens of the finished trees: what was kept of them, each counted once.
    """

    passes: int = 0
    tokens: int = 0
    distinct_tokens: int = 0
