"""Plain decoding as in the paper: no tries, the model writes what it likes.

What the trie decoder is compared with. A count is read as a number whatever ends it, and the second
step's prompts are written from that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..decode.mentions import DecodedMention
from ..decode.state import Choice
from ..model import PaDeLLM
from ..prompt.encoder import EncodedText
from .free_text import FreeSequence, FreeText, LaboratoryCost, write_freely
from .output_formats.base import Grounding
from .replay import replay_of


@dataclass(frozen=True)
class WrittenMention:
    """What the model wrote after a mention opener.

    Args:
        label: The label.
        string: The mention, decoded.
        ids: Its ids, the end token left out.
        is_ended: Whether it came to an end within the limit.
        log_prob: Sum of the log-probabilities of its tokens, the end token excluded.
    """

    label: str
    string: str
    ids: tuple[int, ...]
    is_ended: bool
    log_prob: float


@dataclass(frozen=True)
class WrittenText:
    """What the model wrote for a text.

    Args:
        mentions: The mentions; they have no places and may not be in the text.
        malformed_counts: What stood where a count was due and is none.
        excessive_counts: Counts above the limit, of which the first mentions up to the limit were
            written.
    """

    mentions: tuple[WrittenMention, ...]
    malformed_counts: tuple[str, ...] = ()
    excessive_counts: tuple[int, ...] = ()


class UnconstrainedDecoder:
    """Greedy decoding over the whole vocabulary, in the paper's two steps, one token a pass.

    Args:
        padellm: The model.

    Attributes:
        cost: What decoding took so far.
    """

    def __init__(self, padellm: PaDeLLM) -> None:
        self.padellm = padellm
        self.cost = LaboratoryCost()

    def fits(self, text: EncodedText) -> bool:
        """Tell whether the model has positions for a text and the beginning of its mentions."""
        return self.padellm.lm.fits(self._depth(text))

    def decode(self, texts: Sequence[EncodedText]) -> list[list[DecodedMention]]:
        """Decode texts, one after the other: for each the mentions that are in it."""
        return [self._ground(text, self.write(text)) for text in texts]

    @torch.inference_mode()
    def write(self, text: EncodedText) -> WrittenText:
        """Write what the model likes of a text.

        Raises:
            TextTooLongError: The text is longer than the model's positions.
        """
        lm = self.padellm.lm
        depth = self._depth(text)
        # No more tokens than the text has, or than the model has positions left.
        room = len(text.prefix) + 1
        if lm.max_depth is not None:
            room = min(room, lm.max_depth - depth + 1)
        state = _UnconstrainedText(text, self.padellm, max(room, 1))
        run = lm.open([state.tree], depth + max(room, 1) - 1)
        write_freely(run, [state], self.cost)
        mentions = tuple(
            WrittenMention(
                label,
                _read(self.padellm, sequence.ids),
                tuple(sequence.ids),
                sequence.is_ended,
                sum(sequence.log_probs),
            )
            for label, sequence in state.mentions
        )
        return WrittenText(mentions, tuple(state.malformed), tuple(state.excessive))

    def _depth(self, text: EncodedText) -> int:
        """Find where mentions begin, at the latest."""
        return self.padellm.encoder.depth_before_mentions(text, self.padellm.settings.labels)

    def _ground(self, text: EncodedText, written: WrittenText) -> list[DecodedMention]:
        """Find the mentions in the text, and count what is lost."""
        ended = [mention for mention in written.mentions if mention.is_ended]
        grounding = Grounding(text, self.padellm.settings.labels)
        found = [
            DecodedMention(mention.label, places, mention.log_prob)
            for mention in ended
            if (places := grounding.places(mention.string))
        ]
        self.cost.malformed += len(written.malformed_counts) + len(written.excessive_counts)
        self.cost.malformed += len(written.mentions) - len(ended)
        self.cost.ungrounded += len(ended) - len(found)
        return found


class _UnconstrainedText(FreeText):
    """What a text's counts and mentions have come to: mentions are opened once all is counted.

    Args:
        text: The text.
        padellm: The model.
        longest_mention: Where a mention is cut off, in tokens.

    Attributes:
        mentions: The label of each mention, and the mention.
        malformed: What stood where a count was due and is none.
        excessive: Counts above the limit.
    """

    def __init__(self, text: EncodedText, padellm: PaDeLLM, longest_mention: int) -> None:
        super().__init__(text.prefix)
        self.mentions: list[tuple[str, FreeSequence]] = []
        self.malformed: list[str] = []
        self.excessive: list[int] = []
        self._padellm = padellm
        self._longest_mention = longest_mention
        self._replay = replay_of(text)
        self._choices: dict[int, Choice] = {}
        self._starts: dict[str, int] = {}
        self._counts: dict[str, FreeSequence] = {}
        self._is_counted = False
        encoder = padellm.encoder
        ends = [[encoder.end_id], encoder.count_end]
        for label, branch in encoder.branches.items():
            start = self.tree.insert(branch, self.tree.prefix_end)[-1]
            count = None
            if self._replay is not None:
                count = encoder.count_ids[len(self._replay.mentions[label])]
            self._starts[label] = start
            self._counts[label] = FreeSequence(start, ends, encoder.counts.depth, count)

    @property
    def sequences(self) -> list[FreeSequence]:
        """The counts, and the mentions once they are opened."""
        return [*self._counts.values(), *(mention for _, mention in self.mentions)]

    def advance(self, choices: Mapping[int, Choice]) -> None:
        """Write as far as it is known now."""
        self._choices.update(choices)
        for sequence in self.sequences:
            sequence.advance(self.tree, self._choices)
        if not self._is_counted and all(each.is_finished for each in self._counts.values()):
            self._is_counted = True
            for label, counted in self._counts.items():
                self._open_mentions(label, counted)

    def _open_mentions(self, label: str, counted: FreeSequence) -> None:
        encoder = self._padellm.encoder
        number = _read(self._padellm, counted.ids)
        if not (counted.is_ended and number.isascii() and number.isdigit()):
            self.malformed.append(number)
            return
        count = int(number)
        if count > encoder.max_mentions:
            self.excessive.append(count)
        ids = [*encoder.encode_wording(str(count)), *encoder.count_end]
        for n in range(1, min(count, encoder.max_mentions) + 1):
            node = self.tree.insert([*ids, *encoder.openers[n]], self._starts[label])[-1]
            given = None if self._replay is None else self._replay.mentions[label][n - 1]
            mention = FreeSequence(node, [[encoder.end_id]], self._longest_mention, given)
            self.mentions.append((label, mention))


def _read(padellm: PaDeLLM, ids: Sequence[int]) -> str:
    """Decode what was written, alone."""
    string: str = padellm.lm.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return string
