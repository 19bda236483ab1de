"""Plain decoding as in the paper: no tries, the model writes what it likes.

What the trie decoder is compared with; its mentions have no places and may not be in the text. A
count is read as a number whatever ends it, and the second step's prompts are written from that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from ..decode.cost import DecodingCost
from ..decode.guides import FreeGuide
from ..decode.writing import Admissible, Branch, Choice, Replay, write_all
from ..limits import MentionLimits
from ..prompt.encoder import PromptEncoder
from ..texts import TokenizedText
from ..tree.causal_lm import CausalLM
from ..tree.token_tree import TokenTree


@dataclass(frozen=True)
class WrittenMention:
    """What the model wrote after a mention opener.

    label (str): The label.
    string (str): The mention, decoded.
    ids (Tuple[int, ...]): Its ids, the end token left out.
    ended (bool): Whether it came to an end within the limit.
    log_prob (float): Sum of the log-probabilities of its tokens, the end token excluded.
    """

    label: str
    string: str
    ids: tuple[int, ...]
    ended: bool
    log_prob: float


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
    """Greedy decoding over the whole vocabulary, in the paper's two steps, one token a pass.

    lm (CausalLM): The model.
    encoder (PromptEncoder): The template's ids.
    limits (MentionLimits): How much may be written.
    """

    def __init__(self, lm: CausalLM, encoder: PromptEncoder, limits: MentionLimits) -> None:
        self.lm = lm
        self.encoder = encoder
        self.limits = limits
        self.cost = DecodingCost()

    @torch.inference_mode()
    def decode(
        self, text: TokenizedText, labels: Sequence[str], replay: Replay | None = None
    ) -> WrittenText:
        """text (TokenizedText): The text.
        labels (Sequence[str]): The labels to look for.
        replay (Optional[Replay]): What is written, whatever the model chooses.
        RETURNS (WrittenText): What was written.
        """
        tree = TokenTree(self.encoder.prefix(text.text))
        longest = max(len(self.encoder.count(n)) for n in range(self.limits.max_mentions + 1))
        depth = self._depth(tree, labels, longest)
        room = self._room(tree, depth)
        run = self.lm.open([tree], depth + room - 1)
        writing = _UnconstrainedWriting(self, tree, labels, longest, room, replay)
        write_all(run, [writing], "vocabulary", self.cost)
        mentions = tuple(
            WrittenMention(
                label,
                self.read(branch.guide.ids),
                tuple(branch.guide.ids),
                branch.guide.ended,
                branch.guide.log_prob,
            )
            for label, branch in writing.mentions
        )
        return WrittenText(mentions, tuple(writing.malformed), tuple(writing.excessive))

    def read(self, ids: Sequence[int]) -> str:
        """ids (Sequence[int]): What was written.
        RETURNS (str): As a string.
        """
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


class _UnconstrainedWriting:
    """What a text's counts and mentions have come to: mentions are opened once all is counted."""

    def __init__(
        self,
        decoder: UnconstrainedDecoder,
        tree: TokenTree,
        labels: Sequence[str],
        longest_count: int,
        longest_mention: int,
        replay: Replay | None,
    ) -> None:
        self.tree = tree
        self.mentions: list[tuple[str, Branch[FreeGuide]]] = []
        self.malformed: list[str] = []
        self.excessive: list[int] = []
        self._decoder = decoder
        self._encoder = decoder.encoder
        self._longest_mention = longest_mention
        self._replay = replay
        self._choices: dict[int, Choice] = {}
        self._starts: dict[str, int] = {}
        self._counts: dict[str, Branch[FreeGuide]] = {}
        self._is_counted = False
        ends = [[self._encoder.end_id], self._encoder.count_end]
        for label in labels:
            start = tree.insert(self._encoder.branch(label), tree.prefix_end)[-1]
            told = None if replay is None else self._encoder.count(len(replay[label]))
            self._starts[label] = start
            self._counts[label] = Branch(start, FreeGuide(ends, longest_count), told)

    def ask(self) -> dict[int, Admissible]:
        return {b.node: None for b in self._branches() if not b.guide.done}

    def take(self, choices: Mapping[int, Choice]) -> None:
        self._choices.update(choices)
        for branch in self._branches():
            branch.follow(self.tree, self._choices)
        if not self._is_counted and all(b.guide.done for b in self._counts.values()):
            self._is_counted = True
            for label, branch in self._counts.items():
                self._open_mentions(label, branch.guide)

    def ends(self) -> Iterable[int]:
        return (branch.node for branch in self._branches())

    def _branches(self) -> list[Branch[FreeGuide]]:
        return [*self._counts.values(), *(branch for _, branch in self.mentions)]

    def _open_mentions(self, label: str, counted: FreeGuide) -> None:
        number = self._decoder.read(counted.ids)
        if not (counted.ended and number.isascii() and number.isdigit()):
            self.malformed.append(number)
            return
        count, most = int(number), self._decoder.limits.max_mentions
        if count > most:
            self.excessive.append(count)
        for n in range(1, min(count, most) + 1):
            ids = self._encoder.count(count) + self._encoder.opener(n)
            node = self.tree.insert(ids, self._starts[label])[-1]
            told = None if self._replay is None else self._replay[label][n - 1]
            guide = FreeGuide([[self._encoder.end_id]], self._longest_mention)
            self.mentions.append((label, Branch(node, guide, told)))
