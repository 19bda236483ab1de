"""Text → ids where text continues something, and never into a special token; case marks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from ..errors import Errors
from ..texts import Span

# Left contexts tried in order until one's ids stay as they are when the text follows: a line break
# merges with nothing in most vocabularies, the colon serves text that begins with one.
_LEFT_CONTEXTS = ("\n", ":")

_WORD = re.compile(r"[^\W_]+")


class Encodings(NamedTuple):
    """Several texts, encoded.

    Args:
        ids: The ids of each; none where the tokenizer's normalisation leaves nothing of it.
        offsets: Where in each text each id starts and ends; `None` where it is not asked for, or
            the tokenizer does not say.
    """

    ids: list[list[int]]
    offsets: list[list[Span]] | None = None


class TextEncoder:
    """Encodes pieces of a sequence one by one, each as it stands in mid-sequence.

    A piece's ids are those that follow a fixed neutral left context, so they depend on nothing but
    the piece. Text that spells a special token (`</s>`, or an added token the template uses)
    becomes ordinary ids.

    Args:
        tokenizer: A Hugging Face tokenizer, fast or slow.

    Attributes:
        end_id: The id of its end token.
        bos_ids: That of what its texts begin with, if there is one.
        has_offsets: Whether it says where in a text its ids are.

    Raises:
        ValueError: It has no end token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        if tokenizer.eos_token_id is None:
            raise ValueError(Errors.P010.format(name=tokenizer.name_or_path or "the model"))
        self.end_id: int = tokenizer.eos_token_id
        # Where both are the same token (GPT-2), models never saw it at the start of a text.
        has_bos = tokenizer.bos_token_id not in (None, tokenizer.eos_token_id)
        self.bos_ids: list[int] = [tokenizer.bos_token_id] if has_bos else []
        self._fast: Tokenizer | None = None
        if tokenizer.is_fast:
            # A copy, so that no setting of the caller's (truncation, padding) reaches in here.
            self._fast = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
            self._fast.no_padding()
            self._fast.no_truncation()
            self._fast.encode_special_tokens = True
        self.has_offsets = self._fast is not None
        self._contexts = [(c, self._encode_all([c]).ids[0]) for c in _LEFT_CONTEXTS]
        special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        # Ordinary text may well become the unknown token, unless that is the end token too.
        unknown = {tokenizer.unk_token_id} - {tokenizer.bos_token_id, tokenizer.eos_token_id}
        self._reserved_ids = (special | set(tokenizer.all_special_ids)) - unknown

    def reserve(self, pieces: Iterable[str]) -> None:
        """Keep the added tokens in these pieces out of user text, but for single characters.

        Args:
            pieces: Wording of the template; a number in it stands for any number.
        """
        numbered = [re.sub(r"\d+", "0", piece) for piece in pieces]
        for token_id, token in self.tokenizer.added_tokens_decoder.items():
            content = re.sub(r"\d+", "0", token.content)
            if len(token.content) > 1 and any(content in piece for piece in numbered):
                self._reserved_ids.add(token_id)

    def encode_wording(self, piece: str, *, first: bool = False) -> list[int]:
        """Encode wording of the template, in which special and added tokens mean themselves.

        Args:
            piece: The wording.
            first: Whether the sequence begins with it: SentencePiece tokenizers put a space there
                that no piece after it has.
        """
        added = {
            token.content: i
            for i, token in self.tokenizer.added_tokens_decoder.items()
            if token.content and token.content in piece
        }
        # Longest first, so that `<mention 10>` is not read as a shorter token and a rest.
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
            with_offsets: Whether offsets are wanted, which take a third of the time more.
            apart: Whether text that spells a reserved token is cut apart, so that it is none.

        Raises:
            ValueError: A text cannot be encoded without a special token.
        """
        found: list[list[int]] = [[] for _ in texts]
        offsets: list[list[Span]] = [[] for _ in texts]
        todo = list(range(len(texts)))
        # Without a context in the end, where none stays as it is.
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

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids as they stand in mid-sequence: alone, SentencePiece tokenizers drop a space
        they begin with.
        """
        context, context_ids = self._contexts[0]
        decoded: str = self.tokenizer.decode(
            [*context_ids, *ids], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return decoded.removeprefix(context)

    def _encode_apart(self, text: str, with_offsets: bool) -> tuple[list[int], list[Span]]:
        """Encode text that spells reserved tokens: cut each behind its first character."""
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
        """Encode texts, without special tokens added or recognised."""
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


@dataclass(frozen=True)
class CaseMarks:
    """What a lower-casing tokenizer would lose, as tokens of its own.

    As machine translation has them, a mark stands before each capitalised and another one before
    each all-capital word of the text; mentions have none, so that they are copied as ever.

    Args:
        capitalized: The ids before a word with a first capital.
        all_capitals: The ids before a word of several letters, all of them capitals.
    """

    capitalized: tuple[int, ...] = ()
    all_capitals: tuple[int, ...] = ()

    def cut(self, text: str) -> Iterator[tuple[tuple[int, ...], str]]:
        """Cut a text where marks stand.

        Yields:
            A mark's ids, none before the first mark, and the stretch behind it up to the next one.
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
    """Join what a text was cut into.

    Args:
        pieces: The ids of the mark before each piece, and the piece. A mark is at the first
            character of its piece.
        encoded: The pieces, encoded.

    Returns:
        The text's ids and their offsets.
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
