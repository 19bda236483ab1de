"""`spacy_padellm.swap_mentions.v1`: augmentation of a component's training texts in a config."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..train.augmentation import MentionSwap


def create_swap_mentions_v1(
    rate: float, uses: int = 1, join: int = 1, capitals: float = 0.0
) -> MentionSwap:
    """rate (float): Probability of a mention in a training text to be swapped for another of its
        label.
    uses (int): How often a version of a text is used before the next one is made.
    join (int): Most texts that are put one behind the other; 1 for none.
    capitals (float): Probability of a text to be put in capitals, as headlines are.
    RETURNS (MentionSwap): The augmentation.
    RAISES (ValueError): A rate is no probability, or there are no uses.
    """
    from ..train.augmentation import MentionSwap

    return MentionSwap(rate, uses, join, capitals)
