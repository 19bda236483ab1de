"""The state of one text while it is decoded: its tree, its labels and its mentions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from ..prompt.encoder import EncodedText
from ..texts import Span
from ..tree.token_tree import Place, TokenTree, Trie
from .drafts import SpanDrafter, SpanWeights
from .mentions import DecodedMention
from .tags import TextTags

Value = TypeVar("Value")


class Choice(NamedTuple):
    """The most probable token at a node.

    Args:
        token_id: The token's id.
        log_prob: The token's log-probability.
    """

    token_id: int
    log_prob: float


@dataclass
class _Branch(Generic[Value]):
    """A sequence that is being written, as a walk through a trie.

    Args:
        node: The tree node that it has reached.
        trie: The trie of what may be written.
        scored: Whether the log-probability is needed. If not, the model is not asked where there is
            only one continuation.
        place: The trie node that it has reached.
        log_prob: Sum of the log-probabilities of the tokens written, without the terminator.
    """

    node: int
    trie: Trie[Value]
    scored: bool
    place: Place
    log_prob: float = 0.0

    @classmethod
    def begin(cls, node: int, trie: Trie[Value], *, scored: bool) -> _Branch[Value]:
        """Begin a walk at the start of a trie."""
        return cls(node, trie, scored, trie.start)

    @property
    def is_finished(self) -> bool:
        """Whether the walk has reached a leaf."""
        return self.trie.is_leaf(self.place)

    def advance(self, tree: TokenTree, choices: Mapping[int, Choice]) -> None:
        """Write as far as the choices are known.

        Args:
            tree: The tree. Nodes that are not drafted yet are added to it.
            choices: The choices at the nodes that were run so far.
        """
        trie = self.trie
        while not self.is_finished and (choice := choices.get(self.node)) is not None:
            written = [choice.token_id]
            self.place = trie.children(self.place)[choice.token_id]
            if not self.is_finished:
                self.log_prob += choice.log_prob
            while len(following := trie.children(self.place)) == 1:
                ((token_id, place),) = following.items()
                if self.scored and not trie.is_leaf(place):
                    break
                self.place = place
                written.append(token_id)
            if not self.is_finished:
                self.node = tree.insert(written, self.node)[-1]


@dataclass
class _Label:
    """The state of one label of the text.

    Args:
        name: The label.
        start: The node after which the count is written.
        count: The count while it is written.
        mentions: The mentions; empty until the count is known.
        is_open: Whether the count is known and the mentions are opened.
        weights: How likely its mentions are to be each span of the text; `None` without drafts.
        guess: Number of mentions that it probably has; `None` if nothing is known of them.
    """

    name: str
    start: int
    count: _Branch[int]
    mentions: list[_Branch[Span]] = field(default_factory=list)
    is_open: bool = False
    weights: SpanWeights | None = None
    guess: int | None = None


class TextState:
    """The state of a text while all counts, and then all mentions, are written.

    Call `propose` and `advance` in turn until nothing is proposed. `propose` says at which nodes
    choices are needed, or will be if a draft is right, and `advance` takes the choices.

    Args:
        text: The text.
        open_counts: Numbers of mentions that are so likely that the mentions of every label are
            opened while they are being counted.

    Attributes:
        text: The text.
        tree: The text's prefix, and the tokens written below it.
    """

    def __init__(self, text: EncodedText, open_counts: Sequence[int] = ()) -> None:
        self.text = text
        self.tree = TokenTree(text.prefix)
        self._encoder = text.encoder
        self._counts = text.encoder.counts
        self._open_counts = open_counts
        self._choices: dict[int, Choice] = {}
        self._drafter: SpanDrafter | None = None
        self._labels: list[_Label] = []

    @property
    def _trie(self) -> Trie[Span]:
        return self.text.trie

    @property
    def is_counting(self) -> bool:
        """Whether a count is still being written."""
        return not all(label.count.is_finished for label in self._labels)

    def open(
        self, labels: Sequence[str], threshold: float | None, tags: TextTags | None = None
    ) -> None:
        """Open the labels whose mentions are written.

        Args:
            labels: The labels.
            threshold: Lowest probability of a token that is drafted; `None` to draft nothing.
            tags: The text tags, from which mentions are drafted; `None` if they were not read.
        """
        # A text of which nothing can be written has no mentions.
        if not labels or not len(self._trie):
            return
        if threshold is not None:
            self._drafter = SpanDrafter(self._trie, self.text, threshold)
        for name in labels:
            start = self.tree.insert(self._encoder.branches[name], self.tree.prefix_end)[-1]
            label = _Label(name, start, _Branch.begin(start, self._counts, scored=False))
            if self._drafter is not None:
                label.weights = self._drafter.plain
                if tags is not None:
                    label.weights = self._drafter.weigh(tags, name)
                    label.guess = min(tags.count(name), self._encoder.max_mentions)
            self._labels.append(label)

    def propose(self) -> dict[int, list[int]]:
        """Return the new nodes to run: those where a choice is needed, and drafts.

        Returns:
            The nodes, each with the ids that may follow it. Empty if everything is written.
        """
        proposed: dict[int, list[int]] = {}
        for label in self._labels:
            if not label.is_open:
                proposed[label.count.node] = list(self._counts.children(label.count.place))
                if label.weights is None:
                    continue
                if label.guess is not None:
                    self._draft_count(label, label.guess, proposed)
                    # What is still open after this pass differs from the draft.
                    label.guess = None
                else:
                    for count in self._likely_counts(label):
                        self._draft_count(label, count, proposed)
            elif not all(mention.is_finished for mention in label.mentions):
                self._propose_mentions(label, proposed)
        return {node: ids for node, ids in proposed.items() if node not in self._choices}

    def advance(self, choices: Mapping[int, Choice]) -> None:
        """Write as far as the choices are known.

        Args:
            choices: The choice at each proposed node.
        """
        self._choices.update(choices)
        for label in self._labels:
            label.count.advance(self.tree, self._choices)
        if self._drafter is None and self.is_counting:
            # Without drafts, as in the paper, all counts are finished before any mention is opened.
            return
        for label in self._labels:
            if label.count.is_finished and not label.is_open:
                self._open_mentions(label)
            for mention in label.mentions:
                mention.advance(self.tree, self._choices)

    def mentions(self) -> Iterator[DecodedMention]:
        """Yield the finished mentions, label by label, in the order of their numbers."""
        for label in self._labels:
            for mention in label.mentions:
                places = tuple(self._trie.values(mention.place))
                yield DecodedMention(label.name, places, mention.log_prob)

    def count_kept(self) -> int:
        """Count the tokens of the tree that were kept, without rejected drafts."""
        ends = {self.tree.prefix_end, *(label.count.node for label in self._labels)}
        ends |= {mention.node for label in self._labels for mention in label.mentions}
        return len({node for end in ends for node in self.tree.path(end)})

    def _open_mentions(self, label: _Label) -> None:
        """Add the opener of each mention of a label to the tree, once its count is known."""
        (count,) = self._counts.values(label.count.place)
        label.is_open = True
        for n in range(1, count + 1):
            ids = [*self._encoder.count_ids[count], *self._encoder.openers[n]]
            node = self.tree.insert(ids, label.start)[-1]
            label.mentions.append(_Branch.begin(node, self._trie, scored=True))

    def _likely_counts(self, label: _Label) -> Sequence[int]:
        """Return the counts for which mentions are opened before the count is certain."""
        if label.count.place == self._counts.start:
            return [count for count in self._open_counts if count <= self._encoder.max_mentions]
        # A number is more likely to end here than to go on with another digit.
        place: Place | None = label.count.place
        for token_id in self._encoder.count_end:
            place = None if place is None else self._counts.children(place).get(token_id)
        return () if place is None else self._counts.values(place)

    def _draft_count(self, label: _Label, count: int, proposed: dict[int, list[int]]) -> None:
        """Propose the nodes of a likely count and of that many mentions.

        Without text tags, only the first tokens of the mentions are proposed.
        """
        if not count:
            return
        node, place = label.start, self._counts.start
        for token_id in self._encoder.count_ids[count]:
            choices = self._counts.children(place)
            if len(choices) > 1:
                proposed[node] = list(choices)
            node, place = self.tree.insert([token_id], node)[0], choices[token_id]
        opened = [self.tree.insert(self._encoder.openers[n], node)[-1] for n in range(1, count + 1)]
        for each in opened:
            proposed[each] = list(self._trie.children(self._trie.start))
        if label.guess is not None:
            self._draft(label, opened, [self._trie.start] * count, [True] * count, proposed)

    def _propose_mentions(self, label: _Label, proposed: dict[int, list[int]]) -> None:
        """Propose the nodes that mentions have reached, and drafts of how they go on."""
        live = [not mention.is_finished for mention in label.mentions]
        for mention, goes_on in zip(label.mentions, live, strict=True):
            if goes_on:
                proposed[mention.node] = list(self._trie.children(mention.place))
        nodes = [mention.node for mention in label.mentions]
        self._draft(label, nodes, [mention.place for mention in label.mentions], live, proposed)

    def _draft(
        self,
        label: _Label,
        nodes: Sequence[int],
        places: Sequence[Place],
        live: Sequence[bool],
        proposed: dict[int, list[int]],
    ) -> None:
        """Propose drafts of how mentions go on from the nodes that they have reached."""
        if self._drafter is None or label.weights is None:
            return
        drafts = self._drafter.draft(places, live, label.weights)
        for node, place, drafted in zip(nodes, places, drafts, strict=True):
            node_of = {place: node}
            for parent, token_id, child in drafted:
                node_of[child] = self.tree.insert([token_id], node_of[parent])[0]
                proposed[node_of[child]] = list(self._trie.children(child))
