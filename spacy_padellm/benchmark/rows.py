"""Rows of a benchmark: the cost of each decoder on a dataset, and ratios between decoders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Plain values only, so that rows can be JSON. A value that was not measured is `None`.
Row = dict[str, Any]

MEAN, TOTAL = "mean", "total"


@dataclass(frozen=True)
class TextMeasurement:
    """The cost of decoding a text.

    Args:
        seconds: Total time, in seconds.
        passes: Number of forward passes; of texts decoded together, each gets an equal share.
        tokens: Number of tokens run, without padding.
        distinct_tokens: Number of those that a tree would hold, each counted once.
        peak_memory_mb: Peak memory, in MB.
        model_seconds: Time inside the forward passes, in seconds.
    """

    seconds: float
    passes: float
    tokens: float
    distinct_tokens: float | None = None
    peak_memory_mb: float | None = None
    model_seconds: float | None = None


def make_row(
    dataset: str,
    decoder: str,
    measurements: Sequence[TextMeasurement],
    *,
    mentions_f: float | None = None,
    ents_f: float | None = None,
    malformed: int | None = None,
    ungrounded: int | None = None,
    left_out: int | None = None,
    too_long: int = 0,
    is_batched: bool = False,
    seconds_per_pass: float | None = None,
) -> Row:
    """Sum up the measurements of a decoder on a dataset.

    A value is `None` if it is missing for any text.

    Args:
        dataset: Name of the dataset.
        decoder: Name of the decoder.
        measurements: One for each text.
        mentions_f: The paper's score, over sets of mention strings.
        ents_f: The score over places.
        malformed: Number of stretches that could not be read, over all texts.
        ungrounded: Number of written mentions that are not in their text, over all texts.
        left_out: Number of gold mentions that could not be replayed.
        too_long: Number of texts that do not fit into a model's positions.
        is_batched: Whether texts were decoded together, so that none has a latency of its own.
        seconds_per_pass: Least time of a pass, in seconds: that of reading the weights once.

    Returns:
        The row, with means per text. `latency_ms` has mean, p50 and p95.
    """
    seconds = [each.seconds for each in measurements]
    model_seconds = _complete(each.model_seconds for each in measurements)
    model_share = _divide(sum(model_seconds), sum(seconds)) if model_seconds else None
    n_passes = sum(each.passes for each in measurements)
    floor = None if seconds_per_pass is None else n_passes * seconds_per_pass
    return {
        "dataset": dataset,
        "decoder": decoder,
        "texts": len(measurements),
        "too_long": too_long,
        "left_out": left_out,
        "passes": _mean([each.passes for each in measurements]),
        "tokens": _mean([each.tokens for each in measurements]),
        "distinct_tokens": _mean(_complete(each.distinct_tokens for each in measurements)),
        "latency_ms": _latency_ms([] if is_batched else seconds),
        "texts_per_s": _divide(len(seconds), sum(seconds)),
        "peak_memory_mb": max(_complete(m.peak_memory_mb for m in measurements), default=None),
        "host_share": None if model_share is None else 1 - model_share,
        "floor_share": None if floor is None else _divide(floor, sum(seconds)),
        "ents_f": ents_f,
        "mentions_f": mentions_f,
        "malformed": _divide(malformed, len(measurements)),
        "ungrounded": _divide(ungrounded, len(measurements)),
    }


# The quantities by which decoders are compared.
_QUANTITIES: Mapping[str, Callable[[Row], float | None]] = {
    "latency_mean": lambda row: row["latency_ms"]["mean"],
    "latency_p50": lambda row: row["latency_ms"]["p50"],
    "passes": lambda row: row["passes"],
    "tokens": lambda row: row["tokens"],
}


def make_ratios(rows: Sequence[Row], decoder: str = "tree") -> list[dict[str, Any]]:
    """Compare the costs of decoders with those of one decoder, as ratios.

    Args:
        rows: Rows from `make_row`, one for each dataset and decoder.
        decoder: The decoder that the others are compared with.

    Returns:
        For each dataset and other decoder, the ratios `latency_mean`, `latency_p50`, `passes` and
        `tokens`; `None` if one side was not measured. Then for each other decoder, under the
        dataset "mean", the mean of these ratios; last, under "total", the ratios of the sums over
        datasets.
    """
    references = {row["dataset"]: row for row in rows if row["decoder"] == decoder}
    ratios = [
        _compare(row, references[row["dataset"]])
        for row in rows
        if row["decoder"] != decoder and row["dataset"] in references
    ]
    others = dict.fromkeys(ratio["decoder"] for ratio in ratios)
    means = [_mean_ratio([r for r in ratios if r["decoder"] == other]) for other in others]
    totals = [_total_ratio([r for r in rows if r["decoder"] == o], references) for o in others]
    return ratios + means + totals


def _compare(row: Row, reference: Row) -> dict[str, Any]:
    ratios = {name: _divide(get(row), get(reference)) for name, get in _QUANTITIES.items()}
    return {"dataset": row["dataset"], "decoder": row["decoder"], **ratios}


def _mean_ratio(ratios: Sequence[dict[str, Any]]) -> dict[str, Any]:
    means = {
        name: _mean([ratio[name] for ratio in ratios if ratio[name] is not None])
        for name in _QUANTITIES
    }
    return {"dataset": MEAN, "decoder": ratios[0]["decoder"], **means}


def _total_ratio(rows: Sequence[Row], references: Mapping[str, Row]) -> dict[str, Any]:
    pairs = [(row, references[row["dataset"]]) for row in rows if row["dataset"] in references]
    ratios = {}
    for name, get in _QUANTITIES.items():
        known = [(get(row), get(other)) for row, other in pairs]
        both = [(a, b) for a, b in known if a is not None and b is not None]
        ratios[name] = _divide(sum(a for a, _ in both), sum(b for _, b in both)) if both else None
    return {"dataset": TOTAL, "decoder": rows[0]["decoder"], **ratios}


def _latency_ms(seconds: Sequence[float]) -> dict[str, float | None]:
    if not seconds:
        return {"mean": None, "p50": None, "p95": None}
    p50, p95 = (1000 * float(value) for value in np.percentile(seconds, [50, 95]))
    return {"mean": 1000 * sum(seconds) / len(seconds), "p50": p50, "p95": p95}


def _complete(values: Iterable[float | None]) -> list[float]:
    """Return the values, or none if one is missing, since a mean over some would mislead."""
    listed = list(values)
    present = [value for value in listed if value is not None]
    return present if len(present) == len(listed) else []


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _divide(dividend: float | None, divisor: float | None) -> float | None:
    return None if dividend is None or not divisor else dividend / divisor
