"""Objectives: gold mentions → supervised trees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import Errors
from ..prompt.encoder import EncodedText, PromptEncoder
from ..settings import Settings
from ..texts import AnnotatedText, Span
from ..tree.token_tree import TokenTree, Trie
from .gold import LeftOut, TaughtMention, find_teachable
from .supervised import SupervisedTree
from .tags import TextTagger

Taught = Mapping[str, Sequence[TaughtMention]]


class Examination(NamedTuple):
    """What a text would be taught.

    Args:
        left_out: The gold mentions that cannot be taught.
        depth: The depth of its tree.
        is_taught: Whether it teaches anything.
    """

    left_out: LeftOut
    depth: int
    is_taught: bool


class Objective(ABC):
    """Builds supervised trees: what an output format is taught with.

    A format other than `"parallel"` is plugged in by an entry point of the group
    `spacy_padellm_objectives`: its name is the format's, and it is a function that makes an
    objective of a `PaDeLLM` and the weight of text tags.

    Args:
        encoder: The template's ids.
        settings: Labels and limits; gold beyond them is left out.
        tag_text: Weight of what each token of the text is taught in addition (see `tags`), as a
            part of a sequence's; 0 for the paper's objective.

    Attributes:
        labels: The labels it teaches.
        teaches_tags: Whether it teaches text tags that can be read in decoding.

    Raises:
        ValueError: The weight is negative, or the tokenizer is one that text tags are not possible
            with.
    """

    def __init__(self, encoder: PromptEncoder, settings: Settings, tag_text: float = 0.0) -> None:
        if tag_text < 0:
            raise ValueError(Errors.P034.format(value=tag_text))
        self.encoder = encoder
        self.settings = settings
        self.tag_text = tag_text
        self.labels = tuple(settings.labels)
        self._tagger = TextTagger(encoder) if tag_text else None
        self.teaches_tags = self._tagger is not None and encoder.has_offsets

    def build(self, text: AnnotatedText) -> tuple[SupervisedTree, LeftOut]:
        """Build the tree of a text.

        Args:
            text: The text with its gold mentions. Labels it is not annotated for are not taught as
                absent.

        Returns:
            The tree, and the gold that is not in it.
        """
        encoded = self.encoder.encode(text.source)
        taught, left_out = self.select(text)
        built = self.teach(encoded, taught)
        if self._tagger is not None and taught:
            mentions = {label: [mention for mention, _ in each] for label, each in taught.items()}
            tags = self._tagger.tag(encoded, mentions)
            built.tags = len(tags)
            first = built.tree.prefix_length - encoded.length
            built.nodes += [first + tag.place for tag in tags]
            built.targets += [tag.target for tag in tags]
            built.weights += [self.tag_text * tag.share for tag in tags]
            if built.admissible is not None:
                built.admissible += [tag.choices for tag in tags]
        return built, left_out

    def examine(self, text: AnnotatedText) -> Examination:
        """Find out what `build` would do, without building."""
        taught, left_out = self.select(text)
        encoded = self.encoder.encode(text.source)
        longest = max(self.lengths(encoded, taught), default=1)
        # A sequence's last token is a target only.
        return Examination(left_out, len(encoded.prefix) + longest - 1, bool(taught))

    @abstractmethod
    def select(self, text: AnnotatedText) -> tuple[dict[str, list[TaughtMention]], LeftOut]:
        """Select what can be taught.

        Returns:
            For each label to teach its mentions in order of appearance, and the gold that is not
            among them.
        """

    @abstractmethod
    def teach(self, text: EncodedText, taught: Taught) -> SupervisedTree:
        """Make the tree of what was selected, as yet without tags."""

    @abstractmethod
    def lengths(self, text: EncodedText, taught: Taught) -> list[int]:
        """Count how many tokens each of the tree's sequences has behind the text."""


class ParallelObjective(Objective):
    """Teaches counts and mentions, each in a sequence of its own (paper, section 3.1)."""

    def select(self, text: AnnotatedText) -> tuple[dict[str, list[TaughtMention]], LeftOut]:
        """Select the mentions within the limits."""
        return find_teachable(text, self.labels, self.encoder, self.encoder.max_mentions)

    def teach(self, text: EncodedText, taught: Taught) -> SupervisedTree:
        """Make a tree of all counts and mentions."""
        tree = TokenTree(text.prefix)
        supervised: Counter[tuple[int, int]] = Counter()
        admissible: dict[tuple[int, int], list[int]] = {}
        limited = self.settings.softmax == "admissible"
        counts = self.encoder.counts
        trie: Trie[Span] = Trie()
        if limited and (first := {ids[0] for each in taught.values() for _, ids in each}):
            # Of what no mention begins with, the first id is all that is chosen among.
            for ids, span in text.spelled:
                trie.insert(ids if ids[0] in first else ids[:1], span)

        def supervise(start: int, ids: Sequence[int], trie: Trie[Any], times: int = 1) -> None:
            """Teach a sequence below a node; its last token closes it and needs no node."""
            place = trie.START
            for edge in zip([start, *tree.insert(ids[:-1], start)], ids, strict=True):
                supervised[edge] += times
                if limited:
                    admissible[edge] = list(trie.children[place])
                    place = trie.children[place][edge[1]]

        for label, mentions in taught.items():
            start = tree.insert(self.encoder.branches[label], tree.prefix_end)[-1]
            count = self.encoder.count_ids[len(mentions)]
            # A label without mentions is one sequence, too: its count.
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

    def lengths(self, text: EncodedText, taught: Taught) -> list[int]:
        """Count the tokens of each count's and each mention's sequence."""
        lengths = []
        for label, mentions in taught.items():
            counted = len(self.encoder.branches[label]) + len(self.encoder.count_ids[len(mentions)])
            lengths.append(counted)
            for n, (_, ids) in enumerate(mentions, start=1):
                lengths.append(counted + len(self.encoder.openers[n]) + len(ids))
        return lengths
