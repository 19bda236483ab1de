"""Decoding: write all mentions of a text at once, as a tree, and turn them into entities."""
