"""Text tags in decoding: what the text's own tokens say about the mentions that they are in."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from ..settings import LIKELY, DecodingOptions
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
        labels: The labels.
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
        self.labels = tuple(labels)
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

    def score(self, label: str, place: Span) -> float:
        """Return the probability that a place is a mention of a label.

        Args:
            label: The label.
            place: Character offsets of the place.
        """
        first, end = bisect_left(self._starts, place[0]), bisect_left(self._starts, place[1])
        known = np.flatnonzero(self._known[first:end])
        if not known.size:
            return 0.0
        return self._score(label, first + int(known[0]), first + int(known[-1]) + 1)

    def find(self, label: str, least: float, max_tokens: int) -> list[tuple[Span, float]]:
        """List the places that are probably mentions of a label.

        Args:
            label: The label.
            least: The lowest probability, above 0.
            max_tokens: Length of the longest mention, in tokens.

        Returns:
            The character offsets and the probability of each, in order of appearance.
        """
        probs = self.inside[:, self._labels[label]]
        tokens, found = self._text.tokens, []
        # A mention is at most as probable as each of its tokens.
        for first in np.flatnonzero(probs >= least).tolist():
            for end in range(first + 1, min(first + max_tokens, len(probs)) + 1):
                if probs[end - 1] < least:
                    break
                if (score := self._score(label, first, end)) < least:
                    continue
                if self._is_blank(first) or self._is_blank(end - 1):
                    continue
                found.append(((tokens[first][0], tokens[end - 1][1]), score))
        return found

    def guess(self, label: str, max_tokens: int) -> list[Span]:
        """Guess the mentions of a label: the tokens in a row at which it is the most probable.

        Args:
            label: The label.
            max_tokens: Length of the longest mention, in tokens.

        Returns:
            Character offsets of the mentions, in order of appearance.
        """
        column, tokens = self._labels[label], self._text.tokens
        is_own = self._known & (self.inside.argmax(axis=1) == column)
        guessed = []
        first = 0
        for run, group in groupby(zip(is_own, (self.begins > LIKELY).cumsum(), strict=True)):
            end = first + len(list(group))
            solid = [token for token in range(first, end) if not self._is_blank(token)]
            if run[0] and solid and solid[-1] - solid[0] < max_tokens:
                guessed.append((tokens[solid[0]][0], tokens[solid[-1]][1]))
            first = end
        return guessed

    def _score(self, label: str, first: int, end: int) -> float:
        """Return the probability that the tokens from `first` to before `end` are a mention.

        It is that of the least probable token. It is lower if a mention probably begins inside, if
        the first token probably goes on with a mention before it, or if the mention probably goes
        on behind the last token.
        """
        probs, begins = self.inside[:, self._labels[label]], self.begins
        score = probs[first:end].min() * (1 - begins[first + 1 : end].max(initial=0.0))
        if first:
            score *= 1 - probs[first - 1] * (1 - begins[first])
        if end < len(probs):
            score *= 1 - probs[end] * (1 - begins[end])
        return float(score)

    def _is_blank(self, token: int) -> bool:
        """Return whether a token is whitespace, with which no mention begins or ends."""
        return self._text.text[slice(*self._text.tokens[token])].isspace()


def join_tags(
    tags: TextTags,
    written: Iterable[DecodedMention],
    labels: Sequence[str],
    options: DecodingOptions,
    max_tokens: int,
) -> list[DecodedMention]:
    """Combine the written mentions of a text with its tags.

    Tags do not depend on counts. They confirm written mentions, and name some that were missed
    because a count was too low, or because their label was not opened.

    Args:
        tags: The tags.
        written: The written mentions.
        labels: The labels that were opened.
        options: The weight of the tags.
        max_tokens: Length of the longest mention, in tokens.

    Returns:
        The written mentions with the tags' probabilities, then the mentions that the tags name.
    """
    joined = [
        replace(each, tagged=tuple(tags.score(each.label, place) for place in each.places))
        for each in written
    ]
    for label in tags.labels:
        joined += [
            DecodedMention(label, (place,), None, (score,), asked=label in labels)
            for place, score in tags.find(label, options.doubtful[1], max_tokens)
        ]
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
