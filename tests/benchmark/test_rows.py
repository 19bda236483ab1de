from __future__ import annotations

import json
from typing import Any

import pytest

from spacy_padellm.benchmark.rows import TextMeasurement, make_ratios, make_row

MEASUREMENTS = [
    TextMeasurement(0.1, 3, 100, 80, 500.0, 0.05),
    TextMeasurement(0.2, 4, 120, 90, 700.0, 0.1),
    TextMeasurement(0.6, 5, 140, 130, 600.0, 0.3),
]


def test_a_row_sums_up_its_texts():
    row = make_row("weibo", "tree", MEASUREMENTS, mentions_f=0.9, malformed=6, ungrounded=0)
    assert row == {
        "dataset": "weibo",
        "decoder": "tree",
        "texts": 3,
        "too_long": 0,
        "left_out": None,
        "floor_share": None,
        "passes": 4,
        "tokens": 120,
        "distinct_tokens": 100,
        # The 95th percentile is nine tenths of the way from the second to the third.
        "latency_ms": pytest.approx({"mean": 300, "p50": 200, "p95": 560}),
        "texts_per_s": pytest.approx(3 / 0.9),
        "peak_memory_mb": 700,
        "host_share": pytest.approx(0.5),
        "ents_f": None,
        "mentions_f": 0.9,
        "malformed": 2,
        "ungrounded": 0,
    }


def test_a_row_is_json():
    row = make_row("weibo", "tree", MEASUREMENTS, ents_f=0.8, left_out=2)
    assert (row["ents_f"], row["left_out"]) == (0.8, 2)
    assert json.loads(json.dumps(row, allow_nan=False)) == row


@pytest.mark.parametrize("lacking", [0, 1])
def test_what_a_text_lacks_is_unknown_for_all(lacking: int):
    measurements = list(MEASUREMENTS)
    measurements[lacking] = TextMeasurement(0.1, 3, 100)
    row = make_row("weibo", "tree", measurements)
    names = ("distinct_tokens", "peak_memory_mb", "host_share", "malformed", "ungrounded")
    assert [row[name] for name in names] == [None] * 5
    assert row["passes"] == pytest.approx(sum(each.passes for each in measurements) / 3)


def test_a_row_without_texts():
    row = make_row("weibo", "tree", [], malformed=0, left_out=7)
    assert row.pop("latency_ms") == {"mean": None, "p50": None, "p95": None}
    known = {name: value for name, value in row.items() if value is not None}
    assert known == {
        "dataset": "weibo",
        "decoder": "tree",
        "texts": 0,
        "left_out": 7,
        "too_long": 0,
    }


def test_no_time_at_all():
    row = make_row("weibo", "tree", [TextMeasurement(0.0, 1, 1, None, None, 0.0)])
    assert (row["latency_ms"]["mean"], row["texts_per_s"], row["host_share"]) == (0, None, None)


def row_of(dataset: str, decoder: str, seconds: list[float], passes: int, tokens: int) -> Any:
    return make_row(dataset, decoder, [TextMeasurement(s, passes, tokens) for s in seconds])


def test_ratios_of_datasets_and_their_means():
    rows = [
        row_of("a", "batch", [0.2, 0.2, 0.8], 9, 300),
        row_of("a", "tree", [0.1, 0.1, 0.1], 3, 100),
        row_of("b", "tree", [0.5], 4, 10),
        row_of("b", "batch", [0.25], 4, 20),
        row_of("b", "plain", [1.0], 2, 20),
    ]
    names = ("dataset", "decoder", "latency_mean", "latency_p50", "passes", "tokens")
    assert [tuple(ratio[name] for name in names) for ratio in make_ratios(rows)] == [
        ("a", "batch", pytest.approx(4), pytest.approx(2), 3, 3),
        ("b", "batch", 0.5, 0.5, 1, 2),
        ("b", "plain", 2, 2, 0.5, 2),
        ("mean", "batch", pytest.approx(2.25), pytest.approx(1.25), 2, 2.5),
        ("mean", "plain", 2, 2, 0.5, 2),
        ("total", "batch", *map(pytest.approx, (0.65 / 0.6, 0.45 / 0.6, 13 / 7, 320 / 110))),
        ("total", "plain", 2, 2, 0.5, 2),
    ]


def test_another_decoder_to_compare_with():
    rows = [row_of("a", "batch", [0.4], 8, 10), row_of("a", "tree", [0.1], 2, 10)]
    ratios = make_ratios(rows, decoder="batch")
    assert [(each["decoder"], each["latency_mean"]) for each in ratios] == [
        ("tree", pytest.approx(0.25)),
        ("tree", pytest.approx(0.25)),
        ("tree", pytest.approx(0.25)),
    ]


def test_ratios_leave_out_what_was_not_measured():
    rows = [
        row_of("a", "tree", [0.1], 2, 10),
        row_of("a", "batch", [0.3], 4, 20),
        row_of("b", "tree", [], 0, 0),
        row_of("b", "batch", [0.2], 2, 20),
        row_of("c", "batch", [0.2], 2, 20),
    ]
    first, second, mean, total = make_ratios(rows)
    assert (second["dataset"], second["latency_mean"], second["passes"]) == ("b", None, None)
    assert mean == {**first, "dataset": "mean"}
    assert total == {**first, "dataset": "total"}


def test_texts_decoded_together_have_no_latency():
    row = make_row("weibo", "tree@3", MEASUREMENTS, is_batched=True)
    assert row["latency_ms"] == {"mean": None, "p50": None, "p95": None}
    assert row["texts_per_s"] is not None


def test_the_share_of_the_floor():
    row = make_row("weibo", "tree", [TextMeasurement(2.0, 3, 10)], seconds_per_pass=0.5)
    assert row["floor_share"] == 0.75


def test_a_mean_of_no_ratios_is_unknown():
    rows = [row_of("a", "tree", [], 0, 0), row_of("a", "batch", [0.1], 1, 1)]
    assert [ratio["latency_mean"] for ratio in make_ratios(rows)] == [None] * 3


@pytest.mark.parametrize("decoders", [[], ["tree"], ["batch", "plain"]])
def test_nothing_to_compare(decoders: list[str]):
    assert make_ratios([row_of("a", decoder, [0.1], 1, 1) for decoder in decoders]) == []
