"""Convert annotated texts to spaCy docs, and read the gold mentions of docs.

The gold mentions of a doc are the spans in its group `spans_key`, or its entities if it has no such
group.
"""

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
    """Create docs from the texts of a corpus, with their gold mentions.

    If the corpus has gold tokens, the docs have these. Otherwise the pipeline's tokenizer makes
    them.

    Args:
        texts: All texts of a corpus.
        nlp: The pipeline whose tokenizer and vocabulary to use.
        spans_key: The span group for gold mentions, see `annotate_doc`.

    Yields:
        A doc, and the gold mentions that it lacks because they are not on its token boundaries.
    """
    gold_tokens = has_gold_tokens(texts)
    for annotated in texts:
        source = annotated.source
        doc = doc_from_tokens(source, nlp.vocab) if gold_tokens else nlp.make_doc(source.text)
        yield doc, annotate_doc(doc, annotated, spans_key=spans_key)


def has_gold_tokens(texts: Iterable[AnnotatedText]) -> bool:
    """Tell whether the texts of one file come with gold tokens.

    A reader that finds no tokens makes each character a token. So if the tokens of all texts are
    their characters, the file has no gold tokens.
    """
    sources = (annotated.source for annotated in texts)
    return any(source.tokens != character_offsets(source.text) for source in sources)


def load_docs(path: Path, vocab: Vocab) -> list[Doc]:
    """Read the docs of a .spacy file.

    Raises:
        ValueError: The file is missing or not a .spacy file.
    """
    try:
        return list(DocBin().from_disk(path).get_docs(vocab))
    except Exception as error:  # from zlib, msgpack or the file system
        raise ValueError(Errors.P123.format(path=path, error=error)) from error


def doc_from_tokens(source: TokenizedText, vocab: Vocab) -> Doc:
    """Create a doc with a text's own tokens.

    Everything between two tokens except a single space becomes a token too, as with spaCy's
    tokenizers. So the doc has exactly the same text.
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
    """Set the gold mentions on a doc of the same text.

    Mentions become the doc's entities. If some overlap, all mentions go to a span group, and the
    longest that do not overlap become entities. If the text states the labels that it is annotated
    for, the group is always set, and its `attrs` hold the labels.

    Args:
        doc: The doc, changed in place.
        annotated: The text with its mentions.
        spans_key: The name of the span group.

    Returns:
        The mentions that the doc lacks because they are not on its token boundaries.
    """
    found = [doc.char_span(each.start, each.end, label=each.label) for each in annotated.mentions]
    spans = [span for span in found if span is not None]
    doc.set_ents(filter_spans(spans))
    if annotated.labels is not None or len(doc.ents) < len(spans):
        attrs = {} if annotated.labels is None else {LABELS_ATTR: list(annotated.labels)}
        doc.spans[spans_key] = SpanGroup(doc, name=spans_key, spans=spans, attrs=attrs)
    return off_tokens(doc, annotated.mentions)


def off_tokens(doc: Doc, mentions: Sequence[Mention]) -> list[Mention]:
    """List the mentions that are not on the token boundaries of a doc of the same text."""
    return [each for each in mentions if doc.char_span(each.start, each.end) is None]


def annotated_text(doc: Doc, spans_key: str) -> AnnotatedText:
    """Get the text, tokens and gold mentions of a reference doc."""
    tokens = tuple((token.idx, token.idx + len(token)) for token in doc)
    spans = gold_spans(doc, spans_key)
    mentions = sorted(Mention(span.start_char, span.end_char, span.label_) for span in spans)
    labels = annotated_labels(doc, spans_key)
    return AnnotatedText(TokenizedText(doc.text, tokens), tuple(mentions), labels)


def has_gold(doc: Doc, spans_key: str) -> bool:
    """Tell whether a doc is annotated for entities. If not, it is unknown which ones it has."""
    return spans_key in doc.spans or doc.has_annotation("ENT_IOB")


def gold_spans(doc: Doc, spans_key: str) -> list[Span]:
    """Get the gold mentions of a reference doc as spans."""
    return list(doc.spans[spans_key]) if spans_key in doc.spans else list(doc.ents)


def annotated_labels(doc: Doc, spans_key: str) -> tuple[str, ...] | None:
    """Get the labels that a reference doc is annotated for; `None` for all.

    They are in `attrs["labels"]` of its span group.
    """
    if spans_key not in doc.spans:
        return None
    labels = doc.spans[spans_key].attrs.get(LABELS_ATTR)
    return None if labels is None else tuple(labels)


def keep_labels(doc: Doc, labels: Sequence[str], spans_key: str) -> None:
    """Reduce the annotation of a reference doc to some labels.

    A doc without annotation stays as it is.

    Args:
        doc: The doc, changed in place.
        labels: The labels to keep. Those that the doc is not annotated for stay unknown.
        spans_key: The span group with its gold mentions.
    """
    if not has_gold(doc, spans_key):
        return
    known = annotated_labels(doc, spans_key)
    kept = [label for label in labels if known is None or label in known]
    spans = [span for span in gold_spans(doc, spans_key) if span.label_ in kept]
    doc.set_ents([ent for ent in doc.ents if ent.label_ in kept])
    doc.spans[spans_key] = SpanGroup(doc, name=spans_key, spans=spans, attrs={LABELS_ATTR: kept})
