"""Checkpoints: find, load and save them."""
