"""Text tags: what a text's own tokens are taught, in addition to the paper's sequences.

The paper teaches nothing at the text itself, so a model from scratch has to find out through the
mentions alone where they stand and which of a label is the n-th. Here each token of the text also
names the label of the mention it is in, and the opener of the mention it begins. What it names is
read at the model's middle layer, so that the layers above find label and number there: a mention's
opener then needs only look for its like in the text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from ..errors import Errors
from ..prompt.encoder import PromptEncoder
from ..texts import Mention


class TextTag(NamedTuple):
    """One thing a token of the text is taught.

    place (int): The token's place in the text's ids.
    target (int): The id it is to name.
    share (float): Its part of the token's weight, 1 unless mentions overlap here.
    choices (List[int]): The ids it chooses among.
    """

    place: int
    target: int
    share: float
    choices: list[int]


class TextTagger:
    """Says what a text's tokens are taught.

    encoder (PromptEncoder): The template's ids.
    labels (Iterable[str]): The labels.
    max_mentions (int): Highest mention number.
    RAISES (ValueError): A label's wording or an opener is not a single token.
    """

    def __init__(self, encoder: PromptEncoder, labels: Iterable[str], max_mentions: int) -> None:
        self._encoder = encoder
        labels = list(labels)
        if untaggable := find_untaggable(encoder, labels, max_mentions):
            name, count = untaggable
            raise ValueError(Errors.P012.format(name=name, count=count))
        self._labels = {each: encoder.wording(each)[0] for each in labels}
        self._openers = [encoder.opener(n)[0] for n in range(1, max_mentions + 1)]

    def tag(self, text: str, mentions: Mapping[str, Sequence[Mention]]) -> list[TextTag]:
        """text (str): A text.
        mentions (Mapping[str, Sequence[Mention]]): For each label taught its mentions, in order
            of appearance.
        RETURNS (List[TextTag]): For each token of the text what it is in and what it begins; the
            end token stands for nothing.
        """
        size, bounds = self._places(text, mentions)
        inside: defaultdict[int, list[int]] = defaultdict(list)
        begun: defaultdict[int, list[int]] = defaultdict(list)
        for label, of_label in mentions.items():
            for n, mention in enumerate(of_label):
                start, end = min(bounds[mention.start], size - 1), bounds[mention.end]
                # Behind the highest number there is no opener to name.
                begun[start] += self._openers[n : n + 1]
                for place in range(start, max(end, start + 1)):
                    inside[place].append(self._labels[label])
        end_id = self._encoder.end_id
        choices = [
            (inside, [*(self._labels[label] for label in mentions), end_id]),
            (begun, [*self._openers, end_id]),
        ]
        return [
            TextTag(place, target, 1 / len(targets), ids)
            for place in range(size)
            for found, ids in choices
            for targets in [found.get(place, [end_id])]
            for target in targets
        ]

    def _places(
        self, text: str, mentions: Mapping[str, Sequence[Mention]]
    ) -> tuple[int, dict[int, int]]:
        """RETURNS (Tuple[int, Dict[int, int]]): How many ids the text has, and for each place
        where a mention starts or ends, how many of them come before it.
        """
        offsets = sorted({o for ms in mentions.values() for m in ms for o in (m.start, m.end)})
        whole, *beginnings = self._encoder.text([text, *(text[:offset] for offset in offsets)])
        return len(whole), {
            offset: _shared(ids, whole) for offset, ids in zip(offsets, beginnings, strict=True)
        }


def find_untaggable(
    encoder: PromptEncoder, labels: Iterable[str], max_mentions: int
) -> tuple[str, int] | None:
    """encoder (PromptEncoder): The template's ids.
    labels (Iterable[str]): The labels.
    max_mentions (int): Highest mention number.
    RETURNS (Optional[Tuple[str, int]]): A label, or a mention's number, whose wording or opener is
        not a single token, and how many it is.
    """
    pieces = [(label, encoder.wording(label)) for label in labels]
    pieces += [(str(n), encoder.opener(n)) for n in range(1, max_mentions + 1)]
    return next(((name, len(ids)) for name, ids in pieces if len(ids) != 1), None)


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    """RETURNS (int): How many ids both begin with."""
    pairs = zip(a, b, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
