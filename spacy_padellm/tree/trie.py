"""Tries of what the model may write: counts after the prompt, mentions after their opener."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Generic, TypeVar

from ..prompt.encoder import PromptEncoder
from ..texts import TokenizedText

Value = TypeVar("Value")
Span = tuple[int, int]


class Trie(Generic[Value]):
    """Admissible token sequences and what each stands for.

    Sequences end with a terminator token that occurs nowhere else in them, so values are found at
    leaves only.

    children (List[Dict[int, int]]): For each node, token id → child node. Node 0 is the start.
    values (Dict[int, List[Value]]): Leaf → what its sequence stands for, in order of insertion.
    depth (int): Length of the longest sequence, its terminator included.
    """

    START = 0

    def __init__(self) -> None:
        self.children: list[dict[int, int]] = [{}]
        self.values: dict[int, list[Value]] = {}
        self.depth = 0
        self._last_ids: Sequence[int] = ()
        self._last_path = [self.START]

    def insert(self, ids: Sequence[int], value: Value) -> None:
        """ids (Sequence[int]): A sequence, its terminator included.
        value (Value): What it stands for; a sequence may stand for several.
        """
        # Spans come by start and length: most begin with all of the one before.
        shared = len(self._last_ids) - 1
        if shared < 1 or ids[:shared] != self._last_ids[:shared]:
            shared = 0
        path = self._last_path[: shared + 1]
        for token_id in ids[shared:]:
            children = self.children[path[-1]]
            if token_id not in children:
                children[token_id] = len(self.children)
                self.children.append({})
            path.append(children[token_id])
        self._last_ids, self._last_path = ids, path
        self.depth = max(self.depth, len(ids))
        self.values.setdefault(path[-1], []).append(value)

    def find(self, ids: Iterable[int]) -> int | None:
        """ids (Iterable[int]): The beginning of a sequence.
        RETURNS (Optional[int]): The node it leads to, `None` if no sequence begins so.
        """
        node: int | None = self.START
        for token_id in ids:
            if node is None:
                return None
            node = self.children[node].get(token_id)
        return node

    def continuations(self, ids: Iterable[int]) -> list[int]:
        """ids (Iterable[int]): The beginning of a sequence of the trie.
        RETURNS (List[int]): The ids that may follow it.
        RAISES (KeyError): No sequence begins so.
        """
        node = self.find(ids)
        if node is None:
            raise KeyError(tuple(ids))
        return list(self.children[node])


def build_count_trie(encoder: PromptEncoder, max_mentions: int) -> Trie[int]:
    """The numbers of mentions a label may have.

    encoder (PromptEncoder): Says what a count's ids are.
    max_mentions (int): Highest count.
    RETURNS (Trie[int]): The counts 0 to `max_mentions`.
    """
    trie: Trie[int] = Trie()
    for count in range(max_mentions + 1):
        trie.insert(encoder.count(count), count)
    return trie


def admissible_spans(source: TokenizedText, max_mention_tokens: int) -> list[Span]:
    """The stretches of a text that may be a mention: they start and end on token boundaries and
    neither begin nor end with a whitespace token.

    source (TokenizedText): The text.
    max_mention_tokens (int): Longest mention, in tokens of the text.
    RETURNS (List[Span]): Character offsets, by start, then end.
    """
    solid = [not source.text[start:end].isspace() for start, end in source.tokens]
    return [
        (source.tokens[first][0], source.tokens[last][1])
        for first in range(len(solid))
        if solid[first]
        for last in range(first, min(first + max_mention_tokens, len(solid)))
        if solid[last]
    ]


def build_source_trie(
    encoder: PromptEncoder,
    source: TokenizedText,
    max_mention_tokens: int,
    *,
    whole: Collection[int] | None = None,
) -> Trie[Span]:
    """Every admissible mention of a text, as the ids it has where mentions are written.

    A span the tokenizer has no ids for (it normalises it to nothing) cannot be written and is
    left out.

    Nodes are numbered depth first, so what is below a node has the numbers after its own.

    encoder (PromptEncoder): Says what a mention's ids are.
    source (TokenizedText): The text.
    max_mention_tokens (int): Longest mention, in tokens of the text.
    whole (Optional[Collection[int]]): Where given, sequences that begin with another id are only
        that id: all that training needs.
    RETURNS (Trie[Span]): Leaves hold the character offsets of all places with these ids.
    """
    spans = admissible_spans(source, max_mention_tokens)
    trie: Trie[Span] = Trie()
    listed = zip(_mention_ids(encoder, source.text, spans), spans, strict=True)
    for ids, span in sorted((ids, span) for ids, span in listed if ids is not None):
        trie.insert(ids if whole is None or ids[0] in whole else ids[:1], span)
    return trie


def _mention_ids(
    encoder: PromptEncoder, text: str, spans: Sequence[Span]
) -> list[list[int] | None]:
    strings = [text[start:end] for start, end in spans]
    distinct = list(dict.fromkeys(strings))
    ids = dict(zip(distinct, encoder.mentions(distinct), strict=True))
    return [ids[string] for string in strings]
