"""One text being written in parallel: every label's count, then every mention of every label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..prompt.encoder import PromptEncoder
from ..tree.token_tree import TokenTree
from ..tree.trie import Span, Trie
from .drafts import SpanDrafter
from .guides import TrieGuide
from .mentions import DecodedMention
from .writing import Admissible, Branch, Choice, Replay


@dataclass
class _Label:
    """A label of the text.

    name (str): Its name.
    start (int): The node after which its count is written.
    count (Branch[TrieGuide[int]]): Its count.
    mentions (List[Branch[TrieGuide[Span]]]): Its mentions, once it is counted.
    is_open (bool): Whether it is counted and its mentions are opened.
    """

    name: str
    start: int
    count: Branch[TrieGuide[int]]
    mentions: list[Branch[TrieGuide[Span]]] = field(default_factory=list)
    is_open: bool = False


class ParallelWriting:
    """What a text's labels and mentions have come to, and what they ask for next.

    tree (TokenTree): The text's prefix; it grows.
    trie (Trie[Span]): The text's admissible mentions.
    count_trie (Trie[int]): The admissible counts.
    encoder (PromptEncoder): The template's ids.
    labels (Sequence[str]): The labels to look for.
    drafter (Optional[SpanDrafter]): Drafts mentions. Without one the paper's two steps follow each
        other, one token a pass.
    open_counts (Sequence[int]): Counts whose mentions are opened while labels are counted.
    replay (Optional[Replay]): What is written, whatever the model chooses.
    """

    def __init__(
        self,
        tree: TokenTree,
        trie: Trie[Span],
        count_trie: Trie[int],
        encoder: PromptEncoder,
        labels: Sequence[str],
        drafter: SpanDrafter | None,
        open_counts: Sequence[int] = (),
        replay: Replay | None = None,
    ) -> None:
        self.tree = tree
        self._trie = trie
        self._count_trie = count_trie
        self._encoder = encoder
        self._drafter = drafter
        self._open_counts = open_counts
        self._replay = replay
        self._choices: dict[int, Choice] = {}
        self._labels = [self._make_label(name) for name in labels]

    def ask(self) -> dict[int, Admissible]:
        """RETURNS (Dict[int, Admissible]): New nodes and what may follow them."""
        asked: dict[int, Admissible] = {}
        for label in self._labels:
            if not label.is_open:
                asked[label.count.node] = label.count.guide.admissible()
                for count in self._likely_counts(label):
                    self._draft_count(label, count, asked)
            elif not all(mention.guide.done for mention in label.mentions):
                self._ask_mentions(label, asked)
        return {node: ids for node, ids in asked.items() if node not in self._choices}

    def take(self, choices: Mapping[int, Choice]) -> None:
        """choices (Mapping[int, Choice]): What was chosen at each node asked for."""
        self._choices.update(choices)
        for label in self._labels:
            label.count.follow(self.tree, self._choices)
        if self._drafter is None and not all(label.count.guide.done for label in self._labels):
            return
        for label in self._labels:
            if label.count.guide.done and not label.is_open:
                self._open_mentions(label)
            for mention in label.mentions:
                mention.follow(self.tree, self._choices)

    def ends(self) -> Iterable[int]:
        """RETURNS (Iterable[int]): The last node of each count and mention."""
        for label in self._labels:
            yield label.count.node
            yield from (mention.node for mention in label.mentions)

    def mentions(self) -> Iterator[DecodedMention]:
        """YIELDS (DecodedMention): The mentions, once all are written, label by label."""
        for label in self._labels:
            for mention in label.mentions:
                guide = mention.guide
                yield DecodedMention(label.name, tuple(guide.values), guide.log_prob)

    def _make_label(self, name: str) -> _Label:
        start = self.tree.insert(self._encoder.branch(name), self.tree.prefix_end)[-1]
        guide = TrieGuide(self._count_trie, scored=False)
        replay = None if self._replay is None else self._encoder.count(len(self._replay[name]))
        return _Label(name, start, Branch(start, guide, replay))

    def _open_mentions(self, label: _Label) -> None:
        (count,) = label.count.guide.values
        counted = self.tree.insert(self._encoder.count(count), label.start)[-1] if count else 0
        for n in range(1, count + 1):
            node = self.tree.insert(self._encoder.opener(n), counted)[-1]
            replay = None if self._replay is None else self._replay[label.name][n - 1]
            label.mentions.append(Branch(node, TrieGuide(self._trie, scored=True), replay))
        label.is_open = True

    def _likely_counts(self, label: _Label) -> Sequence[int]:
        """RETURNS (Sequence[int]): Counts whose mentions are opened before they are certain."""
        if self._drafter is None:
            return ()
        guide = label.count.guide
        if guide.node == self._count_trie.START:
            possible = self._count_trie.find
            return [c for c in self._open_counts if possible(self._encoder.count(c))]
        # A number is more often written than continued by another digit.
        node: int | None = guide.node
        for token_id in self._encoder.count_end:
            node = None if node is None else self._count_trie.children[node].get(token_id)
        return () if node is None else self._count_trie.values[node]

    def _draft_count(self, label: _Label, count: int, asked: dict[int, Admissible]) -> None:
        node, state = label.start, self._count_trie.START
        for token_id in self._encoder.count(count):
            choices = self._count_trie.children[state]
            if len(choices) > 1:
                asked[node] = list(choices)
            node, state = self.tree.insert([token_id], node)[0], choices[token_id]
        for n in range(1, count + 1):
            opened = self.tree.insert(self._encoder.opener(n), node)[-1]
            asked[opened] = list(self._trie.children[self._trie.START])

    def _ask_mentions(self, label: _Label, asked: dict[int, Admissible]) -> None:
        live = [not mention.guide.done for mention in label.mentions]
        for mention in label.mentions:
            if not mention.guide.done:
                asked[mention.node] = mention.guide.admissible()
        if self._drafter is None:
            return
        drafts = self._drafter.draft([mention.guide.node for mention in label.mentions], live)
        for mention, drafted in zip(label.mentions, drafts, strict=True):
            node_of = {mention.guide.node: mention.node}
            for parent, token_id, child in drafted:
                node_of[child] = self.tree.insert([token_id], node_of[parent])[0]
                asked[node_of[child]] = list(self._trie.children[child])
