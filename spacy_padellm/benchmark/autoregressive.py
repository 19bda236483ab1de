"""Autoregressive decoding: all mentions of a text in one sequence, token by token.

What the paper compares itself with. Drafts from the prompt make it as fast as it can be.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from ..decode.mentions import DecodedMention
from ..decode.replicas import run_together
from ..decode.state import Choice
from ..model import PaDeLLM
from ..prompt.encoder import EncodedText, PromptEncoder
from ..texts import Span
from ..tree.causal_lm import CausalLM
from ..tree.packing import balance, batch_by_padded
from .free_text import FreeSequence, FreeText, LaboratoryCost, write_freely
from .output_formats import get_output_format
from .replay import replay_of

logger = logging.getLogger(__name__)

# An output is cut off at this many tokens, and so many for each token of the text.
_LEAST_TOKENS, _TOKENS_PER_TOKEN = 64, 4
# There has to be room for the text, and the text written again with labels in it.
_TIMES_WRITTEN = 3


@dataclass(frozen=True)
class PromptLookup:
    """Drafts for a sequence whose output repeats its prompt: they are copied from where the last
    tokens stood before (Saxena, 2023).

    Args:
        longest_match: Most tokens that are looked for; fewer where they are not found.
        length: Tokens drafted.
    """

    longest_match: int = 3
    length: int = 10

    def draft(self, ids: Sequence[int]) -> list[int]:
        """Find what followed a sequence's last tokens where they stood last before."""
        for size in range(min(self.longest_match, len(ids) - 1), 0, -1):
            wanted = ids[-size:]
            for start in range(len(ids) - size - 1, -1, -1):
                if ids[start : start + size] == wanted:
                    return list(ids[start + size : start + size + self.length])
        return []


class AutoregressiveDecoder:
    """Greedy decoding of an output format over the whole vocabulary, and its reading.

    What could not be read is lost, so it is logged.

    Args:
        padellm: The model, and how much of prompts is run at once.
        lms: What is run in the place of the model; several share the texts.
        lookup: Drafts; whatever they are, the same is written. There are none where the model's
            options say that nothing is drafted.

    Attributes:
        cost: What decoding took so far.
        output_format: What the model writes.
    """

    def __init__(
        self,
        padellm: PaDeLLM,
        lms: Sequence[CausalLM] = (),
        lookup: PromptLookup | None = None,
    ) -> None:
        self.encoder = padellm.encoder
        self.output_format = get_output_format(padellm.settings.output_format)
        drafts = padellm.options.draft_threshold is not None
        self.lookup = lookup or PromptLookup() if drafts else None
        self.cost = LaboratoryCost(output_format=self.output_format.name)
        self._lms = list(lms) or [padellm.lm]
        self._batch_tokens = padellm.options.batch_tokens

    def fits(self, text: EncodedText) -> bool:
        """Tell whether the model has positions for a text and most outputs."""
        return self._lms[0].fits(_TIMES_WRITTEN * len(text.prefix))

    def decode(self, texts: Sequence[EncodedText]) -> list[list[DecodedMention]]:
        """Decode texts: for each its mentions, in the order written.

        Raises:
            TextTooLongError: A text, with what is to be written, is longer than the model's
                positions.
        """
        if not self.encoder.labels:
            return [[] for _ in texts]
        before = LaboratoryCost.of(self.cost)
        outputs = self.write(texts)
        found = [self._read(text, output) for text, output in zip(texts, outputs, strict=True)]
        malformed = self.cost.malformed - before.malformed
        ungrounded = self.cost.ungrounded - before.ungrounded
        if malformed or ungrounded:
            logger.warning(
                "%d stretches of what the model wrote were malformed, and %d of its mentions "
                "ungrounded (not in the text, or of no label); they were dropped",
                malformed,
                ungrounded,
            )
        return found

    def write(self, texts: Sequence[EncodedText]) -> list[FreeSequence]:
        """Write the output of each text."""
        shares = balance([len(text.prefix) for text in texts], len(self._lms))
        results = run_together(
            [
                partial(self._write, lm, [texts[item] for item in share])
                for lm, share in zip(self._lms, shares, strict=False)
            ]
        )
        outputs: dict[int, FreeSequence] = {}
        for share, (written, cost) in zip(shares, results, strict=True):
            outputs.update(zip(share, written, strict=True))
            self.cost.passes += cost.passes
            self.cost.tokens += cost.tokens
            self.cost.distinct_tokens += cost.distinct_tokens
        return [outputs[item] for item in range(len(texts))]

    @torch.inference_mode()
    def _write(
        self, lm: CausalLM, texts: Sequence[EncodedText]
    ) -> tuple[list[FreeSequence], LaboratoryCost]:
        """Write the outputs of a model's share of the texts."""
        cost = LaboratoryCost()
        opened = [_OutputText(text, lm, self.lookup) for text in texts]
        for batch in batch_by_padded([len(text.prefix) for text in texts], self._batch_tokens):
            states = [opened[item] for item in batch]
            depth = max(state.start + state.output.max_tokens for state in states)
            run = lm.open([state.tree for state in states], depth)
            write_freely(run, states, cost)
        return [state.output for state in opened], cost

    def _read(self, text: EncodedText, written: FreeSequence) -> list[DecodedMention]:
        output = self.encoder.decode(written.ids)
        parsed = self.output_format.parse(output, text, self.encoder.labels)
        self.cost.malformed += parsed.malformed
        self.cost.ungrounded += parsed.ungrounded
        if not parsed.mentions:
            return []
        spans = find_spelled(written.ids, output, self.encoder)
        return [
            DecodedMention(
                mention.label,
                mention.places,
                sum(
                    log_prob
                    for (start, end), log_prob in zip(spans, written.log_probs, strict=True)
                    if start < mention.piece[1] and mention.piece[0] < end
                ),
            )
            for mention in parsed.mentions
        ]


