"""Parallel decoding: the counts of all labels, then all mentions (paper, section 3.2)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch

from ..errors import Errors, Warnings
from ..prompt.encoder import EncodedText, PromptEncoder
from ..settings import DecodingOptions, Settings
from ..tree.causal_lm import CausalLM
from ..tree.choices import Continuations, check_numbers
from ..tree.memory import HeapTrimmer, is_out_of_memory, with_less_memory
from ..tree.packing import batch_by_padded
from ..tree.readout import Readout
from ..tree.run import TreeRun
from .mentions import DecodedMention
from .state import Choice, TextState
from .tag_reader import TagReader
from .tags import TextTags, join_tags

logger = logging.getLogger(__name__)

# The limits of the probability of a token that is worth drafting.
_DRAFTS = (0.02, 0.7)


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
    """The mentions that a model wrote of a text, and the text's tags.

    Args:
        mentions: The mentions, label by label, in the order of their numbers.
        tags: The text tags; `None` if they were not read.
        labels: The labels that were opened.
    """

    mentions: list[DecodedMention]
    tags: TextTags | None = None
    labels: Sequence[str] = ()


class ParallelDecoder:
    """A decoder of all labels and all their mentions at once.

    If the model was taught text tags, the first pass runs the texts alone and reads the tags. Then
    only labels that the tags leave in doubt are opened, and the mentions that the tags make likely
    are drafted as a whole.

    Args:
        lm: The language model.
        encoder: The prompt encoder, which gives the ids of each part of a sequence.
        settings: The settings that the model was trained with.
        options: The decoding options.

    Attributes:
        cost: The cost of all decoding so far.
        reads_tags: Whether text tags are read. The tokenizer has to give offsets.
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
        self._heap = HeapTrimmer()
        self._has_halved = False
        self._has_filled = False
        self._tags = TagReader(lm, encoder, settings, options)
        wants_tags = options.tag_share > 0 or options.decode == "tags"
        self.reads_tags = wants_tags and settings.reads_tags and encoder.has_offsets
        if options.decode == "tags" and not self.reads_tags:
            raise ValueError(Errors.P039)

    def fits(self, text: EncodedText) -> bool:
        """Return whether a text and all that may be written after it fit the model's positions."""
        return self.lm.fits(self._depth(text, text.encoder.labels))

    def _depth(self, text: EncodedText, labels: Iterable[str]) -> int:
        """Return the depth that a text's tree may reach, or a bound of it that is small enough."""
        depth = text.encoder.depth_before_mentions(text, labels)
        # The trie is built only if this bound is too large.
        bound = depth + text.most_mention_tokens
        window = self.lm.support.max_depth
        if not self.lm.fits(depth) or (self.lm.fits(bound) and (window is None or bound <= window)):
            return bound
        # A mention's end token is written last and never run.
        return depth + max(text.trie.depth - 1, 0)

    def decode(self, texts: Sequence[EncodedText]) -> list[list[DecodedMention]]:
        """Find the mentions of texts, label by label, in the order of their numbers.

        Each text is asked for the labels of the encoder that encoded it.
        """
        return [self.join(each) for each in self.write(texts)]

    @torch.inference_mode()
    def write(
        self, texts: Sequence[EncodedText], labels: Sequence[str] | None = None
    ) -> list[Written]:
        """Write the mentions of some labels.

        Args:
            texts: The texts.
            labels: The labels whose mentions are written; `None` for all that each text is asked
                for.

        Returns:
            The written mentions of each text, and its tags for all labels.

        Raises:
            TextTooLongError: A text is longer than the model's positions.
            ValueError: The model's output is not a number.
        """
        found = [Written([]) for _ in texts]
        asked = [list(text.encoder.labels) if labels is None else labels for text in texts]
        sizes = [
            len(text.prefix) + sum(len(text.encoder.branches[label]) for label in of_text)
            for text, of_text in zip(texts, asked, strict=True)
        ]
        # The tokens of mentions are not counted: they are few.
        for batch in batch_by_padded(sizes, self.options.batch_tokens):
            items = [item for item in batch if asked[item] and texts[item].length]
            if not items:
                continue
            results = self._run_in_parts(
                [texts[item] for item in items], [asked[item] for item in items]
            )
            for item, written in zip(items, results, strict=True):
                found[item] = written
                if len(asked[item]) == len(texts[item].encoder.labels):
                    # The trie takes many times the memory of its text.
                    vars(texts[item]).pop("trie", None)
        self._heap.trim()
        return found

    def _run_in_parts(
        self, texts: Sequence[EncodedText], labels: Sequence[Sequence[str]]
    ) -> list[Written]:
        """Run texts together, or in halves if there is too little memory."""
        try:
            return self._run(texts, labels)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if not self._has_halved:
                logger.warning(Warnings.W091.format(count=len(texts), error=error))
                self._has_halved = True
        # Only here, as the error holds on to the tensors of the run.
        if self.lm.model.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(texts) == 1:
            with with_less_memory():
                return self._run(texts, labels)
        half = len(texts) // 2
        first = self._run_in_parts(texts[:half], labels[:half])
        return first + self._run_in_parts(texts[half:], labels[half:])

    def _run(self, texts: Sequence[EncodedText], labels: Sequence[Sequence[str]]) -> list[Written]:
        """Run passes until everything is written. The first one reads the tags, if any."""
        states = [TextState(text, self.options.open_counts) for text in texts]
        depth = max(self._depth(text, asked) for text, asked in zip(texts, labels, strict=True))
        trees = [state.tree for state in states]
        run = self.lm.open(trees, depth, in_halves=self.reads_tags)
        tags: Sequence[TextTags | None] = [None] * len(states)
        if self.reads_tags:
            tags = self._tags.read(run, texts)
        opened = [self._choose(asked, each) for asked, each in zip(labels, tags, strict=True)]
        threshold = self._find_threshold(sum(map(bool, opened)))
        for state, of_text, each in zip(states, tags, opened, strict=True):
            state.open(each, threshold, of_text)
        while any(proposed := [state.propose() for state in states]):
            run.retire(place for place, nodes in enumerate(proposed) if not nodes)
            choices = self.choose(run, states, proposed)
            for state, chosen in zip(states, choices, strict=True):
                state.advance(chosen)
        self.cost.add(run, sum(state.count_kept() for state in states))
        written = [list(state.mentions()) for state in states]
        if not self._has_filled:
            self._warn_if_full(written)
        return list(map(Written, written, tags, opened))

    def _warn_if_full(self, written: Sequence[Sequence[DecodedMention]]) -> None:
        """Say once that a text may have more mentions of a label than can be written."""
        most = self.encoder.max_mentions
        counts = (Counter(mention.label for mention in of_text) for of_text in written)
        full = (label for each in counts for label, count in each.items() if count == most)
        if label := next(full, None):
            logger.warning(Warnings.W092.format(label=label, most=most))
            self._has_filled = True

    def _choose(self, labels: Sequence[str], tags: TextTags | None) -> Sequence[str]:
        """Choose the labels to open: all, or those that the tags leave in doubt."""
        if self.options.decode == "tags":
            return ()
        low, _ = self.options.doubtful
        # Tags of little weight decide nothing.
        if tags is None or self.options.decode == "all" or low <= 0:
            return labels
        return [label for label in labels if self._is_doubtful(tags, label)]

    def _is_doubtful(self, tags: TextTags, label: str) -> bool:
        """Return whether what the model writes of a label may change which entities are found."""
        low, high = self.options.doubtful
        found = tags.find(label, low)
        # Of places that overlap, the most probable one is kept.
        overlap = any(a[1] > b[0] for (a, _), (b, _) in pairwise(found))
        return overlap or any(score <= high for _, score in found)

    def _find_threshold(self, n_texts: int) -> float | None:
        """Find the lowest probability of a token that is worth drafting.

        A right draft saves a text a pass, of which each text of the batch has its part. A wrong one
        costs a token.

        Args:
            n_texts: Number of texts of which something is written.
        """
        threshold = self.options.draft_threshold
        if not isinstance(threshold, str):
            return threshold
        least, most = _DRAFTS
        if not n_texts:
            return most
        cost = self.lm.pass_cost
        pays = cost.token / (cost.token + cost.run / n_texts)
        return min(max(pays, least), most)

    def choose(
        self,
        run: TreeRun,
        states: Sequence[TextState],
        proposed: Sequence[Mapping[int, Sequence[int]]],
    ) -> list[dict[int, Choice]]:
        """Run one pass and take the most probable id at each proposed node.

        Args:
            run: The run.
            states: The texts.
            proposed: For each text the nodes, and the ids that may follow each.

        Returns:
            For each text the choice at each node.
        """
        admissible = [ids for of_text in proposed for ids in of_text.values()]
        continuations = Continuations(
            admissible, over_vocabulary=self.settings.softmax == "vocabulary"
        )
        logits = run.logits([list(each) for each in proposed], Readout(continuations.needed))
        best, place = continuations.log_probs(logits).max(dim=1)
        ids = continuations.ids.to(place.device).gather(1, place[:, None])[:, 0]
        # Together, as each transfer from a device waits for it. A double holds any id.
        pairs = torch.stack([ids.double(), best.double()], dim=1).cpu()
        check_numbers(pairs)
        chosen = iter(Choice(int(token_id), log_prob) for token_id, log_prob in pairs.tolist())
        return [{node: next(chosen) for node in of_text} for of_text in proposed]

    def join(self, written: Written) -> list[DecodedMention]:
        """Combine the written mentions of a text with what its tags say."""
        if written.tags is None:
            return written.mentions
        return join_tags(written.tags, written.mentions, written.labels, self.options)
