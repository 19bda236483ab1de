"""Prompts: their wording, and the token ids of each part."""
