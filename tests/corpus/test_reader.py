from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("spacy")

import spacy
from spacy.util import registry

from spacy_padellm.corpus.reader import create_annotated_corpus_v1

Write = Callable[..., Path]

CONLL = ["He\tO", "can't\tB-X", "", "New\tB-LOC", "York\tI-LOC"]


def test_examples(write: Write):
    nlp = spacy.blank("en")
    first, second = create_annotated_corpus_v1(write(*CONLL))(nlp)
    assert [token.text for token in first.predicted] == ["He", "ca", "n't"]
    assert [token.text for token in first.reference] == ["He", "can't"]
    assert not first.predicted.ents
    assert [(span.text, span.label_) for span in second.reference.ents] == [("New York", "LOC")]


def test_the_config_names_it_and_sets_its_options(write: Write):
    config = {
        "corpus": {
            "@readers": "spacy_padellm.AnnotatedCorpus.v1",
            "path": str(write(*CONLL)),
            "scheme": "bio",
            "annotated_labels": ["X", "GPE"],
            "label_map": {"LOC": "GPE"},
            "dropped_labels": ["Y"],
            "spans_key": "gold",
            "limit": 1,
        }
    }
    (example,) = registry.resolve(config)["corpus"](spacy.blank("en"))
    assert example.reference.spans["gold"].attrs["labels"] == ["X", "GPE"]


def test_each_call_reads_anew(write: Write):
    reader = create_annotated_corpus_v1(write(*CONLL))
    nlp = spacy.blank("en")
    assert len(list(reader(nlp))) == len(list(reader(nlp))) == 2


def test_options_are_checked(write: Write):
    with pytest.raises(ValueError, match=r"\[P121\]"):
        create_annotated_corpus_v1(None)
    reader = create_annotated_corpus_v1(write(*CONLL), format="paper")
    with pytest.raises(ValueError, match=r"\[P106\].*line 1"):
        list(reader(spacy.blank("en")))


@pytest.mark.parametrize(
    "line",
    [
        # Characters, which the English tokenizer joins; then gold tokens finer than its own.
        '["abc", [0, 0, "a", "X"]]',
        '{"text": "abc", "tokens": [[0, 1], [1, 3]], "mentions": '
        '[{"start": 0, "end": 1, "label": "X"}]}',
    ],
)
def test_entities_off_the_tokens_are_warned_of(write: Write, line: str):
    reader = create_annotated_corpus_v1(write(line), offsets="characters")
    with pytest.warns(UserWarning, match=r"\[W101\] 1 gold entities.*'a' \(X\)"):
        list(reader(spacy.blank("en")))


def test_no_warning_if_all_are_on_the_tokens(write: Write):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(create_annotated_corpus_v1(write(*CONLL))(spacy.blank("en")))


def test_importing_it_is_light():
    code = (
        "import sys, spacy_padellm.corpus.reader;"
        "heavy = [name for name in sys.modules"
        " if name.startswith(('transformers', 'spacy_padellm.tree.'))];"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
