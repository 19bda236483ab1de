"""The paper's scores: micro-averaged over, per text and label, the set of mention strings."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from .texts import AnnotatedText, Entity


@dataclass
class MentionScores:
    """Counts over texts, and the scores they give (paper, section 4.2).

    Args:
        found_gold: Mentions found that are gold.
        found: Mentions found.
        gold: Gold mentions.
    """

    found_gold: int = 0
    found: int = 0
    gold: int = 0

    def add(self, found: Set[tuple[str, str]], gold: Set[tuple[str, str]]) -> None:
        """Count what was found in a text.

        Args:
            found: Label and string of each mention found.
            gold: Label and string of each gold mention.
        """
        self.found_gold += len(found & gold)
        self.found += len(found)
        self.gold += len(gold)

    def add_text(self, text: AnnotatedText, found: Iterable[Entity], labels: Iterable[str]) -> None:
        """Count the entities found in a text.

        Args:
            text: The text with its gold mentions.
            found: The entities found.
            labels: The labels that were looked for: only they count, and of what was found only
                those the text is annotated for.
        """
        string = text.source.text
        sought = set(labels)
        annotated = sought if text.labels is None else sought & set(text.labels)
        self.add(
            {(m.label, string[m.start : m.end]) for m in found if m.label in annotated},
            {(m.label, string[m.start : m.end]) for m in text.mentions if m.label in sought},
        )

    @property
    def precision(self) -> float:
        """Share of what was found that is gold, 0 where nothing was."""
        return self.found_gold / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """Share of the gold that was found, 0 where there is none."""
        return self.found_gold / self.gold if self.gold else 0.0

    @property
    def fscore(self) -> float:
        """Harmonic mean of both, 0 where nothing was found and there is no gold."""
        total = self.found + self.gold
        return 2 * self.found_gold / total if total else 0.0
