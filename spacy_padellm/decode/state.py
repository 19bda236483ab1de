"""One text while it is decoded: its tree, and what its labels and mentions have come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from ..prompt.encoder import EncodedText
from ..settings import DecodingOptions
from ..texts import Span
from ..tree.token_tree import TokenTree, Trie
from .drafts import SpanDrafter
from .mentions import DecodedMention

Value = TypeVar("Value")


class Choice(NamedTuple):
    """The most probable token at a node.

    Args:
        token_id: The token.
        log_prob: Its log-probability.
    """

    token_id: int
    log_prob: float


@dataclass
class _Branch(Generic[Value]):
    """A sequence that is being written: a walk through a trie.

    Args:
        node: The tree's node it has come to.
        trie: What may be written.
        scored: Whether the log-probability is wanted. Where it is not, continuations without an
            alternative are taken without asking the model.
        place: The trie's node it has come to.
        log_prob: Sum of the log-probabilities of the tokens written, the terminator excluded.
    """

    node: int
    trie: Trie[Value]
    scored: bool
    place: int = Trie.START
    log_prob: float = 0.0

    @property
    def is_finished(self) -> bool:
        """Whether a value was reached."""
        return self.place in self.trie.values

    def advance(self, tree: TokenTree, choices: Mapping[int, Choice]) -> None:
        """Write as far as choices are known.

        Args:
            tree: The tree, which grows where no draft is.
            choices: What was chosen at the nodes run so far.
        """
        children, values = self.trie.children, self.trie.values
        while self.place not in values and (choice := choices.get(self.node)) is not None:
            written = [choice.token_id]
            self.place = children[self.place][choice.token_id]
            if self.place not in values:
                self.log_prob += choice.log_prob
            while len(children[self.place]) == 1:
                ((token_id, place),) = children[self.place].items()
                if self.scored and place not in values:
                    break
                self.place = place
                written.append(token_id)
            if self.place not in values:
                self.node = tree.insert(written, self.node)[-1]


@dataclass
class _Label:
    """A label of the text.

    Args:
        name: Its name.
        start: The node after which its count is written.
        count: Its count.
        mentions: Its mentions, once it is counted.
        is_open: Whether it is counted and its mentions are opened.
    """

    name: str
    start: int
    count: _Branch[int]
    mentions: list[_Branch[Span]] = field(default_factory=list)
    is_open: bool = False


class TextState:
    """What is written of a text: every label's count, then every mention of every label.

    It owns the tree and all that is known of it. `propose` says at which nodes choices are needed,
    or will be if a draft proves right; `advance` takes the choices; both are called in turn until
    nothing is proposed.

    Args:
        text: The text.
        labels: The labels whose mentions are written.
        options: How much is drafted.

    Attributes:
        text: The text.
        tree: The text's prefix, and what is written below it.
        depth: Length of the longest sequence there may be, in tokens.
    """

    def __init__(self, text: EncodedText, labels: Sequence[str], options: DecodingOptions) -> None:
        self.text = text
        self.tree = TokenTree(text.prefix)
        self._trie = text.trie
        self._encoder = encoder = text.encoder
        self._counts = encoder.counts
        self._open_counts = options.open_counts
        self._choices: dict[int, Choice] = {}
        self._drafter: SpanDrafter | None = None
        if options.draft_threshold is not None:
            self._drafter = SpanDrafter(self._trie, text, options.draft_threshold)
        self._labels: list[_Label] = []
        for name in labels:
            start = self.tree.insert(encoder.branches[name], self.tree.prefix_end)[-1]
            count = _Branch(start, self._counts, scored=False)
            self._labels.append(_Label(name, start, count))
        # The end token of a mention is written last and never run.
        self.depth = encoder.depth_before_mentions(text, labels) + self._trie.depth - 1

    def propose(self) -> dict[int, list[int]]:
        """Propose nodes to run: those where a choice is needed, and drafts.

        Returns:
            New nodes, and the ids that may follow each. None if everything is written.
        """
        proposed: dict[int, list[int]] = {}
        for label in self._labels:
            if not label.is_open:
                proposed[label.count.node] = list(self._counts.children[label.count.place])
                if self._drafter is not None:
                    for count in self._likely_counts(label):
                        self._draft_count(label, count, proposed)
            elif not all(mention.is_finished for mention in label.mentions):
                self._propose_mentions(label.mentions, proposed)
        return {node: ids for node, ids in proposed.items() if node not in self._choices}

    def advance(self, choices: Mapping[int, Choice]) -> None:
        """Write as far as it is known now.

        Args:
            choices: What was chosen at each node proposed.
        """
        self._choices.update(choices)
        for label in self._labels:
            label.count.advance(self.tree, self._choices)
        if self._drafter is None and not all(each.count.is_finished for each in self._labels):
            # The paper's first step ends before the second one begins.
            return
        for label in self._labels:
            if label.count.is_finished and not label.is_open:
                self._open_mentions(label)
            for mention in label.mentions:
                mention.advance(self.tree, self._choices)

    def mentions(self) -> Iterator[DecodedMention]:
        """Give the mentions once all are written, label by label, as they are numbered."""
        for label in self._labels:
            for mention in label.mentions:
                places = tuple(self._trie.values[mention.place])
                yield DecodedMention(label.name, places, mention.log_prob)

    def count_kept(self) -> int:
        """Count the tokens of the tree that were kept, each once."""
        ends = {label.count.node for label in self._labels}
        ends |= {mention.node for label in self._labels for mention in label.mentions}
        return len({node for end in ends for node in self.tree.path(end)})

    def _open_mentions(self, label: _Label) -> None:
        (count,) = self._counts.values[label.count.place]
        label.is_open = True
        for n in range(1, count + 1):
            ids = [*self._encoder.count_ids[count], *self._encoder.openers[n]]
            node = self.tree.insert(ids, label.start)[-1]
            label.mentions.append(_Branch(node, self._trie, scored=True))

    def _likely_counts(self, label: _Label) -> Sequence[int]:
        """Say which counts' mentions are opened before they are certain."""
        if label.count.place == Trie.START:
            return [count for count in self._open_counts if count <= self._encoder.max_mentions]
        # A number is more often written than continued by another digit.
        place: int | None = label.count.place
        for token_id in self._encoder.count_end:
            place = None if place is None else self._counts.children[place].get(token_id)
        return () if place is None else self._counts.values[place]

    def _draft_count(self, label: _Label, count: int, proposed: dict[int, list[int]]) -> None:
        node, place = label.start, Trie.START
        for token_id in self._encoder.count_ids[count]:
            choices = self._counts.children[place]
            if len(choices) > 1:
                proposed[node] = list(choices)
            node, place = self.tree.insert([token_id], node)[0], choices[token_id]
        for n in range(1, count + 1):
            opened = self.tree.insert(self._encoder.openers[n], node)[-1]
            proposed[opened] = list(self._trie.children[Trie.START])

    def _propose_mentions(
        self, mentions: Sequence[_Branch[Span]], proposed: dict[int, list[int]]
    ) -> None:
        children = self._trie.children
        live = [not mention.is_finished for mention in mentions]
        for mention, goes_on in zip(mentions, live, strict=True):
            if goes_on:
                proposed[mention.node] = list(children[mention.place])
        if self._drafter is None:
            return
        drafts = self._drafter.draft([mention.place for mention in mentions], live)
        for mention, drafted in zip(mentions, drafts, strict=True):
            node_of = {mention.place: mention.node}
            for parent, token_id, child in drafted:
                node_of[child] = self.tree.insert([token_id], node_of[parent])[0]
                proposed[node_of[child]] = list(children[child])
