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
from typing import NamedTuple

from ..errors import Errors
from ..prompt.encoder import EncodedText, PromptEncoder
from ..texts import Mention


class TextTag(NamedTuple):
    """One thing a token of the text is taught.

    Args:
        place: The token's place in the text's ids.
        target: The id it is to name.
        share: Its part of the token's weight, 1 unless mentions overlap here.
        choices: The ids it chooses among.
    """

    place: int
    target: int
    share: float
    choices: list[int]


class TextTagger:
    """Says what a text's tokens are taught.

    Args:
        encoder: The template's ids.

    Raises:
        ValueError: A label's wording or an opener is not a single token.
    """

    def __init__(self, encoder: PromptEncoder) -> None:
        if untaggable := find_untaggable(encoder, encoder.labels):
            name, count = untaggable
            raise ValueError(Errors.P012.format(name=name, count=count))
        self._end_id = encoder.end_id
        self._labels = {label: ids[0] for label, ids in encoder.wordings.items()}
        self._openers = [ids[0] for ids in encoder.openers.values()]

    def tag(self, text: EncodedText, mentions: Mapping[str, Sequence[Mention]]) -> list[TextTag]:
        """Tag a text.

        Args:
            text: The text.
            mentions: For each label taught its mentions, in order of appearance.

        Returns:
            For each token of the text what it is in and what it begins; the end token stands for
            nothing.
        """
        bounds = sorted({o for ms in mentions.values() for m in ms for o in (m.start, m.end)})
        before = text.ids_before(bounds)
        inside: defaultdict[int, list[int]] = defaultdict(list)
        begun: defaultdict[int, list[int]] = defaultdict(list)
        for label, of_label in mentions.items():
            for n, mention in enumerate(of_label):
                start, end = min(before[mention.start], text.length - 1), before[mention.end]
                # Behind the highest number there is no opener to name.
                begun[start] += self._openers[n : n + 1]
                for place in range(start, max(end, start + 1)):
                    inside[place].append(self._labels[label])
        choices = [
            (inside, [*(self._labels[label] for label in mentions), self._end_id]),
            (begun, [*self._openers, self._end_id]),
        ]
        return [
            TextTag(place, target, 1 / len(targets), ids)
            for place in range(text.length)
            for found, ids in choices
            for targets in [found.get(place, [self._end_id])]
            for target in targets
        ]


def find_untaggable(encoder: PromptEncoder, labels: Iterable[str]) -> tuple[str, int] | None:
    """Find what cannot be a tag, as it is not a single token.

    Args:
        encoder: The template's ids.
        labels: The labels.

    Returns:
        A label, or a mention's number, and how many tokens its wording or opener is.
    """
    pieces = [(label, encoder.wordings[label]) for label in labels]
    pieces += [(str(n), ids) for n, ids in encoder.openers.items()]
    return next(((name, len(ids)) for name, ids in pieces if len(ids) != 1), None)
