"""Pipelines without a language model, which load fast, and annotators that misbehave."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import spacy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_padellm.annotate.annotator import Annotator


@Language.component("fails_on_no")
def fails_on_no(doc: Doc) -> Doc:
    if "no" in doc.text.split():
        raise RuntimeError("it says no")
    return doc


@Language.component("is_gone")
def is_gone(doc: Doc) -> Doc:
    raise OSError("the server is gone")


def rule_pipeline(names: Mapping[str, str], component: str | None = None) -> Language:
    """A pipeline that finds some names, and then runs a component of the above."""
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": label, "pattern": name} for name, label in names.items()])
    if component is not None:
        nlp.add_pipe(component)
    return nlp


class KnowingAnnotator(Annotator):
    """An annotator that brings the components of the above to other processes."""


class DeadlyAnnotator(Annotator):
    """An annotator whose process is killed by texts with the word "kill".

    Those with "once" only do so if the file `once` does not exist yet.
    """

    once: Path

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        for text in batch.column(self.text_field).to_pylist():
            if "kill" in text and not ("once" in text and self.once.exists()):
                self.once.touch()
                os._exit(9)
        return super().__call__(batch)


class SleepingAnnotator(Annotator):
    """An annotator that notes its process, and then takes its time."""

    began: Path

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self.began.write_text(str(os.getpid()))
        time.sleep(120)
        return super().__call__(batch)


class UnloadableAnnotator(Annotator):
    """An annotator whose model takes more memory than there is."""

    def load(self) -> Language:
        os._exit(9)
