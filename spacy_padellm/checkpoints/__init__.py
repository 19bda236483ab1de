"""Checkpoint folders: where they are, what is in them, loading and saving."""
