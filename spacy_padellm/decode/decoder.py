"""Parallel decoding: the counts of all labels, then all mentions (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ..prompt.encoder import EncodedText, PromptEncoder
from ..settings import DecodingOptions, Settings
from ..tree.causal_lm import CausalLM
from ..tree.model_call import Readout
from ..tree.packing import batch_by_padded
from ..tree.runs import Continuations, TreeRun
from .mentions import DecodedMention, join_tags
from .state import Choice, TextState


@dataclass
class DecodingCost:
    """The cost of decoding.

    Args:
        passes: Number of forward passes of the model.
        tokens: Number of tokens run, without padding.
        distinct_tokens: Number of tokens kept in the finished trees, each counted once.
    """

    passes: int = 0
    tokens: int = 0
    distinct_tokens: int = 0

    def add(self, run: TreeRun, kept: int) -> None:
        """Add the cost of a finished run.

        Args:
            run: The run.
            kept: Number of tokens kept in its trees.
        """
        self.passes += run.passes
        self.tokens += run.tokens
        self.distinct_tokens += kept

    def describe(self) -> str:
        """Return the passes and tokens as a line of text."""
        return f"{self.passes} forward passes, {self.tokens} tokens run"


class Decoder(Protocol):
    """The interface of a decoder, which finds mentions in texts with one output format.

    A format other than `"parallel"` is plugged in by an entry point of the group
    `spacy_padellm_decoders`. The entry point has the format's name and is a function. Its arguments
    are a `PaDeLLM` and the models to run (a replica for each device), and it returns a decoder.
    """

    @property
    def cost(self) -> DecodingCost:
        """The cost of decoding so far."""
        ...

    def fits(self, text: EncodedText) -> bool:
        """Return whether a text and all that may be written after it fit the model's positions."""
        ...

    def decode(self, texts: Sequence[EncodedText]) -> list[list[DecodedMention]]:
        """Find the mentions of texts.

        Returns:
            The mentions of each text, in the order in which they were written.

        Raises:
            TextTooLongError: A text is longer than the model's positions.
        """
        ...


@dataclass(frozen=True)
class Written:
    """The mentions that were written for a text, and its tags.

    Args:
        mentions: The mentions, label by label, in the order of their numbers.
        tags: For each of the text's ids, the probability of each label that can be a tag, and of no
            label, shape `(n_ids, n_labels + 1)`; `None` if tags were not read.
    """

    mentions: list[DecodedMention]
    tags: np.ndarray | None = None


