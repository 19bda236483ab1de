"""Turn written mentions and text tags into entities: places, deduplication and overlap."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from ..calibration import UNCALIBRATED, Calibration
from ..settings import LIKELY, DecodingOptions
from ..texts import Entity, Span


@dataclass(frozen=True)
class DecodedMention:
    """A mention that the model wrote, or that only the text tags name.

    Args:
        label: The label.
        places: Character offsets of every place in the text that is written with the same ids.
        log_prob: Sum of the log-probabilities of its tokens, without the end token (paper, section
            3.3); `None` if it was not written.
        tagged: The probability that the text tags give it at each place; `None` if they were not
            read.
        asked: Whether the model was asked to write the mentions of the label. If not, only the tags
            count.
    """

    label: str
    places: tuple[Span, ...]
    log_prob: float | None
    tagged: tuple[float, ...] | None = None
    asked: bool = True

    def at(self, place: Span, tag_share: float) -> Entity | None:
        """Return the mention at a place; `None` if tags count and its probability is at most 0.5.

        Args:
            place: One of the mention's places.
            tag_share: The weight of the tags in the probability.
        """
        written = 0.0 if self.log_prob is None else math.exp(self.log_prob)
        tagged = None if self.tagged is None else self.tagged[self.places.index(place)]
        parts = (written if self.asked else None, tagged)
        score = UNCALIBRATED.score(*parts, tag_share)
        if tagged is not None and score <= LIKELY:
            return None
        return Entity(*place, self.label, score, *parts)


def resolve(text: str, decoded: Sequence[DecodedMention], options: DecodingOptions) -> list[Entity]:
    """Turn the decoded mentions of a text into entities.

    Args:
        text: The text.
        decoded: The mentions, in the order in which the model numbered them.
        options: The rules for places, deduplication and probabilities.

    Returns:
        The entities that are kept, in order of appearance. They may overlap.
    """
    missed = [each for each in decoded if each.asked and each.log_prob is None]
    written = [each for each in decoded if not each.asked or each.log_prob is not None]
    kept = keep_most_probable(text, _place(text, written, options), options)
    kept += [
        entity
        for entity in _place(text, missed, options)
        if all(entity.end <= each.start or each.end <= entity.start for each in kept)
    ]
    return keep_most_probable(text, kept, options)


def _place(text: str, mentions: Sequence[DecodedMention], options: DecodingOptions) -> list[Entity]:
    """Give each mention its place in the text, or its places.

    A mention written more often than it stands in the text repeats an earlier one; the more
    probable of the two counts.
    """
    found: dict[tuple[int, int, str], Entity] = {}
    turns: Counter[tuple[str, tuple[Span, ...]]] = Counter()
    for mention in mentions:
        turn = turns[mention.label, mention.places]
        turns[mention.label, mention.places] += 1
        # A lower-casing tokenizer confuses "us" and "US". The lower-case place is less likely.
        places = sorted(mention.places, key=lambda place: text[slice(*place)].islower())
        if options.occurrences == "all":
            forms = list(dict.fromkeys(text[start:end] for start, end in places))
            places = [p for p in places if text[slice(*p)] == forms[turn % len(forms)]]
        else:
            places = [places[turn % len(places)]]
        for place in places:
            entity = mention.at(place, options.tag_share)
            key = (*place, mention.label)
            if entity is not None and (key not in found or entity.score > found[key].score):
                found[key] = entity
    return list(found.values())


def keep_most_probable(
    text: str, entities: Sequence[Entity], options: DecodingOptions
) -> list[Entity]:
    """Keep only the entities with the most probable label of their string or place.

    Args:
        text: The text.
        entities: The entities found in it.
        options: Whether to deduplicate by string or by place.

    Returns:
        The entities that are kept, in order of appearance.
    """
    best: dict[Hashable, Entity] = {}
    keys: list[Hashable] = []
    for entity in entities:
        place = (entity.start, entity.end)
        key: Hashable = text[slice(*place)] if options.deduplicate == "string" else place
        keys.append(key)
        if key not in best or entity.score > best[key].score:
            best[key] = entity
    kept = [e for e, key in zip(entities, keys, strict=True) if e.label == best[key].label]
    return sorted(kept, key=lambda e: (e.start, e.end, e.label))


def rate(
    entities: Iterable[Entity], calibration: Calibration, options: DecodingOptions
) -> list[Entity]:
    """Calibrate the scores of entities, and drop those below the threshold.

    Args:
        entities: The entities that were found.
        calibration: The temperatures of their probabilities.
        options: The threshold, and the weight of the tags.

    Returns:
        The entities that are kept, in the same order.
    """
    if calibration != UNCALIBRATED:
        share = options.tag_share
        entities = [
            replace(each, score=calibration.score(each.written, each.tagged, share))
            for each in entities
        ]
    return [each for each in entities if each.score >= options.find_threshold(each.label)]


def non_overlapping(entities: Iterable[Entity], taken: Iterable[Span] = ()) -> list[Entity]:
    """Choose entities that do not overlap, the most probable first.

    Of equally probable entities, the longer one is chosen, then the earlier one.

    Args:
        entities: The entities.
        taken: Character offsets of stretches that no entity may overlap.

    Returns:
        The chosen entities, in order of appearance.
    """
    blocked = list(taken)
    kept = []
    for entity in sorted(entities, key=lambda e: (-e.score, e.start - e.end, e.start, e.label)):
        if all(entity.end <= start or end <= entity.start for start, end in blocked):
            kept.append(entity)
            blocked.append((entity.start, entity.end))
    return sorted(kept, key=lambda e: e.start)
