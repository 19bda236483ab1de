"""What messages say of files that are not read, and tables of odd layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spacy_padellm.corpus.formats import detect_format, read_annotated_texts
from spacy_padellm.corpus.options import ReadingOptions
from tests.corpus.test_tools import quoted, read

ROWS = {"Ada": "B-PER", "ran": "O"}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# Tables


@pytest.mark.parametrize(
    "header, rows",
    [
        ("document,sentence,token,ner", ["a,1,Ada,B-PER", "b,1,Bob,B-PER"]),
        ("doc_id,sentence_id,token,label", ["1,1,Ada,B-PER", "1,2,Bob,B-PER"]),
        ("doc,token,start,end,tag", ["d1,Ada,0,3,B-PER", "d2,Bob,0,3,B-PER"]),
        ("filename,token,label", ["a,Ada,I-PER", "b,Bob,I-PER"]),
        ("doc,sentence,token,tag", ["a,1,Ada,I-PER", "b,,Bob,I-PER"]),
    ],
)
def test_columns_that_name_a_sentence(tmp_path: Path, header: str, rows: list[str]):
    path = write(tmp_path / "x.csv", "\n".join([header, *rows]))
    assert read(path) == [[("Ada", "PER")], [("Bob", "PER")]]


@pytest.mark.parametrize(
    "content",
    [
        "Word,Tag,NER\nAda,NNP,B-PER\nran,VBD,O\n",
        "sep=;\nWord;Tag\nAda;B-PER\nran;O\n",
        "sep=\t\nWord\tTag\nAda\tB-PER\nran\tO\n",
        'Ada,NNP,B-PER\n"ran",VBD,O\n',
        "Ada;B-PER\nran;O\n",
    ],
)
def test_tables_of_other_layouts(tmp_path: Path, content: str):
    path = write(tmp_path / "x.csv", content)
    assert detect_format(path) in ("csv", "conll")
    (text,) = read_annotated_texts(path)
    assert (text.source.text, quoted(text)) == ("Ada ran", [("Ada", "PER")])


def test_columns_of_tables_that_are_given(tmp_path: Path):
    path = write(tmp_path / "x.csv", "1,Ada,B-PER,O\n2,ran,O,O\n")
    with pytest.raises(ValueError, match=r"P114.*--token-column"):
        read(path)
    assert read(path, token_column=1, tag_column=2) == [[("Ada", "PER")]]
    path = write(tmp_path / "y.csv", "sentence_id,old,token,tag,more\n1,B-X,Ada,O,B-PER\n")
    assert read(path, tag_column=4) == [[("Ada", "PER")]]
    with pytest.raises(ValueError, match=r"P110.*5 column.*column 5\."):
        read(path, tag_column=5)


def test_the_lines_of_a_table_without_a_header(tmp_path: Path):
    path = write(tmp_path / "x.csv", "\nAda,B-PER\nran,O\n\nBob,I-LOC\n")
    with pytest.raises(ValueError, match=r"P112.*line 5"):
        read(path, scheme="bio")


@pytest.mark.parametrize(
    "content",
    [
        """text,id,label\nAda ran,1,"[{""start"": 0}]"\n""",
        "text\tstart\tend\tlabel\nAda ran\t0\t3\tPER\n",
        'sentence,word_labels\nAda ran,"B-PER,O"\n',
        """Sentence #,Word,Tag\nSentence: 1,Ada ran,"['B-PER', 'O']"\n""",
    ],
)
def test_tables_with_a_text_in_each_row(tmp_path: Path, content: str):
    with pytest.raises(ValueError, match=r"P137.*x.csv is a table with a text in each row"):
        read(write(tmp_path / "x.csv", content))


# What files are


@pytest.mark.parametrize(
    "content, message",
    [
        ("Zürich\tB-LOC\n–\tO\n".encode("cp1252"), r"P102.*iconv -f cp1252 -t utf-8 .*x.txt > "),
        ("北京\tB-LOC\n是\tO\n".encode("gbk"), r"P102.*\)\. Save the file as UTF-8"),
        (b"\x93\x00\x01\x02\xff", "P102.*seems to be binary"),
        (b"\x80\x04\x95\x1a", "P129.*pickle"),
        (b"\xd0\xcf\x11\xe0\xa1", "P129.*Excel.*CSV"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d", "P129.*git lfs pull"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "P129.*page of HTML"),
        (b"<HTML><BODY>404</BODY></HTML>", "P129.*page of HTML"),
        (b"[]", "P105"),
        (b"[\n]\n", "P105"),
        (b'[{"text": "Ada", "label": [[0, 3,', "P106.*ends within a value"),
        (b'[\n{"text": "Ada", "label": [[0, 3, "PE', "P106.*ends within a value"),
    ],
)
def test_files_are_named(tmp_path: Path, content: bytes, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        read(write(tmp_path / "x.txt", content))
    assert ("UTF-8" in str(caught.value)) == ("P102" in message)


@pytest.mark.parametrize(
    "value, message",
    [
        ({"%TYPES": {}, "%VIEWS": {}}, "'%TYPES, %VIEWS'.*WebAnno TSV 3"),
        ({"source": "x", "documents": [{}]}, "BioC"),
        ({"id": 0, "paragraphs": []}, "spacy convert"),
        ([{"data": {"text": "Ada ran"}}] * 2, "line 1:.*'data'.*Label Studio"),
        ({"tokens": [["Ada"]], "ner_tags": [["O"]]}, "'tokens' or 'ner_tags'.*to_json"),
        ({"train": [{"tokens": ["Ada"]}], "test": []}, "in 'train' or 'test'"),
        ({"version": 1, "data": [{"tokens": ["Ada"]}]}, "in 'data'"),
        ({"content": "Ada", "annotation": None}, "'content, annotation'.*`text` and `entities`"),
    ],
)
def test_objects_that_nothing_reads(tmp_path: Path, value: Any, message: str):
    with pytest.raises(ValueError, match=f"P138.*{message}"):
        read(write(tmp_path / "x.json", json.dumps(value)))


def test_the_text_of_a_pair_of_brat(tmp_path: Path):
    write(tmp_path / "x.ann", "T1\tPER 0 3\tAda\n")
    path = write(tmp_path / "x.txt", "Ada ran off.")
    with pytest.raises(ValueError, match=r"P139.*x.txt seems.*Pass the file beside it: .*x.ann"):
        read(path)
    (text,) = read_annotated_texts(path, options=ReadingOptions(with_gold=False))
    assert text.source.text == "Ada ran off."
