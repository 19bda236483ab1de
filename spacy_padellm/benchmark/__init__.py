"""Decoders measured side by side: corpora to read, what was measured, and how it is reported."""
