"""Augmentation: make more training texts from the given ones."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from ..errors import Errors
from ..texts import AnnotatedText, Mention, TokenizedText

# Most mentions to keep for a label, and most texts to keep for joining.
POOL_SIZE = 100_000

Item = TypeVar("Item")

# The labels that a text is annotated for; `None` for all.
Labels = tuple[str, ...] | None


@dataclass
class MentionSwap:
    """A text augmenter that swaps mentions, joins texts, and puts texts in capitals.

    A mention is swapped for another one of the same label. So a model learns where mentions stand
    rather than which ones there are.

    Args:
        rate: Probability that a mention is swapped.
        uses: How often each version of a text is used. More uses cost less time, as each version
            needs a new tree.
        join: Most texts that are joined into one, so that a model sees more mentions of a label
            than short texts have; 1 to join none.
        capitals: Probability that a text is put in capitals, like a headline.

    Raises:
        ValueError: `rate` or `capitals` is not from 0 to 1, or `uses` or `join` is below 1.
    """

    rate: float
    uses: int = 1
    join: int = 1
    capitals: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rate", "capitals"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(Errors.P030.format(name=name, value=getattr(self, name)))
        for name in ("uses", "join"):
            if getattr(self, name) < 1:
                raise ValueError(Errors.P032.format(name=name, value=getattr(self, name)))
        self._pools: dict[tuple[str, Labels], list[TokenizedText]] = {}
        self._texts: dict[Labels, list[AnnotatedText]] = {}

    @property
    def growth(self) -> float:
        """Average length of augmented texts, roughly, relative to the originals."""
        return (1 + self.join) / 2

    def fresh(self) -> MentionSwap:
        """Create a copy with the same settings and nothing collected."""
        return replace(self)

    def collect(
        self,
        text: AnnotatedText,
        mentions: Iterable[Mention],
        generator: random.Random | None = None,
    ) -> None:
        """Collect the mentions of a text, to swap them into other texts.

        Mentions that are collected more often are swapped in more often. Mentions that overlap
        others are not collected, because the mentions nested in them would be lost.

        Args:
            text: A training text.
            mentions: Those of its mentions that can be taught.
            generator: The source of randomness, by default the state of `random`.
        """
        draw = _generator(generator)
        if self.join > 1:
            # Encoded texts would fill the memory with their ids and tries.
            plain = replace(text, source=text.source.plain())
            _put(self._texts.setdefault(text.labels, []), plain, draw)
        alone = set(_alone(text))
        for mention in mentions:
            stretch = _cut(text.source, mention.start, mention.end)
            if mention not in alone or stretch is None:
                continue
            _put(self._pools.setdefault((mention.label, text.labels), []), stretch, draw)

    def __call__(
        self, text: AnnotatedText, generator: random.Random | None = None
    ) -> AnnotatedText:
        """Augment a text.

        Args:
            text: The text. Mentions that overlap others, or are not on its token boundaries, are
                not swapped.
            generator: The source of randomness, by default the state of `random`.

        Returns:
            The augmented text. New mentions come from texts that are annotated for at least the
            labels of this text, joined texts from those annotated for exactly these labels.
        """
        draw = _generator(generator)
        others = self._texts.get(text.labels, [])
        joined = self._changed(text, draw)
        for _ in range(draw.randint(1, self.join) - 1 if others else 0):
            joined = _append(joined, self._changed(draw.choice(others), draw))
        return joined

    def _changed(self, text: AnnotatedText, draw: random.Random) -> AnnotatedText:
        swapped = {}
        for mention in _alone(text):
            pools = self._pools_for(mention.label, text.labels)
            if pools and draw.random() < self.rate:
                (pool,) = draw.choices(pools, [len(pool) for pool in pools])
                swapped[mention] = draw.choice(pool)
        # Capitals come last, so that swapped mentions get them, too.
        return self._raised(_replace(text, swapped) if swapped else text, draw)

    def _raised(self, text: AnnotatedText, draw: random.Random) -> AnnotatedText:
        if not self.capitals or draw.random() >= self.capitals:
            return text
        raised = text.source.text.upper()
        # Some capitals are longer ("ß" becomes "SS"), which would make the offsets wrong.
        same_length = len(raised) == len(text.source.text)
        return (
            replace(text, source=TokenizedText(raised, text.source.tokens)) if same_length else text
        )

    def _pools_for(self, label: str, labels: Labels) -> list[list[TokenizedText]]:
        return [
            pool
            for (of_label, annotated), pool in self._pools.items()
            if of_label == label
            and (annotated is None or (labels is not None and set(labels) <= set(annotated)))
        ]


def _generator(generator: random.Random | None) -> random.Random:
    # The functions of the module `random` are the methods of a hidden `Random`.
    return cast(random.Random, random) if generator is None else generator


def _put(pool: list[Item], item: Item, draw: random.Random) -> None:
    if len(pool) < POOL_SIZE:
        pool.append(item)
    else:
        pool[draw.randrange(POOL_SIZE)] = item


def _append(text: AnnotatedText, other: AnnotatedText) -> AnnotatedText:
    by = len(text.source.text) + 1
    tokens = tuple((start + by, end + by) for start, end in other.source.tokens)
    mentions = tuple(mention.moved(by) for mention in other.mentions)
    source = TokenizedText(
        f"{text.source.text} {other.source.text}", (*text.source.tokens, *tokens)
    )
    unknown = tuple(stretch.moved(by) for stretch in other.unknown)
    return replace(
        text,
        source=source,
        mentions=(*text.mentions, *mentions),
        unknown=(*text.unknown, *unknown),
    )


def _alone(text: AnnotatedText) -> list[Mention]:
    """List the mentions that overlap no other mention and are on token boundaries."""
    ordered = sorted(text.mentions)
    ends = [0]
    for mention in ordered:
        ends.append(max(ends[-1], mention.end))
    starts = [*(mention.start for mention in ordered[1:]), len(text.source.text)]
    return [
        mention
        for mention, before, after in zip(ordered, ends, starts, strict=False)
        if before <= mention.start
        and mention.end <= after
        and _cut(text.source, mention.start, mention.end) is not None
    ]


def _cut(source: TokenizedText, start: int, end: int) -> TokenizedText | None:
    """Cut out a stretch of a text; `None` if it is empty or not on token boundaries."""
    stretch = source.stretch(start, end)
    tokens = stretch.tokens
    if not tokens or tokens[0][0] != 0 or tokens[-1][1] != end - start:
        return None
    return stretch


def _replace(text: AnnotatedText, swapped: dict[Mention, TokenizedText]) -> AnnotatedText:
    source, ordered = text.source, sorted(swapped)
    ends, shifts = [0], [0]
    for mention in ordered:
        longer = len(swapped[mention].text) - (mention.end - mention.start)
        ends.append(mention.end)
        shifts.append(shifts[-1] + longer)

    def move(offset: int) -> int:
        return offset + shifts[bisect_right(ends, offset) - 1]

    pieces, tokens = [], []
    for start, mention in zip(ends, ordered, strict=False):
        stretch, place = swapped[mention], move(mention.start)
        pieces += [source.text[start : mention.start], stretch.text]
        tokens += [(a + place, b + place) for a, b in stretch.tokens]
    tokens += [
        (move(a), move(b))
        for a, b in source.tokens
        if not any(mention.start <= a < mention.end for mention in ordered)
    ]

    def moved(mentions: Iterable[Mention]) -> tuple[Mention, ...]:
        return tuple(replace(m, start=move(m.start), end=move(m.end)) for m in mentions)

    joined = TokenizedText("".join([*pieces, source.text[ends[-1] :]]), tuple(sorted(tokens)))
    return replace(text, source=joined, mentions=moved(text.mentions), unknown=moved(text.unknown))
