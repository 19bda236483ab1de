"""Text tags: what the text's own tokens are taught, in addition to the paper's sequences.

The paper teaches nothing at the tokens of the text. A model from scratch then has to learn from the
mentions alone where they stand, and which is the n-th of a label. Here each token also names the
label of the mention that it is in, and the number of the mention that begins at it. Tags are read
at the model's middle layer, so that the layers above find label and number there. To write the
n-th mention, the model then only has to look for its number in the text.

With label vectors, each token says of each label whether it is in a mention of it. So labels that
overlap, such as "person" and "writer", do not compete.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..prompt.encoder import EncodedText
from ..texts import Mention

Kind = Literal["inside", "outside", "begins"]


class TextTag(NamedTuple):
    """A tag that a token of the text is taught.

    Args:
        place: The token's place among the text's own ids.
        kind: `"inside"` for the label that the token is in, `"outside"` for a label that it is not
            in, and `"begins"` for the mention that begins at it.
        target: The index of the label, or of the number among the encoder's choices.
    """

    place: int
    kind: Kind
    target: int


@dataclass(frozen=True)
class TaughtTags:
    """The tags that a text is taught.

    Args:
        tags: The tags of all tokens.
        weights: The weight of each tag.
        length: Number of the text's own ids.
        labels: The ids of each label's wording: as in a prompt, or as a text if it has a vector.
        allowed: For each label, and then for no label, whether it is a choice: only labels that
            the text is annotated for are.
        are_alone: Whether each label is held against none alone, and has a vector.
    """

    tags: Sequence[TextTag]
    weights: Sequence[float]
    length: int
    labels: Sequence[tuple[int, ...]]
    allowed: Sequence[bool]
    are_alone: bool = False


def teach_tags(
    text: EncodedText,
    mentions: Mapping[str, Sequence[Mention]],
    unknown: Sequence[Mention],
    weight: float,
    *,
    are_alone: bool = False,
) -> TaughtTags:
    """Make the tags of a text from its gold mentions.

    Args:
        text: The text.
        mentions: Label → its mentions, in order of appearance. Labels that the text is not
            annotated for are missing.
        unknown: Stretches whose tokens are taught nothing, each with its label; an empty label
            stands for all. Mentions of the label behind one have no known number.
        weight: Weight of each kind of tag at a token. Where mentions overlap, their tags share it.
        are_alone: Whether each label is held against none alone. A tag that says so has the weight
            for each label.

    Returns:
        The tags.
    """
    openers = text.encoder.openers
    spelled = text.encoder.label_texts if are_alone else text.encoder.wordings
    labels = {label: index for index, label in enumerate(spelled)}
    stretches = [*(m for of_label in mentions.values() for m in of_label), *unknown]
    before = text.ids_before(sorted({o for m in stretches for o in (m.start, m.end)}))

    def places(mention: Mention) -> range:
        start = min(before[mention.start], text.length - 1)
        return range(start, max(before[mention.end], start + 1))

    untaught = {place for each in unknown for place in places(each)}
    inside: defaultdict[int, list[int]] = defaultdict(list)
    begins: defaultdict[int, list[int]] = defaultdict(list)
    # Where a mention begins whose number is unknown.
    unnumbered: set[int] = set()
    for label, of_label in mentions.items():
        numbered = min((u.start for u in unknown if u.label in ("", label)), default=math.inf)
        for n, mention in enumerate(of_label):
            of_mention = places(mention)
            if mention.start < numbered:
                # Mentions beyond the highest number have no opener.
                begins[of_mention[0]] += [n] if n < len(openers) else []
            else:
                unnumbered.add(of_mention[0])
            for place in of_mention:
                inside[place].append(labels[label])
    tags: list[TextTag] = []
    weights: list[float] = []
    for place in range(text.length):
        if place in untaught:
            continue
        of_place = inside.get(place, [])
        if are_alone:
            for label in mentions:
                kind: Kind = "inside" if labels[label] in of_place else "outside"
                _name(tags, weights, place, kind, [labels[label]], weight)
        else:
            _name(tags, weights, place, "inside", of_place or [len(labels)], weight)
        if place not in unnumbered:
            _name(tags, weights, place, "begins", begins.get(place, [len(openers)]), weight)
    allowed = [*(label in mentions for label in labels), True]
    ids = [tuple(each) for each in spelled.values()]
    return TaughtTags(tags, weights, text.length, ids, allowed, are_alone)


def _name(
    tags: list[TextTag],
    weights: list[float],
    place: int,
    kind: Kind,
    targets: Sequence[int],
    weight: float,
) -> None:
    """Add tags of one kind at a token, which share the weight."""
    tags += [TextTag(place, kind, target) for target in targets]
    weights += [weight / len(targets) for _ in targets]
