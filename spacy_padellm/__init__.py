"""Generative named entity recognition for spaCy, all labels and mentions decoded in parallel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model import PaDeLLM as PaDeLLM

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what is heavy when it is first asked for: spaCy imports this package at its start."""
    if name == "PaDeLLM":
        from .model import PaDeLLM

        return PaDeLLM
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
