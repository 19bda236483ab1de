"""What real exports of tools look like: odd quotations, other code, other names of fields."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from spacy_padellm.corpus.formats import detect_format, read_annotated_texts
from spacy_padellm.corpus.options import ReadingOptions
from tests.corpus.test_tools import MENTIONS, TEXT, quoted, read

BROKEN = "Visit Mira\nTolvanen now"
PAIR = repr((TEXT, {"entities": [(0, 4, "PER"), (13, 17, "LOC")]}))
ENTS = [{"start": 0, "end": 4, "label": "PER"}, {"start": 13, "end": 17, "label": "LOC"}]


def write_json(path: Path, *values: Any) -> Path:
    path.write_text("\n".join(map(json.dumps, values)), encoding="utf8")
    return path


def region(kind: str = "labels", label: str = "PER", **value: Any) -> dict[str, Any]:
    return {"value": {**value, kind: [label]}, "type": kind}


def task(data: dict[str, Any], *regions: dict[str, Any]) -> dict[str, Any]:
    return {"annotations": [{"result": list(regions)}], "data": data}


# Label Studio


@pytest.mark.parametrize(
    "quote",
    ["Mira\nTolvanen", r"Mira\nTolvanen", "Mira Tolvanen", r"Mira\r\nTolvanen", "MiraTolvanen"],
)
def test_quotations_across_a_line_break(tmp_path: Path, quote: str):
    place = {"start": 6, "end": 19, "text": quote}
    path = write_json(tmp_path / "full.json", [task({"text": BROKEN}, region(**place))])
    assert read(path) == [[("Mira\nTolvanen", "PER")]]
    small = {"note": "x" * 99, "post": BROKEN, "ner": [{**place, "labels": ["PER"]}]}
    assert read(write_json(tmp_path / "min.json", [small])) == [[("Mira\nTolvanen", "PER")]]
    path = write_json(tmp_path / "x.json", [task({"text": BROKEN}, region(**place | {"end": 18}))])
    with pytest.raises(ValueError, match="P126"):
        read(path)


def hyper(start: int, quote: str | None) -> dict[str, Any]:
    offsets = {"start": start, "end": start + 4}
    more = {} if quote is None else {"text": quote}
    return region(
        "hypertextlabels",
        start="/p[1]/text()[1]",
        end="/p[1]/text()[1]",
        globalOffsets=offsets,
        **more,
    )


def test_hypertext_that_is_plain(tmp_path: Path):
    path = tmp_path / "export.json"
    for quote in ("Oulu", None):
        write_json(path, [task({"text": TEXT}, hyper(13, quote))])
        assert read(path) == [[("Oulu", "PER")]]


@pytest.mark.parametrize("quote", ["Oulu", None])
def test_hypertext_that_is_html(tmp_path: Path, quote: str | None):
    path = write_json(tmp_path / "full.json", [task({"html": f"<p>{TEXT}</p>"}, hyper(13, quote))])
    with pytest.raises(ValueError, match=r"P132.*HTML.*<Text>"):
        read(path)
    small = {"html": f"<p>{TEXT}</p>", "label": [hyper(13, quote)["value"]], "annotation_id": 1}
    with pytest.raises(ValueError, match=r"P132.*HTML.*<Text>"):
        read(write_json(tmp_path / "min.json", [small]))


@pytest.mark.parametrize("kind", ["paragraphlabels", "rectanglelabels", "timeserieslabels"])
def test_regions_that_are_not_of_text(tmp_path: Path, kind: str):
    other = region(kind, start="0", end="0", startOffset=0, endOffset=4)
    with pytest.raises(ValueError, match=f"P132.*{kind}"):
        read(write_json(tmp_path / "full.json", [task({"text": TEXT}, other)]))
    small = {"text": TEXT, "label": [other["value"]], "annotation_id": 1, "lead_time": 1.0}
    with pytest.raises(ValueError, match=f"P132.*{kind}"):
        read(write_json(tmp_path / "min.json", [small]))


def test_controls_regions_without_labels_and_completions(tmp_path: Path):
    """JSON-MIN has a field for each control, and old versions had another name."""
    controls = {"ner": [{"start": 0, "end": 4, "labels": ["PER"]}, {"start": 5, "end": 9}]}
    controls["place"] = [{"start": 13, "end": 17, "labels": ["LOC"]}]
    assert read(write_json(tmp_path / "min.json", [{"text": TEXT, **controls}])) == [MENTIONS]
    value = task(
        {"text": TEXT}, region(start=0, end=4), {"value": {"rating": 3}}, {"type": "relation"}
    )
    value["completions"] = value.pop("annotations")
    assert read(write_json(tmp_path / "full.json", [value])) == [[("Mira", "PER")]]


# Python files


@pytest.mark.parametrize(
    "before, after",
    [
        ("", ""),
        ("# -*- coding: utf-8 -*-\n", ""),
        ('"""Data."""\nfrom __future__ import annotations\nLABELS = ["PER", "LOC"]\n', ""),
        ("import spacy\n\n\ndef helper():\n    x = [1]\n    return x\n", ""),
        ("", "\nif __name__ == '__main__':\n    print(len(TRAIN))\n"),
    ],
)
@pytest.mark.parametrize("assigned", ["TRAIN = [\n    # first\n    {},\n]", "TRAIN: list = [{}]"])
def test_python_files(tmp_path: Path, before: str, after: str, assigned: str):
    path = tmp_path / "data.py"
    path.write_text(before + assigned.replace("{}", PAIR) + after)
    assert detect_format(path) == "spacy-v2"
    assert read(path) == [MENTIONS]
    path = path.with_suffix(".txt")
    path.write_text("import spacy\n" + assigned.replace("{}", PAIR) + after)
    assert read(path) == [MENTIONS]


@pytest.mark.parametrize(
    "content, message",
    [
        (f"TRAIN = [{PAIR}]\n\nTEST = [{PAIR}]", r"P133.*TRAIN \(line 1\), TEST \(line 3\)"),
        (f"TRAIN = [{PAIR},\n(TEXT, {{'entities': []}})]", r"P132.*line 2.*TRAIN.*no code"),
        (f"TRAIN = [{PAIR}]\nTRAIN += [{PAIR}]", r"P132.*line 2.*TRAIN is changed"),
        (f"TRAIN = [{PAIR}]\nTRAIN.append({PAIR})", r"P132.*line 2.*TRAIN is changed"),
        ("import spacy\nprint 'x'\n", r"P106.*line 2.*Python"),
        (f"DATA = {{'train': [{PAIR}]}}", "P106.*no list of texts"),
        ("import spacy\n", "P106.*no list of texts"),
    ],
)
def test_python_files_that_cannot_be_read(tmp_path: Path, content: str, message: str):
    path = tmp_path / "data.py"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read(path)


def test_a_tuple_on_each_line(tmp_path: Path):
    """As Python prints them. The first ones may be JSON as well."""
    path = tmp_path / "data.txt"
    path.write_text(f"{PAIR}\n{PAIR}\n")
    assert read(path) == [MENTIONS, MENTIONS]
    path.write_text(f'[["a", {{"entities": []}}], {PAIR}]')
    assert read(path) == [[], MENTIONS]


# Texts with spans


@pytest.mark.parametrize("name", ["entities", "ents", "annotations", "spans", "label"])
@pytest.mark.parametrize("key", ["label", "entity_group", "entity", "type", "tag"])
def test_spans(tmp_path: Path, name: str, key: str):
    spans = [{**each, key: each["label"], "score": 0.9} for each in ENTS]
    for each in spans:
        each["text"] = TEXT[each["start"] : each["end"]]
        if key != "label":
            del each["label"]
    empty = {"text": "No names.", name: []}
    path = write_json(tmp_path / "x.jsonl", empty, {"text": TEXT, name: spans})
    assert read(path) == [[], MENTIONS]
    path = write_json(tmp_path / "x.json", [{"text": TEXT, name: spans}])
    assert detect_format(path) == ("prodigy" if (name, key) == ("spans", "label") else "spans")
    assert read(path) == [MENTIONS]


def test_docs_as_json(tmp_path: Path):
    """`Doc.to_json` has tokens, and span groups by their names."""
    places = [(0, 4), (5, 9), (10, 12), (13, 18)]
    tokens = [{"id": n, "start": a, "end": b} for n, (a, b) in enumerate(places)]
    for more in ({"ents": ENTS}, {"spans": {"sc": ENTS}}, {"ents": [], "spans": {"sc": ENTS}}):
        path = write_json(tmp_path / "x.jsonl", {"text": TEXT, "tokens": tokens, **more})
        (text,) = read_annotated_texts(path)
        assert quoted(text) == MENTIONS
        assert text.has_tokens and text.source.tokens == tuple(places)


@pytest.mark.parametrize(
    "more, message",
    [
        ({"ents": ENTS, "spans": {"sc": ENTS[:1]}}, "P132.*in ents and spans.sc"),
        ({"ents": [{"start": 0, "end": 4}]}, "P132.*nothing in .* may be its label"),
        ({"ents": [{"start": 0, "end": 4, "type": "A", "tag": "B"}]}, "P132.*type and tag"),
        ({"ents": [{"start": 0, "end": 4, "entity": "B-PER"}]}, "P132.*aggregation_strategy"),
        ({"ents": [{"start": 0, "end": 4, "label": "X", "text": "Oulu"}]}, "P126.*'Oulu'"),
        (
            {"ents": [{"start": 0, "end": 1, "label": "X"}], "tokens": TEXT.split()},
            "P132.*characters or tokens",
        ),
        ({"ents": [{"start": 4, "end": 5, "label": "X"}]}, r"P125.*\[4, 5\] is only white space"),
    ],
)
def test_spans_that_are_unclear(tmp_path: Path, more: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        read(write_json(tmp_path / "x.jsonl", {"text": TEXT, **more}))


def test_white_space_at_the_edges(tmp_path: Path):
    path = write_json(
        tmp_path / "x.jsonl", {"text": TEXT, "label": [[0, 5, "PER"], [12, 17, "LOC"]]}
    )
    assert read(path) == [MENTIONS]


# Records without texts, and those of another task


@pytest.mark.parametrize(
    "more, message",
    [
        ({"_view_id": "choice", "options": [], "accept": ["A"]}, "P132.*text classification"),
        ({"_view_id": "classification", "label": "A", "spans": ENTS}, "P132.*ner.manual"),
        ({"label": "A"}, "P132.*text classification"),
        ({"spans": ENTS, "answer": "reject"}, "P134.*1 record.*reject or ignore"),
    ],
)
def test_prodigys_other_tasks(tmp_path: Path, more: dict[str, Any], message: str):
    record = {"text": TEXT, "_input_hash": 1, "_task_hash": 2, "answer": "accept", **more}
    with pytest.raises(ValueError, match=message):
        read(write_json(tmp_path / "x.jsonl", record))


def test_label_studios_predictions_alone(tmp_path: Path):
    value = {"annotations": [], "predictions": [{"result": []}], "data": {"text": TEXT}}
    with pytest.raises(ValueError, match=r"P134.*predictions aren't read"):
        read(write_json(tmp_path / "x.json", [value]))


@pytest.mark.skipif(find_spec("spacy") is None, reason="needs spaCy")
def test_docs_whose_gold_is_in_another_group(tmp_path: Path):
    import spacy
    from spacy.tokens import Doc, DocBin

    nlp = spacy.blank("en")
    doc, path = nlp(TEXT), tmp_path / "in.spacy"
    for kept in (doc, Doc(nlp.vocab, words=["a"], ents=["O"])):
        DocBin(docs=[kept]).to_disk(path)
        if kept is doc:
            with pytest.raises(ValueError, match=r"P134.*no doc is annotated"):
                read_annotated_texts(path)
        kept.spans["sc"] = [kept.char_span(0, len(kept[0]), "PER")]
        DocBin(docs=[kept]).to_disk(path)
        with pytest.raises(ValueError, match=r"P135.*sc \(docs: 1\).*--spans-key"):
            read_annotated_texts(path)
        (text,) = read_annotated_texts(path, spans_key="sc")
        assert len(text.mentions) == 1
        assert read_annotated_texts(path, options=ReadingOptions(with_gold=False))
