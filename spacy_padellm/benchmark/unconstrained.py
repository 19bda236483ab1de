"""Plain decoding as in the paper: without tries, so that the model may write anything.

Decoding with tries is compared with this. A count is read as a number, whatever ends it, and the
second step's prompts are written with that number.
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
    """A mention as the model wrote it after an opener.

    Args:
        label: The label.
        string: The mention, decoded.
        ids: Its ids, without the end token.
        is_ended: Whether it ended within the limit.
        log_prob: Sum of the log-probabilities of its tokens, without the end token.
    """

    label: str
    string: str
    ids: tuple[int, ...]
    is_ended: bool
    log_prob: float


@dataclass(frozen=True)
class WrittenText:
    """The mentions that the model wrote for a text, and its wrong counts.

    Args:
        mentions: The mentions. They have no places, and may not be in the text.
        malformed_counts: The strings that were written instead of a count.
        excessive_counts: Counts above the limit. Only as many mentions as allowed were written.
    """

    mentions: tuple[WrittenMention, ...]
    malformed_counts: tuple[str, ...] = ()
    excessive_counts: tuple[int, ...] = ()


class UnconstrainedDecoder:
    """A greedy decoder over the whole vocabulary, in the paper's two steps, one token a pass.

    Args:
        padellm: The model.

    Attributes:
        cost: The cost of decoding so far.
    """

    def __init__(self, padellm: PaDeLLM) -> None:
        self.padellm = padellm
        self.cost = LaboratoryCost()

    def fits(self, text: EncodedText) -> bool:
        """Return whether the model has positions for a text and the beginning of its mentions."""
        return self.padellm.lm.fits(self._depth(text))

    def decode(self, texts: Sequence[EncodedText]) -> list[list[DecodedMention]]:
        """Find the mentions of texts, one text after another.

        Mentions that are not in the text are dropped.
        """
        return [self._ground(text, self.write(text)) for text in texts]

    @torch.inference_mode()
    def write(self, text: EncodedText) -> WrittenText:
        """Write the counts and mentions of a text freely.

        Raises:
            TextTooLongError: The text is longer than the model's positions.
        """
        lm = self.padellm.lm
        depth = self._depth(text)
        # Most tokens of a mention: as many as the text has, or as the model has positions left.
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
        """Return the most tokens that may precede a mention, text included."""
        return self.padellm.encoder.depth_before_mentions(text, self.padellm.settings.labels)

    def _ground(self, text: EncodedText, written: WrittenText) -> list[DecodedMention]:
        """Find the written mentions in the text, and count those that are lost."""
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
    """The counts and mentions of a text while they are written.

    Mentions are opened once all counts are finished.

    Args:
        text: The text.
        padellm: The model.
        longest_mention: Number of tokens at which a mention is cut off.

    Attributes:
        mentions: Label and sequence of each mention.
        malformed: The strings that were written instead of a count.
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
        """Write as far as the choices are known."""
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
    """Decode the ids of one sequence, without those before it."""
    string: str = padellm.lm.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return string
