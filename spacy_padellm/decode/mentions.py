"""Turn written mentions and text tags into entities: places, deduplication and overlap."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from ..settings import DecodingOptions
from ..texts import Entity, Span, TokenizedText

# A probability must exceed this if tags count.
_LIKELY = 0.5


@dataclass(frozen=True)
class DecodedMention:
    """A mention that the model wrote, or that only the text tags name.

    Args:
        label: The label.
        places: Character offsets of every place in the text that is written with the same ids.
        log_prob: Sum of the log-probabilities of its tokens, without the end token (paper, section
            3.3); `None` if it was not written.
        tagged: The probability that the text tags give it at each place; `None` if its label is not
            read as a tag.
    """

    label: str
    places: tuple[Span, ...]
    log_prob: float | None
    tagged: tuple[float, ...] | None = None

    def score(self, place: Span, tag_share: float) -> float | None:
        """Return the mention's probability at a place, `None` if tags count and it is at most 0.5.

        Args:
            place: One of the mention's places.
            tag_share: The weight of the tags in the probability.
        """
        written = 0.0 if self.log_prob is None else math.exp(self.log_prob)
        if self.tagged is None:
            return written
        tagged = self.tagged[self.places.index(place)]
        score = (1 - tag_share) * written + tag_share * tagged
        return score if score > _LIKELY else None


def join_tags(
    text: TokenizedText,
    labels: Sequence[str],
    offsets: Sequence[Span],
    probs: np.ndarray,
    written: Iterable[DecodedMention],
    max_mention_tokens: int,
) -> list[DecodedMention]:
    """Combine the written mentions of a text with its tags.

    Tags do not depend on counts. They confirm written mentions, and name some that were missed
    because a count was too low. Reading them is free, since the first pass runs the text anyway.

    Args:
        text: The text.
        labels: The labels that can be tags.
        offsets: Character offsets of each of the text's ids.
        probs: Probabilities of the labels and of no label at each id, shape
            `(n_ids, n_labels + 1)`.
        written: The written mentions.
        max_mention_tokens: Longest mention, in tokens of the text.

    Returns:
        The written mentions with the tags' probabilities, then a mention for each stretch of tokens
        with the same most probable label, unless the stretch is too long.
    """
    tags = _tag_tokens(text, offsets, probs)
    starts = [start for start, _ in text.tokens]
    known = ~np.isnan(tags[:, 0])

    def confirm(label: int, place: Span) -> float:
        own = slice(bisect_left(starts, place[0]), bisect_left(starts, place[1]))
        found = tags[own, label][known[own]]
        return float(found.mean()) if found.size else 0.0

    joined = []
    for each in written:
        if each.label in labels:
            column = labels.index(each.label)
            tagged = tuple(confirm(column, place) for place in each.places)
            each = replace(each, tagged=tagged)
        joined.append(each)
    most_probable = np.where(known, np.nan_to_num(tags).argmax(axis=1), len(labels))
    # No mention begins or ends with whitespace.
    solid = [not text.text[start:end].isspace() for start, end in text.tokens]
    for tag, group in groupby(range(len(tags)), key=lambda token: int(most_probable[token])):
        of_group = list(group)
        tokens = [token for token in of_group if solid[token]]
        if tag < len(labels) and tokens and tokens[-1] - tokens[0] < max_mention_tokens:
            place = (starts[tokens[0]], text.tokens[tokens[-1]][1])
            named = DecodedMention(labels[tag], (place,), None, (confirm(tag, place),))
            joined.append(named)
    return joined


def _tag_tokens(text: TokenizedText, offsets: Sequence[Span], probs: np.ndarray) -> np.ndarray:
    """Average the probabilities of the ids in each token; NaN for a token without ids.

    Returns:
        Probabilities, shape `(n_tokens, n_labels + 1)`.
    """
    sums = np.zeros((len(text.tokens), probs.shape[1]))
    counts = np.zeros((len(text.tokens), 1))
    ends = [end for _, end in text.tokens]
    for (first, last), each in zip(offsets, probs, strict=True):
        # An id may be in several tokens ("cannot") or, as a blank between two tokens, in none.
        for token in range(bisect_right(ends, first), len(ends)):
            if text.tokens[token][0] >= last:
                break
            sums[token] += each
            counts[token] += 1
    with np.errstate(invalid="ignore"):
        return sums / counts


def resolve(text: str, decoded: Sequence[DecodedMention], options: DecodingOptions) -> list[Entity]:
    """Turn the decoded mentions of a text into entities.

    Args:
        text: The text.
        decoded: The mentions, in the order in which the model numbered them.
        options: The rules for places, deduplication and probabilities.

    Returns:
        The entities that are kept, in order of appearance. They may overlap.
    """
    written = [mention for mention in decoded if mention.log_prob is not None]
    named = [mention for mention in decoded if mention.log_prob is None]
    kept = keep_most_probable(text, _place(text, written, options), options)
    kept += [
        entity
        for entity in _place(text, named, options)
        if all(entity.end <= each.start or each.end <= entity.start for each in kept)
    ]
    return keep_most_probable(text, kept, options)


def _place(text: str, mentions: Sequence[DecodedMention], options: DecodingOptions) -> list[Entity]:
    """Give each mention its place in the text, or its places, and drop improbable ones.

    A mention written more often than it stands in the text repeats an earlier one; the more
    probable of the two counts.
    """
    found: dict[tuple[int, int, str], float] = {}
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
            score = mention.score(place, options.tag_share)
            if score is not None and score >= options.threshold:
                key = (*place, mention.label)
                found[key] = max(score, found.get(key, score))
    return [Entity(*key, score) for key, score in found.items()]


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
