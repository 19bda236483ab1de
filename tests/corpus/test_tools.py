"""Exports of annotation tools and libraries."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.corpus.formats import detect_format, read_annotated_texts
from spacy_padellm.corpus.options import ReadingOptions
from spacy_padellm.texts import AnnotatedText

Write = Callable[..., Path]

DOCS = Path(__file__).parents[2] / "docs" / "how-to" / "formats.md"
TEXT, MENTIONS = "Mira flew to Oulu.", [("Mira", "PER"), ("Oulu", "LOC")]
SUFFIXES = {"json": ".json", "text": ".txt", "python": ".py"}


def quoted(text: AnnotatedText) -> list[tuple[str, str]]:
    return [(text.source.text[m.start : m.end], m.label) for m in text.mentions]


def read(path: Path, **options: Any) -> list[list[tuple[str, str]]]:
    return [quoted(text) for text in read_annotated_texts(path, options=ReadingOptions(**options))]


def examples() -> list[Any]:
    """The examples of the docs: heading, kind and content."""
    found = []
    heading = ""
    pattern = r"^### ([^\n]+)$|^```(\w+)\n(.*?)^```$"
    for title, kind, content in re.findall(pattern, DOCS.read_text(), re.MULTILINE | re.DOTALL):
        heading = title or heading
        if kind in SUFFIXES and heading:
            found.append(pytest.param(heading, kind, content, id=f"{heading}-{len(found)}"))
    return found


def test_every_format_has_an_example():
    assert len(examples()) == 15


@pytest.mark.parametrize("heading, kind, content", examples())
def test_the_examples_of_the_docs(tmp_path: Path, heading: str, kind: str, content: str):
    path = tmp_path / f"corpus{SUFFIXES[kind]}"
    if heading == "brat":
        path.write_text(TEXT)
        path = path.with_suffix(".ann")
    path.write_text(content, encoding="utf8")
    (text,) = read_annotated_texts(path)
    assert quoted(text) == MENTIONS
    assert text.source.text.replace(" .", ".") == TEXT


# JSON: doccano's stands for all


def doccano(text: str, *mentions: tuple[int, int, str]) -> dict[str, Any]:
    return {"id": 1, "text": text, "label": [list(each) for each in mentions]}


RECORDS = [doccano(TEXT, (0, 4, "PER"), (13, 17, "LOC")), doccano("No names.")]


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(map(json.dumps, RECORDS)),
        json.dumps(RECORDS),
        json.dumps(RECORDS, indent=2),
        "\ufeff" + json.dumps(RECORDS, indent=2).replace("\n", "\r\n"),
        "\n\n".join(json.dumps(record, indent=1) for record in RECORDS),
    ],
)
def test_layouts_of_json(tmp_path: Path, content: str):
    path = tmp_path / "export.json"
    path.write_bytes(content.encode())
    assert detect_format(path) == "doccano"
    assert read(path) == [MENTIONS, []]


def test_the_place_of_a_wrong_record(tmp_path: Path):
    path = tmp_path / "export.json"
    path.write_text(json.dumps([*RECORDS, doccano("x", (0, 4, "PER"))], indent=1))
    line = path.read_text()[: path.read_text().index('"x"')].count("\n") - 1
    with pytest.raises(ValueError, match=rf"P126.*export.json, line {line}: the mention 'PER'"):
        read(path)


def test_messages_are_short(tmp_path: Path):
    """A whole export may stand on one line."""
    path = tmp_path / "export.json"
    value = {"start": 0, "end": 1, "text": "y", "labels": ["PER"]}
    task = {"annotations": [{"result": [{"value": value}] * 3000}], "data": {"text": "x " * 5000}}
    path.write_text(json.dumps([task]))
    with pytest.raises(ValueError, match="P126") as caught:
        read(path)
    assert len(str(caught.value)) < 500
    path.write_text(json.dumps([{"text": "x" * 9000, "labels": {"odd": "x" * 9000}}]))
    with pytest.raises(ValueError) as caught:
        read(path)
    assert len(str(caught.value)) < 1000


SPOKEN = "😀 Ada met 😀 Bob in Oulu"


def offsets(text: str, part: str, encoding: str, width: int) -> tuple[int, int]:
    place = text.index(part)
    sizes = [len(text[:end].encode(encoding)) // width for end in (place, place + len(part))]
    return sizes[0], sizes[1]


UNITS = [("utf-32-le", 4), ("utf-16-le", 2), ("utf-8", 1)]


@pytest.mark.parametrize("encoding, width", UNITS)
def test_offsets_that_count_other_units(tmp_path: Path, encoding: str, width: int):
    path = tmp_path / "export.jsonl"
    found = [(*offsets(SPOKEN, name, encoding, width), "PER") for name in ("Ada", "Bob")]
    path.write_text(json.dumps(doccano(SPOKEN, *found)))
    assert read(path) == [[("Ada", "PER"), ("Bob", "PER")]]
    value = [
        {"start": a, "end": b, "labels": [label], "text": name}
        for (a, b, label), name in zip(found, ("Ada", "Bob"), strict=True)
    ]
    path.write_text(json.dumps([{"text": SPOKEN, "label": value, "id": 1}]))
    assert read(path) == [[("Ada", "PER"), ("Bob", "PER")]]


words = st.lists(
    st.text(st.sampled_from("abcÄß北😀𝒳"), min_size=1, max_size=6), min_size=2, max_size=6
)


@given(words=words, unit=st.sampled_from(UNITS), data=st.data())
def test_quoted_mentions_are_found_whatever_offsets_count(tmp_path_factory, words, unit, data):
    text = " ".join(words)
    place = data.draw(st.integers(0, len(words) - 1))
    start = len(" ".join([*words[:place], ""]))
    sizes = [
        len(text[:end].encode(unit[0])) // unit[1] for end in (start, start + len(words[place]))
    ]
    label = {"start": sizes[0], "end": sizes[1], "text": words[place], "labels": ["X"]}
    path = tmp_path_factory.mktemp("units") / "export.json"
    path.write_text(json.dumps([{"text": text, "label": [label]}]), encoding="utf8")
    (found,) = read_annotated_texts(path)
    assert quoted(found) == [(words[place], "X")]


# What the formats have of their own


def test_doccanos_relations(tmp_path: Path):
    path = tmp_path / "export.jsonl"
    entities = [{"id": 7, "label": "PER", "start_offset": 0, "end_offset": 4}]
    record = {"id": 1, "text": TEXT, "entities": entities, "relations": [], "Comments": []}
    path.write_text(json.dumps(record))
    assert read(path) == [[("Mira", "PER")]]


def test_prodigys_answers(tmp_path: Path):
    path = tmp_path / "export.jsonl"
    span = {"start": 0, "end": 4, "label": "PER"}
    lines = [
        {"text": TEXT, "spans": [span], "answer": answer}
        for answer in ("accept", "reject", "ignore")
    ]
    path.write_text("\n".join(map(json.dumps, [*lines, {"text": TEXT, "spans": []}])))
    assert read(path) == [[("Mira", "PER")], []]


def test_label_studios_annotations(tmp_path: Path):
    path = tmp_path / "export.json"

    def annotation(label: str, **more: Any) -> dict[str, Any]:
        value = {"start": 0, "end": 4, "text": "Mira", "labels": [label]}
        choice = {"value": {"choices": ["good"]}, "type": "choices"}
        return {"result": [choice, {"value": value, "type": "labels"}], **more}

    tasks = [
        [annotation("A", was_cancelled=True), annotation("B")],
        [annotation("A"), annotation("B", ground_truth=True)],
        [annotation("A"), annotation("B")],
        [annotation("A", was_cancelled=True)],
        [],
    ]
    path.write_text(json.dumps([{"annotations": each, "data": {"sms": TEXT}} for each in tasks]))
    assert [label for ((_, label),) in read(path)] == ["B", "B", "A"]


def test_tags_that_are_numbers(tmp_path: Path):
    path = tmp_path / "data.json"
    path.write_text(json.dumps({"tokens": ["New", "York", "is"], "tags": [1, 2, 0]}))
    with pytest.raises(ValueError, match=r"P125.*--tag-names"):
        read(path)
    assert read(path, tag_names=["O", "B-LOC", "I-LOC"]) == [[("New York", "LOC")]]
    with pytest.raises(ValueError, match=r"P125.*the tag 2 has no name"):
        read(path, tag_names=["O", "B-LOC"])


def test_tokens_keep_their_boundaries(tmp_path: Path):
    path = tmp_path / "data.jsonl"
    path.write_text(
        json.dumps({"tokens": ["北京", "在", "中国"], "ner_tags": ["B-LOC", "O", "B-LOC"]})
    )
    (text,) = read_annotated_texts(path)
    assert (text.source.text, text.source.tokens) == ("北京在中国", ((0, 2), (2, 3), (3, 5)))
    assert text.has_tokens


@pytest.mark.parametrize("mention", [[2, 1, "X"], [0, 3, "X"], [-1, 0, "X"]])
def test_gliners_mentions_outside_the_tokens(tmp_path: Path, mention: list[Any]):
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"tokenized_text": ["a", "b", "c"], "ner": [mention]}]))
    with pytest.raises(ValueError, match=r"P125.*not among 3 tokens"):
        read(path)


def test_spacy_2_as_json(tmp_path: Path):
    """The last is what the web tool NER Annotator writes."""
    path = tmp_path / "data.json"
    pair = [TEXT, {"entities": [[0, 4, "PER"], [13, 17, "LOC"]]}]
    for value in ([pair], {"classes": ["PER", "LOC"], "annotations": [pair, None]}):
        path.write_text(json.dumps(value, indent=1))
        assert read(path) == [MENTIONS]
    path.write_text(json.dumps(pair))
    assert read(path) == [MENTIONS]


def test_python_files_run_no_code(tmp_path: Path):
    path = tmp_path / "data.py"
    mark = tmp_path / "mark"
    path.write_text(f"TRAIN_DATA = [(open({str(mark)!r}, 'w').name, {{'entities': []}})]")
    with pytest.raises(ValueError):
        read(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content, kind",
    [
        (b"<?xml version='1.0'?><GateDocument/>", "XML"),
        (b"PK\x03\x04....", "Office"),
        (b"\x1f\x8b....", "gzip"),
        (b"%PDF-1.7", "PDF"),
        ("Ada\tO".encode("utf-16"), "UTF-16"),
        (b"#begin document (bc/cctv/00); part 000\nbc 0 0 In IN (TOP(S* - - - *", "CoNLL-2012"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes, kind: str):
    path = tmp_path / "corpus.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"P129.*corpus.txt looks like .*{kind}"):
        read(path)


# What a careful reader found


def test_offsets_in_texts_without_spaces(tmp_path: Path):
    """Nearly every mention begins within what looks like a word."""
    path = tmp_path / "data.json"
    tokens, tags = list("他，在北京市工作"), ["O", "O", "O", "B-LOC", "I-LOC", "I-LOC", "O", "O"]
    path.write_text(json.dumps({"tokens": tokens, "ner_tags": tags}))
    assert read(path) == [[("北京市", "LOC")]]
    path.write_text(json.dumps([doccano("他，在北京市工作", (3, 6, "LOC"))] * 3))
    assert read(path) == [[("北京市", "LOC")]] * 3


def test_a_few_mentions_within_words_change_no_unit(tmp_path: Path):
    path = tmp_path / "data.jsonl"
    records = [doccano("Émile reist", (0, 3, "X")), doccano("Über Émile", (5, 10, "PER"))]
    path.write_text("\n".join(map(json.dumps, records)))
    assert read(path) == [[("Émi", "X")], [("Émile", "PER")]]


def test_arrays_one_after_the_other(tmp_path: Path):
    path = tmp_path / "all.json"
    path.write_text(json.dumps(RECORDS, indent=1) + "\n" + json.dumps(RECORDS))
    assert read(path) == [MENTIONS, [], MENTIONS, []]


@pytest.mark.parametrize("end", ["", ",", "\n"])
def test_an_array_that_is_cut_off(tmp_path: Path, end: str):
    path = tmp_path / "all.json"
    path.write_text(json.dumps(RECORDS)[:-1] + end)
    with pytest.raises(ValueError, match=r"P106.*within an array"):
        read(path)


def test_label_studios_json_min(tmp_path: Path):
    """A field with another name, and texts without mentions, the first among them."""
    path = tmp_path / "export.json"
    extra = {"id": 1, "annotator": 1, "annotation_id": 7, "lead_time": 2.5}
    extra |= {"created_at": "2026-11-30T06:00:00.000000Z", "updated_at": "2026-11-30T06:00:00.1Z"}
    labels = [{"start": 0, "end": 4, "text": "Mira", "labels": ["PER"]}]
    tasks = [{"review": "No.", **extra}, {"review": "Mira left.", "ner": labels, **extra}]
    path.write_text(json.dumps(tasks))
    assert detect_format(path) == "label-studio"
    assert read(path) == [[], [("Mira", "PER")]]
    # Another field may be longer.
    tasks[1]["source"] = "https://host/a/long/address"
    path.write_text(json.dumps(tasks))
    assert read(path) == [[], [("Mira", "PER")]]


def test_prodigys_binary_answers(tmp_path: Path):
    """They say nothing of the rest of the text."""
    path = tmp_path / "export.jsonl"
    span = {"start": 0, "end": 4, "label": "PER"}
    record = {"text": TEXT, "_input_hash": 1, "_view_id": "ner", "answer": "accept"}
    lines = [{**record, "spans": [span]}, {**record, "_view_id": "ner_manual"}]
    path.write_text("\n".join(map(json.dumps, reversed(lines))))
    whole, part = read_annotated_texts(path)
    assert whole.unknown == () and quoted(part) == [("Mira", "PER")]
    assert [(each.start, each.end) for each in part.unknown] == [(4, 18)]


@pytest.mark.parametrize(
    "text, mention",
    [(None, (0, 1, "X")), ("ab", (0, "1", "X")), ("ab", (0, 1, None)), ("ab", (0, 1, ""))],
)
def test_values_of_the_wrong_type(tmp_path: Path, text: Any, mention: tuple[Any, ...]):
    path = tmp_path / "data.json"
    good = [TEXT, {"entities": [[0, 4, "PER"]]}]
    path.write_text(json.dumps([good, [text, {"entities": [list(mention)]}]], indent=1))
    with pytest.raises(ValueError, match="P125"):
        read(path)


@pytest.mark.parametrize("content", ["[\n]", "DATA = [{1, 2}]", "DATA = [b'x']", "[1] Smith went"])
def test_odd_files(tmp_path: Path, content: str):
    path = tmp_path / "data.py"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"P103|P105|P106|P125"):
        read(path)


@pytest.mark.parametrize(
    "content",
    [
        "Die E-Mail kam an.\nMira B-52\n",
        "[1] Smith flew to Oulu.\n",
        "<3 this, Mira\n",
        "x" * 200_000 + "\n",
    ],
)
def test_plain_text_that_looks_like_something_else(tmp_path: Path, content: str):
    path = tmp_path / "texts.txt"
    path.write_text(content)
    options = ReadingOptions(with_gold=False)
    texts = read_annotated_texts(path, options=options)
    assert [text.source.text for text in texts] == content.splitlines()


def test_plain_tags_of_hugging_face(tmp_path: Path):
    path = tmp_path / "data.jsonl"
    records = [
        {"tokens": ["Ada", "Byron", "left", "Oulu"], "tags": ["person", "person", "O", "place"]},
        {"tokens": ["It", "", "rains"], "tags": ["O", "O", "O"]},
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    assert read(path) == [[("Ada Byron", "person"), ("Oulu", "place")], []]
    records[0]["tags"] = ["B-PER", "I-LOC", "O", "O"]
    path.write_text("\n".join(map(json.dumps, records)))
    with pytest.raises(ValueError, match=r"P112.*I-LOC"):
        read(path, scheme="bio")
