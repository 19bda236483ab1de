"""Drafts: guess how mentions go on, so that one pass can check many tokens."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np

from ..texts import Span, TokenizedText
from ..tree.token_tree import Place, Trie
from .tags import TextTags

# Assumed probabilities of how a mention goes on. A wrong draft only costs tokens, so these few
# numbers serve every corpus.
_ENDS = 0.2  # that a mention ends at a token it has reached
_ENDS_AT_PUNCTUATION = 0.7  # the same, if this or the next token is punctuation
_BEGINS_AT_PUNCTUATION = 0.05  # factor for a mention that begins with punctuation
_OUT_OF_ORDER = 1e-3  # that a mention does not start after the one before it
_UNTAGGED = 1e-3  # that it is where the text tags see none


class DraftedNode(NamedTuple):
    """A node of the trie that a mention will probably go through.

    Args:
        parent: The parent of the node in the trie.
        token_id: The token that leads from the parent to the node.
        node: The node.
    """

    parent: Place
    token_id: int
    node: Place


class SpanWeights(NamedTuple):
    """How likely a label's mentions are to be each span of a text.

    Args:
        starts: How likely a mention starts at each token, shape `(n_tokens,)`.
        spans: How likely a mention that starts at a span's first token is this span, shape
            `(n_spans,)`.
    """

    starts: np.ndarray
    spans: np.ndarray


class SpanDrafter:
    """A drafter, which guesses the trie nodes that a label's mentions will go through.

    The trie node that a mention has reached says which spans it may still be. The drafter guesses
    which one it is from two facts: the mentions of a label are numbered in order of appearance, and
    mentions tend to end at certain places. If text tags were read, they say more.

    Args:
        trie: The text's admissible mentions.
        source: The text.
        threshold: Lowest probability of a drafted node.
    """

    def __init__(self, trie: Trie[Span], source: TokenizedText, threshold: float) -> None:
        self._trie = trie
        self._threshold = threshold
        self._n_tokens = len(source.tokens)
        place_of = {start: place for place, (start, _) in enumerate(source.tokens)}
        last_of = {end: place for place, (_, end) in enumerate(source.tokens)}
        first = [place_of[start] for start, _ in trie.ordered]
        last = [last_of[end] for _, end in trie.ordered]
        self._starts, self._lasts = np.array([first, last], dtype=np.int64)
        spans = _span_weights(source, self._starts, self._lasts)
        self.plain = SpanWeights(np.ones(self._n_tokens), spans)

    def weigh(self, tags: TextTags, label: str) -> SpanWeights:
        """Weigh the spans of a text by its tags.

        Args:
            tags: The tags.
            label: The label.
        """
        probs = tags.weigh(label, self._starts, self._lasts) + _UNTAGGED * self.plain.spans
        starts = np.bincount(self._starts, probs, self._n_tokens)
        return SpanWeights(starts, probs / starts[self._starts])

    def draft(
        self, nodes: Sequence[Place], live: Sequence[bool], weights: SpanWeights
    ) -> list[list[DraftedNode]]:
        """Draft how the mentions of a label go on.

        Args:
            nodes: The trie node that each mention has reached, in the order of the mentions'
                numbers.
            live: Whether each mention goes on from there.
            weights: How likely each span is.

        Returns:
            For each mention, the nodes it will probably go through, parents first. Nodes whose
            logits are not needed are left out.
        """
        if not any(live):
            return [[] for _ in nodes]
        candidates = np.zeros((len(nodes), self._n_tokens))
        for mention, node in enumerate(nodes):
            possible = self._starts[node.first : node.end]
            candidates[mention, possible] = weights.starts[possible]
        starts = _place_in_order(candidates)
        drafts: list[list[DraftedNode]] = [[] for _ in nodes]
        for mention in compress(range(len(nodes)), live):
            first, end, _ = nodes[mention]
            shares = starts[mention, self._starts[first:end]] * weights.spans[first:end]
            # Cumulative probabilities of the spans, beginning with 0.
            total = [0.0, *np.cumsum(shares).tolist()]
            least = self._threshold * total[-1]
            stack = [nodes[mention]]
            while stack:
                parent = stack.pop()
                for token_id, child in self._trie.children(parent).items():
                    if total[child.end - first] - total[child.first - first] < least:
                        continue
                    choices = self._trie.children(child).values()
                    # At a leaf, or if the only child is a leaf, nothing is left to choose.
                    if len(choices) > 1 or not all(map(self._trie.is_leaf, choices)):
                        drafts[mention].append(DraftedNode(parent, token_id, child))
                        stack.append(child)
        return drafts


def _span_weights(source: TokenizedText, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Estimate how likely a mention that starts at a span's first token ends at its last."""
    tokens = [source.text[start:end] for start, end in source.tokens]
    is_mark = [all(unicodedata.category(c)[0] in "PSZC" for c in token) for token in tokens]
    marks = np.array([*is_mark, True])
    ends = np.where(marks[:-1] | marks[1:], _ENDS_AT_PUNCTUATION, _ENDS)
    goes_on = np.concatenate([[0.0], np.cumsum(np.log1p(-ends))])
    weights: np.ndarray = np.exp(goes_on[last] - goes_on[first]) * ends[last]
    weights[marks[first]] *= _BEGINS_AT_PUNCTUATION
    return weights


def _place_in_order(candidates: np.ndarray) -> np.ndarray:
    """Estimate where mentions start, if each starts after the one before.

    A forward and a backward pass sum over all ways to place them.

    Args:
        candidates: How likely a mention starts at a token, if nothing is known of the others, shape
            `(n_mentions, n_tokens)`; 0 where it cannot.

    Returns:
        Probabilities, not normalised for each mention, same shape.
    """
    ahead: np.ndarray = candidates.copy()
    behind = candidates.copy()
    for weights in (ahead, behind[::-1, ::-1]):
        for mention in range(1, len(weights)):
            before = np.cumsum(weights[mention - 1] / weights[mention - 1].sum())[:-1]
            weights[mention] *= np.concatenate([[0.0], before]) + _OUT_OF_ORDER
    # Both have the candidate itself as a factor.
    is_candidate = candidates > 0
    ahead[is_candidate] *= behind[is_candidate] / candidates[is_candidate]
    return ahead
