"""Training objective: gold mentions → one supervised tree a text (paper, section 3.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .causal_lm import CausalLM
from .decoding.parallel import MentionLimits
from .prompt import PromptEncoder
from .softmax import Softmax, admissible_logits, pad_admissible
from .texts import AnnotatedText, Mention
from .token_tree import TokenTree
from .trie import Trie, build_count_trie, build_source_trie


@dataclass
class LeftOut:
    """Gold mentions that cannot be taught, by reason.

    unaligned (List[Tuple[str, Mention]]): Not on the text's token boundaries, or without ids.
    too_long (List[Tuple[str, Mention]]): Longer than the longest mention.
    too_many (List[Tuple[str, Mention]]): Beyond the most mentions of a label.
    across_windows (List[Tuple[str, Mention]]): In no window of their text.
    """

    unaligned: list[tuple[str, Mention]] = field(default_factory=list)
    too_long: list[tuple[str, Mention]] = field(default_factory=list)
    too_many: list[tuple[str, Mention]] = field(default_factory=list)
    across_windows: list[tuple[str, Mention]] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(mentions) for mentions in vars(self).values())

    def extend(self, other: LeftOut) -> None:
        """other (LeftOut): More of them."""
        for reason, mentions in vars(self).items():
            mentions += getattr(other, reason)

    def describe(self) -> str:
        """RETURNS (str): How many for each reason, each with an example."""
        return "; ".join(
            f"{len(mentions)} {reason.replace('_', ' ')} "
            f"(for example {mention.label} {text[mention.start : mention.end]!r})"
            for reason, mentions in vars(self).items()
            for text, mention in mentions[:1]
        )


@dataclass
class SupervisedTree:
    """All training sequences of a text in one tree, and what is to be learnt at its nodes.

    A supervised token is a node to read logits at, the token that follows, and the number of the
    paper's sequences in which it does.

    tree (TokenTree): The tree; the last token of a sequence is a target only.
    nodes (List[int]): Node before each supervised token.
    targets (List[int]): The token's id.
    weights (List[int]): Sequences through it.
    admissible (Optional[List[List[int]]]): Ids that may stand in its place, for the softmax over
        admissible continuations.
    """

    tree: TokenTree
    nodes: list[int]
    targets: list[int]
    weights: list[int]
    admissible: list[list[int]] | None

    @property
    def depth(self) -> int:
        """RETURNS (int): Length of the longest sequence, in tokens."""
        return max(self.tree.depths) + 1


class Objective:
    """Builds supervised trees.

    encoder (PromptEncoder): The template's ids.
    limits (MentionLimits): Gold beyond them is left out.
    softmax (Softmax): What the loss is taken over.
    """

    def __init__(
        self, encoder: PromptEncoder, limits: MentionLimits, softmax: Softmax = "vocabulary"
    ) -> None:
        self.encoder = encoder
        self.limits = limits
        self.softmax: Softmax = softmax
        self._count_trie = build_count_trie(encoder, limits.max_mentions)

    def build(self, text: AnnotatedText, labels: Sequence[str]) -> tuple[SupervisedTree, LeftOut]:
        """text (AnnotatedText): A text with its gold mentions.
        labels (Sequence[str]): The labels to teach; those the text is not annotated for are
            left out, not taught as absent.
        RETURNS (Tuple[SupervisedTree, LeftOut]): The tree and the gold that is not in it.
        """
        taught, left_out = self._teachable(text, labels)
        tree = TokenTree(self.encoder.prefix(text.source.text))
        supervised: Counter[tuple[int, int]] = Counter()
        tries: dict[tuple[int, int], list[int]] = {}
        trie = self._source_trie(text)
        for label, mentions in taught.items():
            start = tree.insert(self.encoder.branch(label), tree.prefix_end)[-1]
            count = self.encoder.count(len(mentions))
            # A label without mentions is one sequence, too: its count.
            for _ in range(max(1, len(mentions))):
                self._supervise(tree, start, count, self._count_trie, supervised, tries)
            for n, ids in enumerate(mentions, start=1):
                opened = tree.insert([*count, *self.encoder.opener(n)], start)[-1]
                self._supervise(tree, opened, ids, trie, supervised, tries)
        edges = list(supervised)
        return (
            SupervisedTree(
                tree,
                nodes=[node for node, _ in edges],
                targets=[target for _, target in edges],
                weights=[supervised[edge] for edge in edges],
                admissible=[tries[edge] for edge in edges] if tries else None,
            ),
            left_out,
        )

    def find_left_out(self, text: AnnotatedText, labels: Sequence[str]) -> LeftOut:
        """text (AnnotatedText): A text with its gold mentions.
        labels (Sequence[str]): The labels to teach.
        RETURNS (LeftOut): The gold mentions that cannot be.
        """
        return self._teachable(text, labels)[1]

    def _source_trie(self, text: AnnotatedText) -> Trie[tuple[int, int]] | None:
        if self.softmax == "vocabulary" or not text.mentions:
            return None
        return build_source_trie(self.encoder, text.source, self.limits.max_mention_tokens)

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
                at = trie.find(ids[:place])
                tries[edge] = list(trie.children[at]) if at is not None else [edge[1]]

    def _teachable(
        self, text: AnnotatedText, labels: Sequence[str]
    ) -> tuple[dict[str, list[list[int]]], LeftOut]:
        """RETURNS (Tuple[Dict[str, List[List[int]]], LeftOut]): For each label to teach the ids
        of its mentions in order of appearance.
        """
        annotated = set(labels if text.labels is None else text.labels)
        taught: dict[str, list[list[int]]] = {label: [] for label in labels if label in annotated}
        left_out = LeftOut()
        source = text.source
        solid = [
            (place, start, end)
            for place, (start, end) in enumerate(source.tokens)
            if not source.text[start:end].isspace()
        ]
        first = {start: place for place, start, _ in solid}
        last = {end: place for place, _, end in solid}
        ordered = sorted(m for m in text.mentions if m.label in taught)
        strings = [source.text[m.start : m.end] for m in ordered]
        for mention, ids in zip(ordered, self.encoder.mentions(strings), strict=True):
            if ids is None or mention.start not in first or mention.end not in last:
                left_out.unaligned.append((source.text, mention))
            elif last[mention.end] - first[mention.start] >= self.limits.max_mention_tokens:
                left_out.too_long.append((source.text, mention))
            elif len(taught[mention.label]) == self.limits.max_mentions:
                left_out.too_many.append((source.text, mention))
            else:
                taught[mention.label].append(ids)
        return taught, left_out


def target_log_probs(lm: CausalLM, trees: Sequence[SupervisedTree]) -> Tensor:
    """The log-probability of every supervised token, in one pass.

    lm (CausalLM): The model.
    trees (Sequence[SupervisedTree]): The trees.
    RETURNS (Tensor): Tree by tree, shape `(n_supervised,)`, with gradients where enabled.
    """
    run = lm.open_for_training([t.tree for t in trees], max(t.depth for t in trees))
    logits = run.logits([t.nodes for t in trees]).float()
    targets = torch.tensor([i for t in trees for i in t.targets], device=logits.device)
    picked = logits.gather(1, targets.unsqueeze(1)).squeeze(1)
    if all(t.admissible is None for t in trees):
        return picked - logits.logsumexp(dim=1)
    rows = [ids for t in trees for ids in t.admissible or []]
    allowed = admissible_logits(logits, pad_admissible(rows, logits.device))
    return picked - allowed.logsumexp(dim=1)
