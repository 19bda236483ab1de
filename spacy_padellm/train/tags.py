"""Text tags: what the text's own tokens are taught, in addition to the paper's sequences.

The paper teaches nothing at the tokens of the text. A model from scratch then has to learn from the
mentions alone where they stand, and which is the n-th of a label. Here each token also names the
label of the mention that it is in, and the number of the mention that begins at it. Tags are read
at the model's middle layer, so that the layers above find label and number there. To write the
n-th mention, the model then only has to look for its number in the text.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..prompt.encoder import EncodedText
from ..texts import Mention

Kind = Literal["inside", "begins"]


class TextTag(NamedTuple):
    """A tag that a token of the text is taught.

    Args:
        place: The token's place among the text's own ids.
        kind: `"inside"` for the label that the token is in, `"begins"` for the mention that begins
            at it.
        target: The index of the tag among the encoder's choices of this kind.
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
        allowed: For each label, and then for no label, whether it is a choice: only labels that
            the text is annotated for are.
    """

    tags: Sequence[TextTag]
    weights: Sequence[float]
    length: int
    allowed: Sequence[bool]


def teach_tags(
    text: EncodedText,
    mentions: Mapping[str, Sequence[Mention]],
    unknown: Sequence[Mention],
    weight: float,
) -> TaughtTags:
    """Make the tags of a text from its gold mentions.

    Args:
        text: The text.
        mentions: Label → its mentions, in order of appearance. Labels that the text is not
            annotated for are missing.
        unknown: Stretches whose tokens are taught nothing, each with its label; an empty label
            stands for all. Mentions of the label behind one have no known number.
        weight: Weight of each kind of tag at a token. Where mentions overlap, their tags share it.

    Returns:
        The tags.
    """
    wordings, openers = text.encoder.wordings, text.encoder.openers
    labels = {label: index for index, label in enumerate(wordings)}
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
    kinds: list[tuple[Kind, Mapping[int, list[int]], int]] = [
        ("inside", inside, len(labels)),
        ("begins", begins, len(openers)),
    ]
    tags, weights = [], []
    for place in range(text.length):
        for kind, found, none in kinds:
            if place in untaught or (kind == "begins" and place in unnumbered):
                continue
            targets = found.get(place, [none])
            tags += [TextTag(place, kind, target) for target in targets]
            weights += [weight / len(targets) for _ in targets]
    return TaughtTags(tags, weights, text.length, [*(label in mentions for label in labels), True])