def find_spelled(ids: Sequence[int], output: str, encoder: PromptEncoder) -> list[Span]:
    """Find the characters of an output that each token spells; all of the tokens that spell a
    character together have it.

    Args:
        ids: What was written.
        output: The same, decoded.
        encoder: What decodes it.
    """
    if not ids:
        return []
    # Where a character is not complete, decoding adds nothing, or something the output has not.
    ends: list[int | None] = []
    reached = 0
    for n in range(1, len(ids) + 1):
        decoded = encoder.decode(ids[:n])
        is_whole = len(decoded) > reached and output.startswith(decoded)
        reached = len(decoded) if is_whole else reached
        ends.append(reached if is_whole else None)
    ends[-1] = len(output)
    starts: list[int] = []
    for end in [0, *ends[:-1]]:
        starts.append(starts[-1] if end is None else end)
    whole: list[int] = []
    for end in reversed(ends):
        whole.append(whole[-1] if end is None else end)
    return list(zip(starts, reversed(whole), strict=True))


class _OutputText(FreeText):
    """What a text's output has come to.

    Args:
        text: The text.
        lm: The model that writes it.
        lookup: Drafts.

    Attributes:
        output: The output.
        start: The node it begins behind.

    Raises:
        TextTooLongError: What is to be written does not fit into the model's positions.
    """

    def __init__(self, text: EncodedText, lm: CausalLM, lookup: PromptLookup | None) -> None:
        super().__init__(text.prefix)
        self._lookup = lookup
        encoder = text.encoder
        # Nothing is asked for, so the output begins where a count would end.
        self.start = self.tree.insert(encoder.count_end, self.tree.prefix_end)[-1]
        size, replay = len(self.tree), replay_of(text)
        most = _LEAST_TOKENS + _TOKENS_PER_TOKEN * size
        if replay is not None:
            most = max(most, len(replay.output))
            lm.check_depth(size + len(replay.output) - 1)
        if lm.max_depth is not None:
            most = min(most, lm.max_depth - size + 1)
        given = None if replay is None else replay.output
        self.output = FreeSequence(self.start, [[encoder.end_id]], max(most, 1), given)

    @property
    def sequences(self) -> list[FreeSequence]:
        """The output alone."""
        return [self.output]

    def propose(self) -> list[int]:
        """Propose the output's last node, and a draft behind it."""
        proposed = super().propose()
        if proposed and self._lookup is not None:
            (node,) = proposed
            left = self.output.max_tokens - len(self.output.ids) - 1
            draft = self._lookup.draft(self.tree.sequence(node))[:left]
            proposed = list(dict.fromkeys([node, *self.tree.insert(draft, node)]))
        return proposed

    def advance(self, choices: Mapping[int, Choice]) -> None:
        """Write as far as the draft is right, and cut off the rest."""
        self.output.advance(self.tree, choices)
        node = self.output.node
        if self.output.is_finished or node in choices:
            return
        # The token chosen instead of a draft comes after it in the tree; the draft goes.
        token_id, parent = self.tree.ids[node], self.tree.parents[node]
        self.tree.cut(parent + 1)
        (self.output.node,) = self.tree.insert([token_id], parent)
