"""Output formats, which write all mentions of a text in one sequence and read them again."""

from __future__ import annotations

from ...errors import check_choice
from .augmented import AugmentedFormat
from .base import OutputFormat
from .structured import StructuredFormat


def get_output_format(name: str) -> OutputFormat:
    """Return an output format by its name.

    Args:
        name: "augmented" or "structured".

    Raises:
        ValueError: There is no such format.
    """
    formats: dict[str, OutputFormat] = {
        each.name: each for each in (AugmentedFormat(), StructuredFormat())
    }
    check_choice("output_format", name, tuple(formats))
    return formats[name]
