"""An output format's name → the format."""

from __future__ import annotations

from ...errors import Errors
from .augmented import AugmentedFormat
from .base import OutputFormat
from .structured import StructuredFormat


def get_output_format(name: str) -> OutputFormat:
    """name (str): "augmented" or "structured".
    RETURNS (OutputFormat): The format.
    RAISES (ValueError): Unknown name.
    """
    formats: dict[str, OutputFormat] = {
        each.name: each for each in (AugmentedFormat(), StructuredFormat())
    }
    if name not in formats:
        raise ValueError(
            Errors.P031.format(name="output_format", value=name, values=tuple(formats))
        )
    return formats[name]
