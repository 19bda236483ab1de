"""Annotated texts as spaCy's docs, and what gold such docs hold. Gold mentions are the spans of a
doc's group `spans_key`, or its entities where it has no such group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span, SpanGroup
from spacy.util import filter_spans
from spacy.vocab import Vocab

from ..errors import Errors
from ..settings import SPANS_KEY
from ..texts import AnnotatedText, Mention, TokenizedText
from .paper import character_offsets

LABELS_ATTR = "labels"


def docs_from_annotated_texts(
    texts: Sequence[AnnotatedText], nlp: Language, *, spans_key: str = SPANS_KEY
) -> Iterator[tuple[Doc, list[Mention]]]:
    """Make docs of the texts of a corpus: on the gold tokens if the corpus has any, else on those
    of the pipeline's tokenizer.

    Args:
        texts: All texts of a corpus.
        nlp: The pipeline whose tokenizer and vocabulary are used.
        spans_key: See `annotate_doc`.

    Yields:
        A doc and the gold mentions that aren't on its tokens' boundaries, which it therefore lacks.
    """
    gold_tokens = has_gold_tokens(texts)
    for annotated in texts:
        source = annotated.source
        doc = doc_from_tokens(source, nlp.vocab) if gold_tokens else nlp.make_doc(source.text)
        yield doc, annotate_doc(doc, annotated, spans_key=spans_key)


def has_gold_tokens(texts: Iterable[AnnotatedText]) -> bool:
    """Tell whether the texts of one file come with tokens of their own. A reader that finds none
    yields the characters as tokens, so texts whose tokens are all their characters have none."""
    sources = (annotated.source for annotated in texts)
    return any(source.tokens != character_offsets(source.text) for source in sources)


def load_docs(path: Path, vocab: Vocab) -> list[Doc]:
    """Read the docs of a .spacy file.

    Raises:
        ValueError: It is no such file.
    """
    try:
        return list(DocBin().from_disk(path).get_docs(vocab))
    except Exception as error:  # of zlib, msgpack or the file system
        raise ValueError(Errors.P123.format(path=path, error=error)) from error


def doc_from_tokens(source: TokenizedText, vocab: Vocab) -> Doc:
    """Make a doc of a text on its own tokens. What lies between tokens, other than a single
    space, becomes a token too, as spaCy's tokenizers do it: the doc keeps the text as it is.
    """
    words: list[str] = []
    spaces: list[bool] = []
    place = 0
    for start, end in [*source.tokens, (len(source.text), len(source.text))]:
        gap = source.text[place:start]
        if words and gap.startswith(" "):
            spaces[-1] = True
            gap = gap[1:]
        pieces = [piece for piece in (gap, source.text[start:end]) if piece]
        words.extend(pieces)
        spaces.extend(False for _ in pieces)
        place = end
    return Doc(vocab, words=words, spaces=spaces)


def annotate_doc(
    doc: Doc, annotated: AnnotatedText, *, spans_key: str = SPANS_KEY
) -> list[Mention]:
    """Set the gold mentions on a doc of the same text. Mentions that don't overlap are its
    entities. If some do, all go to a span group and the longest that don't are its entities. If
    the text states which labels it's annotated for, the group is there too and its `attrs` hold
    them.

    Args:
        doc: The doc, changed in place.
        annotated: The text's mentions.
        spans_key: Key of the span group.

    Returns:
        The mentions that aren't on the boundaries of the doc's tokens, which it therefore lacks.
    """
    found = [doc.char_span(each.start, each.end, label=each.label) for each in annotated.mentions]
    spans = [span for span in found if span is not None]
    doc.set_ents(filter_spans(spans))
    if annotated.labels is not None or len(doc.ents) < len(spans):
        attrs = {} if annotated.labels is None else {LABELS_ATTR: list(annotated.labels)}
        doc.spans[spans_key] = SpanGroup(doc, name=spans_key, spans=spans, attrs=attrs)
    return off_tokens(doc, annotated.mentions)


def off_tokens(doc: Doc, mentions: Sequence[Mention]) -> list[Mention]:
    """Find the mentions of a doc's text that no run of its tokens covers exactly."""
    return [each for each in mentions if doc.char_span(each.start, each.end) is None]


def annotated_text(doc: Doc, spans_key: str) -> AnnotatedText:
    """Take text, tokens and gold mentions of a reference doc."""
    tokens = tuple((token.idx, token.idx + len(token)) for token in doc)
    spans = gold_spans(doc, spans_key)
    mentions = sorted(Mention(span.start_char, span.end_char, span.label_) for span in spans)
    labels = annotated_labels(doc, spans_key)
    return AnnotatedText(TokenizedText(doc.text, tokens), tuple(mentions), labels)


def has_gold(doc: Doc, spans_key: str) -> bool:
    """Tell whether entities are annotated; if not, none are known to be absent."""
    return spans_key in doc.spans or doc.has_annotation("ENT_IOB")


def gold_spans(doc: Doc, spans_key: str) -> list[Span]:
    """Take the gold mentions of a reference doc as spans."""
    return list(doc.spans[spans_key]) if spans_key in doc.spans else list(doc.ents)


def annotated_labels(doc: Doc, spans_key: str) -> tuple[str, ...] | None:
    """Find the labels a reference doc is annotated for, where the group's `attrs["labels"]` states
    them; `None` for all."""
    if spans_key not in doc.spans:
        return None
    labels = doc.spans[spans_key].attrs.get(LABELS_ATTR)
    return None if labels is None else tuple(labels)


def keep_labels(doc: Doc, labels: Sequence[str], spans_key: str) -> None:
    """Make a reference doc one that is annotated for these labels only; one without annotation
    stays as it is.

    Args:
        doc: The doc, changed in place.
        labels: The labels. One it is not annotated for stays unknown.
        spans_key: Its span group with gold mentions.
    """
    if not has_gold(doc, spans_key):
        return
    known = annotated_labels(doc, spans_key)
    kept = [label for label in labels if known is None or label in known]
    spans = [span for span in gold_spans(doc, spans_key) if span.label_ in kept]
    doc.set_ents([ent for ent in doc.ents if ent.label_ in kept])
    doc.spans[spans_key] = SpanGroup(doc, name=spans_key, spans=spans, attrs={LABELS_ATTR: kept})
