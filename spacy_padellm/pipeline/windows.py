"""Docs → the windows of text the model reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from spacy.tokens import Doc, Span

from ..decode.windows import Window, find_windows
from ..texts import TokenizedText

SpanGetter = Callable[[Iterable[Doc]], list[list[Span]]]


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
        windows = ((doc, find_windows(make_window(doc[:]).source, self.fits)) for doc in docs)
        return [[doc[start:end] for start, end in found] for doc, found in windows]


def get_windows(docs: Sequence[Doc], get_spans: SpanGetter | None) -> list[list[Window]]:
    """docs (Sequence[Doc]): The docs.
    get_spans (Optional[SpanGetter]): A span getter, such as those of spacy-transformers; `None` to
        read every doc as a whole.
    RETURNS (List[List[Window]]): The windows of each doc.
    """
    spans = [[doc[:]] for doc in docs] if get_spans is None else get_spans(docs)
    return [[make_window(span) for span in of_doc if len(span)] for of_doc in spans]


def make_window(span: Span) -> Window:
    """span (Span): A stretch of a doc.
    RETURNS (Window): The same, as the core reads it.
    """
    start = span.start_char
    tokens = tuple((t.idx - start, t.idx - start + len(t)) for t in span)
    return Window(start, TokenizedText(span.text, tokens))
