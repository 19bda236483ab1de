"""Parallel decoder: counts for all labels, then all mentions of all labels (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...defaults import BATCH_TOKENS
from ..causal_lm import CausalLM
from ..limits import MentionLimits
from ..mentions import DecodedMention
from ..prompt import PromptEncoder
from ..softmax import Softmax
from ..texts import TokenizedText
from ..trie import build_count_trie, build_source_trie
from .batches import write_batches
from .cost import DecodingCost
from .drafts import DraftPolicy
from .parallel_writing import ParallelWriting, Replay

# Stateless, so one for all decoders.
DEFAULT_POLICY = DraftPolicy()


class ParallelDecoder:
    """Decodes a batch of texts, all their labels and all mentions at once.

    lm (CausalLM): The model.
    encoder (PromptEncoder): The template's ids.
    limits (MentionLimits): How much may be written.
    softmax (Softmax): What log-probabilities are taken over, as the model was trained.
    policy (Optional[DraftPolicy]): How much is drafted; whatever it is, the same is written.
        Without one the paper's two steps follow each other, one token a pass.
    batch_tokens (int): Most tokens run at once, padding included; a longer text is run alone.
    """

    def __init__(
        self,
        lm: CausalLM,
        encoder: PromptEncoder,
        limits: MentionLimits,
        softmax: Softmax = "vocabulary",
        policy: DraftPolicy | None = DEFAULT_POLICY,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self.lm = lm
        self.encoder = encoder
        self.limits = limits
        self.softmax: Softmax = softmax
        self.policy = policy
        self.batch_tokens = batch_tokens
        self.cost = DecodingCost()
        self._count_trie = build_count_trie(encoder, limits.max_mentions)

    @torch.inference_mode()
    def decode(
        self,
        texts: Sequence[TokenizedText],
        labels: Sequence[str],
        replays: Sequence[Replay] | None = None,
    ) -> list[list[DecodedMention]]:
        """texts (Sequence[TokenizedText]): The texts.
        labels (Sequence[str]): The labels to look for.
        replays (Optional[Sequence[Replay]]): For each text what is written, whatever the model
            chooses.
        RETURNS (List[List[DecodedMention]]): For each text its mentions, label by label, in the
            order the model numbered them.
        RAISES (ValueError): A text is longer than the model's positions.
        """
        found: list[list[DecodedMention]] = [[] for _ in texts]
        writings: dict[int, ParallelWriting] = {}
        depths: list[int] = []
        beyond_text = self._beyond_text(labels) if labels else 0
        for row, text in enumerate(texts if labels else ()):
            trie = build_source_trie(self.encoder, text, self.limits.max_mention_tokens)
            # Without anything to point at, a text has no mentions.
            if trie.values:
                writing = ParallelWriting(
                    text,
                    trie,
                    self._count_trie,
                    self.encoder,
                    labels,
                    self.policy,
                    None if replays is None else replays[row],
                )
                writings[row] = writing
                # The end token of a mention is written last and never run.
                depths.append(writing.tree.prefix_length + beyond_text + trie.depth - 1)
        write_batches(
            self.lm,
            list(writings.values()),
            depths,
            self.softmax,
            self.cost,
            self.batch_tokens,
        )
        for row, writing in writings.items():
            found[row] = list(writing.mentions())
        return found

    def _beyond_text(self, labels: Sequence[str]) -> int:
        """RETURNS (int): Most tokens between a text and a mention in it."""
        branch = max(len(self.encoder.branch(label)) for label in labels)
        opener = len(self.encoder.opener(self.limits.max_mentions))
        return branch + self._count_trie.depth + opener
