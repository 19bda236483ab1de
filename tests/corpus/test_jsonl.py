from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from spacy_padellm.corpus.jsonl import parse_jsonl, write_jsonl
from spacy_padellm.corpus.paper import character_offsets
from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText
from tests.corpus.corpus_strategies import annotated_texts

Write = Callable[..., Path]

GOOD: dict[str, Any] = {
    "text": "New York",
    "tokens": [[0, 3], [4, 8]],
    "mentions": [{"start": 0, "end": 8, "label": "LOC"}],
}


@given(texts=annotated_texts())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, texts: list[AnnotatedText]):
    path = tmp_path_factory.mktemp("jsonl") / "corpus.jsonl"
    write_jsonl(path, texts)
    sources = [text.source for text in texts]
    own = any(source.tokens != character_offsets(source.text) for source in sources)
    expected = [replace(text, has_tokens=own and bool(text.source.tokens)) for text in texts]
    assert parse_jsonl(path) == list(enumerate(expected, start=1))


@pytest.mark.parametrize("tokens", [{}, {"tokens": []}])
def test_lines_without_tokens(write: Write, tokens: dict[str, Any]):
    """Annotation tools often know only characters."""
    mentions = [{"start": 0, "end": 4, "label": "PER"}, {"start": 13, "end": 17, "label": "LOC"}]
    path = write(json.dumps({"text": "Mira flew to Oulu.", **tokens, "mentions": mentions}))
    ((line, text),) = parse_jsonl(path)
    assert (line, text.has_tokens) == (1, False)
    assert text.source == TokenizedText.split("Mira flew to Oulu.")
    again = path.with_name("again.jsonl")
    write_jsonl(again, [text])
    assert parse_jsonl(again) == [(1, text)] and "tokens" not in again.read_text()


def test_lines_without_gold(write: Write):
    path = write(json.dumps({"text": "Mira flew.", "id": 7}), json.dumps({**GOOD}))
    with pytest.raises(ValueError, match=r"P116.*line 1.*lacks 'mentions'"):
        parse_jsonl(path)
    (_, bare), (_, full) = parse_jsonl(path, with_gold=False)
    assert bare.labels == () and bare.mentions == () and bare.source.text == "Mira flew."
    assert full.labels is None and len(full.mentions) == 1


def test_messages_are_short(write: Write):
    path = write(json.dumps({**GOOD, "mentions": [{"start": 0, "label": "x" * 100_000}]}))
    with pytest.raises(ValueError, match="P116") as caught:
        parse_jsonl(path)
    assert len(str(caught.value)) < 1000


def test_fields(write: Write):
    source = TokenizedText("New York", ((0, 3), (4, 8)))
    mentions = (Mention(0, 8, "LOC"),)
    path = write(json.dumps(GOOD), "", json.dumps({**GOOD, "labels": ["LOC", "PER"]}))
    assert parse_jsonl(path) == [
        (1, AnnotatedText(source, mentions)),
        (3, AnnotatedText(source, mentions, ("LOC", "PER"))),
    ]


def test_written_lines_keep_their_characters(tmp_path: Path):
    path = tmp_path / "corpus.jsonl"
    write_jsonl(path, [AnnotatedText(TokenizedText("北京", ((0, 2),)), (), ("LOC",))])
    written = '{"text": "北京", "tokens": [[0, 2]], "mentions": [], "labels": ["LOC"]}\n'
    assert path.read_text(encoding="utf-8") == written


def mention(**changes: Any) -> dict[str, Any]:
    return {"mentions": [{"start": 0, "end": 3, "label": "LOC", **changes}]}


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"text": None}, "the text is None"),
        ({"tokens": {}}, "'tokens' is {}"),
        ({"tokens": [[0, 3, 4]]}, "the token [0, 3, 4]"),
        ({"tokens": [[0, "3"]]}, "aren't whole numbers"),
        ({"tokens": [[False, True]]}, "aren't whole numbers"),
        ({"tokens": [[4, 8], [0, 3]]}, "starts before the one ahead"),
        ({"tokens": [[0, 3], [2, 8]]}, "starts before the one ahead"),
        ({"tokens": [[0, 0]]}, "empty or outside"),
        ({"tokens": [[0, 9]]}, "empty or outside the text of 8 characters"),
        ({"mentions": None}, "'mentions' is None"),
        ({"mentions": [[0, 3, "LOC"]]}, "not an object"),
        ({"mentions": [{"start": 0, "end": 3}]}, "lacks 'label'"),
        (mention(kind="x"), "unknown field 'kind'"),
        (mention(start=-1), "empty or outside"),
        (mention(end=0), "empty or outside"),
        (mention(end=9), "empty or outside"),
        (mention(end=1.0), "aren't whole numbers"),
        (mention(label=""), "a label is empty"),
        (mention(label=3), "a label is 3"),
        ({"mentions": GOOD["mentions"] * 2}, "is listed twice"),
        ({"labels": "LOC"}, "'labels' is 'LOC'"),
        ({"labels": [""]}, "a label is empty"),
        ({"labels": ["LOC", "LOC"]}, "a label twice"),
        ({"meta": {}}, "unknown field 'meta'"),
    ],
)
def test_malformed_lines(write: Write, changes: dict[str, Any], problem: str):
    path = write(json.dumps(GOOD), json.dumps({**GOOD, **changes}))
    with pytest.raises(ValueError) as caught:
        parse_jsonl(path)
    assert str(caught.value).startswith(f"[P116] {path}, line 2: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize("key", ["text", "mentions"])
def test_missing_fields(write: Write, key: str):
    path = write(json.dumps({name: value for name, value in GOOD.items() if name != key}))
    with pytest.raises(ValueError, match=rf"\[P116\].*line 1: the line lacks '{key}'"):
        parse_jsonl(path)


def test_lines_that_are_no_objects(write: Write):
    with pytest.raises(ValueError, match=r"\[P116\].*line 1: the line is \[\], not an object"):
        parse_jsonl(write("[]"))
