"""How a pipeline learns from few texts: the recipe, and the wording of its labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import Errors
from ..prompt.template import check_wording

# With fewer texts, a round would learn from hardly any.
FEWEST_TEXTS = 6
# Models of more weights have learnt more, and forget it at a high rate.
_LARGE, _LARGE_RATE = 100_000_000, 2e-5
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SEPARATORS = re.compile(r"[_.:/-]+")


@dataclass(frozen=True)
class Recipe:
    """What is trained how long.

    Args:
        rounds: Number of rounds. Each leaves out a part of the texts, on which it is scored.
        steps: Training steps of a round.
        last_steps: Training steps on all texts, from the average of the rounds.
        step_texts: Texts in a step.
        step_rehearsed: Further texts in a step, on which the model rehearses what it knows.
        step_words: Most words of either: a step of long texts has fewer, so as to take no longer.
        rate: The highest learning rate. It rises in a tenth of a round's steps, and then falls.
        dropout: The dropout rate.
        swap: The share of mentions that are swapped for others of their label.
        join: Most texts that are joined into one.
        tag_text: Weight of text tags.
        kept: Share of the checkpoint's weights in the result, if it rehearses labels. They bring
            back what it knew, and cost little of what it learnt (Wortsman et al., 2022, "Robust
            fine-tuning of zero-shot models").
        biases: What is tried as the bias of text tags, the usual first.
    """

    rounds: int = 3
    steps: int = 40
    last_steps: int = 120
    step_texts: int = 8
    step_rehearsed: int = 4
    step_words: int = 400
    rate: float = 4e-4
    dropout: float = 0.1
    swap: float = 0.4
    join: int = 2
    tag_text: float = 0.3
    kept: float = 0.25
    biases: tuple[float, ...] = (1.0, 0.0, 1.5)

    @classmethod
    def choose(cls, n_weights: int, *, has_tags: bool) -> Recipe:
        """Choose a recipe.

        Args:
            n_weights: Number of the model's weights.
            has_tags: Whether the model was taught text tags.
        """
        rate = _LARGE_RATE if n_weights > _LARGE else cls.rate
        if not has_tags:
            return cls(rate=rate, tag_text=0.0, biases=(0.0,))
        return cls(rate=rate)

    @property
    def all_steps(self) -> int:
        """The steps of all rounds and the last ones."""
        return self.rounds * self.steps + self.last_steps

    def find_rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step.

        Args:
            step: The step, from 0.
            steps: Number of steps.
        """
        warmup = max(steps // 10, 1)
        return self.rate * min((step + 1) / warmup, 1 - step / steps)


def check_count(n_texts: int) -> None:
    """Check that there are enough annotated texts.

    Raises:
        ValueError: There are too few.
    """
    if n_texts < FEWEST_TEXTS:
        raise ValueError(Errors.P440.format(count=n_texts, fewest=FEWEST_TEXTS))


def word(
    labels: Iterable[str], stated: Mapping[str, str], known: Mapping[str, str]
) -> dict[str, str]:
    """Give each label a wording that a model can read.

    Args:
        labels: The labels.
        stated: The wordings that the user states.
        known: Those of the checkpoint.

    Returns:
        Label → its wording: the stated one, else the known one, else the label itself, as words:
        `JOB_TITLE` becomes "job title".

    Raises:
        ValueError: A wording is stated of a label that is not there, two labels have the same one,
            or one is not possible.
    """
    labels = list(labels)
    if others := [label for label in stated if label not in labels]:
        raise ValueError(Errors.P441.format(others=", ".join(others), labels=", ".join(labels)))
    words = {label: stated.get(label) or known.get(label) or spell_out(label) for label in labels}
    first: dict[str, str] = {}
    for label, wording in words.items():
        check_wording(label, wording)
        if (other := first.setdefault(wording, label)) != label:
            raise ValueError(Errors.P445.format(first=other, second=label, wording=wording))
    return words


def spell_out(label: str) -> str:
    """Write a label as words: `JOB_TITLE` and `JobTitle` become "job title".

    A label of several words stays as it is.
    """
    if len(label.split()) > 1:
        return label
    return _SEPARATORS.sub(" ", _CAMEL.sub(" ", label)).strip().lower() or label
