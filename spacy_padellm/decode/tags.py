"""Text tags in decoding: what the text's own tokens say about the mentions that they are in."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

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
        max_tokens: Length of the longest mention, in tokens.
        biases: What is added to the log-odds of mentions of each label, shape `(n_labels,)`; `None`
            for nothing.

    Attributes:
        labels: The labels.
        inside: The mean of `inside` over the ids of each token, shape `(n_tokens, n_labels + 1)`.
        begins: `begins` at the first id of each token, shape `(n_tokens,)`; 0 if the id also spells
            the token before.
    """

    def __init__(
        self,
        text: TokenizedText,
        labels: Sequence[str],
        offsets: Sequence[Span],
        inside: np.ndarray,
        begins: np.ndarray,
        max_tokens: int,
        biases: Sequence[float] | None = None,
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
        # An id may spell several tokens, and no mention begins within it.
        is_first = firsts == np.searchsorted(ids, ids[firsts])
        self.begins = np.where(is_first, begins[ids[firsts]], 0.0)
        self._places = [text.tokens[number] for number in self._numbers]
        self._starts = [start for start, _ in self._places]
        self._max_tokens = max_tokens
        # As factors of odds.
        self._factors = np.exp(np.array(biases or [0.0] * len(labels)))
        # No mention begins or ends with whitespace.
        self._is_blank = np.array([text.text[a:b].isspace() for a, b in self._places], dtype=bool)

    @cached_property
    def _scores(self) -> np.ndarray:
        """How probable a mention of each label is that begins at a token and has a given length.

        That is the probability of its least probable token. It is lower if the first token probably
        goes on with a mention before it, or if the mention probably goes on behind the last token.
        The bias of the label comes last, so that it does not blur where mentions end.

        Returns:
            Probabilities, shape `(n_tokens, n_labels, max_tokens)`, of 1, 2, ... tokens; 0 where no
            mention can be.
        """
        probs, longest = self.inside[:, : len(self.labels)], self._max_tokens
        # How probably nothing goes on from before the first token, and from the last one on.
        left, right = np.ones_like(probs), np.ones((len(probs) + longest + 1, probs.shape[1]))
        left[1:] -= probs[:-1] * (1 - self.begins[1:, None])
        right[: len(probs)] -= probs * (1 - self.begins[:, None])
        padded = np.concatenate([probs, np.zeros((longest, probs.shape[1]))])
        least = np.minimum.accumulate(_windows(padded, longest), axis=2)
        scores: np.ndarray = (least * _windows(right[1:], longest))[:-1] * left[:, :, None]
        is_end = _windows(np.append(~self._is_blank, np.zeros(longest, dtype=bool)), longest)
        numbers = np.append(self._numbers, np.full(longest, self._numbers[-1:].sum()))
        is_short = _windows(numbers, longest)[:-1] < self._numbers[:, None] + self._max_tokens
        allowed = is_end[:-1] & is_short & ~self._is_blank[:, None]
        scores *= allowed[:, None]
        factors = self._factors[:, None]
        if (factors != 1).any():
            scores = scores * factors / (1 + scores * (factors - 1))
        return scores

    def score(self, label: str, place: Span) -> float:
        """Return the probability that a place is a mention of a label.

        Args:
            label: The label.
            place: Character offsets of the place.
        """
        first, end = bisect_left(self._starts, place[0]), bisect_left(self._starts, place[1])
        if not first < end <= first + self._max_tokens:
            return 0.0
        return float(self._scores[first, self._column[label], end - first - 1])

    def find(self, label: str, least: float) -> list[tuple[Span, float]]:
        """List the places that are probably mentions of a label.

        Args:
            label: The label.
            least: The lowest probability, above 0.

        Returns:
            The character offsets and the probability of each, in order of appearance.
        """
        scores = self._scores[:, self._column[label]]
        firsts, lengths = np.nonzero(scores >= least)
        ends = (firsts + lengths).tolist()
        return [
            ((self._starts[first], self._places[end][1]), score)
            for first, end, score in zip(
                firsts.tolist(), ends, scores[firsts, lengths].tolist(), strict=True
            )
        ]

    def count(self, label: str) -> int:
        """Guess how many mentions of a label there are: at how many places it is the most probable.

        Args:
            label: The label.
        """
        is_own = (self.inside.argmax(axis=1) == self._column[label]) & ~self._is_blank
        # A mention that probably begins here ends the one before.
        goes_on = np.append(False, is_own[:-1]) & (self.begins <= LIKELY)
        return int((is_own & ~goes_on).sum())

    def weigh(self, label: str, firsts: np.ndarray, lasts: np.ndarray) -> np.ndarray:
        """Look up how probable some mentions of a label are.

        Args:
            label: The label.
            firsts: The first token of each, shape `(n,)`.
            lasts: The last token of each, same shape.

        Returns:
            Their probabilities, same shape.
        """
        rows = np.searchsorted(self._numbers, firsts)
        lengths = np.searchsorted(self._numbers, lasts, side="right") - rows - 1
        # Nothing is known of tokens without ids.
        is_known = (lengths >= 0) & (rows < len(self._numbers))
        found = np.zeros(len(firsts))
        found[is_known] = self._scores[rows[is_known], self._column[label], lengths[is_known]]
        return found


def join_tags(
    tags: TextTags,
    written: Iterable[DecodedMention],
    labels: Sequence[str],
    options: DecodingOptions,
) -> list[DecodedMention]:
    """Combine the written mentions of a text with its tags.

    Tags do not depend on counts. They confirm written mentions, and name some that were missed
    because a count was too low, or because their label was not opened.

    Args:
        tags: The tags.
        written: The written mentions.
        labels: The labels that were opened.
        options: The weight of the tags.

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
            for place, score in tags.find(label, options.doubtful[1])
        ]
    return joined


def _windows(values: np.ndarray, longest: int) -> np.ndarray:
    """View the values from each place on, as many as the longest mention has tokens."""
    return sliding_window_view(values, longest, axis=0)


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
