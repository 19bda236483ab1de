"""Convert docs to texts, windows and gold, and write entities to docs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, cast

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

from ..corpus.docs import (
    annotated_labels,
    gold_spans,
    has_gold,
    own_labels,
    register_labels,
    unknown_stretches,
)
from ..decode.mentions import non_overlapping
from ..decode.windows import Window
from ..errors import Errors
from ..model import PaDeLLM
from ..prompt.template import Labels
from ..texts import AnnotatedText, Entity, Mention, TokenizedText
from ..train.gold import WindowedText

# Sets of labels of single docs that are remembered.
_MOST_ASKED = 1000
# The names under which a span's score is kept, and the label that it holds for.
_SCORE = ("score", "score_label")

SpanGetter = Callable[[Iterable[Doc]], list[list[Span]]]


def tokenized(span: Doc | Span) -> TokenizedText:
    """Convert a doc or span to a tokenized text."""
    start = span[0].idx if len(span) else 0
    tokens = tuple((t.idx - start, t.idx - start + len(t)) for t in span)
    return TokenizedText(span.text[: tokens[-1][1] if tokens else 0], tokens)


def get_windows(
    docs: Sequence[Doc],
    model: PaDeLLM,
    get_spans: SpanGetter | None,
    labels: Sequence[Labels | None] | None = None,
) -> list[list[Window]]:
    """Split docs into windows.

    Args:
        docs: The docs.
        model: The model that reads them.
        get_spans: A span getter, such as those of spacy-transformers; `None` to read each doc as a
            whole, or in overlapping windows if it is too long for the model.
        labels: The labels to look for in each doc; `None` for those of the model.

    Raises:
        ValueError: A doc lacks what `get_spans` needs, or its labels are not possible.
    """
    asked = [None] * len(docs) if labels is None else labels
    if get_spans is None:
        return [model.cut(tokenized(doc), each) for doc, each in zip(docs, asked, strict=True)]
    try:
        spans = get_spans(docs)
    except ValueError as error:  # A doc lacks what `get_spans` needs.
        raise ValueError(Errors.P206.format(error=error)) from error
    return [
        [
            Window(span.start_char, model.encode(tokenized(span), each))
            for span in of_doc
            if len(span)
        ]
        for of_doc, each in zip(spans, asked, strict=True)
    ]


def windowed_texts(
    examples: Iterable[Example], spans_key: str | None, model: PaDeLLM, get_spans: SpanGetter | None
) -> list[WindowedText]:
    """Collect the training texts of examples, in windows, tokenized like the predicted docs.

    A text whose reference has labels of its own is encoded with these.

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
    asked = [own_labels(eg.reference) for eg in annotated]
    windows = get_windows([eg.predicted for eg in annotated], model, get_spans, asked)
    texts = []
    for eg, of_text in zip(annotated, windows, strict=True):
        spans = gold_spans(eg.reference, spans_key)
        mentions = sorted(Mention(span.start_char, span.end_char, span.label_) for span in spans)
        labels = annotated_labels(eg.reference, spans_key)
        unknown = unknown_stretches(eg.reference, spans_key)
        text = AnnotatedText(tokenized(eg.predicted), tuple(mentions), labels, unknown)
        texts.append(WindowedText.cut(text, of_text))
    return texts


def gold_labels(examples: Iterable[Example], spans_key: str | None) -> list[str]:
    """List the labels of the gold mentions in examples, sorted.

    Texts with labels of their own are passed over.

    Args:
        examples: The examples.
        spans_key: The reference's span group with gold mentions.
    """
    references = (eg.reference for eg in examples if own_labels(eg.reference) is None)
    return sorted({span.label_ for doc in references for span in gold_spans(doc, spans_key)})


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


class AskedLabels:
    """Labels that docs are asked for in place of the component's.

    Args:
        word: Finds the wordings of labels. It is called once for each set of labels.
    """

    def __init__(self, word: Callable[[Labels], dict[str, str]]) -> None:
        self._word = word
        self._known: dict[tuple[Any, ...], dict[str, str]] = {}

    def find(self, doc: Doc, labels: Labels | None) -> dict[str, str] | None:
        """Find the labels to look for in a doc, with their wordings.

        Args:
            doc: The doc. Its own labels come first.
            labels: The labels of the call; `None` for none.

        Returns:
            Label → its wording; `None` for the labels of the component.
        """
        own = own_labels(doc)
        labels = labels if own is None else own
        if labels is None:
            return None
        key = tuple(labels.items() if isinstance(labels, Mapping) else labels)
        wordings = self._known.get(key)
        if wordings is None:
            wordings = self._word(labels)
            if len(self._known) >= _MOST_ASKED:
                self.forget()
            self._known[key] = wordings
        return wordings

    def forget(self) -> None:
        """Forget the wordings, as others are known now."""
        self._known.clear()


def register_extensions() -> None:
    """Register the extensions `span._.score` and `doc._.padellm_labels`."""
    if not Span.has_extension("score"):
        Span.set_extension("score", getter=get_score, setter=set_score)
    register_labels()


def get_score(span: Span) -> float | None:
    """Get the probability of an entity; `None` if another component found it.

    Another component may have put a label of its own on the same stretch.
    """
    score, label = (_attribute(span, name) for name in _SCORE)
    found = span.doc.user_data.get(score)
    return found if span.doc.user_data.get(label, span.label_) == span.label_ else None


def set_score(span: Span, score: float | None) -> None:
    """Set the probability of an entity. It holds for the span's label only."""
    place, label = (_attribute(span, name) for name in _SCORE)
    span.doc.user_data[place] = score
    if span.label_:
        span.doc.user_data[label] = span.label_


def _attribute(span: Span, name: str) -> Any:
    """Return the key under which spaCy keeps an attribute of a stretch of a doc.

    spaCy moves the stretch when it joins docs, and it does not depend on the tokens.
    """
    return ("._.", name, span.start_char, span.end_char)


def annotate_doc(
    doc: Doc, entities: Sequence[Entity], *, spans_key: str | None, overwrite: bool
) -> None:
    """Write entities to a doc: `doc.spans`, `doc.ents` and scores.

    Args:
        doc: The doc, changed in place.
        entities: The entities, with character offsets on the doc's token boundaries.
        spans_key: The span group that all of them go to, with `attrs["scores"]`; `None` for none.
        overwrite: Whether entities that overlap some already in `doc.ents` replace these. If not,
            such entities are left out of `doc.ents`.
    """
    # Never `None`, since entities start and end on the doc's own tokens.
    spans = {e: cast(Span, doc.char_span(e.start, e.end, label=e.label)) for e in entities}
    if spans_key is not None:
        attrs = {"scores": np.array([entity.score for entity in entities], dtype=np.float32)}
        group = SpanGroup(doc, name=spans_key, spans=list(spans.values()), attrs=attrs)
        doc.spans[spans_key] = group
    taken = [] if overwrite else [(ent.start_char, ent.end_char) for ent in doc.ents]
    chosen = non_overlapping(entities, taken)
    kept = [
        ent
        for ent in doc.ents
        if all(ent.end_char <= each.start or each.end <= ent.start_char for each in chosen)
    ]
    doc.set_ents([*kept, *(spans[entity] for entity in chosen)])
    for entity in chosen:
        spans[entity]._.score = entity.score
        for token in spans[entity]:
            # spaCy leaves the id of an entity that was there.
            token.ent_id = 0
