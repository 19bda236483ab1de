"""Text tags: targets at the tokens of the text, in addition to the paper's sequences.

The paper teaches nothing at the text itself. A model trained from scratch then has to learn from
the mentions alone where they stand and which one is the n-th of its label. With text tags, each
token of the text also predicts the label of the mention that it is in, and the opener of the
mention that begins with it. The model's middle layer makes these predictions, so that the layers
above find label and number there. A mention's opener then only has to look for the same opener in
the text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..errors import Errors
from ..prompt.encoder import EncodedText, PromptEncoder
from ..texts import Mention


class TextTag(NamedTuple):
    """A target at one token of the text.

    Args:
        place: Index of the token among the ids of the text.
        target: The id to predict.
        share: Share of this target in the tag's weight. It is 1 unless mentions overlap here.
        choices: The ids that the target is chosen from.
    """

    place: int
    target: int
    share: float
    choices: list[int]


class TextTagger:
    """A builder of text tags for training texts.

    Args:
        encoder: Gives the ids of labels and openers.

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
        """Tag the tokens of a text.

        Args:
            text: The text.
            mentions: For each label that is taught, its mentions in order of appearance.

        Returns:
            For each token the tags for the mention that it is in and for the mention that begins
            with it. The end token as a target means that there is no such mention.
        """
        bounds = sorted({o for ms in mentions.values() for m in ms for o in (m.start, m.end)})
        before = text.ids_before(bounds)
        inside: defaultdict[int, list[int]] = defaultdict(list)
        begun: defaultdict[int, list[int]] = defaultdict(list)
        for label, of_label in mentions.items():
            for n, mention in enumerate(of_label):
                start, end = min(before[mention.start], text.length - 1), before[mention.end]
                # Mentions beyond the highest number have no opener.
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
    """Find a label or opener that is not a single token and so cannot be a tag.

    Args:
        encoder: Gives the ids of labels and openers.
        labels: The labels to check. All openers are checked, too.

    Returns:
        The label, or the opener's number, and its number of tokens; `None` if all are single
        tokens.
    """
    pieces = [(label, encoder.wordings[label]) for label in labels]
    pieces += [(str(n), ids) for n, ids in encoder.openers.items()]
    return next(((name, len(ids)) for name, ids in pieces if len(ids) != 1), None)
