"""Pipelines on the toy corpus; imported where spaCy is installed only."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.util import minibatch, registry

from spacy_padellm.corpus.docs import annotate_doc, gold_spans
from spacy_padellm.pipeline.component import PaDeLLMNER
from spacy_padellm.pipeline.docs import SpanGetter
from tests.toy_corpus import SENTENCES, parse

SMALL_MODEL: dict[str, Any] = {
    "@architectures": "spacy_padellm.SmallCausalLM.v1",
    "width": 64,
    "depth": 2,
    "heads": 2,
    "feed_forward": 128,
    "max_positions": 96,
}
STRIDED = "spacy-transformers.strided_spans.v1"


def make_example(
    nlp: Language, markup: str, *, labels: Sequence[str] | None = None, spans_key: str = "padellm"
) -> Example:
    """An example of a text in the toy corpus's markup, its gold where `padellm convert` puts it."""
    annotated = parse(markup, labels)
    reference = nlp.make_doc(annotated.source.text)
    assert annotate_doc(reference, annotated, spans_key=spans_key) == []
    return Example(nlp.make_doc(annotated.source.text), reference)


def toy_examples(nlp: Language, markups: Sequence[str] = SENTENCES) -> list[Example]:
    return [make_example(nlp, markup) for markup in markups]


def write_docs(path: Path, markups: Sequence[str]) -> Path:
    """Write texts in the toy corpus's markup as docs, and return the file's path."""
    nlp = spacy.blank("en")
    docs = [make_example(nlp, markup).reference for markup in markups]
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path


def fresh_nlp(lang: str = "en", **config: Any) -> Language:
    """A blank pipeline with an untrained tiny model."""
    nlp = spacy.blank(lang)
    settings = {"model": SMALL_MODEL, "max_mentions": 5, **config}
    nlp.add_pipe("padellm_ner", config=settings)
    return nlp


def initialized_nlp(markups: Sequence[str] = SENTENCES, **config: Any) -> Language:
    """The same with its model made, always the same one."""
    nlp = fresh_nlp(**config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nlp.initialize(lambda: toy_examples(nlp, markups))
    return nlp


def checkpoint_nlp(folder: Path, lang: str = "en", **config: Any) -> Language:
    """A blank pipeline with a checkpoint."""
    nlp = spacy.blank(lang)
    model = {"name": str(folder), **config.pop("model", {})}
    nlp.add_pipe("padellm_ner", config={"model": model, **config})
    return nlp


def component(nlp: Language) -> PaDeLLMNER:
    pipe = nlp.get_pipe("padellm_ner")
    assert isinstance(pipe, PaDeLLMNER)
    return pipe


def strided(window: int, stride: int) -> SpanGetter:
    getter: SpanGetter = registry.span_getters.get(STRIDED)(window, stride)
    return getter


def train_by_heart(nlp: Language, markups: Sequence[str] = SENTENCES) -> None:
    """Train an initialized pipeline until it finds exactly the mentions of a corpus."""
    examples = toy_examples(nlp, markups)
    optimizer = nlp.create_optimizer()
    optimizer.learn_rate = 2e-3
    shuffle = random.Random(0).shuffle
    for _ in range(20):
        for _ in range(5):
            shuffle(examples)
            for batch in minibatch(examples, 6):
                nlp.update(batch, sgd=optimizer)
        docs = [nlp(example.text) for example in examples]
        found = [places(doc.spans["padellm"]) for doc in docs]
        if found == [gold_places(example) for example in examples]:
            return
    raise AssertionError("the corpus was not learned in 100 epochs")


def places(spans: Iterable[Span]) -> list[tuple[int, int, str]]:
    return sorted((span.start_char, span.end_char, span.label_) for span in spans)


def gold_places(example: Example) -> list[tuple[int, int, str]]:
    return places(gold_spans(example.reference, "padellm"))


def entities(doc: Doc) -> list[tuple[str, str]]:
    return [(ent.text, ent.label_) for ent in doc.ents]


def mentions(doc: Doc, spans_key: str = "padellm") -> list[tuple[str, str]]:
    return [(span.text, span.label_) for span in doc.spans[spans_key]]
