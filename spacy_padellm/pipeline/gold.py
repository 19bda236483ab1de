"""Examples → annotated texts to train on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ..corpus.docs import annotated_labels, gold_spans, has_gold
from ..errors import Errors
from ..texts import AnnotatedText, Mention
from ..train.coverage import WindowedText
from .windows import SpanGetter, get_windows, make_window


def as_in_training(
    examples: Iterable[Example], nlp: Language | None, component: object
) -> Iterator[Example]:
    """examples (Iterable[Example]): Examples.
    nlp (Optional[Language]): The pipeline.
    component (object): A component of it.
    YIELDS (Example): Each with what earlier components set before the component's `update` sees
        it, for example the sentences that are to be windows.
    """
    pipes: list[Callable[[Doc], Doc]] = []
    if nlp is not None:
        names = nlp.config["training"]["annotating_components"]
        earlier = takewhile(lambda each: each[1] is not component, nlp.pipeline)
        pipes = [pipe for name, pipe in earlier if name in names]
    for eg in examples:
        doc = eg.predicted.copy() if pipes else eg.predicted
        for pipe in pipes:
            doc = pipe(doc)
        yield Example(doc, eg.reference) if pipes else eg


def windowed_texts(
    examples: Iterable[Example], spans_key: str, get_spans: SpanGetter | None
) -> list[WindowedText]:
    """examples (Iterable[Example]): Examples; those without annotation of entities are skipped.
    spans_key (str): The reference's span group with gold mentions.
    get_spans (Optional[SpanGetter]): Makes the windows.
    RETURNS (List[WindowedText]): Their texts in windows, tokenized as predicted.
    RAISES (ValueError): Predicted and reference differ in text, or `get_spans` lacks something.
    """
    annotated = [eg for eg in examples if has_gold(eg.reference, spans_key)]
    for eg in annotated:
        if eg.predicted.text != eg.reference.text:
            raise ValueError(
                Errors.P205.format(
                    predicted=eg.predicted.text[:60], reference=eg.reference.text[:60]
                )
            )
    docs = [eg.predicted for eg in annotated]
    try:
        windows = get_windows(docs, get_spans)
    except ValueError as error:  # spaCy's, of what `get_spans` asks of a doc
        raise ValueError(Errors.P206.format(error=error)) from error
    texts = (_annotate(eg, spans_key) for eg in annotated)
    return [WindowedText.cut(*pair) for pair in zip(texts, windows, strict=True)]


def annotated_texts(
    examples: Iterable[Example], spans_key: str, get_spans: SpanGetter | None
) -> list[AnnotatedText]:
    """examples (Iterable[Example]): Examples; those without annotation of entities are skipped.
    spans_key (str): The reference's span group with gold mentions.
    get_spans (Optional[SpanGetter]): Makes the windows.
    RETURNS (List[AnnotatedText]): The windows, tokenized as predicted, with the mentions that lie
        in them.
    RAISES (ValueError): Predicted and reference differ in text, or `get_spans` lacks something.
    """
    windowed = windowed_texts(examples, spans_key, get_spans)
    return [window for text in windowed for _, window in text.windows]


def gold_labels(examples: Iterable[Example], spans_key: str) -> list[str]:
    """examples (Iterable[Example]): Examples.
    spans_key (str): The reference's span group with gold mentions.
    RETURNS (List[str]): The labels of their gold mentions, sorted.
    """
    return sorted({span.label_ for eg in examples for span in gold_spans(eg.reference, spans_key)})


def _annotate(eg: Example, spans_key: str) -> AnnotatedText:
    spans = gold_spans(eg.reference, spans_key)
    mentions = (Mention(span.start_char, span.end_char, span.label_) for span in spans)
    return AnnotatedText(
        make_window(eg.predicted[:]).source,
        tuple(sorted(mentions)),
        annotated_labels(eg.reference, spans_key),
    )
