"""Encode text inside a sequence, without special tokens, and mark the case of words."""

from __future__ import annotations

import copy
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, cast

from tokenizers import Encoding, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import PreTrainedTokenizerBase

from ..errors import Errors
from ..texts import Span

# Left contexts. They are tried in order, until one keeps its ids when the text follows. A line
# break merges with nothing in most vocabularies. The colon serves text that begins with a line
# break.
_LEFT_CONTEXTS = ("\n", ":")

_WORD = re.compile(r"[^\W_]+")


class Encodings(NamedTuple):
    """The encodings of several texts.

    Args:
        ids: The ids of each text; empty if the tokenizer normalises it to nothing.
        offsets: For each text, the character offsets of its ids; `None` if they were not asked for
            or the tokenizer does not give them.
    """

    ids: list[list[int]]
    offsets: list[list[Span]] | None = None


class TextEncoder:
    """An encoder of the pieces of a sequence, each as it stands in mid-sequence.

    A piece is encoded after a fixed left context, so its ids depend on nothing but the piece. Text
    that spells a special token (`</s>`, or an added token of the template) becomes ordinary ids.

    Args:
        tokenizer: A Hugging Face tokenizer, fast or slow.

    Attributes:
        end_id: The id of the end token.
        bos_ids: The id of the begin-of-sequence token; empty if there is no separate one.
        has_offsets: Whether the tokenizer gives character offsets.

    Raises:
        ValueError: The tokenizer has no end token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        if tokenizer.eos_token_id is None:
            raise ValueError(Errors.P010.format(name=tokenizer.name_or_path or "the model"))
        self.end_id: int = tokenizer.eos_token_id
        # If both are the same token (GPT-2), models never saw it at the start of a text.
        has_bos = tokenizer.bos_token_id not in (None, tokenizer.eos_token_id)
        self.bos_ids: list[int] = [tokenizer.bos_token_id] if has_bos else []
        self._fast: Tokenizer | None = None
        if tokenizer.is_fast:
            # A copy, so that the caller's settings (truncation, padding) have no effect here.
            self._fast = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
            self._fast.no_padding()
            self._fast.no_truncation()
            self._fast.encode_special_tokens = True
        self.has_offsets = self._fast is not None
        # Whether the ids of a word depend on the word alone.
        self._is_wordwise = self._fast is not None and _encodes_words(self._fast)
        self._contexts = [(c, self._encode_all([c]).ids[0]) for c in _LEFT_CONTEXTS]
        special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        # Ordinary text may become the unknown token, unless this is also the start or end token.
        unknown = {tokenizer.unk_token_id} - {tokenizer.bos_token_id, tokenizer.eos_token_id}
        self._reserved_ids = (special | set(tokenizer.all_special_ids)) - unknown

    def copy(self) -> TextEncoder:
        """Create a copy that can reserve tokens of its own."""
        other = copy.copy(self)
        other._reserved_ids = set(self._reserved_ids)
        return other

    def reserve(self, pieces: Iterable[str]) -> None:
        """Reserve the added tokens in some wording, so that user text is never encoded as one.

        Added tokens of a single character are not reserved.

        Args:
            pieces: Wording of the template. A number in it stands for any number.
        """
        numbered = [re.sub(r"\d+", "0", piece) for piece in pieces]
        for token_id, token in self.tokenizer.added_tokens_decoder.items():
            content = re.sub(r"\d+", "0", token.content)
            if len(token.content) > 1 and any(content in piece for piece in numbered):
                self._reserved_ids.add(token_id)

    def encode_wording(self, piece: str, *, first: bool = False) -> list[int]:
        """Encode wording of the template, where special and added tokens stand for themselves.

        Args:
            piece: The wording.
            first: Whether the sequence begins with it. SentencePiece tokenizers put a space there,
                but not before later pieces.
        """
        added = {
            token.content: i
            for i, token in self.tokenizer.added_tokens_decoder.items()
            if token.content and token.content in piece
        }
        # Longest first, so that no shorter token is found inside `<mention 10>`.
        pattern = "|".join(re.escape(t) for t in sorted(added, key=len, reverse=True))
        parts = re.split(f"({pattern})", piece) if added else [piece]
        ids: list[int] = []
        for part in filter(None, parts):
            if part in added:
                ids.append(added[part])
            elif first and not ids:
                ids.extend(self._encode_all([part]).ids[0])
            else:
                ids.extend(self.encode([part], apart=False).ids[0])
        return ids

    def encode(
        self, texts: Sequence[str], *, with_offsets: bool = False, apart: bool = True
    ) -> Encodings:
        """Encode user text.

        Args:
            texts: Texts or stretches of text.
            with_offsets: Whether offsets are wanted. They take a third more time.
            apart: Whether to cut text that spells a reserved token, so that it does not become one.

        Raises:
            ValueError: A text cannot be encoded without a special token.
        """
        found: list[list[int]] = [[] for _ in texts]
        offsets: list[list[Span]] = [[] for _ in texts]
        todo = list(range(len(texts)))
        # The empty context comes last, for text that changes the ids of the others.
        for context, context_ids in (*self._contexts, ("", [])):
            size, shift = len(context_ids), len(context)
            encoded = self._encode_all([context + texts[i] for i in todo], with_offsets)
            left = []
            for place, i in enumerate(todo):
                ids = encoded.ids[place]
                if ids[:size] != context_ids:
                    left.append(i)
                    continue
                found[i] = ids[size:]
                if encoded.offsets is not None:
                    own = encoded.offsets[place][size:]
                    offsets[i] = [(start - shift, end - shift) for start, end in own]
            todo = left
            if not todo:
                break
        for i, ids in enumerate(found) if apart else ():
            if not self._reserved_ids.isdisjoint(ids):
                found[i], offsets[i] = self._encode_apart(texts[i], with_offsets)
        return Encodings(found, offsets if with_offsets and self.has_offsets else None)

    def encode_stretches(
        self, text: str, starts: Sequence[int], ends: Sequence[Sequence[int]]
    ) -> list[list[list[int]]]:
        """Encode stretches of a text, as `encode` would encode each of them.

        A fast tokenizer cuts a text into words before it looks for tokens. So of two stretches that
        start at the same place, the shorter one has the first ids of the longer one if it ends with
        a word, and is not encoded again. BERT's tokenizer encodes each word on its own. Then a
        stretch that also starts with a word has the ids that it has in the whole text.

        Args:
            text: The text.
            starts: The offsets at which stretches start.
            ends: For each start, the offsets at which its stretches end, in ascending order.

        Returns:
            For each start, the ids of its stretches.

        Raises:
            ValueError: A stretch cannot be encoded without a special token.
        """
        context = self._contexts[0][0]
        found: list[list[list[int] | None]] = []
        if self._fast is None:
            found = [[None] * len(of_start) for of_start in ends]
        elif self._is_wordwise:
            encoded = self._fast.encode(context + text, add_special_tokens=False)
            found = self._cut(encoded, starts, ends)
        else:
            pairs = list(zip(starts, ends, strict=True))
            longest = [context + text[start : of_start[-1]] for start, of_start in pairs]
            batch = self._fast.encode_batch(longest, add_special_tokens=False)
            for each, (start, of_start) in zip(batch, pairs, strict=True):
                found += self._cut(each, [0], [[end - start for end in of_start]])
        left = [
            (number, place)
            for number, of_start in enumerate(found)
            for place, ids in enumerate(of_start)
            if ids is None
        ]
        alone = self.encode([text[starts[number] : ends[number][place]] for number, place in left])
        for (number, place), ids in zip(left, alone.ids, strict=True):
            found[number][place] = ids
        return cast("list[list[list[int]]]", found)

    def _cut(
        self, encoded: Encoding, starts: Sequence[int], ends: Sequence[Sequence[int]]
    ) -> list[list[list[int] | None]]:
        """Cut stretches out of the ids of a text that was encoded behind the first left context.

        Args:
            encoded: The encoding.
            starts: Offsets in the text at which stretches start.
            ends: For each start, the offsets at which its stretches end, in ascending order.

        Returns:
            For each start, the ids of its stretches; `None` where they may not be those of the
            stretch alone.
        """
        context, context_ids = self._contexts[0]
        size, shift = len(context_ids), len(context)
        ids, words, offsets = encoded.ids, encoded.word_ids, encoded.offsets
        cut: list[list[list[int] | None]] = [[None] * len(of_start) for of_start in ends]
        if ids[:size] != context_ids or not self._reserved_ids.isdisjoint(ids[size:]):
            return cut

        def is_between_words(index: int, offset: int) -> bool:
            """Return whether a word ends before an id, and the next one starts behind an offset."""
            return index in (size, len(ids)) or (
                words[index] != words[index - 1]
                and offsets[index - 1][1] <= offset + shift <= offsets[index][0]
            )

        # How many ids come before each end that is between words.
        before: dict[int, int] = {}
        count = size
        for end in sorted({end for of_start in ends for end in of_start}):
            while count < len(ids) and offsets[count][1] <= end + shift:
                count += 1
            if is_between_words(count, end):
                before[end] = count
        firsts = [first for first, _ in offsets]
        for start, of_start, found in zip(starts, ends, cut, strict=True):
            begin = max(size, bisect_left(firsts, start + shift))
            if is_between_words(begin, start):
                for place, end in enumerate(of_start):
                    # Without ids here, the stretch is encoded alone.
                    found[place] = ids[begin : before.get(end, begin)] or None
        return cut

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids as they stand in mid-sequence.

        A left context keeps a leading space, which SentencePiece tokenizers drop if ids are decoded
        alone.
        """
        context, context_ids = self._contexts[0]
        decoded: str = self.tokenizer.decode(
            [*context_ids, *ids], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return decoded.removeprefix(context)

    def _encode_apart(self, text: str, with_offsets: bool) -> tuple[list[int], list[Span]]:
        """Encode text that spells reserved tokens, by cutting each after its first character."""
        contents = [self.tokenizer.convert_ids_to_tokens(i) for i in self._reserved_ids]
        pattern = "|".join(re.escape(c) for c in sorted(contents, key=len, reverse=True) if c)
        cuts = [m.start() + 1 for m in re.finditer(f"(?=({pattern}))", text, re.IGNORECASE)]
        pieces = [((), text[a:b]) for a, b in pairwise([0, *cuts, len(text)]) if a < b]
        strings = [piece for _, piece in pieces]
        encoded = self.encode(strings, with_offsets=with_offsets, apart=False)
        ids, offsets = join_encodings(pieces, encoded)
        if not self._reserved_ids.isdisjoint(ids):
            raise ValueError(Errors.P011.format(text=text[:80]))
        return ids, offsets or []

    def _encode_all(self, texts: list[str], with_offsets: bool = False) -> Encodings:
        """Encode texts without adding or recognising special tokens."""
        if self._fast is None:
            encode = self.tokenizer.encode
            return Encodings(
                [encode(t, add_special_tokens=False, split_special_tokens=True) for t in texts]
            )
        if with_offsets:
            encoded = self._fast.encode_batch(texts, add_special_tokens=False)
            return Encodings([each.ids for each in encoded], [each.offsets for each in encoded])
        encoded = self._fast.encode_batch_fast(texts, add_special_tokens=False)
        return Encodings([each.ids for each in encoded])


def _encodes_words(tokenizer: Tokenizer) -> bool:
    """Return whether a tokenizer is like BERT's, which encodes each word on its own."""
    return (
        isinstance(tokenizer.model, WordPiece)
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and isinstance(tokenizer.normalizer, BertNormalizer | None)
    )


@dataclass(frozen=True)
class CaseMarks:
    """The marks for the case of words, which a lower-casing tokenizer would lose.

    As in machine translation, a mark stands before each capitalised word of the text, and another
    one before each word in capitals. Mentions are written without marks, so the model copies them
    as if there were none.

    Args:
        capitalized: The ids before a word whose first letter is a capital; empty for none.
        all_capitals: The ids before a word of several letters, all capitals; if empty,
            `capitalized`.
    """

    capitalized: tuple[int, ...] = ()
    all_capitals: tuple[int, ...] = ()

    def cut(self, text: str) -> Iterator[tuple[tuple[int, ...], str]]:
        """Cut a text before each word that gets a mark.

        Yields:
            A mark's ids and the stretch from it to the next mark. A stretch before the first mark
            has no ids.
        """
        mark: tuple[int, ...] = ()
        start = 0
        for word in _WORD.finditer(text) if self.capitalized or self.all_capitals else ():
            following: tuple[int, ...] = ()
            if word[0].isupper() and sum(map(str.isalpha, word[0])) > 1:
                following = self.all_capitals or self.capitalized
            elif word[0][0].isupper():
                following = self.capitalized
            if following:
                if mark or word.start() > start:
                    yield mark, text[start : word.start()]
                mark, start = following, word.start()
        yield mark, text[start:]


def join_encodings(
    pieces: Sequence[tuple[Sequence[int], str]], encoded: Encodings
) -> tuple[list[int], list[Span] | None]:
    """Join the encoded pieces of a text.

    Args:
        pieces: For each piece, the ids of the mark before it, and its text. The mark gets the
            offsets of the first character of the piece.
        encoded: The encodings of the pieces, without marks.

    Returns:
        The text's ids, and their character offsets if `encoded` has offsets.
    """
    ids: list[int] = []
    for (mark, _), own in zip(pieces, encoded.ids, strict=True):
        ids += [*mark, *own]
    if encoded.offsets is None:
        return ids, None
    offsets: list[Span] = []
    start = 0
    for (mark, piece), of_piece in zip(pieces, encoded.offsets, strict=True):
        offsets += [(start, start + 1)] * len(mark)
        offsets += [(start + first, start + last) for first, last in of_piece]
        start += len(piece)
    return ids, offsets
