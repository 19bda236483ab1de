"""Autoregressive decoding: all mentions of a text in one sequence, token by token.

The paper compares itself with this way to decode. Drafts copied from the prompt make it as fast as
it can be.
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

# Most tokens of an output: the first number, plus the second for each token of the prompt.
_LEAST_TOKENS, _TOKENS_PER_TOKEN = 64, 4
# Room for the text, and for an output that repeats it with labels, in lengths of the text.
_TIMES_WRITTEN = 3


@dataclass(frozen=True)
class PromptLookup:
    """A drafter for outputs that repeat their prompt (Saxena, 2023).

    It copies what followed the last tokens where they occurred before.

    Args:
        longest_match: Number of last tokens to look for; fewer if they are not found.
        length: Most tokens to draft.
    """

    longest_match: int = 3
    length: int = 10

    def draft(self, ids: Sequence[int]) -> list[int]:
        """Return the tokens that followed a sequence's last tokens where these occurred before."""
        for size in range(min(self.longest_match, len(ids) - 1), 0, -1):
            wanted = ids[-size:]
            for start in range(len(ids) - size - 1, -1, -1):
                if ids[start : start + size] == wanted:
                    return list(ids[start + size : start + size + self.length])
        return []


class AutoregressiveDecoder:
    """A greedy decoder that writes an output format over the whole vocabulary, and reads it.

    Parts of an output that cannot be read are lost. A warning in the log counts them.

    Args:
        padellm: The model, with its options.
        lms: The models to run, which share the texts; empty to run the model of `padellm`.
        lookup: Makes drafts, which never change what is written; `None` for the default. If the
            option `draft_threshold` is `None`, nothing is drafted.

    Attributes:
        cost: The cost of decoding so far.
        output_format: The output format that the model writes.
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
        """Return whether the model has positions for a text and for most outputs."""
        return self._lms[0].fits(_TIMES_WRITTEN * len(text.prefix))

    def decode(self, texts: Sequence[EncodedText]) -> list[list[DecodedMention]]:
        """Find the mentions of texts.

        Returns:
            The mentions of each text, in the order in which they were written.

        Raises:
            TextTooLongError: A text, or its replayed output, does not fit into the model's
                positions.
        """
        if not any(text.encoder.labels for text in texts):
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
        """Write the outputs of one model's share of the texts."""
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
        parsed = self.output_format.parse(output, text, text.encoder.labels)
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
    """Find the characters of an output that each token spells.

    If several tokens spell a character together, each of them gets it.

    Args:
        ids: The ids that were written.
        output: The same, decoded.
        encoder: The prompt encoder, which decodes ids.

    Returns:
        Character offsets for each id.
    """
    if not ids:
        return []
    # An incomplete character decodes to nothing, or to a character that is not in the output.
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
    """The output of a text while it is written.

    Args:
        text: The text.
        lm: The model that writes it.
        lookup: Makes drafts; `None` for none.

    Attributes:
        output: The output.
        start: The node after which it begins.

    Raises:
        TextTooLongError: A replayed output does not fit into the model's positions.
    """

    def __init__(self, text: EncodedText, lm: CausalLM, lookup: PromptLookup | None) -> None:
        super().__init__(text.prefix)
        self._lookup = lookup
        encoder = text.encoder
        # No label or count is written: the output directly follows `count_end`.
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
        """The only sequence, which is the output."""
        return [self.output]

    def propose(self) -> list[int]:
        """Propose the output's last node, and a draft after it."""
        proposed = super().propose()
        if proposed and self._lookup is not None:
            (node,) = proposed
            left = self.output.max_tokens - len(self.output.ids) - 1
            draft = self._lookup.draft(self.tree.sequence(node))[:left]
            proposed = list(dict.fromkeys([node, *self.tree.insert(draft, node)]))
        return proposed

    def advance(self, choices: Mapping[int, Choice]) -> None:
        """Write as far as the draft is right, and cut the rest off the tree."""
        self.output.advance(self.tree, choices)
        node = self.output.node
        if self.output.is_finished or node in choices:
            return
        # The chosen token comes after the wrong draft in the tree. Cut off both and insert it anew.
        token_id, parent = self.tree.ids[node], self.tree.parents[node]
        self.tree.cut(parent + 1)
        (self.output.node,) = self.tree.insert([token_id], parent)
