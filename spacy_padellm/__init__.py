"""Named entity recognition with a language model that writes all mentions in parallel."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model import PaDeLLM

__version__ = "0.1.0"
__all__ = ["PaDeLLM"]


def __getattr__(name: str) -> Any:
    """Load `PaDeLLM` on first use, since spaCy imports this package for every pipeline."""
    if name == "PaDeLLM":
        from .model import PaDeLLM

        return PaDeLLM
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
