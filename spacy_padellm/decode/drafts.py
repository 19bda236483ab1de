"""Drafts: how mentions under way will probably go on, so that one pass can check many tokens."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..defaults import DRAFT_THRESHOLD
from ..errors import Errors
from ..texts import TokenizedText
from ..tree.trie import Span, Trie

# How a mention is thought to go on, in tokens of the text: a draft only costs tokens where it is
# wrong, so the same few numbers serve every corpus.
_ENDS = 0.2  # it ends with any token it has reached
_ENDS_AT_PUNCTUATION = 0.7  # the same beside punctuation
_BEGINS_AT_PUNCTUATION = 0.05  # as often as elsewhere
_OUT_OF_ORDER = 1e-3  # a label's mentions do not come in order of appearance


@dataclass(frozen=True)
class DraftPolicy:
    """How much is drafted: fewer passes cost more tokens.

    threshold (float): A token is drafted if its probability, as far as the text tells, is at least
        this.
    open_counts (Tuple[int, ...]): Numbers of mentions that are thought so likely that the mentions
        of every label are opened while they are being counted.
    RAISES (ValueError): The threshold is no probability, or a count is below 1.
    """

    threshold: float = DRAFT_THRESHOLD
    open_counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(Errors.P030.format(name="draft_threshold", value=self.threshold))
        if any(count < 1 for count in self.open_counts):
            raise ValueError(Errors.P032.format(name="open_counts", value=min(self.open_counts)))


class DraftedNode(NamedTuple):
    """A trie node that a mention will probably go through.

    parent (int): The trie node before it.
    token_id (int): The token from there to it.
    node (int): The node.
    """

    parent: int
    token_id: int
    node: int


class SpanDrafter:
    """Says which nodes of a source trie a label's mentions will probably go through.

    What is known of a mention is the node it has come to, so which spans it may still be. Which
    of these it is, is guessed from the order of a label's mentions, which is that of their
    appearance, and from where mentions tend to end.

    trie (Trie[Span]): The text's admissible mentions, numbered depth first.
    source (TokenizedText): The text.
    threshold (float): Lowest probability of a drafted node.
    """

    def __init__(self, trie: Trie[Span], source: TokenizedText, threshold: float) -> None:
        self._trie = trie
        self._threshold = threshold
        self._n_tokens = len(source.tokens)
        place_of = {start: place for place, (start, _) in enumerate(source.tokens)}
        last_of = {end: place for place, (_, end) in enumerate(source.tokens)}
        # Spans in the order of their leaves, so that those below a node stand side by side.
        self._first_span: dict[int, int] = {}
        first: list[int] = []
        last: list[int] = []
        for leaf in sorted(trie.values):
            self._first_span[leaf] = len(first)
            for start, end in trie.values[leaf]:
                first.append(place_of[start])
                last.append(last_of[end])
        self._starts = np.array(first, dtype=np.int64)
        self._weights = _span_weights(source, self._starts, np.array(last, dtype=np.int64))
        self._ranges: dict[int, tuple[int, int]] = {}

    def draft(self, nodes: Sequence[int], live: Sequence[bool]) -> list[list[DraftedNode]]:
        """nodes (Sequence[int]): The trie node that each of a label's mentions has come to, in the
            order they are numbered.
        live (Sequence[bool]): Whether it goes on from there.
        RETURNS (List[List[DraftedNode]]): For each, what it will probably go through, parents
            first. Nodes whose logits nobody would need are left out.
        """
        if not any(live):
            return [[] for _ in nodes]
        candidates = np.zeros((len(nodes), self._n_tokens), dtype=bool)
        for mention, node in enumerate(nodes):
            candidates[mention, self._starts[slice(*self._range(node))]] = True
        starts = _place_in_order(candidates)
        return [
            self._probable(node, starts[mention]) if live[mention] else []
            for mention, node in enumerate(nodes)
        ]

    def _probable(self, node: int, starts: np.ndarray) -> list[DraftedNode]:
        first, end = self._range(node)
        shares = starts[self._starts[first:end]] * self._weights[first:end]
        # Probability of all spans up to each one, with a zero in front.
        total = np.concatenate([[0.0], np.cumsum(shares)])
        least = self._threshold * total[-1]
        found = []
        stack = [node]
        while stack:
            parent = stack.pop()
            for token_id, child in self._trie.children[parent].items():
                a, b = self._range(child)
                if total[b - first] - total[a - first] >= least and self._is_asked(child):
                    found.append(DraftedNode(parent, token_id, child))
                    stack.append(child)
        return found

    def _is_asked(self, node: int) -> bool:
        """RETURNS (bool): Whether a choice is made here: not at an end, nor where only that is
        left.
        """
        choices = self._trie.children[node]
        return len(choices) > 1 or any(c not in self._trie.values for c in choices.values())

    def _range(self, node: int) -> tuple[int, int]:
        """RETURNS (Tuple[int, int]): The first span below the node, and one past the last."""
        found = self._ranges.get(node)
        if found is None:
            leftmost = rightmost = node
            while choices := self._trie.children[leftmost]:
                leftmost = next(iter(choices.values()))
            while choices := self._trie.children[rightmost]:
                rightmost = next(reversed(choices.values()))
            end = self._first_span[rightmost] + len(self._trie.values[rightmost])
            found = self._ranges[node] = (self._first_span[leftmost], end)
        return found


def _span_weights(source: TokenizedText, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """RETURNS (np.ndarray): How likely a mention from a span's first token ends with its last."""
    text = source.text
    marks = np.array([_is_punctuation(text[start:end]) for start, end in source.tokens] + [True])
    ends = np.where(marks[:-1] | marks[1:], _ENDS_AT_PUNCTUATION, _ENDS)
    goes_on = np.concatenate([[0.0], np.cumsum(np.log1p(-ends))])
    weights = np.exp(goes_on[last] - goes_on[first]) * ends[last]
    return np.where(marks[first], _BEGINS_AT_PUNCTUATION * weights, weights)


def _is_punctuation(token: str) -> bool:
    return all(unicodedata.category(character)[0] in "PSZC" for character in token)


def _place_in_order(candidates: np.ndarray) -> np.ndarray:
    """Where mentions start, if each starts after the one before: forward and backward over all
    ways to place them, which count alike.

    candidates (np.ndarray): Whether a mention may start at a token, `(n_mentions, n_tokens)`.
    RETURNS (np.ndarray): Probabilities, up to a factor for each mention, same shape.
    """
    ahead, behind = candidates.astype(float), candidates.astype(float)
    for mention in range(1, len(candidates)):
        ahead[mention] *= _earlier(ahead[mention - 1])
        behind[-1 - mention] *= _earlier(behind[-mention][::-1])[::-1]
    return ahead * behind


def _earlier(weights: np.ndarray) -> np.ndarray:
    """RETURNS (np.ndarray): For each token the weight of all tokens before it."""
    weights = weights / weights.sum()
    before = np.concatenate([[0.0], np.cumsum(weights)[:-1]])
    return before + _OUT_OF_ORDER
