"""The gold of a text that is read in windows, and how much of it they teach."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..decode.windows import Window
from ..errors import Errors
from ..texts import AnnotatedText, Mention
from .gold import LeftOut


@dataclass(frozen=True)
class WindowedText:
    """A text, and the windows it is taught in.

    text (AnnotatedText): The text as a whole.
    windows (Tuple[Tuple[int, AnnotatedText], ...]): Where each window starts, and the window with
        the mentions that lie in it.
    """

    text: AnnotatedText
    windows: tuple[tuple[int, AnnotatedText], ...]

    @classmethod
    def cut(cls, text: AnnotatedText, windows: Iterable[Window]) -> WindowedText:
        """text (AnnotatedText): A text.
        windows (Iterable[Window]): The windows it is read in.
        RETURNS (WindowedText): The text in these windows.
        """
        return cls(text, tuple((window.start, _annotate(window, text)) for window in windows))

    def find_left_out(
        self, labels: Sequence[str], of_windows: Sequence[LeftOut]
    ) -> tuple[int, LeftOut]:
        """labels (Sequence[str]): The labels to teach.
        of_windows (Sequence[LeftOut]): What each window cannot teach of its gold.
        RETURNS (Tuple[int, LeftOut]): How many gold mentions of these labels the text has, and
            those that no window teaches, with their places in the text.
        """
        gold = {mention for mention in self.text.mentions if mention.label in labels}
        missing = set(gold)
        reasons: dict[Mention, str] = {}
        for (start, window), left_out in zip(self.windows, of_windows, strict=True):
            found = {
                mention.moved(start): reason
                for reason, entries in vars(left_out).items()
                for _, mention in entries
            }
            reasons = {**found, **reasons}
            missing -= {mention.moved(start) for mention in window.mentions} - set(found)
        untaught = LeftOut()
        for mention in sorted(missing):
            entries = getattr(untaught, reasons.get(mention, "across_windows"))
            entries.append((self.text.source.text, mention))
        return len(gold), untaught


def check_depth_of(text: AnnotatedText, depth: int, check_depth: Callable[[int], None]) -> None:
    """text (AnnotatedText): A text.
    depth (int): The depth of its tree.
    check_depth (Callable[[int], None]): Raises a ValueError if a tree is too deep for the model.
    RAISES (ValueError): It is, with the text named.
    """
    try:
        check_depth(depth)
    except ValueError as error:
        raise ValueError(Errors.P208.format(text=text.source.text[:60], error=error)) from error


def _annotate(window: Window, text: AnnotatedText) -> AnnotatedText:
    end = window.start + len(window.source.text)
    inside = (m for m in text.mentions if window.start <= m.start and m.end <= end)
    mentions = tuple(sorted(mention.moved(-window.start) for mention in inside))
    return AnnotatedText(window.source, mentions, text.labels)
