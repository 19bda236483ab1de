"""Examples → annotated texts to train on."""

from __future__ import annotations

from collections.abc import Sequence

from spacy.tokens import Doc, Span
from spacy.training import Example

from ..core.texts import AnnotatedText, Mention
from ..errors import Errors
from .windows import SpanGetter, Window, get_windows

# Where a span group names the labels its doc is annotated for.
LABELS_ATTR = "labels"


def gold_spans(doc: Doc, spans_key: str) -> list[Span]:
    """doc (Doc): A reference doc.
    spans_key (str): Its span group with gold mentions.
    RETURNS (List[Span]): The group's spans, the doc's entities where it has no such group.
    """
    return list(doc.spans[spans_key]) if spans_key in doc.spans else list(doc.ents)


def annotated_labels(doc: Doc, spans_key: str) -> tuple[str, ...] | None:
    """doc (Doc): A reference doc.
    spans_key (str): Its span group with gold mentions.
    RETURNS (Optional[Tuple[str, ...]]): The labels the doc is annotated for, where the group's
        `attrs["labels"]` states them; `None` for all.
    """
    if spans_key not in doc.spans:
        return None
    labels = doc.spans[spans_key].attrs.get(LABELS_ATTR)
    return None if labels is None else tuple(labels)


def has_gold(doc: Doc, spans_key: str) -> bool:
    """doc (Doc): A reference doc.
    spans_key (str): Its span group with gold mentions.
    RETURNS (bool): Whether entities are annotated; if not, none are known to be absent.
    """
    return spans_key in doc.spans or doc.has_annotation("ENT_IOB")


def annotated_texts(
    examples: Sequence[Example], spans_key: str, get_spans: SpanGetter | None
) -> list[AnnotatedText]:
    """examples (Sequence[Example]): Examples; those without annotation of entities are skipped.
    spans_key (str): The reference's span group with gold mentions.
    get_spans (Optional[SpanGetter]): Makes the windows.
    RETURNS (List[AnnotatedText]): The windows, tokenized as predicted, with the mentions that lie
        in them.
    RAISES (ValueError): Predicted and reference differ in text.
    """
    annotated = [eg for eg in examples if has_gold(eg.reference, spans_key)]
    for eg in annotated:
        if eg.predicted.text != eg.reference.text:
            raise ValueError(
                Errors.P205.format(
                    predicted=eg.predicted.text[:60], reference=eg.reference.text[:60]
                )
            )
    windows = get_windows([eg.predicted for eg in annotated], get_spans)
    return [
        _annotate(window, eg.reference, spans_key)
        for eg, of_doc in zip(annotated, windows, strict=True)
        for window in of_doc
    ]


def mentions_across_windows(
    example: Example, spans_key: str, get_spans: SpanGetter | None
) -> list[tuple[str, Mention]]:
    """example (Example): An example.
    spans_key (str): The reference's span group with gold mentions.
    get_spans (Optional[SpanGetter]): Makes the windows.
    RETURNS (List[Tuple[str, Mention]]): Gold mentions that lie in no window, with their text.
    """
    (windows,) = get_windows([example.predicted], get_spans)
    ranges = [(w.start, w.start + len(w.source.text)) for w in windows]
    return [
        (example.reference.text, Mention(span.start_char, span.end_char, span.label_))
        for span in gold_spans(example.reference, spans_key)
        if not any(start <= span.start_char and span.end_char <= end for start, end in ranges)
    ]


def _annotate(window: Window, reference: Doc, spans_key: str) -> AnnotatedText:
    end = window.start + len(window.source.text)
    mentions = sorted(
        Mention(span.start_char - window.start, span.end_char - window.start, span.label_)
        for span in gold_spans(reference, spans_key)
        if window.start <= span.start_char and span.end_char <= end
    )
    return AnnotatedText(window.source, tuple(mentions), annotated_labels(reference, spans_key))
