"""What is written of a text, and what its tags say → entities: places, deduplication, overlap."""

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

# What a probability has to exceed where tags count.
_LIKELY = 0.5


@dataclass(frozen=True)
class DecodedMention:
    """A mention that the model wrote, or that only the text's tags name.

    Args:
        label: Its label.
        places: Character offsets of every place in the text that is written so.
        log_prob: Sum of the log-probabilities of its tokens, the end token excluded (paper,
            section 3.3); `None` for one that is not written.
        tagged: For each place how probable the text's tags find the label there; `None` where they
            are not read.
    """

    label: str
    places: tuple[Span, ...]
    log_prob: float | None
    tagged: tuple[float, ...] | None = None

    def score(self, place: Span, tag_share: float) -> float | None:
        """Find how probable the mention is at a place, `None` where tags make it unlikely.

        Args:
            place: One of its places.
            tag_share: The tags' share in it.
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
    """Join what is written of a text with what its tags say.

    The tags come with the first pass, which runs the text anyway, and know nothing of counts: they
    confirm mentions that are written, and name some that are not, as a count was too low.

    Args:
        text: The text.
        labels: The labels that can be tags.
        offsets: Where in the text each of its ids starts and ends.
        probs: For each id the probability of each label, and of none, shape
            `(n_ids, n_labels + 1)`.
        written: What was written.
        max_mention_tokens: Longest mention, in tokens of the text.

    Returns:
        What was written with what the tags say to each place, and behind it what only the tags
        name: tokens in a row with the same most probable label.
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
    """Take for each token the mean of the ids that are in it, not a number where there are none.

    Returns:
        Probabilities, shape `(n_tokens, n_labels + 1)`.
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


def resolve(text: str, decoded: Sequence[DecodedMention], options: DecodingOptions) -> list[Entity]:
    """Turn what was decoded of a text into entities.

    Args:
        text: The text.
        decoded: Its mentions, in the order the model numbered them.
        options: How occurrences and labels are told apart.

    Returns:
        The entities kept, in order of appearance; they may overlap.
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
    """Give mentions their places. One written more often than it stands in the text repeats an
    earlier one; the more probable of the two counts.
    """
    found: dict[tuple[int, int, str], float] = {}
    turns: Counter[tuple[str, tuple[Span, ...]]] = Counter()
    for mention in mentions:
        turn = turns[mention.label, mention.places]
        turns[mention.label, mention.places] += 1
        # A lower-casing tokenizer cannot tell some places apart: us is hardly the US.
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
    """Keep the entities under the most probable label of their string or place.

    Args:
        text: The text.
        entities: Entities found in it.
        options: Whether strings or places are deduplicated.

    Returns:
        Those kept, in order of appearance.
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
    """Keep the most probable entities that do not overlap.

    Args:
        entities: Entities, overlapping or not.
        taken: Stretches of the text that are not free.

    Returns:
        Those kept, in order of appearance. Of equally probable ones the longer, then the earlier
        counts.
    """
    blocked = list(taken)
    kept = []
    for entity in sorted(entities, key=lambda e: (-e.score, e.start - e.end, e.start, e.label)):
        if all(entity.end <= start or end <= entity.start for start, end in blocked):
            kept.append(entity)
            blocked.append((entity.start, entity.end))
    return sorted(kept, key=lambda e: e.start)
