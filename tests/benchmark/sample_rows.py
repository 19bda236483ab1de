"""Rows that several tests look at."""

from __future__ import annotations

from typing import Any

from spacy_padellm.benchmark.rows import TextMeasurement, make_row


def row_of(dataset: str, decoder: str, milliseconds: float, **scores: Any) -> dict[str, Any]:
    """A row of a single text."""
    measurement = TextMeasurement(milliseconds / 1000, 4, 1200)
    return make_row(dataset, decoder, [measurement], **scores)