class ParallelDecoder:
    """A decoder that writes all mentions of all labels of a batch of texts at once.

    Args:
        lm: The language model.
        encoder: The prompt encoder.
        settings: The settings the model was trained with.
        options: How much is drafted and run at once, and the share of text tags.

    Attributes:
        cost: The cost of decoding so far.
        tag_labels: The labels that are read as tags: those whose wording is a single id. Empty if
            tags are off or the tokenizer gives no offsets.
    """

    def __init__(
        self,
        lm: CausalLM,
        encoder: PromptEncoder,
        settings: Settings,
        options: DecodingOptions,
    ) -> None:
        self.lm = lm
        self.encoder = encoder
        self.settings = settings
        self.options = options
        self.cost = DecodingCost()
        self.tag_labels: list[str] = []
        if settings.reads_tags and options.tag_share > 0 and encoder.has_offsets:
            wordings = encoder.wordings.items()
            self.tag_labels = [label for label, ids in wordings if len(ids) == 1]

    def fits(self, text: EncodedText) -> bool:
        """Return whether a text and all that may be written after it fit the model's positions."""
        depth = self.encoder.depth_before_mentions(text, self.settings.labels)
        if not self.lm.fits(depth):
            return False
        # A token has at least one byte, so the longest mention's bytes are an upper bound. The trie
        # is built only if this bound does not fit.
        longest = self.settings.max_mention_tokens
        ends = [end for _, end in text.tokens[longest - 1 :]] or [len(text.text)]
        starts = [start for start, _ in text.tokens] or [0]
        pairs = zip(starts, ends, strict=False)
        if self.lm.fits(depth + max(len(text.text[start:end].encode()) for start, end in pairs)):
            return True
        return self.lm.fits(depth + text.trie.depth - 1)

    def decode(self, texts: Sequence[EncodedText]) -> list[list[DecodedMention]]:
        """Find the mentions of texts, label by label, in the order of their numbers."""
        written = self.write(texts, list(self.settings.labels), self.tag_labels)
        return [self.join(text, each) for text, each in zip(texts, written, strict=True)]

    @torch.inference_mode()
    def write(
        self, texts: Sequence[EncodedText], labels: Sequence[str], tag_labels: Sequence[str]
    ) -> list[Written]:
        """Write the mentions of some labels, and read tags.

        Args:
            texts: The texts.
            labels: The labels whose mentions are written.
            tag_labels: The labels that are read as tags, which need not be in `labels`; empty for
                none.

        Returns:
            What was written for each text.

        Raises:
            TextTooLongError: A text is longer than the model's positions.
        """
        found = [Written([]) for _ in texts]
        asked = sum(len(self.encoder.branches[label]) for label in labels)
        sizes = [len(text.prefix) + asked for text in texts]
        # The sizes leave out mentions, which take fewer tokens.
        for batch in batch_by_padded(sizes, self.options.batch_tokens):
            # A text without any admissible mention is not run.
            items = [item for item in batch if labels and texts[item].trie.values]
            states = [TextState(texts[item], labels, self.options) for item in items]
            if not states:
                continue
            tags = self._run(states, tag_labels)
            for item, state, of_text in zip(items, states, tags, strict=True):
                found[item] = Written(list(state.mentions()), of_text)
                if len(labels) == len(self.settings.labels):
                    # The trie takes many times the memory of its text, and is no longer needed.
                    vars(texts[item]).pop("trie", None)
        return found

    def _run(
        self, states: Sequence[TextState], tag_labels: Sequence[str]
    ) -> Sequence[np.ndarray | None]:
        """Run passes until everything is written, and read the tags in the first pass."""
        run = self.lm.open([state.tree for state in states], max(s.depth for s in states))
        tag_ids = [self.encoder.wordings[label][0] for label in tag_labels]
        tag_ids = [*tag_ids, self.encoder.end_id] if tag_labels else []
        tags: Sequence[np.ndarray | None] = [None] * len(states)
        while any(proposed := [state.propose() for state in states]):
            run.retire(place for place, nodes in enumerate(proposed) if not nodes)
            choices, read = self.choose(run, states, proposed, tag_ids)
            for state, chosen in zip(states, choices, strict=True):
                state.advance(chosen)
            if tag_ids:
                tags, tag_ids = read, []
        self.cost.add(run, sum(state.count_kept() for state in states))
        return tags

    def choose(
        self,
        run: TreeRun,
        states: Sequence[TextState],
        proposed: Sequence[Mapping[int, Sequence[int]]],
        tag_ids: Sequence[int] = (),
    ) -> tuple[list[dict[int, Choice]], list[np.ndarray]]:
        """Run one pass and choose the most probable token at each node.

        Args:
            run: The run.
            states: The state of each text.
            proposed: For each text, the nodes to run, with the ids that may follow each.
            tag_ids: The ids of the tags to read at each of the text's ids, at the middle layer;
                empty to read none.

        Returns:
            Two lists with an item for each text: the choice at each node; and the probabilities of
            the tags at each id, shape `(n_ids, n_tags)`. The second list is empty if no tags were
            read.
        """
        ends = [state.tree.prefix_length for state in states]
        lengths = [state.text.length if tag_ids else 0 for state in states]
        nodes: list[list[int]] = []
        admissible: list[Sequence[int]] = []
        is_text: list[bool] = []
        for of_text, end, length in zip(proposed, ends, lengths, strict=True):
            nodes.append([*range(end - length, end), *of_text])
            admissible += [*[tag_ids] * length, *of_text.values()]
            is_text += [*[True] * length, *[False] * len(of_text)]
        continuations = Continuations(
            admissible, over_vocabulary=self.settings.softmax == "vocabulary"
        )
        text = torch.tensor(is_text)
        logits = run.logits(nodes, Readout(continuations.needed, text if tag_ids else None))
        log_probs = continuations.log_probs(logits)
        best, place = log_probs.max(dim=1)
        ids = continuations.ids.to(place.device).gather(1, place[:, None])[:, 0]
        # One transfer, as each one waits for the device. A double holds any id exactly.
        pairs = torch.stack([ids.double(), best.double()], dim=1)[~text.to(ids.device)].tolist()
        chosen = iter(Choice(int(token_id), log_prob) for token_id, log_prob in pairs)
        choices = [{node: next(chosen) for node in of_text} for of_text in proposed]
        if not tag_ids:
            return choices, []
        probs = log_probs[text.to(ids.device), : len(tag_ids)].exp().cpu().numpy()
        return choices, np.split(probs, np.cumsum(lengths)[:-1])

    def join(self, text: EncodedText, written: Written) -> list[DecodedMention]:
        """Combine the written mentions of a text with its tags."""
        if written.tags is None:
            return written.mentions
        assert text.offsets is not None  # Without offsets, tags are not read.
        return join_tags(
            text,
            self.tag_labels,
            text.offsets,
            written.tags,
            written.mentions,
            self.settings.max_mention_tokens,
        )
