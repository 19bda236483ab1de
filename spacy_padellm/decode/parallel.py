"""Parallel decoder: counts for all labels, then all mentions of all labels (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..defaults import BATCH_TOKENS
from ..limits import MentionLimits
from ..prompt.encoder import PromptEncoder
from ..texts import TokenizedText
from ..tree.causal_lm import CausalLM
from ..tree.softmax import Softmax
from ..tree.token_tree import TokenTree
from ..tree.trie import Span, Trie, build_count_trie, build_source_trie
from .batches import make_batches
from .cost import DecodingCost
from .drafts import DraftPolicy, SpanDrafter
from .mentions import DecodedMention
from .parallel_writing import ParallelWriting
from .tag_reading import TagReader, find_readable, join_tags, tag_ids, tag_tokens
from .writing import Replay, write_all

# Stateless, so one for all decoders.
DEFAULT_POLICY = DraftPolicy()


@dataclass(frozen=True)
class Prompt:
    """A text as it is read.

    text (TokenizedText): The text.
    prefix (List[int]): The ids that all its sequences begin with.
    trie (Optional[Trie[Span]]): Its admissible mentions; `None` to list them once they are needed.
    """

    text: TokenizedText
    prefix: list[int]
    trie: Trie[Span] | None = None


@dataclass(frozen=True)
class Written:
    """What was written of a text.

    mentions (List[DecodedMention]): Its mentions, label by label, in the order they are numbered.
    tags (Optional[np.ndarray]): The tags of its tokens, as of `tag_tokens`; `None` if unread.
    """

    mentions: list[DecodedMention]
    tags: np.ndarray | None = None


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
        tag_labels = self.find_tag_labels(labels)
        written = self.write([self.read(text) for text in texts], labels, tag_labels, replays)
        return [
            self.join(text, tag_labels, each) for text, each in zip(texts, written, strict=True)
        ]

    def find_tag_labels(self, labels: Sequence[str]) -> list[str]:
        """labels (Sequence[str]): The labels to look for.
        RETURNS (List[str]): Those of them that are read as tags, if any are.
        """
        return find_readable(self.encoder, labels) if self.read_tags else []

    def read(self, text: TokenizedText) -> Prompt:
        """text (TokenizedText): A text.
        RETURNS (Prompt): The same as `write` takes it.
        """
        return Prompt(text, self.encoder.prefix(text.text))

    def list_mentions(self, text: TokenizedText) -> Trie[Span]:
        """text (TokenizedText): A text.
        RETURNS (Trie[Span]): What may be written of it.
        """
        return build_source_trie(self.encoder, text, self.limits.max_mention_tokens)

    def join(
        self, text: TokenizedText, tag_labels: Sequence[str], written: Written
    ) -> list[DecodedMention]:
        """text (TokenizedText): A text.
        tag_labels (Sequence[str]): The labels that were read as tags.
        written (Written): What was written of it, for all labels.
        RETURNS (List[DecodedMention]): Its mentions, and what its tags say.
        """
        if written.tags is None:
            return written.mentions
        longest = self.limits.max_mention_tokens
        return join_tags(text, tag_labels, written.tags, written.mentions, longest)

    @torch.inference_mode()
    def write(
        self,
        prompts: Sequence[Prompt],
        labels: Sequence[str],
        tag_labels: Sequence[str] = (),
        replays: Sequence[Replay] | None = None,
    ) -> list[Written]:
        """prompts (Sequence[Prompt]): The texts.
        labels (Sequence[str]): The labels whose mentions are written.
        tag_labels (Sequence[str]): The labels that are read as tags, others too; none to read none.
        replays (Optional[Sequence[Replay]]): As of `decode`.
        RETURNS (List[Written]): What was written of each text.
        RAISES (ValueError): A text is longer than the model's positions.
        """
        found = [Written([]) for _ in prompts]
        if not labels:
            return found
        asked = self.count_label_tokens(labels)
        lengths = [len(prompt.prefix) + asked for prompt in prompts]
        for batch in make_batches(lengths, self.batch_tokens):
            writings: dict[int, ParallelWriting] = {}
            depth = 0
            for item in batch:
                prompt = prompts[item]
                trie = self.list_mentions(prompt.text) if prompt.trie is None else prompt.trie
                # Without anything to point at, a text has no mentions.
                if trie.values:
                    replay = None if replays is None else replays[item]
                    writings[item] = self._open(prompt, trie, labels, replay)
                    # The end token of a mention is written last and never run.
                    beyond = self._beyond_text(labels) + trie.depth - 1
                    depth = max(depth, len(prompt.prefix) + beyond)
            if not writings:
                continue
            texts = [prompts[item].text for item in writings]
            tags = self._run(list(writings.values()), texts, tag_labels, depth)
            for (item, writing), of_text in zip(writings.items(), tags, strict=True):
                found[item] = Written(list(writing.mentions()), of_text)
        return found

    def count_label_tokens(self, labels: Sequence[str]) -> int:
        """labels (Sequence[str]): Labels.
        RETURNS (int): Tokens that ask for them, behind a text.
        """
        return sum(len(self.encoder.branch(label)) for label in labels)

    def _run(
        self,
        writings: Sequence[ParallelWriting],
        texts: Sequence[TokenizedText],
        tag_labels: Sequence[str],
        depth: int,
    ) -> Sequence[np.ndarray | None]:
        """RETURNS (Sequence[Optional[np.ndarray]]): The tags of each text's tokens, if read."""
        trees = [writing.tree for writing in writings]
        run = self.lm.open(trees, depth)
        if not tag_labels:
            write_all(run, writings, self.softmax, self.cost)
            return [None] * len(writings)
        offsets = [self.encoder.text_offsets(text.text) for text in texts]
        reader = TagReader(run, trees, list(map(len, offsets)), tag_ids(self.encoder, tag_labels))
        write_all(run, writings, self.softmax, self.cost, reader.logits)
        return [
            tag_tokens(text, of_text, probs)
            for text, of_text, probs in zip(texts, offsets, reader.probs, strict=True)
        ]

    def _open(
        self,
        prompt: Prompt,
        trie: Trie[Span],
        labels: Sequence[str],
        replay: Replay | None,
    ) -> ParallelWriting:
        drafter = None
        if self.policy is not None:
            drafter = SpanDrafter(trie, prompt.text, self.policy.threshold)
        return ParallelWriting(
            TokenTree(prompt.prefix),
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
