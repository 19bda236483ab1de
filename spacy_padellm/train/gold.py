"""Gold mentions: which ones can be taught, which ones cannot, and a report for whole corpora."""

from __future__ import annotations

import warnings
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..decode.windows import Window
from ..errors import Errors, Warnings
from ..prompt.encoder import PromptEncoder
from ..texts import AnnotatedText, Mention

# A mention and its token ids, with the end token.
TaughtMention = tuple[Mention, list[int]]


class LeftOut:
    """Gold mentions that cannot be taught, by reason.

    The reasons are:

    - "unaligned": not on the token boundaries of its text, or without ids;
    - "too_long": longer than the longest mention allowed;
    - "too_many": beyond the most mentions of a label;
    - "not_annotated": of a label that its text is not annotated for;
    - "across_windows": not whole in any window of its text.

    Output formats may add their own reasons.

    Attributes:
        by_reason: Reason → the mentions, each with its text.
    """

    def __init__(self) -> None:
        self.by_reason: dict[str, list[tuple[str, Mention]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.by_reason.values()))

    def __iter__(self) -> Iterator[tuple[str, Mention]]:
        """Iterate over pairs of a reason and a mention."""
        for reason, entries in self.by_reason.items():
            for _, mention in entries:
                yield reason, mention

    def add(self, reason: str, text: str, mentions: Iterable[Mention]) -> None:
        """Add mentions of a text, with the reason why they are left out."""
        if entries := [(text, mention) for mention in mentions]:
            self.by_reason.setdefault(reason, []).extend(entries)

    def describe(self) -> str:
        """Write the number of mentions for each reason, and an example of each."""
        return "; ".join(
            f"{len(entries)} {reason.replace('_', ' ')} "
            f"(for example {mention.label} {text[mention.start : mention.end]!r})"
            for reason, entries in self.by_reason.items()
            for text, mention in entries[:1]
        )


class Examination(NamedTuple):
    """What a text would teach, and the measures of its tree.

    Args:
        left_out: The gold mentions that cannot be taught.
        is_taught: Whether the text teaches anything.
        depth: Length of the longest sequence to run, in tokens.
        size: Number of tokens in the tree.
        sequence_tokens: Number of tokens if the tree's sequences ran separately.
    """

    left_out: LeftOut
    is_taught: bool
    depth: int
    size: int
    sequence_tokens: int


def find_teachable(
    text: AnnotatedText,
    labels: Sequence[str],
    encoder: PromptEncoder,
    max_mentions: int | None = None,
) -> tuple[dict[str, list[TaughtMention]], LeftOut]:
    """Divide the gold mentions of a text into those that can be taught and those that cannot.

    Args:
        text: The text with its gold mentions.
        labels: The labels to teach. Mentions of other labels are ignored.
        encoder: Encodes the mentions, and limits their length.
        max_mentions: Most mentions of a label; `None` for no limit.

    Returns:
        For each of `labels` that the text is annotated for, its mentions and their ids, in order of
        appearance. Then the mentions that are left out.
    """
    source, left_out = text.source, LeftOut()
    annotated = set(labels if text.labels is None else text.labels)
    taught: dict[str, list[TaughtMention]] = {}
    taught.update((label, []) for label in labels if label in annotated)
    unknown = (m for m in sorted(text.mentions) if m.label in labels and m.label not in annotated)
    left_out.add("not_annotated", source.text, unknown)
    # A mention cannot start or end with a whitespace token.
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for place, (start, end) in enumerate(source.tokens):
        if not source.text[start:end].isspace():
            first[start], last[end] = place, place
    # As a set, because a mention that is listed twice counts once.
    ordered = sorted({m for m in text.mentions if m.label in taught})
    strings = [source.text[m.start : m.end] for m in ordered]
    for mention, ids in zip(ordered, encoder.mentions(strings), strict=True):
        reason = None
        if ids is None or mention.start not in first or mention.end not in last:
            reason = "unaligned"
        elif last[mention.end] - first[mention.start] >= encoder.max_mention_tokens:
            reason = "too_long"
        elif len(taught[mention.label]) == max_mentions:
            reason = "too_many"
        else:
            taught[mention.label].append((mention, ids))
        if reason is not None:
            left_out.add(reason, source.text, [mention])
    return taught, left_out


def find_unknown(text: AnnotatedText, left_out: LeftOut) -> tuple[Mention, ...]:
    """Find the stretches of a text that teach nothing, not even that there is no mention.

    Args:
        text: The text.
        left_out: Its gold mentions that cannot be taught. Where one is off the token boundaries,
            the model can neither find it nor learn that nothing is there.

    Returns:
        The stretches, in whole tokens, each with its label; an empty label stands for all labels.
    """
    unaligned = (mention for reason, mention in left_out if reason == "unaligned")
    found = []
    for each in (*text.unknown, *unaligned):
        tokens = text.source.tokens
        first = bisect_right(tokens, each.start, key=lambda token: token[1])
        last = bisect_left(tokens, each.end, key=lambda token: token[0]) - 1
        is_touched = first <= last
        start = tokens[first][0] if is_touched else each.start
        end = tokens[last][1] if is_touched else each.end
        found.append(replace(each, start=start, end=end))
    return tuple(found)


