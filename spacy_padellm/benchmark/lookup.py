"""Prompt lookup: drafts copied from where the last tokens stood before (Saxena, 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PromptLookup:
    """Drafts for a sequence whose output repeats its prompt.

    longest_match (int): Most tokens that are looked for; fewer where they are not found.
    length (int): Tokens drafted.
    """

    longest_match: int = 3
    length: int = 10

    def draft(self, ids: Sequence[int]) -> list[int]:
        """ids (Sequence[int]): The sequence so far.
        RETURNS (List[int]): What followed its last tokens where they stood last before.
        """
        for size in range(min(self.longest_match, len(ids) - 1), 0, -1):
            wanted = ids[-size:]
            for start in range(len(ids) - size - 1, -1, -1):
                if ids[start : start + size] == wanted:
                    return list(ids[start + size : start + size + self.length])
        return []
