"""How much a model may write: a fact of its training, kept with the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import Errors


@dataclass(frozen=True)
class MentionLimits:
    """How much may be written.

    max_mentions (int): Most mentions of a label in a text.
    max_mention_tokens (int): Longest mention, in tokens of the text.
    RAISES (ValueError): One of them is below 1.
    """

    max_mentions: int = 30
    max_mention_tokens: int = 16

    def __post_init__(self) -> None:
        for name in ("max_mentions", "max_mention_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(Errors.P032.format(name=name, value=getattr(self, name)))
