"""Plain decoding as in the paper: no tries, the model writes what it likes.

What the trie decoder is compared with; its mentions have no places and may not be in the text. A
count is read as a number whatever ends it, and the second step's prompts are written from that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..causal_lm import CausalLM
from ..limits import MentionLimits
from ..prompt import PromptEncoder
from ..texts import TokenizedText
from ..token_tree import TokenTree
from .guides import FreeGuide
from .writing import Branch, write_branches


@dataclass(frozen=True)
class WrittenMention:
    """What the model wrote after a mention opener.

    label (str): The label.
    string (str): The mention, decoded.
    ids (Tuple[int, ...]): Its ids, the end token left out.
    ended (bool): Whether it came to an end within the limit.
    """

    label: str
    string: str
    ids: tuple[int, ...]
    ended: bool


@dataclass(frozen=True)
class WrittenText:
    """What the model wrote for a text.

    mentions (Tuple[WrittenMention, ...]): The mentions.
    malformed_counts (Tuple[str, ...]): What stood where a count was due and is none.
    excessive_counts (Tuple[int, ...]): Counts above the limit, of which the first mentions up to
        the limit were written.
    """

    mentions: tuple[WrittenMention, ...]
    malformed_counts: tuple[str, ...] = ()
    excessive_counts: tuple[int, ...] = ()


class UnconstrainedDecoder:
    """Greedy decoding over the whole vocabulary, in the paper's two steps.

    lm (CausalLM): The model.
    encoder (PromptEncoder): The template's ids.
    limits (MentionLimits): How much may be written.
    """

    def __init__(self, lm: CausalLM, encoder: PromptEncoder, limits: MentionLimits) -> None:
        self.lm = lm
        self.encoder = encoder
        self.limits = limits

    @torch.inference_mode()
    def decode(self, text: TokenizedText, labels: Sequence[str]) -> WrittenText:
        """text (TokenizedText): The text.
        labels (Sequence[str]): The labels to look for.
        RETURNS (WrittenText): What was written.
        """
        tree = TokenTree(self.encoder.prefix(text.text))
        end, count_end = [self.encoder.end_id], self.encoder.count_end
        longest = max(len(self.encoder.count(n)) for n in range(self.limits.max_mentions + 1))
        depth = self._depth(tree, labels, longest)
        room = self._room(tree, depth)
        run = self.lm.open([tree], depth + room - 1)
        counted = []
        for label in labels:
            node = tree.insert(self.encoder.branch(label), tree.prefix_end)[-1]
            counted.append((label, Branch(0, node, FreeGuide([end, count_end], longest))))
        write_branches(run, [tree], [branch for _, branch in counted], "vocabulary")
        opened, malformed, excessive = [], [], []
        for label, branch in counted:
            number = self._decode(branch.guide.ids)
            if not (branch.guide.ended and number.isascii() and number.isdigit()):
                malformed.append(number)
                continue
            count = int(number)
            if count > self.limits.max_mentions:
                excessive.append(count)
            start = self.encoder.branch(label) + self.encoder.count(count)
            for n in range(1, min(count, self.limits.max_mentions) + 1):
                node = tree.insert(start + self.encoder.opener(n), tree.prefix_end)[-1]
                opened.append((label, Branch(0, node, FreeGuide([end], room))))
        write_branches(run, [tree], [branch for _, branch in opened], "vocabulary")
        mentions = tuple(
            WrittenMention(
                label,
                self._decode(branch.guide.ids),
                tuple(branch.guide.ids),
                branch.guide.ended,
            )
            for label, branch in opened
        )
        return WrittenText(mentions, tuple(malformed), tuple(excessive))

    def _decode(self, ids: Sequence[int]) -> str:
        return self.lm.tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def _depth(self, tree: TokenTree, labels: Sequence[str], count: int) -> int:
        """RETURNS (int): Where mentions begin, at the latest."""
        branch = max(len(self.encoder.branch(label)) for label in labels)
        opener = len(self.encoder.opener(self.limits.max_mentions))
        return len(tree) + branch + count + opener

    def _room(self, tree: TokenTree, depth: int) -> int:
        """RETURNS (int): Where a mention is cut off: it has no more tokens than the text, or than
        the model has positions left.
        """
        room = len(tree) + 1
        if self.lm.max_depth is not None:
            room = min(room, self.lm.max_depth - depth + 1)
        return max(room, 1)
