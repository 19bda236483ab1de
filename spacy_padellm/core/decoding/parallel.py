"""Parallel decoder: counts for all labels, then all mentions of all labels (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..causal_lm import CausalLM
from ..limits import MentionLimits
from ..mentions import DecodedMention
from ..prompt import PromptEncoder
from ..softmax import Softmax
from ..texts import TokenizedText
from ..token_tree import TokenTree
from ..trie import Span, Trie, build_count_trie, build_source_trie
from .guides import TrieGuide
from .writing import Branch, write_branches


@dataclass
class DecodingCost:
    """What decoding took.

    passes (int): Forward passes of the model.
    tokens (int): Tokens run, padding left out.
    """

    passes: int = 0
    tokens: int = 0


class ParallelDecoder:
    """Decodes a batch of texts, all their labels and all mentions at once.

    lm (CausalLM): The model.
    encoder (PromptEncoder): The template's ids.
    limits (MentionLimits): How much may be written.
    softmax (Softmax): What log-probabilities are taken over, as the model was trained.
    """

    def __init__(
        self,
        lm: CausalLM,
        encoder: PromptEncoder,
        limits: MentionLimits,
        softmax: Softmax = "vocabulary",
    ) -> None:
        self.lm = lm
        self.encoder = encoder
        self.limits = limits
        self.softmax: Softmax = softmax
        self.cost = DecodingCost()
        self._count_trie = build_count_trie(encoder, limits.max_mentions)

    def decode(
        self, texts: Sequence[TokenizedText], labels: Sequence[str]
    ) -> list[list[DecodedMention]]:
        """texts (Sequence[TokenizedText]): The texts.
        labels (Sequence[str]): The labels to look for.
        RETURNS (List[List[DecodedMention]]): For each text its mentions, label by label, in the
            order the model numbered them.
        RAISES (ValueError): A text is longer than the model's positions.
        """
        found: list[list[DecodedMention]] = [[] for _ in texts]
        tries = [
            build_source_trie(self.encoder, text, self.limits.max_mention_tokens) for text in texts
        ]
        # Without anything to point at, a text has no mentions.
        rows = [row for row, trie in enumerate(tries) if trie.values]
        if rows and labels:
            decoded = self._decode([texts[r].text for r in rows], [tries[r] for r in rows], labels)
            for row, mentions in zip(rows, decoded, strict=True):
                found[row] = mentions
        return found

    @torch.inference_mode()
    def _decode(
        self, texts: Sequence[str], tries: Sequence[Trie[Span]], labels: Sequence[str]
    ) -> list[list[DecodedMention]]:
        trees = [TokenTree(self.encoder.prefix(text)) for text in texts]
        run = self.lm.open(trees, self._depth(trees, tries, labels))
        counted = self._open_counts(trees, labels)
        write_branches(run, trees, [branch for _, branch in counted], self.softmax)
        opened = [
            (label, mention)
            for label, branch in counted
            for mention in self._open_mentions(trees[branch.row], tries[branch.row], label, branch)
        ]
        write_branches(run, trees, [branch for _, branch in opened], self.softmax)
        self.cost.passes += run.passes
        self.cost.tokens += run.tokens
        found: list[list[DecodedMention]] = [[] for _ in trees]
        for label, branch in opened:
            places = tuple(branch.guide.values)
            found[branch.row].append(DecodedMention(label, places, branch.guide.log_prob))
        return found

    def _open_counts(
        self, trees: Sequence[TokenTree], labels: Sequence[str]
    ) -> list[tuple[str, Branch[TrieGuide[int]]]]:
        opened = []
        for row, tree in enumerate(trees):
            for label in labels:
                prompt = tree.insert(self.encoder.branch(label), tree.prefix_end)
                guide = TrieGuide(self._count_trie, scored=False)
                opened.append((label, Branch(row, prompt[-1], guide)))
        return opened

    def _open_mentions(
        self,
        tree: TokenTree,
        trie: Trie[Span],
        label: str,
        counted: Branch[TrieGuide[int]],
    ) -> list[Branch[TrieGuide[Span]]]:
        (count,) = counted.guide.values
        start = self.encoder.branch(label) + self.encoder.count(count)
        opened = []
        for n in range(1, count + 1):
            path = tree.insert(start + self.encoder.opener(n), tree.prefix_end)
            opened.append(Branch(counted.row, path[-1], TrieGuide(trie, scored=True)))
        return opened

    def _depth(
        self, trees: Sequence[TokenTree], tries: Sequence[Trie[Span]], labels: Sequence[str]
    ) -> int:
        """RETURNS (int): Length of the longest sequence that may come of it."""
        branch = max(len(self.encoder.branch(label)) for label in labels)
        opener = len(self.encoder.opener(self.limits.max_mentions))
        # The end token of a mention is written last and never run.
        text = max(len(tree) + trie.depth - 1 for tree, trie in zip(trees, tries, strict=True))
        return text + branch + self._count_trie.depth + opener
