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

    Tokens that the tokenizer gives no ids have no tags, and are passed over.

    Args:
        text: The text.
        labels: The labels.
        offsets: Character offsets of each of the text's ids.
        inside: Probabilities that an id is in a mention of each label, and in none, shape
            `(n_ids, n_labels + 1)`.
        begins: Probability that a mention begins at an id, shape `(n_ids,)`.

    Attributes:
        labels: The labels.
        inside: The mean of `inside` over the ids of each token, shape `(n_tokens, n_labels + 1)`.
        begins: `begins` at the first id of each token, shape `(n_tokens,)`.
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
        self._column = {label: column for column, label in enumerate(labels)}
        ids, tokens = _match(text.tokens, offsets)
        # The number of each token that has ids, and its first pair with an id.
        self._numbers, firsts, rows, counts = np.unique(
            tokens, return_index=True, return_inverse=True, return_counts=True
        )
        sums = np.zeros((len(counts), inside.shape[1]))
        np.add.at(sums, rows, inside[ids])
        self.inside = sums / counts[:, None]
        self.begins = begins[ids[firsts]]
        self._places = [text.tokens[number] for number in self._numbers]
        self._starts = [start for start, _ in self._places]
        # No mention begins or ends with whitespace.
        self._is_blank = [text.text[start:end].isspace() for start, end in self._places]

    def score(self, label: str, place: Span) -> float:
        """Return the probability that a place is a mention of a label.

        Args:
            label: The label.
            place: Character offsets of the place.
        """
        first, end = bisect_left(self._starts, place[0]), bisect_left(self._starts, place[1])
        return self._score(self._column[label], first, end)

    def find(self, label: str, least: float, max_tokens: int) -> list[tuple[Span, float]]:
        """List the places that are probably mentions of a label.

        Args:
            label: The label.
            least: The lowest probability, above 0.
            max_tokens: Length of the longest mention, in tokens.

        Returns:
            The character offsets and the probability of each, in order of appearance.
        """
        column, found = self._column[label], []
        # A mention is at most as probable as each of its tokens.
        is_likely = self.inside[:, column] >= least
        for first in np.flatnonzero(is_likely).tolist():
            for end in range(first + 1, len(is_likely) + 1):
                if not is_likely[end - 1] or not self._is_short(first, end, max_tokens):
                    break
                if self._is_blank[first] or self._is_blank[end - 1]:
                    continue
                if (score := self._score(column, first, end)) >= least:
                    found.append(((self._starts[first], self._places[end - 1][1]), score))
        return found

    def guess(self, label: str, max_tokens: int) -> list[Span]:
        """Guess the mentions of a label: the tokens in a row at which it is the most probable.

        Args:
            label: The label.
            max_tokens: Length of the longest mention, in tokens.

        Returns:
            Character offsets of the mentions, in order of appearance.
        """
        is_own = self.inside.argmax(axis=1) == self._column[label]
        # A mention that probably begins here ends the one before.
        number = (self.begins > LIKELY).cumsum()
        guessed = []
        for (own, _), group in groupby(
            range(len(is_own)), key=lambda token: (is_own[token], number[token])
        ):
            solid = [token for token in group if not self._is_blank[token]]
            if own and solid and self._is_short(solid[0], solid[-1] + 1, max_tokens):
                guessed.append((self._starts[solid[0]], self._places[solid[-1]][1]))
        return guessed

    def _score(self, column: int, first: int, end: int) -> float:
        """Return the probability that the tokens from `first` to before `end` are a mention.

        It is that of the least probable token. It is lower if the first token probably goes on with
        a mention before it, or if the mention probably goes on behind the last token.
        """
        if first == end:
            return 0.0
        probs, begins = self.inside[:, column], self.begins
        score = probs[first:end].min()
        if first:
            score *= 1 - probs[first - 1] * (1 - begins[first])
        if end < len(probs):
            score *= 1 - probs[end] * (1 - begins[end])
        return float(score)

    def _is_short(self, first: int, end: int, max_tokens: int) -> bool:
        """Return whether some tokens, and those between them, are short enough for a mention."""
        return bool(self._numbers[end - 1] - self._numbers[first] < max_tokens)


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
