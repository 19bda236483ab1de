"""Annotated texts as spaCy's docs, and what gold such docs hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span, SpanGroup
from spacy.util import filter_spans
from spacy.vocab import Vocab

from ..settings import SPANS_KEY
from ..errors import Errors
from ..texts import AnnotatedText, Mention, TokenizedText
from .boundaries import has_gold_tokens

LABELS_ATTR = "labels"


def docs_from_annotated_texts(
    texts: Sequence[AnnotatedText], nlp: Language, *, spans_key: str = SPANS_KEY
) -> Iterator[tuple[Doc, list[Mention]]]:
    """Make docs of the texts of a corpus: on the gold tokens if the corpus has any, else on those
    of the pipeline's tokenizer.

    texts (Sequence[AnnotatedText]): All texts of a corpus.
    nlp (Language): The pipeline whose tokenizer and vocabulary are used.
    spans_key (str): See `annotate_doc`.
    YIELDS (Tuple[Doc, List[Mention]]): A doc and the gold mentions that aren't on its tokens'
        boundaries, which it therefore lacks.
    """
    gold_tokens = has_gold_tokens(texts)
    for annotated in texts:
        source = annotated.source
        doc = doc_from_tokens(source, nlp.vocab) if gold_tokens else nlp.make_doc(source.text)
        yield doc, annotate_doc(doc, annotated, spans_key=spans_key)


def load_docs(path: Path, vocab: Vocab) -> list[Doc]:
    """path (Path): A .spacy file.
    vocab (Vocab): The docs' vocabulary.
    RETURNS (List[Doc]): The docs in it.
    RAISES (ValueError): It is no such file.
    """
    try:
        return list(DocBin().from_disk(path).get_docs(vocab))
    except Exception as error:  # of zlib, msgpack or the file system
        raise ValueError(Errors.P123.format(path=path, error=error)) from error


def doc_from_tokens(source: TokenizedText, vocab: Vocab) -> Doc:
    """Make a doc of a text on its own tokens. What lies between tokens, other than a single
    space, becomes a token too, as spaCy's tokenizers do it: the doc keeps the text as it is.

    source (TokenizedText): The text.
    vocab (Vocab): The doc's vocabulary.
    RETURNS (Doc): The doc.
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

    doc (Doc): The doc, changed in place.
    annotated (AnnotatedText): The text's mentions.
    spans_key (str): Key of the span group.
    RETURNS (List[Mention]): The mentions that aren't on the boundaries of the doc's tokens, which
        it therefore lacks.
    """
    found = [doc.char_span(each.start, each.end, label=each.label) for each in annotated.mentions]
    spans = [span for span in found if span is not None]
    doc.set_ents(filter_spans(spans))
    if annotated.labels is not None or len(doc.ents) < len(spans):
        attrs = {} if annotated.labels is None else {LABELS_ATTR: list(annotated.labels)}
        doc.spans[spans_key] = SpanGroup(doc, name=spans_key, spans=spans, attrs=attrs)
    return off_tokens(doc, annotated.mentions)


def off_tokens(doc: Doc, mentions: Sequence[Mention]) -> list[Mention]:
    """Find the mentions that aren't on the boundaries of a doc's tokens.

    doc (Doc): A doc of the mentions' text.
    mentions (Sequence[Mention]): The mentions.
    RETURNS (List[Mention]): Those that no run of tokens covers exactly.
    """
    return [each for each in mentions if doc.char_span(each.start, each.end) is None]


def gold_spans(doc: Doc, spans_key: str) -> list[Span]:
    """doc (Doc): A reference doc.
    spans_key (str): Its span group with gold mentions.
    RETURNS (List[Span]): The group's spans, the doc's entities where it has no such group.
    """
    return list(doc.spans[spans_key]) if spans_key in doc.spans else list(doc.ents)


def annotated_text(doc: Doc, spans_key: str) -> AnnotatedText:
    """doc (Doc): A reference doc.
    spans_key (str): Its span group with gold mentions.
    RETURNS (AnnotatedText): Its text and tokens with the gold mentions.
    """
    tokens = tuple((token.idx, token.idx + len(token)) for token in doc)
    spans = gold_spans(doc, spans_key)
    mentions = sorted(Mention(span.start_char, span.end_char, span.label_) for span in spans)
    labels = annotated_labels(doc, spans_key)
    return AnnotatedText(TokenizedText(doc.text, tokens), tuple(mentions), labels)


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


def keep_labels(doc: Doc, labels: Sequence[str], spans_key: str) -> None:
    """Make a reference doc one that is annotated for these labels only; one without annotation
    stays as it is.

    doc (Doc): The doc, changed in place.
    labels (Sequence[str]): The labels. One it is not annotated for stays unknown.
    spans_key (str): Its span group with gold mentions.
    """
    if not has_gold(doc, spans_key):
        return
    known = annotated_labels(doc, spans_key)
    kept = [label for label in labels if known is None or label in known]
    spans = [span for span in gold_spans(doc, spans_key) if span.label_ in kept]
    doc.set_ents([ent for ent in doc.ents if ent.label_ in kept])
    doc.spans[spans_key] = SpanGroup(doc, name=spans_key, spans=spans, attrs={LABELS_ATTR: kept})


def has_gold(doc: Doc, spans_key: str) -> bool:
    """doc (Doc): A reference doc.
    spans_key (str): Its span group with gold mentions.
    RETURNS (bool): Whether entities are annotated; if not, none are known to be absent.
    """
    return spans_key in doc.spans or doc.has_annotation("ENT_IOB")
