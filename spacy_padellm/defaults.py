"""Defaults that several parts share. Nothing is imported here."""

SPANS_KEY = "padellm"
