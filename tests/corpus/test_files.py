from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from spacy_padellm.corpus.files import read_files
from spacy_padellm.corpus.jsonl import write_jsonl
from tests.toy_corpus import SENTENCES, parse

TEXTS = [parse(markup) for markup in SENTENCES[:6]]
PARTLY = parse("[Dan|PER] left .", labels=["PER"])


def test_files_one_after_the_other(tmp_path: Path):
    write_jsonl(tmp_path / "a.jsonl", TEXTS)
    (tmp_path / "b.conll").write_text("Dan\tB-PER\nleft\tO\n.\tO\n")
    found = read_files([tmp_path / "a.jsonl", str(tmp_path / "b.conll")])
    assert found == [*TEXTS, parse("[Dan|PER] left .")]
    assert read_files([]) == []


def test_docs(tmp_path: Path):
    pytest.importorskip("spacy")
    import spacy
    from spacy.tokens import DocBin

    from spacy_padellm.corpus.docs import docs_from_annotated_texts

    nlp = spacy.blank("en")
    texts = [*TEXTS, PARTLY]
    docs = [doc for doc, _ in docs_from_annotated_texts(texts, nlp)]
    docs.append(nlp.make_doc("Not annotated at all ."))
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "docs.spacy")
    assert read_files([tmp_path / "docs.spacy"]) == texts


def test_docs_without_spacy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "spacy" else find_spec(name)
    )
    with pytest.raises(ImportError, match=r"P301.*Reading .*docs.spacy needs spacy"):
        read_files([tmp_path / "docs.spacy"])
