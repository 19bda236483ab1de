"""What is said about the scores of a pipeline: before and after calibration, and thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..calibration import UNCALIBRATED, Calibration
from .measures import (
    Bin,
    Judged,
    ReadText,
    Setting,
    Target,
    choose_thresholds,
    count_gold,
    expected_error,
    find_temperatures,
    judge,
    make_bins,
    make_curve,
    summarize,
)


@dataclass(frozen=True)
class Reliability:
    """How far the scores of entities are from the share of them that is right.

    Args:
        count: Number of entities.
        score: Their mean score.
        precision: The share of them that is right.
        error: The expected calibration error.
        bins: The same by score.
    """

    count: int
    score: float
    precision: float
    error: float
    bins: Sequence[Bin]

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> Reliability:
        """Measure the reliability of entities."""
        bins, count = make_bins(judged), len(judged)
        score = sum(each.entity.score for each in judged) / max(count, 1)
        precision = sum(each.is_right for each in judged) / max(count, 1)
        return cls(count, score, precision, expected_error(bins), bins)


@dataclass(frozen=True)
class Choice:
    """The thresholds chosen for a target.

    Args:
        target: The target.
        by_label: Label → its threshold, and what is found of the label with it; `None` where no
            threshold reaches the target.
        thresholds: Label → threshold, as the setting `threshold` takes them.
        together: What is found of all labels together. Labels without a threshold keep all.
    """

    target: Target
    by_label: Mapping[str, Setting | None]
    thresholds: Mapping[str, float]
    together: Setting


@dataclass(frozen=True)
class Report:
    """What a calibration found.

    Args:
        calibration: The temperatures.
        gold: Label → number of gold mentions in the texts calibrated on.
        reliability: Name of a corpus → its reliability before and after. The first is of the texts
            calibrated on.
        curve: What is found with each threshold, after calibration, of all labels together.
        choices: The thresholds for each target.
    """

    calibration: Calibration
    gold: Mapping[str, int]
    reliability: Mapping[str, tuple[Reliability, Reliability]]
    curve: Sequence[Setting]
    choices: Sequence[Choice]


def calibrate(
    corpora: Mapping[str, Sequence[ReadText]],
    tag_share: float,
    labels: Iterable[str],
    targets: Sequence[Target],
) -> Report:
    """Find temperatures and thresholds.

    Args:
        corpora: Corpora that were read, by name. The first one is calibrated on; the others are
            only measured.
        tag_share: The weight of the text tags in a score.
        labels: The labels.
        targets: What to choose thresholds for.
    """
    texts = next(iter(corpora.values()))
    calibration = find_temperatures(judge(texts, tag_share), tag_share)
    judged = judge(texts, tag_share, calibration)
    gold = count_gold(texts, labels)
    choices = []
    for target in targets:
        by_label = choose_thresholds(judged, gold, target)
        thresholds = {label: each.threshold for label, each in by_label.items() if each}
        kept = judge(texts, tag_share, calibration, thresholds)
        choices.append(Choice(target, by_label, thresholds, summarize(kept, gold)))
    reliability = {
        name: (
            Reliability.of(judge(each, tag_share, UNCALIBRATED)),
            Reliability.of(judge(each, tag_share, calibration)),
        )
        for name, each in corpora.items()
    }
    curve = make_curve(judged, sum(gold.values()))
    return Report(calibration, gold, reliability, curve, choices)
