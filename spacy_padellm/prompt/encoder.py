"""The prompt encoder, which gives the token ids of every part of a sequence."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile

from transformers import PreTrainedTokenizerBase

from ..texts import Span, TokenizedText
from ..tree.choices import TagChoices
from ..tree.token_tree import Trie
from .template import PromptTemplate
from .tokenization import CaseMarks, TextEncoder, join_encodings


@dataclass(frozen=True, eq=False)
class EncodedText(TokenizedText):
    """A text with its token ids, encoded once for windows, decoder, tags and objective.

    Args:
        prefix: The ids that all sequences of the text begin with: the begin-of-sequence token (if
            the tokenizer has a separate one), the wording before the text, and the text.
        length: How many of these ids, the last ones, are the text's own.
        offsets: Character offsets of each of the text's own ids; `None` if the tokenizer does not
            give them.
        encoder: The encoder that made it.
    """

    prefix: list[int]
    length: int
    offsets: list[Span] | None
    encoder: PromptEncoder = field(repr=False)

    @property
    def spans(self) -> list[Span]:
        """The character offsets of all stretches that may be a mention, sorted by start, then end.

        They start and end on token boundaries, but not with a whitespace token.
        """
        solid = [not self.text[start:end].isspace() for start, end in self.tokens]
        longest = self.encoder.max_mention_tokens
        return [
            (self.tokens[first][0], self.tokens[last][1])
            for first in range(len(solid))
            if solid[first]
            for last in range(first, min(first + longest, len(solid)))
            if solid[last]
        ]

    @property
    def most_mention_tokens(self) -> int:
        """A bound of the ids of the longest mention, without its end token: its bytes.

        A token has at least one byte. This takes no trie.
        """
        longest = self.encoder.max_mention_tokens
        ends = [end for _, end in self.tokens[longest - 1 :]] or [len(self.text)]
        starts = [start for start, _ in self.tokens] or [0]
        pairs = zip(starts, ends, strict=False)
        return max(len(self.text[start:end].encode()) for start, end in pairs)

    @property
    def spelled(self) -> list[tuple[list[int], Span]]:
        """The ids and offsets of all spans that can be written, sorted by offsets.

        The ids include the end token. A span that the tokenizer normalises to nothing has no ids
        and is left out.
        """
        ends: dict[int, list[int]] = {}
        for start, end in self.spans:
            ends.setdefault(start, []).append(end)
        encoded = self.encoder.stretches(self.text, list(ends), list(ends.values()))
        return [
            (ids, (start, end))
            for (start, of_start), of_ids in zip(ends.items(), encoded, strict=True)
            for end, ids in zip(of_start, of_ids, strict=True)
            if ids is not None
        ]

    @cached_property
    def trie(self) -> Trie[Span]:
        """The trie of the ids of all admissible mentions.

        Leaves hold the character offsets of all places with these ids.
        """
        return Trie(self.spelled)

    def ids_before(self, characters: Iterable[int]) -> dict[int, int]:
        """Count, for each character offset, the text's ids that end at or before it.

        If the text's ids have no offsets, the part before the character is encoded alone. The count
        is then the number of leading ids that both encodings share.
        """
        if self.offsets is not None:
            ends = [end for _, end in self.offsets]
            return {character: bisect_right(ends, character) for character in characters}
        own = self.prefix[len(self.prefix) - self.length :]
        found = {}
        for character in characters:
            ids = self.encoder.encode(TokenizedText(self.text[:character], ())).prefix
            beginning = ids[len(self.prefix) - self.length :]
            pairs = zip(beginning, own, strict=False)
            found[character] = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        return found


class PromptEncoder:
    """The encoder of all parts of a sequence, shared by training, tries and decoding.

    Args:
        template: The prompt's wording.
        labels: Label → its wording in the prompt. They are asked of every text that it encodes.
        tokenizer: The model's tokenizer.
        max_mentions: Most mentions of a label in a text.
        max_mention_tokens: Longest mention, in tokens of the text.

    Attributes:
        has_offsets: Whether encoded texts have offsets.
        wordings: Label → the ids of its wording.
        branches: Label → the ids from the end of the text to where the label's count is written.
        label_texts: Label → the ids of its wording as a text, from which its vector is made.
        end_id: The id that ends a mention.
        count_end: The ids that end a count of one or more.
        count_ids: The ids of each count, from 0, and of what ends it: the end token after 0,
            `count_end` after others.
        counts: The trie of `count_ids`.
        openers: Number of a mention, from 1 → the ids that open the mention.
    """

    def __init__(
        self,
        template: PromptTemplate,
        labels: Mapping[str, str],
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_mentions: int,
        max_mention_tokens: int,
    ) -> None:
        self.max_mentions = max_mentions
        self.max_mention_tokens = max_mention_tokens
        self._text = TextEncoder(tokenizer)
        self._text.reserve(
            [
                template.before_text,
                template.before_label,
                template.before_count,
                template.count_end,
                template.opener(1),
                template.capitalized,
                template.all_capitals,
            ]
        )
        encode = self._text.encode_wording
        self._case_marks = CaseMarks(
            tuple(encode(template.capitalized)), tuple(encode(template.all_capitals))
        )
        self.end_id = self._text.end_id
        self.has_offsets = self._text.has_offsets
        self.count_end = encode(template.count_end)
        self._before_text = self._text.bos_ids + encode(template.before_text, first=True)
        self._before_label = encode(template.before_label)
        self._before_count = encode(template.before_count)
        numbers = range(1, max_mentions + 1)
        self.openers = {n: encode(template.opener(n)) for n in numbers}
        self.count_ids = [[*encode("0"), self.end_id]]
        self.count_ids += [[*encode(str(n)), *self.count_end] for n in numbers]
        self.counts = Trie((ids, number) for number, ids in enumerate(self.count_ids))
        self._ask(labels)

    def _ask(self, labels: Mapping[str, str]) -> None:
        self.labels = dict(labels)
        self._text.reserve(labels.values())
        encode = self._text.encode_wording
        self.wordings = {label: encode(wording) for label, wording in labels.items()}
        self.branches = {
            label: self._before_label + ids + self._before_count
            for label, ids in self.wordings.items()
        }
        self.label_texts = {
            label: (*self._before_text, *ids, *self._before_label)
            for label, ids in self.wordings.items()
        }

    def with_labels(self, labels: Mapping[str, str]) -> PromptEncoder:
        """Create an encoder for other labels, which takes little time.

        Args:
            labels: Label → its wording in the prompt.
        """
        other = copy.copy(self)
        # What the labels reserve is of no account to texts that have others.
        other._text = self._text.copy()
        other._ask(labels)
        return other

    @cached_property
    def begin_choices(self) -> TagChoices:
        """The numbers of the mentions that may begin at a token.

        The end token, which comes last, stands for none.
        """
        return TagChoices([*self.openers.values(), [self.end_id]])

    def label_choices(self, labels: Sequence[Sequence[int]]) -> TagChoices:
        """Return the labels of the mentions that a token may be in.

        Args:
            labels: The ids that spell each label in the output layer: those of its wording, or
                that of its vector.

        Returns:
            The choices. The end token, which comes last, stands for none.
        """
        return TagChoices([*labels, [self.end_id]])

    def encode(self, text: TokenizedText) -> EncodedText:
        """Encode a text as it stands at the beginning of its sequences.

        A text that this encoder has already encoded is returned as it is.

        Raises:
            ValueError: The text cannot be encoded without a special token.
        """
        if isinstance(text, EncodedText) and text.encoder is self:
            return text
        pieces = list(self._case_marks.cut(text.text))
        encoded = self._text.encode([piece for _, piece in pieces], with_offsets=True)
        ids, offsets = join_encodings(pieces, encoded)
        return EncodedText(text.text, text.tokens, self._before_text + ids, len(ids), offsets, self)

    def depth_before_mentions(self, text: EncodedText, labels: Iterable[str]) -> int:
        """Return the most tokens that may precede a mention of these labels, text included."""
        branch = max((len(self.branches[label]) for label in labels), default=0)
        return len(text.prefix) + branch + self.counts.depth + len(self.openers[self.max_mentions])

    def mentions(self, strings: Sequence[str]) -> list[list[int] | None]:
        """Encode strings in the way mentions are written.

        Returns:
            The ids of each string with the end token; `None` if the tokenizer normalises it to
            nothing.
        """
        encoded = self._text.encode(strings).ids
        for ids in filter(None, encoded):
            ids.append(self.end_id)
        return [ids or None for ids in encoded]

    def stretches(
        self, text: str, starts: Sequence[int], ends: Sequence[Sequence[int]]
    ) -> list[list[list[int] | None]]:
        """Encode stretches of a text in the way mentions are written.

        Args:
            text: The text.
            starts: The offsets at which stretches start.
            ends: For each start, the offsets at which its stretches end, in ascending order.

        Returns:
            For each start, what `mentions` returns for its stretches.
        """
        encoded = self._text.encode_stretches(text, starts, ends)
        return [[[*ids, self.end_id] if ids else None for ids in each] for each in encoded]

    def encode_wording(self, piece: str) -> list[int]:
        """Encode part of the template's wording, where special tokens stand for themselves."""
        return self._text.encode_wording(piece)

    def encode_output(self, output: str) -> list[int]:
        """Encode an output that is written in a single sequence, and add the end token."""
        return [*self._text.encode([output]).ids[0], self.end_id]

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids that a model wrote after the prompt's wording."""
        return self._text.decode(ids)
