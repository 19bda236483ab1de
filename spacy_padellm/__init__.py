"""Generative named entity recognition for spaCy, all labels and mentions decoded in parallel."""

__version__ = "0.1.0"
