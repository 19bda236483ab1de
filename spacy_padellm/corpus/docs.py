"""Convert annotated texts to spaCy docs, and read the gold mentions of docs.

The gold mentions of a doc are the spans in its group `spans_key`, or its entities if it has no such
group.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span, SpanGroup
from spacy.util import filter_spans
from spacy.vocab import Vocab

from ..errors import Errors
from ..prompt.template import Labels
from ..settings import SPANS_KEY
from ..texts import AnnotatedText, Mention, TokenizedText

LABELS_ATTR, UNKNOWN_ATTR = "labels", "unknown"
# The labels to look for in a doc, in place of the component's.
LABELS_EXTENSION = "padellm_labels"


def docs_from_annotated_texts(
    texts: Sequence[AnnotatedText], nlp: Language, *, spans_key: str = SPANS_KEY
) -> Iterator[tuple[Doc, list[Mention]]]:
    """Create docs from the texts of a corpus, with their gold mentions.

    If a text has tokens of its own, the doc has these. Otherwise the pipeline's tokenizer makes
    them.

    Args:
        texts: The texts.
        nlp: The pipeline whose tokenizer and vocabulary to use.
        spans_key: The span group for gold mentions, see `annotate_doc`.

    Yields:
        A doc, and the gold mentions that it lacks because they are not on its token boundaries.
    """
    for annotated in texts:
        source = annotated.source
        has_tokens = annotated.has_tokens
        doc = doc_from_tokens(source, nlp.vocab) if has_tokens else nlp.make_doc(source.text)
        yield doc, annotate_doc(doc, annotated, spans_key=spans_key)


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
    entities = filter_spans(spans)
    off = off_tokens(doc, annotated.mentions)
    known = {token.i for span in entities for token in span}
    # Where a mention is off the tokens, it cannot be said that nothing is there.
    stretches = [*annotated.unknown, *off]
    touched = {i for each in stretches for i in _find_tokens(doc, each) if i not in known}
    doc.set_ents(entities, missing=[doc[i : i + 1] for i in sorted(touched)])
    if annotated.labels is not None or len(doc.ents) < len(spans):
        attrs: dict[str, Any] = (
            {} if annotated.labels is None else {LABELS_ATTR: list(annotated.labels)}
        )
        if stretches:
            attrs[UNKNOWN_ATTR] = sorted([each.start, each.end] for each in stretches)
        doc.spans[spans_key] = SpanGroup(doc, name=spans_key, spans=spans, attrs=attrs)
    return off


def _find_tokens(doc: Doc, stretch: Mention) -> range:
    """Find the tokens that a stretch of the text touches."""
    first = bisect_right(doc, stretch.start, key=lambda token: token.idx + len(token))
    return range(first, bisect_left(doc, stretch.end, key=lambda token: token.idx))


def off_tokens(doc: Doc, mentions: Sequence[Mention]) -> list[Mention]:
    """List the mentions that are not on the token boundaries of a doc of the same text."""
    return [each for each in mentions if doc.char_span(each.start, each.end) is None]


def annotated_text(doc: Doc, spans_key: str | None) -> AnnotatedText:
    """Get the text, tokens and gold mentions of a reference doc."""
    tokens = tuple((token.idx, token.idx + len(token)) for token in doc)
    spans = gold_spans(doc, spans_key)
    mentions = sorted(Mention(span.start_char, span.end_char, span.label_) for span in spans)
    labels = annotated_labels(doc, spans_key)
    source = TokenizedText(doc.text, tokens)
    return AnnotatedText(source, tuple(mentions), labels, unknown_stretches(doc, spans_key))


def has_gold(doc: Doc, spans_key: str | None) -> bool:
    """Tell whether a doc is annotated for entities. If not, it is unknown which ones it has."""
    return spans_key in doc.spans or doc.has_annotation("ENT_IOB")


def gold_spans(doc: Doc, spans_key: str | None) -> list[Span]:
    """Get the gold mentions of a reference doc as spans."""
    return list(doc.spans[spans_key]) if spans_key in doc.spans else list(doc.ents)


def unknown_stretches(doc: Doc, spans_key: str | None) -> tuple[Mention, ...]:
    """Get the stretches of a reference doc whose annotation is missing, with an empty label.

    These are the tokens that `doc.ents` says nothing about (`-` in spaCy's tags). A span group has
    all mentions, unless its `attrs["unknown"]` names such stretches.
    """
    if spans_key in doc.spans:
        stretches = doc.spans[spans_key].attrs.get(UNKNOWN_ATTR, ())
        return tuple(Mention(start, end, "") for start, end in stretches)
    missing = groupby(doc, key=lambda token: token.ent_iob == 0)
    runs = [list(tokens) for is_missing, tokens in missing if is_missing]
    return tuple(Mention(run[0].idx, run[-1].idx + len(run[-1]), "") for run in runs)


def annotated_labels(doc: Doc, spans_key: str | None) -> tuple[str, ...] | None:
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
    attrs: dict[str, Any] = {LABELS_ATTR: kept}
    if unknown := unknown_stretches(doc, spans_key):
        attrs[UNKNOWN_ATTR] = [[each.start, each.end] for each in unknown]
    # Where the annotation was missing, it still is.
    missing = [doc[token.i : token.i + 1] for token in doc if token.ent_iob == 0]
    doc.set_ents([ent for ent in doc.ents if ent.label_ in kept], missing=missing)
    doc.spans[spans_key] = SpanGroup(doc, name=spans_key, spans=spans, attrs=attrs)


def register_labels() -> None:
    """Register the extension `doc._.padellm_labels`."""
    if not Doc.has_extension(LABELS_EXTENSION):
        Doc.set_extension(LABELS_EXTENSION, default=None)


def own_labels(doc: Doc) -> Labels | None:
    """Return the labels to look for in a doc in place of the component's, `None` if it has none."""
    register_labels()
    labels: Labels | None = doc._.get(LABELS_EXTENSION)
    return labels


def ask_labels(doc: Doc, labels: Labels | None) -> None:
    """Set the labels to look for in a doc in place of the component's, `None` for the latter."""
    register_labels()
    doc._.set(LABELS_EXTENSION, labels)
