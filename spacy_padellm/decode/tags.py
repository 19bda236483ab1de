"""Text tags in decoding: what the text's own tokens say about the mentions that they are in."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from ..texts import Span, TokenizedText
from .mentions import DecodedMention


class TextTags:
    """The text tags of a text: probabilities at each of its tokens.

    A token that the tokenizer gives no ids has no probabilities.

    Args:
        text: The text.
        labels: The labels.
        offsets: Character offsets of each of the text's ids.
        inside: Probabilities that an id is in a mention of each label, and in none, shape
            `(n_ids, n_labels + 1)`.
        begins: Probability that a mention begins at an id, shape `(n_ids,)`.

    Attributes:
        inside: The mean of `inside` over the ids of each token, shape `(n_tokens, n_labels + 1)`;
            0 for a token without ids.
        begins: `begins` at the first id of each token, shape `(n_tokens,)`; 0 for a token without
            ids.
    """

    def __init__(
        self,
        text: TokenizedText,
        labels: Sequence[str],
        offsets: Sequence[Span],
        inside: np.ndarray,
        begins: np.ndarray,
    ) -> None:
        self._text = text
        self._labels = {label: column for column, label in enumerate(labels)}
        self._starts = [start for start, _ in text.tokens]
        n_tokens = len(text.tokens)
        ids, tokens = _match(text.tokens, offsets)
        counts = np.bincount(tokens, minlength=n_tokens)
        sums = np.zeros((n_tokens, inside.shape[1]))
        np.add.at(sums, tokens, inside[ids])
        self._known = counts > 0
        self.inside = sums / np.maximum(counts, 1)[:, None]
        self.begins = np.zeros(n_tokens)
        # Backwards, so that the first id of a token is the one that stays.
        self.begins[tokens[::-1]] = begins[ids[::-1]]

    def score(self, label: str, first: int, end: int) -> float:
        """Return the probability that some tokens are a mention of a label.

        It is the probability of the label at the least probable token. It is lower if a mention
        probably begins inside, if the first token probably goes on with a mention before it, or if
        the mention probably goes on behind the last token.

        Args:
            label: The label.
            first: The first token.
            end: The token after the last one.
        """
        probs = self.inside[:, self._labels[label]]
        if end <= first:
            return 0.0
        score = probs[first:end].min() * (1 - self.begins[first + 1 : end].max(initial=0.0))
        if first:
            score *= 1 - probs[first - 1] * (1 - self.begins[first])
        if end < len(probs):
            score *= 1 - probs[end] * (1 - self.begins[end])
        return float(score)

    def score_place(self, label: str, place: Span) -> float:
        """Return the probability that a place, given by its character offsets, is a mention."""
        first, end = bisect_left(self._starts, place[0]), bisect_left(self._starts, place[1])
        known = np.flatnonzero(self._known[first:end])
        if not known.size:
            return 0.0
        return self.score(label, first + int(known[0]), first + int(known[-1]) + 1)

    def leave_doubt(self, label: str, low: float, high: float, max_tokens: int) -> bool:
        """Return whether any possible mention of a label has a probability in a range.

        Args:
            label: The label.
            low: The lowest probability that leaves doubt.
            high: The highest probability that leaves doubt.
            max_tokens: Length of the longest mention, in tokens.
        """
        probs = self.inside[:, self._labels[label]]
        # A mention is at most as probable as each of its tokens.
        for first in np.flatnonzero(probs >= low).tolist():
            for end in range(first + 1, min(first + max_tokens, len(probs)) + 1):
                if probs[end - 1] < low:
                    break
                if low <= self.score(label, first, end) <= high:
                    return True
        return False

    def name(self, max_tokens: int) -> list[tuple[str, Span]]:
        """List the mentions that the tags name.

        These are tokens in a row with the same most probable label, up to where another mention
        probably begins.

        Args:
            max_tokens: Length of the longest mention, in tokens.

        Returns:
            The label and the character offsets of each mention, in order of appearance.
        """
        labels = list(self._labels)
        best = np.where(self._known, self.inside.argmax(axis=1), len(labels))
        text, tokens = self._text.text, self._text.tokens
        changes = np.diff(best, prepend=-1, append=-1) != 0
        changes[:-1] |= self.begins > 0.5
        named = []
        for first, end in pairwise(np.flatnonzero(changes).tolist()):
            if best[first] == len(labels):
                continue
            # No mention begins or ends with whitespace.
            solid = [t for t in range(first, end) if not text[slice(*tokens[t])].isspace()]
            if solid and solid[-1] - solid[0] < max_tokens:
                named.append((labels[best[first]], (tokens[solid[0]][0], tokens[solid[-1]][1])))
        return named


def join_tags(
    tags: TextTags, written: Iterable[DecodedMention], max_tokens: int, opened=()
) -> list[DecodedMention]:
    """Combine the written mentions of a text with its tags.

    Tags do not depend on counts. They confirm written mentions, and name some that were missed
    because a count was too low.

    Args:
        tags: The tags.
        written: The written mentions.
        max_tokens: Length of the longest mention, in tokens.

    Returns:
        The written mentions with the tags' probabilities, then all mentions that the tags name.
    """
    joined = [
        replace(each, tagged=tuple(tags.score_place(each.label, place) for place in each.places))
        for each in written
    ]
    for label, place in tags.name(max_tokens):
        score = tags.score_place(label, place)
        log_prob = None if label in opened else math.log(max(score, 1e-9))
        joined.append(DecodedMention(label, (place,), log_prob, (score,)))
    return joined


def _match(tokens: Sequence[Span], offsets: Sequence[Span]) -> tuple[np.ndarray, np.ndarray]:
    """Match the ids of a text with its tokens: all pairs that overlap, in order of the ids.

    An id may be in several tokens ("cannot") or, as a blank between two tokens, in none.
    """
    starts, ends = np.array(tokens, dtype=np.int64).reshape(-1, 2).T
    firsts, lasts = np.array(offsets, dtype=np.int64).reshape(-1, 2).T
    low = np.searchsorted(ends, firsts, side="right")
    counts = np.maximum(np.searchsorted(starts, lasts, side="left") - low, 0)
    ids = np.repeat(np.arange(len(offsets)), counts)
    # Counts up from `low` for the tokens of each id.
    within = np.arange(len(ids)) - np.repeat(np.cumsum(counts) - counts, counts)
    return ids, low[ids] + within
