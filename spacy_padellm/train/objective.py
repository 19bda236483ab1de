"""Objectives: build supervised trees from gold mentions."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import Errors
from ..prompt.encoder import EncodedText, PromptEncoder
from ..settings import Settings
from ..texts import AnnotatedText, Mention
from ..tree.token_tree import TokenTree, Trie
from .gold import Examination, LeftOut, TaughtMention, find_teachable, find_unknown
from .supervised import SupervisedTree
from .tags import teach_tags

Taught = Mapping[str, Sequence[TaughtMention]]


class Objective(ABC):
    """A builder of the supervised trees that teach an output format.

    An entry point in the group `spacy_padellm_objectives` adds an output format other than
    `"parallel"`. It has the name of the format, and points to a function that takes a `PaDeLLM` and
    the weight of text tags, and returns an objective.

    Args:
        encoder: Gives the ids of each part of a sequence.
        settings: The labels and limits. Gold mentions beyond them are left out.
        tag_text: Weight of text tags, relative to a token of a sequence; 0 for no tags, as in the
            paper.

    Attributes:
        labels: The labels that it teaches.
        teaches_tags: Whether it teaches text tags that can be read in decoding.

    Raises:
        ValueError: The weight is negative.
    """

    def __init__(self, encoder: PromptEncoder, settings: Settings, tag_text: float = 0.0) -> None:
        if tag_text < 0:
            raise ValueError(Errors.P034.format(value=tag_text))
        self.encoder = encoder
        self.settings = settings
        self.tag_text = tag_text
        self.labels = tuple(settings.labels)
        self.teaches_tags = tag_text > 0 and encoder.has_offsets

    def own_encoder(self, text: AnnotatedText) -> PromptEncoder | None:
        """Return the encoder of a text that is taught labels of its own; `None` for other texts."""
        own = text.source.encoder if isinstance(text.source, EncodedText) else self.encoder
        return None if own is self.encoder else own

    def _with(self, encoder: PromptEncoder) -> Objective:
        """Create the objective with the labels of another encoder."""
        other = copy.copy(self)
        other.encoder, other.labels = encoder, tuple(encoder.labels)
        return other

    def build(self, text: AnnotatedText) -> tuple[SupervisedTree, LeftOut]:
        """Build the supervised tree of a text.

        Args:
            text: The text with its gold mentions. A label that it is not annotated for is not
                taught, not even as absent. Where its annotation is unknown, only text tags are
                taught, at the tokens of which it is known.

        Returns:
            The tree, and the gold mentions that are left out of it.
        """
        if (own := self.own_encoder(text)) is not None:
            return self._with(own).build(text)
        encoded = self.encoder.encode(text.source)
        taught, left_out = self.select(text)
        unknown = find_unknown(text, left_out)
        built = self.teach(encoded, _countable(taught, unknown))
        if self.tag_text and taught:
            mentions = {label: [mention for mention, _ in each] for label, each in taught.items()}
            built.tags = teach_tags(
                encoded,
                mentions,
                unknown,
                self.tag_text,
                are_alone=self.settings.label_vectors,
            )
        return built, left_out

    def examine(self, text: AnnotatedText) -> Examination:
        """Find out what `build` would teach, and measure its tree.

        This takes much less time than `build`, since the text's stretches are not encoded.
        """
        if (own := self.own_encoder(text)) is not None:
            return self._with(own).examine(text)
        taught, left_out = self.select(text)
        encoded = self.encoder.encode(text.source)
        tree = TokenTree(encoded.prefix)
        unknown = find_unknown(text, left_out)
        is_taught = False
        for ids in self.sequences(encoded, _countable(taught, unknown)):
            is_taught = True
            # The last token of a sequence is only a target and has no node.
            tree.insert(ids[:-1], tree.prefix_end)
        outline = SupervisedTree(tree, [], [], [], admissible=None)
        if self.tag_text and taught:
            # A token that is known has a tag.
            is_taught |= any(
                all(end <= each.start or each.end <= start for each in unknown)
                for start, end in text.source.tokens
            )
        return Examination(left_out, is_taught, outline.depth, len(tree), outline.sequence_tokens)

    @abstractmethod
    def select(self, text: AnnotatedText) -> tuple[dict[str, list[TaughtMention]], LeftOut]:
        """Select the gold mentions that can be taught.

        Returns:
            For each label that is taught, its mentions in order of appearance. Then the mentions
            that are left out.
        """

    @abstractmethod
    def teach(self, text: EncodedText, taught: Taught) -> SupervisedTree:
        """Build the tree of the selected mentions, without text tags."""

    @abstractmethod
    def sequences(self, text: EncodedText, taught: Taught) -> Iterator[list[int]]:
        """List the ids after the text in each of the tree's sequences."""


def _countable(taught: Taught, unknown: Sequence[Mention]) -> Taught:
    """Keep the labels of which all mentions are known, as the model counts them."""
    labels = {each.label for each in unknown}
    if "" in labels:
        return {}
    return {label: mentions for label, mentions in taught.items() if label not in labels}


class ParallelObjective(Objective):
    """The objective with a sequence for each count and each mention (paper, section 3.1)."""

    def select(self, text: AnnotatedText) -> tuple[dict[str, list[TaughtMention]], LeftOut]:
        """Select the gold mentions within the limits."""
        return find_teachable(text, self.labels, self.encoder, self.encoder.max_mentions)

    def teach(self, text: EncodedText, taught: Taught) -> SupervisedTree:
        """Build a tree of all counts and mentions, without text tags."""
        tree = TokenTree(text.prefix)
        supervised: Counter[tuple[int, int]] = Counter()
        admissible: dict[tuple[int, int], list[int]] = {}
        limited = self.settings.softmax == "admissible"
        counts = self.encoder.counts
        # It is not kept with the text, as the text may be taught again and again.
        trie = Trie(text.spelled if limited and any(taught.values()) else ())

        def supervise(start: int, ids: Sequence[int], trie: Trie[Any], times: int = 1) -> None:
            """Supervise a sequence below a node. Its last token, only a target, gets no node."""
            place = trie.start
            for edge in zip([start, *tree.insert(ids[:-1], start)], ids, strict=True):
                supervised[edge] += times
                if limited:
                    admissible[edge] = list(trie.children(place))
                    place = trie.children(place)[edge[1]]

        for label, mentions in taught.items():
            start = tree.insert(self.encoder.branches[label], tree.prefix_end)[-1]
            count = self.encoder.count_ids[len(mentions)]
            # A label without mentions has one sequence, too: its count.
            supervise(start, count, counts, max(1, len(mentions)))
            for n, (_, ids) in enumerate(mentions, start=1):
                opened = tree.insert([*count, *self.encoder.openers[n]], start)[-1]
                supervise(opened, ids, trie)
        edges = list(supervised)
        return SupervisedTree(
            tree,
            nodes=[node for node, _ in edges],
            targets=[target for _, target in edges],
            weights=[float(supervised[edge]) for edge in edges],
            admissible=[admissible[edge] for edge in edges] if limited else None,
        )

    def sequences(self, text: EncodedText, taught: Taught) -> Iterator[list[int]]:
        """List the ids after the text in the sequence of each count and mention."""
        for label, mentions in taught.items():
            counted = self.encoder.branches[label] + self.encoder.count_ids[len(mentions)]
            yield counted
            for n, (_, ids) in enumerate(mentions, start=1):
                yield counted + self.encoder.openers[n] + ids
