from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from spacy_padellm.corpus.formats import detect_format, read_annotated_texts
from spacy_padellm.corpus.jsonl import write_jsonl
from spacy_padellm.corpus.options import ReadingOptions
from spacy_padellm.texts import Mention
from tests.toy_corpus import SENTENCES, parse

Write = Callable[..., Path]

PAPER = json.dumps(["New York", [0, 1, "New York", "LOC"]])
JSONL = json.dumps(
    {
        "text": "New York",
        "tokens": [[0, 3], [4, 8]],
        "mentions": [{"start": 0, "end": 8, "label": "LOC"}],
    }
)
CONLL = ["New\tB-LOC", "York\tI-LOC"]
TEXTS = [parse(markup) for markup in SENTENCES[:6]]
PARTLY = parse("[Dan|PER] left .", labels=["PER"])


@pytest.mark.parametrize(
    "lines, format",
    [
        (["", PAPER], "paper"),
        ([JSONL], "jsonl"),
        (CONLL, "conll"),
        (["# text = [1]", "1 [ O _", "2 1 B-X _"], "conll"),
        (["[\tO", "1\tO"], "conll"),
        (["-DOCSTART- O", "", "a O"], "conll"),
        (["O\tO"], "conll"),
    ],
)
def test_detect_format(write: Write, lines: list[str], format: str):
    assert detect_format(write(*lines)) == format


@pytest.mark.parametrize("lines", [["some prose"], ["a b", "c O"], ["1"], ["O", "O"]])
def test_undecidable_formats(write: Write, lines: list[str]):
    path = write("", *lines)
    with pytest.raises(ValueError) as caught:
        detect_format(path)
    message = str(caught.value)
    assert message.startswith(f"[P103] Can't tell the format of {path}")
    assert "(line 2)" in message and "paper, conll, csv, jsonl, brat" in message


@pytest.mark.parametrize("lines", [[PAPER], [JSONL], CONLL])
def test_all_formats_read_alike(write: Write, lines: list[str]):
    (text,) = read_annotated_texts(str(write(*lines)))
    assert text.source.text == "New York"
    assert text.source.tokens == ((0, 3), (4, 8))
    assert text.mentions == (Mention(0, 8, "LOC"),)


def test_options_reach_the_parsers(write: Write):
    path = write("1 a B-X _", "2 b I-X _")
    (text,) = read_annotated_texts(
        path, options=ReadingOptions(token_column=1, tag_column=2, scheme="bio")
    )
    assert (text.source.text, text.mentions) == ("a b", (Mention(0, 3, "X"),))
    (text,) = read_annotated_texts(write('["a b"]'), options=ReadingOptions(offsets="characters"))
    assert text.source.tokens == ((0, 1), (2, 3))


def test_labels_are_renamed_before_they_are_checked(write: Write):
    options = ReadingOptions(annotated_labels=["GPE", "PER"], label_map={"LOC": "GPE"})
    (text,) = read_annotated_texts(write(*CONLL), options=options)
    assert text.labels == ("GPE", "PER")
    assert text.mentions == (Mention(0, 8, "GPE"),)


def test_label_errors_name_the_line(write: Write):
    with pytest.raises(ValueError, match=r"\[P117\].*line 2"):
        read_annotated_texts(write("", *CONLL), options=ReadingOptions(annotated_labels=["PER"]))


def test_unknown_format(write: Write):
    with pytest.raises(ValueError, match=r"\[P104\] Unknown format: 'iob'.*paper"):
        read_annotated_texts(write(*CONLL), options=ReadingOptions(format="iob"))


@pytest.mark.parametrize("format", ["auto", "paper", "conll", "jsonl"])
def test_empty_files(write: Write, format: str):
    with pytest.raises(ValueError, match=r"\[P105\]"):
        read_annotated_texts(write(""), options=ReadingOptions(format=format))


def test_binary_files(tmp_path: Path):
    path = tmp_path / "corpus.spacy"
    path.write_bytes(b"x\x9c\xb5\xd0")
    with pytest.raises(ValueError, match=r"\[P102\].*spacy.Corpus.v1"):
        read_annotated_texts(path, options=ReadingOptions(format="conll"))
    with pytest.raises(ValueError, match=r"\[P102\].*spacy.Corpus.v1"):
        read_annotated_texts(path.rename(tmp_path / "corpus.bin"))


def test_files_one_after_the_other(tmp_path: Path):
    write_jsonl(tmp_path / "a.jsonl", TEXTS)
    (tmp_path / "b.conll").write_text("Dan\tB-PER\nleft\tO\n.\tO\n")
    found = read_annotated_texts(tmp_path / "a.jsonl", str(tmp_path / "b.conll"))
    assert found == [*TEXTS, parse("[Dan|PER] left .")]
    assert read_annotated_texts() == []


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
    assert read_annotated_texts(tmp_path / "docs.spacy") == texts
    renamed = ReadingOptions(label_map={"PER": "person"})
    *_, last = read_annotated_texts(tmp_path / "docs.spacy", options=renamed)
    assert last.labels == ("person",) and last.mentions == (Mention(0, 3, "person"),)
    (tmp_path / "docs.spacy").write_bytes(b"x\x9c\xb5\xd0")
    with pytest.raises(ValueError, match=r"\[P123\].*docs.spacy"):
        read_annotated_texts(tmp_path / "docs.spacy")


def test_docs_without_spacy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "spacy" else find_spec(name)
    )
    with pytest.raises(ImportError, match=r"P301.*Reading .*docs.spacy needs spacy"):
        read_annotated_texts(tmp_path / "docs.spacy")


def test_a_wrong_format_is_an_error(write: Write):
    with pytest.raises(ValueError, match=r"\[P106\].*line 1"):
        read_annotated_texts(write(*CONLL), options=ReadingOptions(format="paper"))
    with pytest.raises(ValueError, match=r"\[P110\].*line 1"):
        read_annotated_texts(write("word"), options=ReadingOptions(format="conll"))


def test_formats_of_real_files_are_detected(data: Path):
    for path in sorted(data.glob("paper/*/*.jsonl")):
        assert detect_format(path) == "paper", path
    for path in sorted([*data.glob("open/**/*.conll"), *data.glob("open/**/*.iob2")]):
        assert detect_format(path) == "conll", path
