"""Training objective: gold mentions → one supervised tree a text (paper, section 3.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import Errors
from .causal_lm import CausalLM
from .limits import MentionLimits
from .prompt import PromptEncoder
from .softmax import Softmax, pad_admissible
from .text_tags import TextTagger
from .texts import AnnotatedText, Mention
from .token_tree import TokenTree
from .tree_run.model_call import Readout
from .trie import Trie, build_count_trie, build_source_trie

# A mention and its ids, the end token included.
TaughtMention = tuple[Mention, list[int]]


@dataclass
class LeftOut:
    """Gold mentions that cannot be taught, by reason.

    unaligned (List[Tuple[str, Mention]]): Not on the text's token boundaries, or without ids.
    too_long (List[Tuple[str, Mention]]): Longer than the longest mention.
    too_many (List[Tuple[str, Mention]]): Beyond the most mentions of a label.
    not_annotated (List[Tuple[str, Mention]]): Of a label their text is not annotated for.
    across_windows (List[Tuple[str, Mention]]): In no window of their text.
    """

    unaligned: list[tuple[str, Mention]] = field(default_factory=list)
    too_long: list[tuple[str, Mention]] = field(default_factory=list)
    too_many: list[tuple[str, Mention]] = field(default_factory=list)
    not_annotated: list[tuple[str, Mention]] = field(default_factory=list)
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
    paper's sequences in which it does; after these come the text's tags, if any, which are read at
    the model's middle layer.

    tree (TokenTree): The tree; the last token of a sequence is a target only.
    nodes (List[int]): Node before each supervised token.
    targets (List[int]): The token's id.
    weights (List[float]): Sequences through it, or a text tag's weight.
    admissible (Optional[List[List[int]]]): Ids that may stand in its place, for the softmax over
        admissible continuations.
    tags (int): How many of them, the last ones, are tags.
    """

    tree: TokenTree
    nodes: list[int]
    targets: list[int]
    weights: list[float]
    admissible: list[list[int]] | None
    tags: int = 0

    @property
    def depth(self) -> int:
        """RETURNS (int): Length of the longest sequence, in tokens."""
        return max(self.tree.depths) + 1

    @property
    def bytes(self) -> int:
        """RETURNS (int): About the memory it takes: lists of numbers, and a mask once it is run."""
        numbers = sum(map(len, self.admissible or [])) + 3 * len(self.nodes)
        # A node has an id, parent, depth and dictionary entry.
        return 8 * numbers + 400 * len(self.tree) + len(self.tree) ** 2