@dataclass(frozen=True)
class WindowedText:
    """A text and the windows in which it is taught.

    Args:
        text: The whole text.
        windows: For each window the character that it starts at, and its text with the mentions
            that lie in it. Their offsets are relative to the window.
    """

    text: AnnotatedText
    windows: tuple[tuple[int, AnnotatedText], ...]

    @classmethod
    def cut(cls, text: AnnotatedText, windows: Iterable[Window]) -> WindowedText:
        """Divide the gold mentions of a text among its windows.

        What a window has of a mention that is not whole in it is unknown there.
        """
        cut = []
        for window in windows:
            start, end = window.start, window.start + len(window.text.text)
            inside = {m for m in text.mentions if start <= m.start and m.end <= end}
            mentions = tuple(sorted(mention.moved(-start) for mention in inside))
            unknown = tuple(
                replace(m, start=max(m.start, start), end=min(m.end, end)).moved(-start)
                for m in (*text.unknown, *(m for m in text.mentions if m not in inside))
                if m.start < end and start < m.end
            )
            cut.append((start, AnnotatedText(window.text, mentions, text.labels, unknown)))
        return cls(text, tuple(cut))


@dataclass
class GoldReport:
    """A report of what training texts contain but training does not teach.

    Args:
        labels: The labels to teach.
        check_depth: Raises a `ValueError` if a sequence of so many tokens is too long for the
            model.

    Attributes:
        gold: Number of gold mentions of the labels to teach.
        left_out: Those of them that cannot be taught.
        windows: Number of windows; a text that is not cut is one.
        idle: Number of windows that teach nothing.
        others: Number of gold mentions of each label that is not taught.
    """

    labels: Sequence[str]
    check_depth: Callable[[int], None]
    gold: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)
    windows: int = 0
    idle: int = 0
    others: Counter[str] = field(default_factory=Counter)
    _found: set[str] = field(default_factory=set)
    _annotated: set[str] = field(default_factory=set)

    @property
    def absent(self) -> list[str]:
        """The labels that are only taught as absent: annotated, but without any mention."""
        return sorted(self._annotated.intersection(self.labels) - self._found)

    def add(
        self,
        text: WindowedText,
        examined: Sequence[Examination],
        asked: Sequence[str] | None = None,
    ) -> None:
        """Add a text to the report.

        Args:
            text: The text in windows.
            examined: What each window would teach.
            asked: The text's own labels; `None` for those to teach.

        Raises:
            ValueError: A window is too long for the model.
        """
        labels = self.labels if asked is None else asked
        gold = {mention for mention in text.text.mentions if mention.label in labels}
        missing = set(gold)
        tokens = text.text.source.tokens or ((0, 0),)
        reasons: dict[Mention, str] = {}
        for (start, window), of_window in zip(text.windows, examined, strict=True):
            try:
                self.check_depth(of_window.depth)
            except ValueError as error:
                beginning = window.source.text[:60]
                raise ValueError(Errors.P208.format(text=beginning, error=error)) from error
            found = {mention.moved(start): reason for reason, mention in of_window.left_out}
            reasons = {**found, **reasons}
            missing -= {mention.moved(start) for mention in window.mentions} - set(found)
            self.windows += 1
            self.idle += not of_window.is_taught
        for mention in sorted(missing):
            # Windows start and end with tokens, so a mention beyond the tokens fits into none.
            is_within = tokens[0][0] <= mention.start and mention.end <= tokens[-1][1]
            reason = reasons.get(mention, "across_windows" if is_within else "unaligned")
            self.left_out.add(reason, text.text.source.text, [mention])
        self.gold += len(gold)
        if asked is not None:
            return
        self.others.update(m.label for m in text.text.mentions if m.label not in self.labels)
        self._found.update(mention.label for mention in text.text.mentions)
        annotated = text.text.labels
        self._annotated.update(self.labels if annotated is None else annotated)

    def warn(self, *, of_labels: bool = True) -> None:
        """Warn of everything that is not taught, in one warning for each kind.

        Args:
            of_labels: Whether to warn also of labels that no text has and of labels that are not
                taught.
        """
        messages = []
        if self.left_out:
            total, details = len(self.left_out), self.left_out.describe()
            messages.append(Warnings.W070.format(total=total, gold=self.gold, details=details))
        if self.idle:
            labels = ", ".join(self.labels)
            messages.append(
                Warnings.W071.format(count=self.idle, total=self.windows, labels=labels)
            )
        if self.others and of_labels:
            counts = ", ".join(f"{count} {label}" for label, count in sorted(self.others.items()))
            messages.append(Warnings.W072.format(counts=counts))
        if self.absent and of_labels:
            messages.append(Warnings.W073.format(labels=", ".join(self.absent)))
        for message in messages:
            warnings.warn(message, stacklevel=3)
