"""Text → ids where text continues something, and never into a special token."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from ..errors import Errors

# Left contexts tried in order until one's ids stay as they are when the text follows: a line break
# merges with nothing in most vocabularies, the colon serves text that begins with one.
_LEFT_CONTEXTS = ("\n", ":")

# First character and one past the last.
Offsets = tuple[int, int]


class TextEncoder:
    """Encodes pieces of a sequence one by one, each as it stands in mid-sequence.

    A piece's ids are those that follow a fixed neutral left context, so they depend on nothing but
    the piece. Text that spells a special token (`</s>`, or an added token the template uses)
    becomes ordinary ids.

    tokenizer (PreTrainedTokenizerBase): A Hugging Face tokenizer, fast or slow.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        if tokenizer.eos_token_id is None:
            raise ValueError(Errors.P010.format(name=tokenizer.name_or_path or "the model"))
        self.end_id: int = tokenizer.eos_token_id
        # Where both are the same token (GPT-2), models never saw it at the start of a text.
        has_bos = tokenizer.bos_token_id not in (None, tokenizer.eos_token_id)
        self.bos_ids: list[int] = [tokenizer.bos_token_id] if has_bos else []
        self._encode_all = _PlainEncoder(tokenizer)
        self._contexts = [(c, self._encode_all([c])[0]) for c in _LEFT_CONTEXTS]
        special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        # Ordinary text may well become the unknown token, unless that is the end token too.
        unknown = {tokenizer.unk_token_id} - {tokenizer.bos_token_id, tokenizer.eos_token_id}
        self._reserved_ids = (special | set(tokenizer.all_special_ids)) - unknown

    def reserve(self, pieces: Iterable[str]) -> None:
        """Keep the added tokens in these pieces out of user text, but for single characters.

        pieces (Iterable[str]): Wording of the template; a number in it stands for any number.
        """
        numbered = [re.sub(r"\d+", "0", piece) for piece in pieces]
        for token_id, token in self.tokenizer.added_tokens_decoder.items():
            content = re.sub(r"\d+", "0", token.content)
            if len(token.content) > 1 and any(content in piece for piece in numbered):
                self._reserved_ids.add(token_id)

    def encode_wording(self, piece: str, *, first: bool = False) -> list[int]:
        """Encode wording of the template, in which special and added tokens mean themselves.

        piece (str): The wording.
        first (bool): Whether the sequence begins with it: SentencePiece tokenizers put a space
            there that no piece after it has.
        RETURNS (List[int]): Its ids.
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
                ids.extend(self._encode_all([part])[0])
            else:
                ids.extend(self._encode_continuing([part])[0])
        return ids

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode user text.

        texts (Sequence[str]): Texts or stretches of text.
        RETURNS (List[List[int]]): The ids of each; empty where the tokenizer's normalisation
            leaves nothing of it.
        RAISES (ValueError): A text cannot be encoded without a special token.
        """
        encoded = self._encode_continuing(texts)
        return [
            ids if self._reserved_ids.isdisjoint(ids) else self._encode_apart(text)
            for text, ids in zip(texts, encoded, strict=True)
        ]

    @property
    def has_offsets(self) -> bool:
        """RETURNS (bool): Whether the tokenizer says where in a text its ids are."""
        return self._encode_all.has_offsets

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[Offsets]]:
        """text (str): A text.
        RETURNS (Tuple[List[int], List[Offsets]]): Its ids, as `encode` gives them, and where in the
            text each starts and ends. Needs `has_offsets`.
        """
        ids, offsets = self._encode_continuing_with_offsets(text)
        if self._reserved_ids.isdisjoint(ids):
            return ids, offsets
        ids, offsets = [], []
        start = 0
        for piece in self._cut_apart(text):
            piece_ids, within = self._encode_continuing_with_offsets(piece)
            ids += piece_ids
            offsets += [(start + first, start + last) for first, last in within]
            start += len(piece)
        return ids, offsets

    def decode(self, ids: Sequence[int]) -> str:
        """ids (Sequence[int]): Ids.
        RETURNS (str): The text they stand for in mid-sequence: alone, SentencePiece tokenizers drop
            a space they begin with.
        """
        context, context_ids = self._contexts[0]
        decoded: str = self.tokenizer.decode(
            [*context_ids, *ids], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return decoded.removeprefix(context)

    def _encode_apart(self, text: str) -> list[int]:
        """Encode text that spells reserved tokens: cut each behind its first character."""
        ids = [i for piece in self._encode_continuing(self._cut_apart(text)) for i in piece]
        if not self._reserved_ids.isdisjoint(ids):
            raise ValueError(Errors.P011.format(text=text[:80]))
        return ids

    def _cut_apart(self, text: str) -> list[str]:
        contents = [self.tokenizer.convert_ids_to_tokens(i) for i in self._reserved_ids]
        pattern = "|".join(re.escape(c) for c in sorted(contents, key=len, reverse=True) if c)
        cuts = [m.start() + 1 for m in re.finditer(f"(?=({pattern}))", text, re.IGNORECASE)]
        bounds = [0, *cuts, len(text)]
        return [text[a:b] for a, b in pairwise(bounds) if a < b]

    def _encode_continuing(self, texts: Sequence[str]) -> list[list[int]]:
        result: list[list[int] | None] = [None] * len(texts)
        todo = list(range(len(texts)))
        for context, context_ids in self._contexts:
            size = len(context_ids)
            encoded = self._encode_all([context + texts[i] for i in todo])
            for i, ids in zip(todo, encoded, strict=True):
                if ids[:size] == context_ids:
                    result[i] = ids[size:]
            todo = [i for i in todo if result[i] is None]
            if not todo:
                break
        for i, ids in zip(todo, self._encode_all([texts[i] for i in todo]), strict=True):
            result[i] = ids
        return [ids for ids in result if ids is not None]

    def _encode_continuing_with_offsets(self, text: str) -> tuple[list[int], list[Offsets]]:
        for context, context_ids in self._contexts:
            size, shift = len(context_ids), len(context)
            ids, offsets = self._encode_all.with_offsets(context + text)
            if ids[:size] == context_ids:
                return ids[size:], [(start - shift, end - shift) for start, end in offsets[size:]]
        return self._encode_all.with_offsets(text)


class _PlainEncoder:
    """Many texts → ids, without special tokens added or recognised.

    tokenizer (PreTrainedTokenizerBase): The tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._slow = tokenizer
        self._fast: Tokenizer | None = None
        if tokenizer.is_fast:
            # A copy, so that no setting of the caller's (truncation, padding) reaches in here.
            self._fast = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
            self._fast.no_padding()
            self._fast.no_truncation()
            self._fast.encode_special_tokens = True

    def __call__(self, texts: list[str]) -> list[list[int]]:
        if self._fast is None:
            return [
                self._slow.encode(text, add_special_tokens=False, split_special_tokens=True)
                for text in texts
            ]
        # Without the offsets, which cost a quarter of the time.
        return [e.ids for e in self._fast.encode_batch_fast(texts, add_special_tokens=False)]

    @property
    def has_offsets(self) -> bool:
        return self._fast is not None

    def with_offsets(self, text: str) -> tuple[list[int], list[Offsets]]:
        assert self._fast is not None
        encoding = self._fast.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets
