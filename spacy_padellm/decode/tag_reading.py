"""Text tags in decoding: what label a model that was taught so sees each token of a text in.

They come with the first pass, which runs the text anyway, and know nothing of counts: they confirm
mentions that are written, and name some that are not, as a count was too low.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from ..prompt.encoder import PromptEncoder
from ..texts import TokenizedText
from ..tree.base import TreeRun
from ..tree.model_call import Readout
from ..tree.token_tree import TokenTree
from .mentions import DecodedMention


def find_readable(encoder: PromptEncoder, labels: Sequence[str]) -> list[str]:
    """encoder (PromptEncoder): The template's ids.
    labels (Sequence[str]): Labels.
    RETURNS (List[str]): Those that a token can name: with a wording of one id.
    """
    return [label for label in labels if len(encoder.wording(label)) == 1]


def tag_ids(encoder: PromptEncoder, labels: Sequence[str]) -> list[int]:
    """encoder (PromptEncoder): The template's ids.
    labels (Sequence[str]): Labels that a token can name.
    RETURNS (List[int]): What a token's tag is one of: each label, and none, which is last.
    """
    return [*(encoder.wording(label)[0] for label in labels), encoder.end_id]


class TagReader:
    """Gives a run's logits, and reads the text tags in its first pass.

    run (TreeRun): The run.
    trees (Sequence[TokenTree]): Its trees, of which each prefix ends with a text.
    lengths (Sequence[int]): Ids of each text.
    ids (Sequence[int]): The ids a tag is one of.
    """

    def __init__(
        self,
        run: TreeRun,
        trees: Sequence[TokenTree],
        lengths: Sequence[int],
        ids: Sequence[int],
    ) -> None:
        self._run = run
        ends = [tree.prefix_length for tree in trees]
        self._texts = [range(end - size, end) for end, size in zip(ends, lengths, strict=True)]
        self._ids = torch.tensor(ids)
        self._is_read = False
        self.probs: list[np.ndarray] = []

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout) -> Tensor:
        """nodes (Sequence[Sequence[int]]): As of `TreeRun.logits`, none of them in a prefix.
        readout (Readout): Which of their logits are wanted; it names ids.
        RETURNS (Tensor): These logits. After the first call, `probs` has for each text the
            probabilities of each of its ids' tags, shape `(n_text_ids, n_tags)`.
        """
        if self._is_read:
            return self._run.logits(nodes, readout)
        if readout.ids is None:
            raise ValueError("tags are read among ids, not in the whole vocabulary")
        self._is_read = True
        wanted = readout.ids.cpu()
        ids = torch.cat([wanted, self._ids]).unique()
        pairs = list(zip(self._texts, nodes, strict=True))
        asked = [[*text, *of_tree] for text, of_tree in pairs]
        in_text = torch.tensor(
            [
                place < len(text)
                for text, of_tree in pairs
                for place in range(len(text) + len(of_tree))
            ]
        )
        logits = self._run.logits(asked, Readout(ids, in_text))
        columns = torch.searchsorted(ids, self._ids).to(logits.device)
        in_text = in_text.to(logits.device)
        tags = logits[in_text][:, columns].float().softmax(dim=1).cpu().numpy()
        self.probs = np.split(tags, np.cumsum([len(text) for text in self._texts])[:-1])
        return logits[~in_text][:, torch.searchsorted(ids, wanted).to(logits.device)]


def tag_tokens(
    text: TokenizedText, offsets: Sequence[tuple[int, int]], probs: np.ndarray
) -> np.ndarray:
    """text (TokenizedText): A text.
    offsets (Sequence[Tuple[int, int]]): Where in the text each of its ids starts and ends.
    probs (np.ndarray): Probabilities of their tags, shape `(n_text_ids, n_tags)`.
    RETURNS (np.ndarray): For each of its tokens the mean of those of the ids that are in it, shape
        `(n_tokens, n_tags)`; not a number for a token that has none.
    """
    sums = np.zeros((len(text.tokens), probs.shape[1]))
    counts = np.zeros((len(text.tokens), 1))
    ends = [end for _, end in text.tokens]
    for (first, last), each in zip(offsets, probs, strict=True):
        # One id may be of several tokens ("cannot"), and one of a blank between two of none.
        for token in range(bisect_right(ends, first), len(ends)):
            if text.tokens[token][0] >= last:
                break
            sums[token] += each
            counts[token] += 1
    with np.errstate(invalid="ignore"):
        return sums / counts


def join_tags(
    text: TokenizedText,
    labels: Sequence[str],
    tags: np.ndarray,
    written: Sequence[DecodedMention],
    max_mention_tokens: int,
) -> list[DecodedMention]:
    """text (TokenizedText): A text.
    labels (Sequence[str]): The labels that can be tags.
    tags (np.ndarray): For each of its tokens the probability of each label, and of none, shape
        `(n_tokens, n_labels + 1)`.
    written (Sequence[DecodedMention]): What was written of it.
    max_mention_tokens (int): Longest mention, in tokens of the text.
    RETURNS (List[DecodedMention]): These with what the tags say to each place, and behind them what
        only the tags name: tokens in a row with the same most probable label.
    """
    starts = [start for start, _ in text.tokens]
    column = {label: place for place, label in enumerate(labels)}
    known = ~np.isnan(tags[:, 0])

    def confirm(label: str, place: tuple[int, int]) -> float:
        own = slice(bisect_left(starts, place[0]), bisect_left(starts, place[1]))
        found = tags[own, column[label]][known[own]]
        return float(found.mean()) if found.size else 0.0

    joined = [
        replace(each, tagged=tuple(confirm(each.label, place) for place in each.places))
        if each.label in column
        else each
        for each in written
    ]
    tag_of = np.where(known, np.nan_to_num(tags).argmax(axis=1), len(labels))
    for tag, group in groupby(range(len(tags)), key=lambda token: int(tag_of[token])):
        tokens = _trim(text, list(group))
        if tag < len(labels) and 0 < len(tokens) <= max_mention_tokens:
            place = (starts[tokens[0]], text.tokens[tokens[-1]][1])
            tagged = (confirm(labels[tag], place),)
            joined.append(DecodedMention(labels[tag], (place,), -math.inf, tagged))
    return joined


def _trim(text: TokenizedText, tokens: list[int]) -> list[int]:
    """RETURNS (List[int]): The tokens without whitespace at both ends, where no mention has any."""
    solid = [
        place
        for place, token in enumerate(tokens)
        if not text.text[slice(*text.tokens[token])].isspace()
    ]
    return tokens[solid[0] : solid[-1] + 1] if solid else []
