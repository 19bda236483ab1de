"""The paper's scores: micro-averages over the distinct mention strings of each text and label."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from .texts import AnnotatedText, Entity


@dataclass
class MentionScores:
    """Counts of mentions, and the scores computed from them (paper, section 4.2).

    Args:
        found_gold: Number of mentions found that are gold.
        found: Number of mentions found.
        gold: Number of gold mentions.
    """

    found_gold: int = 0
    found: int = 0
    gold: int = 0

    def add(self, found: Set[tuple[str, str]], gold: Set[tuple[str, str]]) -> None:
        """Add the counts of a text.

        Args:
            found: Label and string of each mention found.
            gold: Label and string of each gold mention.
        """
        self.found_gold += len(found & gold)
        self.found += len(found)
        self.gold += len(gold)

    def add_text(self, text: AnnotatedText, found: Iterable[Entity], labels: Iterable[str]) -> None:
        """Add the counts of a text, given the entities found in it.

        Args:
            text: The text with its gold mentions.
            found: The entities found.
            labels: The labels that were looked for; others do not count. An entity found does not
                count either if the text is not annotated for its label.
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
        """The share of the mentions found that are gold; 0 if none were found."""
        return self.found_gold / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """The share of the gold mentions that were found; 0 if there are none."""
        return self.found_gold / self.gold if self.gold else 0.0

    @property
    def fscore(self) -> float:
        """The harmonic mean of precision and recall; 0 if nothing was found and nothing is gold."""
        total = self.found + self.gold
        return 2 * self.found_gold / total if total else 0.0
