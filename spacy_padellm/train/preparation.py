"""Corpus texts → what is taught of them, and the gold that is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..decode.windows import cut_windows
from ..errors import Warnings
from ..texts import AnnotatedText, Mention, TokenizedText
from .coverage import WindowedText, check_depth_of
from .gold import LeftOut
from .objective import Objective


@dataclass(frozen=True)
class TaughtText:
    """A text, or a window of one, that teaches something.

    text (AnnotatedText): The text.
    size (int): Tokens of its tree.
    sequence_tokens (int): Tokens of the tree's sequences, were they run one by one.
    left_out (Tuple[Mention, ...]): Its gold mentions that are not taught.
    """

    text: AnnotatedText
    size: int
    sequence_tokens: int
    left_out: tuple[Mention, ...]


@dataclass
class GoldReport:
    """What training texts hold that is not taught.

    gold (int): Gold mentions of the labels to teach.
    left_out (LeftOut): Those that cannot be taught.
    windows (int): Texts, or windows of them.
    idle (int): Those that teach nothing.
    others (Dict[str, int]): Mentions of labels that are not to be taught.
    absent (List[str]): Labels that are taught as absent everywhere.
    """

    gold: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)
    windows: int = 0
    idle: int = 0
    others: dict[str, int] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)

    def warn(self) -> None:
        """Say it all, each once."""
        if self.left_out:
            total, details = len(self.left_out), self.left_out.describe()
            _warn(Warnings.W070.format(total=total, gold=self.gold, details=details))
        if self.idle:
            _warn(Warnings.W071.format(count=self.idle, total=self.windows))
        if self.others:
            counts = ", ".join(f"{count} {label}" for label, count in sorted(self.others.items()))
            _warn(Warnings.W072.format(counts=counts))
        if self.absent:
            _warn(Warnings.W073.format(labels=", ".join(self.absent)))


def prepare_texts(
    texts: Iterable[AnnotatedText],
    objective: Objective,
    labels: Sequence[str],
    *,
    fits: Callable[[TokenizedText], bool],
    check_depth: Callable[[int], None],
) -> tuple[list[TaughtText], GoldReport]:
    """texts (Iterable[AnnotatedText]): Texts with their gold mentions.
    objective (Objective): What makes trees of them.
    labels (Sequence[str]): The labels to teach.
    fits (Callable[[TokenizedText], bool]): Whether the model can read a text at once; others are
        cut into overlapping windows.
    check_depth (Callable[[int], None]): Raises a ValueError if a tree is too deep for the model.
    RETURNS (Tuple[List[TaughtText], GoldReport]): What is taught, and the gold that is not.
    RAISES (ValueError): A text is too long for the model.
    """
    taught: list[TaughtText] = []
    report = GoldReport()
    missing = set(labels)
    for text in texts:
        windowed = _cut(text, fits)
        parts = [_teach(part, objective, labels, check_depth) for _, part in windowed.windows]
        gold, left_out = windowed.find_left_out(labels, [left_out for _, left_out in parts])
        report.gold += gold
        report.left_out.extend(left_out)
        for mention in text.mentions:
            if mention.label not in labels:
                report.others[mention.label] = report.others.get(mention.label, 0) + 1
        found = [part for part, _ in parts if part is not None]
        report.windows += len(parts)
        report.idle += len(parts) - len(found)
        taught += found
        missing -= {mention.label for mention in text.mentions}
    annotated = {label for each in taught for label in each.text.labels or labels}
    report.absent = sorted(missing & annotated)
    return taught, report


def _teach(
    text: AnnotatedText,
    objective: Objective,
    labels: Sequence[str],
    check_depth: Callable[[int], None],
) -> tuple[TaughtText | None, LeftOut]:
    built, left_out = objective.build(text, labels)
    check_depth_of(text, built.depth, check_depth)
    if not built.nodes:
        return None, left_out
    mentions = tuple(mention for each in vars(left_out).values() for _, mention in each)
    return TaughtText(text, len(built.tree), built.sequence_tokens, mentions), left_out


def _cut(text: AnnotatedText, fits: Callable[[TokenizedText], bool]) -> WindowedText:
    if fits(text.source):
        return WindowedText(text, ((0, text),))
    return WindowedText.cut(text, cut_windows(text.source, fits))


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)
