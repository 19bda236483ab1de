"""Whether scores mean what they say: reliability, temperatures, and thresholds of labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..calibration import UNCALIBRATED, Calibration
from ..decode.mentions import non_overlapping, rate
from ..settings import DecodingOptions
from ..texts import AnnotatedText, Entity

# Temperatures that are tried, in two rounds: all in this range, then those near the best one.
_COOLEST, _HOTTEST, _STEPS = 0.1, 10.0, 25


@dataclass(frozen=True)
class ReadText:
    """A text with its gold mentions, and what was found in it.

    Args:
        text: The text.
        entities: The entities, before calibration and whatever their score. They may overlap.
    """

    text: AnnotatedText
    entities: Sequence[Entity]


class Judged(NamedTuple):
    """An entity that was found, and whether it is right."""

    entity: Entity
    is_right: bool


class Bin(NamedTuple):
    """The entities whose scores are from `low` up to `high`: how many they are, their mean score,
    and how many of them are right, as a share.
    """

    low: float
    high: float
    size: int
    score: float
    precision: float


class Setting(NamedTuple):
    """A threshold, and what is found with it."""

    threshold: float
    precision: float
    recall: float
    fscore: float


class Target(NamedTuple):
    """What a threshold is chosen for. Of the settings that it allows, the best one is chosen.

    Args:
        key: What `--threshold` calls it.
        name: What tables call it.
        allows: Whether a setting reaches it.
        worth: How good a setting is that does.
    """

    key: str
    name: str
    allows: Callable[[Setting], bool]
    worth: Callable[[Setting], float]

    def choose(self, curve: Iterable[Setting]) -> Setting | None:
        """Choose the best setting that is allowed; `None` if none is."""
        return max(filter(self.allows, curve), key=self.worth, default=None)


def find_targets(precision: float, recall: float) -> list[Target]:
    """List what thresholds may be chosen for.

    Args:
        precision: The lowest precision of the second target.
        recall: The lowest recall of the third target.
    """
    return [
        Target("f", "highest F", lambda each: True, lambda each: each.fscore),
        Target(
            "precision",
            f"precision {precision:g}",
            lambda each: each.precision >= precision,
            lambda each: each.recall,
        ),
        Target(
            "recall",
            f"recall {recall:g}",
            lambda each: each.recall >= recall,
            lambda each: each.precision,
        ),
    ]


def judge(
    texts: Iterable[ReadText],
    tag_share: float,
    calibration: Calibration = UNCALIBRATED,
    thresholds: Mapping[str, float] | None = None,
) -> list[Judged]:
    """Compare the entities of texts with the gold mentions.

    What a text is not annotated for is left out.

    Args:
        texts: The texts.
        tag_share: The weight of the text tags in a score.
        calibration: The temperatures of the scores.
        thresholds: The lowest score of each label; `None` for 0.

    Returns:
        The entities that do not overlap, with their scores.
    """
    options = DecodingOptions(tag_share=tag_share, threshold=thresholds or 0.0)
    judged = []
    for text, found in ((each.text, each.entities) for each in texts):
        gold = {(each.start, each.end, each.label) for each in text.mentions}
        for entity in non_overlapping(rate(found, calibration, options)):
            is_known = (text.labels is None or entity.label in text.labels) and all(
                entity.end <= each.start or each.end <= entity.start for each in text.unknown
            )
            if is_known:
                place = (entity.start, entity.end, entity.label)
                judged.append(Judged(entity, place in gold))
    return judged


def count_gold(texts: Iterable[ReadText], labels: Iterable[str]) -> Counter[str]:
    """Count the gold mentions of each of some labels, which may be none."""
    counts = Counter(dict.fromkeys(labels, 0))
    for each in texts:
        counts.update(m.label for m in set(each.text.mentions) if m.label in counts)
    return counts


def make_bins(judged: Sequence[Judged], count: int = 10) -> list[Bin]:
    """Divide entities by their scores into bins of equal width. Empty ones are left out."""
    scores = np.array([each.entity.score for each in judged])
    is_right = np.array([each.is_right for each in judged], dtype=float)
    places = np.minimum((scores * count).astype(int), count - 1)
    return [
        Bin(
            place / count,
            (place + 1) / count,
            int((places == place).sum()),
            float(scores[places == place].mean()),
            float(is_right[places == place].mean()),
        )
        for place in np.unique(places).tolist()
    ]


def expected_error(bins: Sequence[Bin]) -> float:
    """Compute the expected calibration error: how far scores are from precision, on average."""
    total = sum(each.size for each in bins)
    return sum(each.size * abs(each.score - each.precision) for each in bins) / max(total, 1)


def find_temperatures(judged: Sequence[Judged], tag_share: float) -> Calibration:
    """Find the temperatures with which what is right is most probable.

    Args:
        judged: Entities that were found, whatever their score.
        tag_share: The weight of the text tags in a score.

    Returns:
        The temperatures that minimize the mean negative log-likelihood; 1 for a part that no entity
        has.
    """
    entities = [each.entity for each in judged]
    is_right = np.array([each.is_right for each in judged])
    # A score is its two parts, each by the share that it has in it.
    written = np.array([np.nan if e.written is None else e.written for e in entities], dtype=float)
    tagged = np.array([np.nan if e.tagged is None else e.tagged for e in entities], dtype=float)
    shares = np.where(np.isnan(written), 1.0, np.where(np.isnan(tagged), 0.0, tag_share))
    parts = [(written, 1 - shares), (tagged, shares)]
    centers, width = [math.sqrt(_COOLEST * _HOTTEST)] * 2, math.sqrt(_HOTTEST / _COOLEST)
    for _ in range(2):
        tried = [
            np.geomspace(max(c / width, _COOLEST), min(c * width, _HOTTEST), _STEPS)
            if (share > 0).any()
            else np.ones(1)
            for c, (_, share) in zip(centers, parts, strict=True)
        ]
        of_written, of_tags = (
            share * np.nan_to_num(_temper(part, temperatures))
            for (part, share), temperatures in zip(parts, tried, strict=True)
        )
        losses = np.array([[_loss(a + b, is_right) for b in of_tags] for a in of_written])
        best = np.unravel_index(losses.argmin(), losses.shape)
        centers = [float(each[place]) for each, place in zip(tried, best, strict=True)]
        width = (_HOTTEST / _COOLEST) ** (1 / (_STEPS - 1))
    return Calibration(*(round(each, 4) for each in centers))


def _temper(probabilities: np.ndarray, temperatures: np.ndarray) -> np.ndarray:
    """Do what `calibration.temper` does, at each temperature; shape `(n_temperatures, n)`."""
    with np.errstate(divide="ignore"):
        log_odds = np.log(probabilities) - np.log1p(-probabilities)
    tempered: np.ndarray = 0.5 + 0.5 * np.tanh(0.5 * log_odds / temperatures[:, None])
    return tempered


def _loss(scores: np.ndarray, is_right: np.ndarray) -> float:
    # One that is certain and wrong must not decide everything.
    likelihoods = np.clip(np.where(is_right, scores, 1 - scores), 1e-4, None)
    return float(-np.log(likelihoods).mean())


def make_curve(judged: Sequence[Judged], gold: int) -> list[Setting]:
    """Compute what is found with each threshold that makes a difference, beginning with 0.

    Args:
        judged: The entities.
        gold: Number of gold mentions.
    """
    ordered = sorted(judged, key=lambda each: each.entity.score)
    right = sum(each.is_right for each in judged)
    curve: list[Setting] = []
    last = -1.0
    for place, (entity, is_right) in enumerate(ordered):
        # Rounded to less, so that the entity itself is kept.
        threshold = math.floor(entity.score * 1e4) / 1e4
        if threshold > last:
            curve.append(_set(threshold if curve else 0.0, right, len(ordered) - place, gold))
            last = threshold
        right -= is_right
    return curve or [_set(0.0, 0, 0, gold)]


def _set(threshold: float, right: int, found: int, gold: int) -> Setting:
    fscore = 2 * right / (found + gold) if found + gold else 0.0
    return Setting(threshold, right / max(found, 1), right / max(gold, 1), fscore)


def choose_thresholds(
    judged: Sequence[Judged], gold: Mapping[str, int], target: Target
) -> dict[str, Setting | None]:
    """Choose a threshold for each label.

    Args:
        judged: The entities.
        gold: Label → number of gold mentions.
        target: What to choose for.

    Returns:
        Label → what is chosen; `None` where no threshold reaches the target.
    """
    chosen = {}
    for label in gold:
        curve = make_curve([each for each in judged if each.entity.label == label], gold[label])
        chosen[label] = target.choose(curve)
    return chosen


def summarize(judged: Sequence[Judged], gold: Mapping[str, int]) -> Setting:
    """Compute precision, recall and F1 of all labels together."""
    return _set(0.0, sum(each.is_right for each in judged), len(judged), sum(gold.values()))
