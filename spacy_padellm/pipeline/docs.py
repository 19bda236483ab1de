"""Convert docs to texts, windows and gold, and write entities to docs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import cast

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

from ..corpus.docs import annotated_labels, gold_spans, has_gold
from ..decode.mentions import non_overlapping
from ..decode.windows import Window
from ..errors import Errors
from ..model import PaDeLLM
from ..texts import AnnotatedText, Entity, Mention, TokenizedText
from ..train.gold import WindowedText

SpanGetter = Callable[[Iterable[Doc]], list[list[Span]]]


def tokenized(span: Doc | Span) -> TokenizedText:
    """Convert a doc or span to a tokenized text."""
    start = span[0].idx if len(span) else 0
    tokens = tuple((t.idx - start, t.idx - start + len(t)) for t in span)
    return TokenizedText(span.text[: tokens[-1][1] if tokens else 0], tokens)


def get_windows(
    docs: Sequence[Doc], model: PaDeLLM, get_spans: SpanGetter | None
) -> list[list[Window]]:
    """Split docs into windows.

    Args:
        docs: The docs.
        model: The model that reads them.
        get_spans: A span getter, such as those of spacy-transformers; `None` to read each doc as a
            whole, or in overlapping windows if it is too long for the model.

    Raises:
        ValueError: A doc lacks what `get_spans` needs.
    """
    if get_spans is None:
        return [model.cut(tokenized(doc)) for doc in docs]
    try:
        spans = get_spans(docs)
    except ValueError as error:  # A doc lacks what `get_spans` needs.
        raise ValueError(Errors.P206.format(error=error)) from error
    return [
        [Window(span.start_char, model.encode(tokenized(span))) for span in of_doc if len(span)]
        for of_doc in spans
    ]


def windowed_texts(
    examples: Iterable[Example], spans_key: str, model: PaDeLLM, get_spans: SpanGetter | None
) -> list[WindowedText]:
    """Collect the training texts of examples, in windows, tokenized like the predicted docs.

    Args:
        examples: The examples; those without annotation of entities are skipped.
        spans_key: The reference's span group with gold mentions.
        model: The model that reads them.
        get_spans: The span getter, see `get_windows`.

    Raises:
        ValueError: Predicted and reference docs differ in text, or a doc lacks what `get_spans`
            needs.
    """
    annotated = [eg for eg in examples if has_gold(eg.reference, spans_key)]
    for eg in annotated:
        if eg.predicted.text != eg.reference.text:
            predicted, reference = eg.predicted.text[:60], eg.reference.text[:60]
            raise ValueError(Errors.P205.format(predicted=predicted, reference=reference))
    windows = get_windows([eg.predicted for eg in annotated], model, get_spans)
    texts = []
    for eg, of_text in zip(annotated, windows, strict=True):
        spans = gold_spans(eg.reference, spans_key)
        mentions = sorted(Mention(span.start_char, span.end_char, span.label_) for span in spans)
        labels = annotated_labels(eg.reference, spans_key)
        text = AnnotatedText(tokenized(eg.predicted), tuple(mentions), labels)
        texts.append(WindowedText.cut(text, of_text))
    return texts


def gold_labels(examples: Iterable[Example], spans_key: str) -> list[str]:
    """List the labels of the gold mentions in examples, sorted.

    Args:
        examples: The examples.
        spans_key: The reference's span group with gold mentions.
    """
    return sorted({span.label_ for eg in examples for span in gold_spans(eg.reference, spans_key)})


def as_in_training(
    examples: Iterable[Example], nlp: Language | None, component: object
) -> Iterator[Example]:
    """Annotate examples with a pipeline's earlier components, as in training.

    They may set the sentences that serve as windows, for example.

    Args:
        examples: The examples.
        nlp: The pipeline; `None` to annotate nothing.
        component: The component before which to stop.
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


def register_score_extension() -> None:
    """Register the extension `span._.score`."""
    if not Span.has_extension("score"):
        Span.set_extension("score", default=None)


def annotate_doc(doc: Doc, entities: Sequence[Entity], *, spans_key: str, overwrite: bool) -> None:
    """Write entities to a doc: `doc.spans`, `doc.ents` and scores.

    Args:
        doc: The doc, changed in place.
        entities: The entities, with character offsets on the doc's token boundaries.
        spans_key: The span group that all of them go to, with `attrs["scores"]`.
        overwrite: Whether to remove the entities already in `doc.ents`. If not, entities that
            overlap them are left out of `doc.ents`.
    """
    # Never `None`, since entities start and end on the doc's own tokens.
    spans = {e: cast(Span, doc.char_span(e.start, e.end, label=e.label)) for e in entities}
    scores = np.array([entity.score for entity in entities], dtype=np.float32)
    group = SpanGroup(doc, name=spans_key, spans=list(spans.values()), attrs={"scores": scores})
    doc.spans[spans_key] = group
    kept = [] if overwrite else list(doc.ents)
    chosen = non_overlapping(entities, [(ent.start_char, ent.end_char) for ent in kept])
    doc.set_ents([*kept, *(spans[entity] for entity in chosen)])
    for entity in chosen:
        spans[entity]._.score = entity.score
