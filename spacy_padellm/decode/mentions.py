"""Decoded mentions → mentions with places: occurrences, deduplication, overlap."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ..defaults import TAG_SHARE
from ..errors import Errors

# What a probability has to exceed where tags count.
_LIKELY = 0.5

Occurrences = Literal["in_order", "all"]
Deduplicate = Literal["string", "span"]


@dataclass(frozen=True)
class DecodedMention:
    """What the model wrote after one mention opener.

    label (str): The label.
    places (Tuple[Tuple[int, int], ...]): Character offsets of every place in the text that is
        written so.
    log_prob (float): Sum of the log-probabilities of its tokens, the end token excluded (paper,
        section 3.3); minus infinity for one that is not written, but named by text tags.
    tagged (Tuple[float, ...]): For each place how probable the text's tags find the label there;
        empty where they are not read.
    """

    label: str
    places: tuple[tuple[int, int], ...]
    log_prob: float
    tagged: tuple[float, ...] = ()


@dataclass(frozen=True)
class ScoredMention:
    """A mention found in a text.

    start (int): First character.
    end (int): One past the last character.
    label (str): Its label.
    score (float): Its probability, 0 to 1.
    """

    start: int
    end: int
    label: str
    score: float


@dataclass(frozen=True)
class Resolution:
    """How decoded mentions become mentions of a text.

    threshold (float): Lowest probability a mention is kept with.
    deduplicate (Deduplicate): `"string"`: a string found under several labels stays under the
        most probable one (the paper's rule). `"span"`: the same for a place in the text only.
    occurrences (Occurrences): `"in_order"`: the k-th mention written so takes its k-th place.
        `"all"`: a mention marks every place that is written so.
    tag_share (float): What text tags, where they are read, count in a mention's probability. It
        then has to be more probable than not, and what only the tags name is kept where nothing
        that is written is.
    """

    threshold: float = 0.0
    deduplicate: Deduplicate = "string"
    occurrences: Occurrences = "in_order"
    tag_share: float = TAG_SHARE

    def __post_init__(self) -> None:
        for name in ("threshold", "tag_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(Errors.P030.format(name=name, value=getattr(self, name)))
        for name, choices in (("deduplicate", Deduplicate), ("occurrences", Occurrences)):
            value, values = getattr(self, name), get_args(choices)
            if value not in values:
                raise ValueError(Errors.P031.format(name=name, value=value, values=values))

    def resolve(self, text: str, decoded: Sequence[DecodedMention]) -> list[ScoredMention]:
        """text (str): The text.
        decoded (Sequence[DecodedMention]): Its mentions, in the order the model numbered them.
        RETURNS (List[ScoredMention]): The mentions kept, in order of appearance.
        """
        written = [mention for mention in decoded if mention.log_prob > -math.inf]
        kept = self.keep_most_probable(text, self._place(text, written))
        named = [mention for mention in decoded if mention.log_prob == -math.inf]
        kept += [
            mention
            for mention in self._place(text, named)
            if all(mention.end <= each.start or each.end <= mention.start for each in kept)
        ]
        return self.keep_most_probable(text, kept)

    def keep_most_probable(
        self, text: str, mentions: Sequence[ScoredMention]
    ) -> list[ScoredMention]:
        """text (str): The text.
        mentions (Sequence[ScoredMention]): Mentions of the text.
        RETURNS (List[ScoredMention]): Those under the most probable label of their string or
            place, as `deduplicate` says, in order of appearance.
        """
        if self.deduplicate == "string":
            kept = _most_probable_label(mentions, lambda m: text[m.start : m.end])
        else:
            kept = _most_probable_label(mentions, lambda m: (m.start, m.end))
        return sorted(kept, key=lambda m: (m.start, m.end, m.label))

    def _place(self, text: str, decoded: Sequence[DecodedMention]) -> list[ScoredMention]:
        """A mention written more often than it stands in the text repeats an earlier one; the more
        probable of the two counts.
        """
        found: dict[tuple[int, int, str], float] = {}
        turns: Counter[tuple[str, tuple[tuple[int, int], ...]]] = Counter()
        every = self.occurrences == "all"
        for mention in decoded:
            turn = turns[mention.label, mention.places]
            turns[mention.label, mention.places] += 1
            places = _capitals_first(text, mention.places)
            if every:
                forms = list(dict.fromkeys(text[start:end] for start, end in places))
                places = [p for p in places if text[slice(*p)] == forms[turn % len(forms)]]
            for start, end in places if every else [places[turn % len(places)]]:
                key = (start, end, mention.label)
                found[key] = max(found.get(key, -1.0), self._score(mention, (start, end)))
        return [
            ScoredMention(*key, score) for key, score in found.items() if score >= self.threshold
        ]

    def _score(self, mention: DecodedMention, place: tuple[int, int]) -> float:
        """RETURNS (float): Its probability at a place; below 0 where tags make it unlikely."""
        score = math.exp(mention.log_prob)
        if not mention.tagged:
            return score
        tagged = mention.tagged[mention.places.index(place)]
        score = (1 - self.tag_share) * score + self.tag_share * tagged
        return score if score > _LIKELY else -1.0


def non_overlapping(
    mentions: Iterable[ScoredMention], taken: Iterable[tuple[int, int]] = ()
) -> list[ScoredMention]:
    """mentions (Iterable[ScoredMention]): Mentions, overlapping or not.
    taken (Iterable[Tuple[int, int]]): Stretches of the text that are not free.
    RETURNS (List[ScoredMention]): The most probable ones that overlap neither each other nor
        what is taken (of equals the longer, then the earlier), in order of appearance.
    """
    blocked = list(taken)
    kept = []
    for mention in sorted(mentions, key=lambda m: (-m.score, m.start - m.end, m.start, m.label)):
        if all(mention.end <= start or end <= mention.start for start, end in blocked):
            kept.append(mention)
            blocked.append((mention.start, mention.end))
    return sorted(kept, key=lambda m: m.start)


def _capitals_first(text: str, places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Places of a mention that a lower-casing tokenizer cannot tell apart: us is hardly the US."""
    return sorted(places, key=lambda place: text[slice(*place)].islower())


def _most_probable_label(
    mentions: Sequence[ScoredMention], key: Callable[[ScoredMention], Hashable]
) -> list[ScoredMention]:
    """Keep, of the mentions with the same key, those under the label of the most probable one."""
    best: dict[Hashable, ScoredMention] = {}
    for mention in mentions:
        known = best.get(key(mention))
        if known is None or mention.score > known.score:
            best[key(mention)] = mention
    return [m for m in mentions if m.label == best[key(m)].label]
