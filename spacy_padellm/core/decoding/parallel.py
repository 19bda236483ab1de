"""Parallel decoder: counts for all labels, then all mentions of all labels (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ...defaults import BATCH_TOKENS
from ..causal_lm import CausalLM
from ..limits import MentionLimits
from ..mentions import DecodedMention
from ..prompt import PromptEncoder
from ..softmax import Softmax
from ..texts import TokenizedText
from ..token_tree import TokenTree
from ..trie import Span, Trie, build_count_trie, build_source_trie
from .batches import make_batches
from .cost import DecodingCost
from .drafts import DraftPolicy, SpanDrafter
from .parallel_writing import ParallelWriting
from .tag_reading import TagReader, find_readable, join_tags, tag_ids, tag_tokens
from .writing import Replay, write_all

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
    batch_tokens (int): Most tokens of texts and labels run at once, padding included; a longer text
        is run alone. Mentions, which are fewer, come in addition.
    read_tags (bool): Whether text tags are read as well: of labels whose wording is one id, with
        softmax `"admissible"` and a tokenizer that has offsets.
    """

    def __init__(
        self,
        lm: CausalLM,
        encoder: PromptEncoder,
        limits: MentionLimits,
        softmax: Softmax = "vocabulary",
        policy: DraftPolicy | None = DEFAULT_POLICY,
        batch_tokens: int = BATCH_TOKENS,
        read_tags: bool = False,
    ) -> None:
        self.lm = lm
        self.encoder = encoder
        self.limits = limits
        self.softmax: Softmax = softmax
        self.policy = policy
        self.batch_tokens = batch_tokens
        self.read_tags = read_tags
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
        if not labels:
            return found
        prompt = sum(len(self.encoder.branch(label)) for label in labels)
        prefixes = [self.encoder.prefix(text.text) for text in texts]
        lengths = [len(prefix) + prompt for prefix in prefixes]
        for batch in make_batches(lengths, self.batch_tokens):
            writings: dict[int, ParallelWriting] = {}
            depth = 0
            for item in batch:
                text, prefix = texts[item], prefixes[item]
                trie = build_source_trie(self.encoder, text, self.limits.max_mention_tokens)
                # Without anything to point at, a text has no mentions.
                if trie.values:
                    replay = None if replays is None else replays[item]
                    writings[item] = self._open(text, prefix, trie, labels, replay)
                    # The end token of a mention is written last and never run.
                    depth = max(depth, len(prefix) + self._beyond_text(labels) + trie.depth - 1)
            if not writings:
                continue
            tags = self._write(writings, texts, labels, depth)
            for item, writing in writings.items():
                found[item] = list(writing.mentions())
                if item in tags:
                    found[item] = join_tags(
                        texts[item],
                        find_readable(self.encoder, labels),
                        tags[item],
                        found[item],
                        self.limits.max_mention_tokens,
                    )
        return found

    def _write(
        self,
        writings: Mapping[int, ParallelWriting],
        texts: Sequence[TokenizedText],
        labels: Sequence[str],
        depth: int,
    ) -> dict[int, np.ndarray]:
        """RETURNS (Dict[int, np.ndarray]): The tags of each text's tokens, if they are read."""
        trees = [writing.tree for writing in writings.values()]
        run = self.lm.open(trees, depth)
        readable = find_readable(self.encoder, labels) if self.read_tags else []
        if not readable:
            write_all(run, list(writings.values()), self.softmax, self.cost)
            return {}
        offsets = [self.encoder.text_offsets(texts[item].text) for item in writings]
        reader = TagReader(run, trees, list(map(len, offsets)), tag_ids(self.encoder, readable))
        write_all(run, list(writings.values()), self.softmax, self.cost, reader.logits)
        return {
            item: tag_tokens(texts[item], of_text, probs)
            for item, of_text, probs in zip(writings, offsets, reader.probs, strict=True)
        }

    def _open(
        self,
        text: TokenizedText,
        prefix: Sequence[int],
        trie: Trie[Span],
        labels: Sequence[str],
        replay: Replay | None,
    ) -> ParallelWriting:
        drafter = None
        if self.policy is not None:
            drafter = SpanDrafter(trie, text, self.policy.threshold)
        return ParallelWriting(
            TokenTree(prefix),
            trie,
            self._count_trie,
            self.encoder,
            labels,
            drafter,
            () if self.policy is None else self.policy.open_counts,
            replay,
        )

    def _beyond_text(self, labels: Sequence[str]) -> int:
        """RETURNS (int): Most tokens between a text and a mention in it."""
        branch = max(len(self.encoder.branch(label)) for label in labels)
        opener = len(self.encoder.opener(self.limits.max_mentions))
        return branch + self._count_trie.depth + opener