class Objective:
    """Builds supervised trees.

    encoder (PromptEncoder): The template's ids.
    limits (MentionLimits): Gold beyond them is left out.
    softmax (Softmax): What the loss is taken over.
    tag_text (float): Weight of what each token of the text is taught in addition (see
        `text_tags`), as a part of a sequence's; 0 for the paper's objective.
    RAISES (ValueError): A negative weight, or a tokenizer that text tags are not possible with.
    """

    def __init__(
        self,
        encoder: PromptEncoder,
        limits: MentionLimits,
        softmax: Softmax = "vocabulary",
        tag_text: float = 0.0,
    ) -> None:
        if tag_text < 0:
            raise ValueError(Errors.P034.format(value=tag_text))
        self.encoder = encoder
        self.limits = limits
        self.softmax: Softmax = softmax
        self.tag_text = tag_text
        self._count_trie = build_count_trie(encoder, limits.max_mentions)
        self._tagger = (
            TextTagger(encoder, encoder.wordings, limits.max_mentions) if tag_text else None
        )

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
        trie = self._source_trie(text, taught)
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
        built = SupervisedTree(
            tree,
            nodes=[node for node, _ in edges],
            targets=[target for _, target in edges],
            weights=[float(supervised[edge]) for edge in edges],
            admissible=[tries[edge] for edge in edges] if self.softmax == "admissible" else None,
        )
        self._add_tags(built, text.source.text, taught)
        return built, left_out

    def examine(self, text: AnnotatedText, labels: Sequence[str]) -> tuple[LeftOut, int]:
        """What `build` would do, without building.

        text (AnnotatedText): A text with its gold mentions.
        labels (Sequence[str]): The labels to teach.
        RETURNS (Tuple[LeftOut, int]): The gold mentions that cannot be taught, and the tree's
            depth.
        """
        taught, left_out = self._teachable(text, labels)
        depths = [1]
        for label, mentions in taught.items():
            counted = len(self.encoder.branch(label)) + len(self.encoder.count(len(mentions)))
            depths.append(counted)
            for n, (_, ids) in enumerate(mentions, start=1):
                depths.append(counted + len(self.encoder.opener(n)) + len(ids))
        # A sequence's last token is a target only.
        return left_out, len(self.encoder.prefix(text.source.text)) + max(depths) - 1

    def _add_tags(
        self, built: SupervisedTree, text: str, taught: Mapping[str, list[TaughtMention]]
    ) -> None:
        if self._tagger is None or not taught:
            return
        mentions = {label: [mention for mention, _ in each] for label, each in taught.items()}
        tags = self._tagger.tag(text, mentions)
        built.tags = len(tags)
        first = built.tree.prefix_length - len({tag.place for tag in tags})
        for tag in tags:
            built.nodes.append(first + tag.place)
            built.targets.append(tag.target)
            built.weights.append(self.tag_text * tag.share)
            if built.admissible is not None:
                built.admissible.append(tag.choices)

    def _source_trie(
        self, text: AnnotatedText, taught: Mapping[str, list[TaughtMention]]
    ) -> Trie[tuple[int, int]] | None:
        if self.softmax == "vocabulary" or not any(taught.values()):
            return None
        first_ids = {ids[0] for mentions in taught.values() for _, ids in mentions}
        return build_source_trie(
            self.encoder, text.source, self.limits.max_mention_tokens, whole=first_ids
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

    def _teachable(
        self, text: AnnotatedText, labels: Sequence[str]
    ) -> tuple[dict[str, list[TaughtMention]], LeftOut]:
        """RETURNS (Tuple[Dict[str, List[TaughtMention]], LeftOut]): For each label to teach its
        mentions in order of appearance.
        """
        annotated = set(labels if text.labels is None else text.labels)
        taught: dict[str, list[TaughtMention]] = {}
        taught.update((label, []) for label in labels if label in annotated)
        left_out = LeftOut()
        source = text.source
        solid = [
            (place, start, end)
            for place, (start, end) in enumerate(source.tokens)
            if not source.text[start:end].isspace()
        ]
        first = {start: place for place, start, _ in solid}
        last = {end: place for place, _, end in solid}
        left_out.not_annotated += [
            (source.text, mention)
            for mention in sorted(text.mentions)
            if mention.label in labels and mention.label not in annotated
        ]
        # A mention listed twice is one.
        ordered = sorted({m for m in text.mentions if m.label in taught})
        strings = [source.text[m.start : m.end] for m in ordered]
        for mention, ids in zip(ordered, self.encoder.mentions(strings), strict=True):
            if ids is None or mention.start not in first or mention.end not in last:
                left_out.unaligned.append((source.text, mention))
            elif last[mention.end] - first[mention.start] >= self.limits.max_mention_tokens:
                left_out.too_long.append((source.text, mention))
            elif len(taught[mention.label]) == self.limits.max_mentions:
                left_out.too_many.append((source.text, mention))
            else:
                taught[mention.label].append((mention, ids))
        return taught, left_out


def target_log_probs(lm: CausalLM, trees: Sequence[SupervisedTree]) -> Tensor:
    """The log-probability of every supervised token, in one pass.

    lm (CausalLM): The model.
    trees (Sequence[SupervisedTree]): The trees.
    RETURNS (Tensor): Tree by tree, shape `(n_supervised,)`, with gradients where enabled.
    """
    run = lm.open_for_training([t.tree for t in trees], max(t.depth for t in trees))
    # Several tokens may be supervised at one node.
    nodes = [list(dict.fromkeys(t.nodes)) for t in trees]
    middle = _tagged(nodes, trees).to(lm.model.device) if any(t.tags for t in trees) else None
    rows = _places(nodes, [t.nodes for t in trees])
    targets = torch.tensor([i for t in trees for i in t.targets], dtype=torch.long)
    admissible = [ids for t in trees for ids in t.admissible or []]
    device = lm.model.device
    if not admissible:
        logits = run.logits(nodes, Readout(None, middle)).float()
        return logits[rows, targets.to(device)] - logits.logsumexp(dim=1)[rows]
    needed = torch.tensor(sorted(set().union(*admissible)))
    logits = run.logits(nodes, Readout(needed.to(device), middle)).float()
    choices = pad_admissible(admissible, needed.device)
    columns = torch.searchsorted(needed, choices.clamp_min(int(needed[0]))).to(device)
    allowed = logits[rows.unsqueeze(1), columns].masked_fill((choices < 0).to(device), -torch.inf)
    picked = logits[rows, torch.searchsorted(needed, targets).to(device)]
    return picked - allowed.logsumexp(dim=1)


def _tagged(nodes: Sequence[Sequence[int]], trees: Sequence[SupervisedTree]) -> Tensor:
    """RETURNS (Tensor): For each node, tree by tree, whether it is one of the text, with tags."""
    tagged = [set(tree.nodes[len(tree.nodes) - tree.tags :]) for tree in trees]
    pairs = zip(nodes, tagged, strict=True)
    return torch.tensor([node in of_text for asked, of_text in pairs for node in asked])


def _places(nodes: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> Tensor:
    """RETURNS (Tensor): For each wanted node, tree by tree, its place among all nodes."""
    places: list[int] = []
    first = 0
    for asked, of_tree in zip(nodes, wanted, strict=True):
        place_of = {node: first + place for place, node in enumerate(asked)}
        places.extend(place_of[node] for node in of_tree)
        first += len(asked)
    return torch.tensor(places, dtype=torch.long)
