"""The paper's objective: one sequence for every label and mention (section 3.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..limits import MentionLimits
from ..prompt.encoder import PromptEncoder
from ..texts import AnnotatedText, TokenizedText
from ..tree.softmax import Softmax
from ..tree.token_tree import TokenTree
from ..tree.trie import Trie, build_count_trie, build_source_trie
from .gold import LeftOut, TaughtMention, find_teachable
from .objective import Objective
from .supervised_tree import SupervisedTree


class ParallelObjective(Objective):
    """Teaches counts and mentions, each in a sequence of its own.

    encoder (PromptEncoder): The template's ids.
    limits (MentionLimits): Gold beyond them is left out.
    softmax (Softmax): What the loss is taken over.
    tag_text (float): Weight of text tags.
    RAISES (ValueError): A negative weight, or a tokenizer that text tags are not possible with.
    """

    def __init__(
        self,
        encoder: PromptEncoder,
        limits: MentionLimits,
        softmax: Softmax = "vocabulary",
        tag_text: float = 0.0,
    ) -> None:
        super().__init__(encoder, limits, tag_text)
        self.softmax: Softmax = softmax
        self._count_trie = build_count_trie(encoder, limits.max_mentions)

    def _select(
        self, text: AnnotatedText, labels: Sequence[str]
    ) -> tuple[dict[str, list[TaughtMention]], LeftOut]:
        return find_teachable(
            text,
            labels,
            self.encoder,
            max_mention_tokens=self.limits.max_mention_tokens,
            max_mentions=self.limits.max_mentions,
        )

    def _teach(
        self, source: TokenizedText, taught: Mapping[str, Sequence[TaughtMention]]
    ) -> SupervisedTree:
        tree = TokenTree(self.encoder.prefix(source.text))
        supervised: Counter[tuple[int, int]] = Counter()
        tries: dict[tuple[int, int], list[int]] = {}
        trie = self._source_trie(source, taught)
        for label, mentions in taught.items():
            start = tree.insert(self.encoder.branch(label), tree.prefix_end)[-1]
            count = self.encoder.count(len(mentions))
            # A label without mentions is one sequence, too: its count.
            for _ in range(max(1, len(mentions))):
                self._supervise(tree, start, count, self._count_trie, supervised, tries)
            for n, (_, ids) in enumerate(mentions, start=1):
                opened = tree.insert([*count, *self.encoder.opener(n)], start)[-1]
                self._supervise(tree, opened, ids, trie, supervised, tries)
        edges = list(supervised)
        return SupervisedTree(
            tree,
            nodes=[node for node, _ in edges],
            targets=[target for _, target in edges],
            weights=[float(supervised[edge]) for edge in edges],
            admissible=[tries[edge] for edge in edges] if self.softmax == "admissible" else None,
        )

    def _lengths(
        self, source: TokenizedText, taught: Mapping[str, Sequence[TaughtMention]]
    ) -> list[int]:
        lengths = []
        for label, mentions in taught.items():
            counted = len(self.encoder.branch(label)) + len(self.encoder.count(len(mentions)))
            lengths.append(counted)
            for n, (_, ids) in enumerate(mentions, start=1):
                lengths.append(counted + len(self.encoder.opener(n)) + len(ids))
        return lengths

    def _source_trie(
        self, source: TokenizedText, taught: Mapping[str, Sequence[TaughtMention]]
    ) -> Trie[tuple[int, int]] | None:
        if self.softmax == "vocabulary" or not any(taught.values()):
            return None
        first_ids = {ids[0] for mentions in taught.values() for _, ids in mentions}
        return build_source_trie(
            self.encoder, source, self.limits.max_mention_tokens, whole=first_ids
        )

    def _supervise(
        self,
        tree: TokenTree,
        start: int,
        ids: Sequence[int],
        trie: Trie | None,
        supervised: Counter[tuple[int, int]],
        tries: dict[tuple[int, int], list[int]],
    ) -> None:
        """Teach a sequence below a node; its last token closes it and needs no node."""
        nodes = [start, *tree.insert(ids[:-1], start)]
        for place, edge in enumerate(zip(nodes, ids, strict=True)):
            supervised[edge] += 1
            if self.softmax == "admissible" and trie is not None and edge not in tries:
                tries[edge] = trie.continuations(ids[:place])
