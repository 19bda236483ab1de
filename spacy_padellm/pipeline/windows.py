"""Docs → the windows of text the model reads, and mentions in windows → mentions in docs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from spacy.tokens import Doc, Span

from ..core.mentions import ScoredMention
from ..core.texts import TokenizedText
from ..core.windows import find_windows

SpanGetter = Callable[[Iterable[Doc]], list[list[Span]]]


@dataclass(frozen=True)
class Window:
    """A stretch of a doc that is read at once.

    start (int): Its first character in the doc.
    source (TokenizedText): Its text and tokens.
    """

    start: int
    source: TokenizedText


@dataclass(frozen=True)
class FittingSpans:
    """Span getter: docs as wholes, and in overlapping windows those too long for the model.

    fits (Callable[[TokenizedText], bool]): Whether the model can read a text at once.
    """

    fits: Callable[[TokenizedText], bool]

    def __call__(self, docs: Iterable[Doc]) -> list[list[Span]]:
        """docs (Iterable[Doc]): The docs.
        RETURNS (List[List[Span]]): The spans each is read in.
        """
        windows = ((doc, find_windows(_make_window(doc[:]).source, self.fits)) for doc in docs)
        return [[doc[start:end] for start, end in found] for doc, found in windows]


def get_windows(docs: Sequence[Doc], get_spans: SpanGetter | None) -> list[list[Window]]:
    """docs (Sequence[Doc]): The docs.
    get_spans (Optional[SpanGetter]): A span getter, such as those of spacy-transformers; `None` to
        read every doc as a whole.
    RETURNS (List[List[Window]]): The windows of each doc.
    """
    spans = [[doc[:]] for doc in docs] if get_spans is None else get_spans(docs)
    return [[_make_window(span) for span in of_doc if len(span)] for of_doc in spans]


def merge_windows(
    windows: Sequence[Window], mentions: Sequence[Sequence[ScoredMention]]
) -> list[ScoredMention]:
    """windows (Sequence[Window]): The windows of a doc.
    mentions (Sequence[Sequence[ScoredMention]]): The mentions found in each.
    RETURNS (List[ScoredMention]): The doc's mentions in order of appearance; a place that several
        windows found has the most probable label, with its score. One at a window's edge may be
        a part of a longer one: it counts only if no window reads it with text on both sides.
    """
    places = [(window.start, window.start + len(window.source.text)) for window in windows]
    best: dict[tuple[int, int], ScoredMention] = {}
    for (first, last), found in zip(places, mentions, strict=True):
        for m in found:
            moved = replace(m, start=m.start + first, end=m.end + first)
            key = (moved.start, moved.end)
            at_edge = moved.start == first or moved.end == last
            if at_edge and any(start < moved.start and moved.end < end for start, end in places):
                continue
            if key not in best or moved.score > best[key].score:
                best[key] = moved
    return [best[key] for key in sorted(best)]


def _make_window(span: Span) -> Window:
    start = span.start_char
    tokens = tuple((t.idx - start, t.idx - start + len(t)) for t in span)
    return Window(start, TokenizedText(span.text, tokens))
