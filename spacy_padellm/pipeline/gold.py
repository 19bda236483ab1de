"""Examples → annotated texts to train on, and the gold that is in none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ..core.objectives.gold import LeftOut
from ..core.texts import AnnotatedText, Mention
from ..core.windows import Window
from ..corpus.docs import annotated_labels, gold_spans, has_gold
from ..errors import Errors
from .windows import SpanGetter, get_windows


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
    windows = _annotated_windows(examples, spans_key, get_spans)
    return [text for of_doc in windows for _, text in of_doc]


def gold_labels(examples: Iterable[Example], spans_key: str) -> list[str]:
    """examples (Iterable[Example]): Examples.
    spans_key (str): The reference's span group with gold mentions.
    RETURNS (List[str]): The labels of their gold mentions, sorted.
    """
    return sorted({span.label_ for eg in examples for span in gold_spans(eg.reference, spans_key)})


def count_left_out(
    example: Example,
    spans_key: str,
    get_spans: SpanGetter | None,
    labels: Sequence[str],
    find_left_out: Callable[[AnnotatedText, Sequence[str]], LeftOut],
) -> tuple[int, LeftOut]:
    """example (Example): An example.
    spans_key (str): The reference's span group with gold mentions.
    get_spans (Optional[SpanGetter]): Makes the windows.
    labels (Sequence[str]): The labels to teach.
    find_left_out (Callable): The gold of one window that cannot be taught.
    RETURNS (Tuple[int, LeftOut]): How many gold mentions of these labels the example has, and
        those that no window teaches, with their places in the doc.
    """
    left_out = LeftOut()
    gold = {
        mention
        for mention in _gold_mentions(example.reference, spans_key)
        if mention.label in labels
    }
    missing = set(gold)
    reasons: dict[Mention, str] = {}
    for of_doc in _annotated_windows([example], spans_key, get_spans):
        for window, text in of_doc:
            found = {
                _move(mention, window.start): reason
                for reason, entries in vars(find_left_out(text, labels)).items()
                for _, mention in entries
            }
            reasons = {**found, **reasons}
            missing -= {_move(m, window.start) for m in text.mentions} - set(found)
    for mention in sorted(missing):
        entries = getattr(left_out, reasons.get(mention, "across_windows"))
        entries.append((example.reference.text, mention))
    return len(gold), left_out


def _annotated_windows(
    examples: Iterable[Example], spans_key: str, get_spans: SpanGetter | None
) -> list[list[tuple[Window, AnnotatedText]]]:
    annotated = [eg for eg in examples if has_gold(eg.reference, spans_key)]
    for eg in annotated:
        if eg.predicted.text != eg.reference.text:
            raise ValueError(
                Errors.P205.format(
                    predicted=eg.predicted.text[:60], reference=eg.reference.text[:60]
                )
            )
    try:
        windows = get_windows([eg.predicted for eg in annotated], get_spans)
    except ValueError as error:  # spaCy's, of what `get_spans` asks of a doc
        raise ValueError(Errors.P206.format(error=error)) from error
    return [
        [(window, _annotate(window, eg.reference, spans_key)) for window in of_doc]
        for eg, of_doc in zip(annotated, windows, strict=True)
    ]


def _annotate(window: Window, reference: Doc, spans_key: str) -> AnnotatedText:
    end = window.start + len(window.source.text)
    mentions = sorted(
        _move(mention, -window.start)
        for mention in _gold_mentions(reference, spans_key)
        if window.start <= mention.start and mention.end <= end
    )
    return AnnotatedText(window.source, tuple(mentions), annotated_labels(reference, spans_key))


def _gold_mentions(reference: Doc, spans_key: str) -> list[Mention]:
    spans = gold_spans(reference, spans_key)
    return [Mention(span.start_char, span.end_char, span.label_) for span in spans]


def _move(mention: Mention, by: int) -> Mention:
    return replace(mention, start=mention.start + by, end=mention.end + by)
