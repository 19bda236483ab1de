"""A reader to train and evaluate on corpus files directly, without converting them."""

# No `from __future__ import annotations`: spaCy validates the config against the real types.
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from spacy.language import Language
from spacy.training import Example

from ..errors import Errors, Warnings
from ..settings import SPANS_KEY

if TYPE_CHECKING:
    from ..texts import AnnotatedText

# Number of gold entities that a warning names.
_EXAMPLES = 5


def create_annotated_corpus_v1(
    path: Path | None,
    format: str = "auto",
    scheme: str = "auto",
    token_column: int = 0,
    tag_column: int = -1,
    offsets: str = "auto",
    annotated_labels: list[str] | None = None,
    label_map: dict[str, str] | None = None,
    dropped_labels: list[str] | None = None,
    spans_key: str = SPANS_KEY,
    limit: int = 0,
) -> Callable[[Language], Iterator[Example]]:
    """Create `spacy_padellm.AnnotatedCorpus.v1`: a reader of annotated texts, without conversion.

    A config names it as `@readers = "spacy_padellm.AnnotatedCorpus.v1"`. The pipeline tokenizes the
    predicted docs. The reference docs have the gold tokens if the corpus has any.

    Args:
        path: The file.
        spans_key: The span group for nested and partially annotated gold mentions.
        limit: Number of texts to read; 0 for all.

    Raises:
        ValueError: `path` is `null`. The reader raises it if an option or the file is wrong.
    """
    if path is None:
        raise ValueError(Errors.P121)
    file = path

    def read_examples(nlp: Language) -> Iterator[Example]:
        # Imported here, as spaCy imports this module for every pipeline when it loads the registry.
        from .formats import read_annotated_texts
        from .options import ReadingOptions

        options = ReadingOptions(
            format=format,
            scheme=scheme,
            token_column=token_column,
            tag_column=tag_column,
            offsets=offsets,
            annotated_labels=annotated_labels,
            label_map=label_map,
            dropped_labels=dropped_labels,
        )
        texts = read_annotated_texts(file, options=options, spans_key=spans_key)
        return _examples(file, texts[:limit] if limit else texts, nlp, spans_key)

    return read_examples


def _examples(
    path: Path, texts: "list[AnnotatedText]", nlp: Language, spans_key: str
) -> Iterator[Example]:
    from .docs import docs_from_annotated_texts, off_tokens

    lost: list[str] = []
    references = docs_from_annotated_texts(texts, nlp, spans_key=spans_key)
    for annotated, (reference, misaligned) in zip(texts, references, strict=True):
        predicted = nlp.make_doc(reference.text)
        # An entity may be off the token boundaries of either doc, or of both.
        missed = dict.fromkeys([*misaligned, *off_tokens(predicted, annotated.mentions)])
        lost.extend(f"{reference.text[m.start : m.end]!r} ({m.label})" for m in missed)
        yield Example(predicted, reference)
    if lost:
        examples = ", ".join(lost[:_EXAMPLES])
        message = Warnings.W101.format(count=len(lost), path=path, examples=examples)
        warnings.warn(message, stacklevel=2)
