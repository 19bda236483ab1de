from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from spacy_padellm.cli.convert import count_overlapping, off_boundaries
from spacy_padellm.corpus.formats import read_annotated_texts
from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText

Run = Callable[..., Result]


def write_paper(path: Path, *rows: list) -> Path:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_to_json_lines(run: Run, corpus: Path, tmp_path: Path):
    out = tmp_path / "new" / "folder" / "corpus.jsonl"
    result = run("convert", corpus, out)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "Texts: 2",
        "Entities: 2",
        "  person: 1",
        "  LOC: 1",
        "Nested or overlapping entities: 0",
        "Entities not on the boundaries of the written tokens: 0",
        f"Written to {out}",
    ]
    assert result.stderr == ""
    assert read_annotated_texts(out) == read_annotated_texts(corpus)


def test_options(run: Run, tmp_path: Path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("1 Ada I-person _\n2 Rome I-city _\n")
    out = tmp_path / "corpus.jsonl"
    columns = ["--token-column", "1", "--tag-column", "2", "--scheme", "iob1", "--format", "conll"]
    names = ["--map", "person=PER", "--map", "city=LOC", "--annotated-labels", "PER, LOC"]
    result = run("convert", corpus, out, *columns, *names)
    assert result.exit_code == 0, result.output
    (text,) = read_annotated_texts(out)
    assert text.source.text == "Ada Rome"
    assert [mention.label for mention in text.mentions] == ["PER", "LOC"]
    assert text.labels == ("PER", "LOC")


def test_labels_left_out(run: Run, corpus: Path, tmp_path: Path):
    """By the names they have in the file; what is left can be stated."""
    (tmp_path / "corpus.conll").write_text("Ada\tB-person\nRome\tB-city\nTiber\tB-river\n")
    out = tmp_path / "corpus.jsonl"
    options = ["--drop", "river, city", "--map", "person=PER", "--annotated-labels", "PER"]
    result = run("convert", tmp_path / "corpus.conll", out, *options)
    assert result.exit_code == 0, result.output
    (text,) = read_annotated_texts(out)
    assert [mention.label for mention in text.mentions] == ["PER"]


def test_parts_of_a_shuffled_corpus(run: Run, tmp_path: Path):
    names = [f"name{number}" for number in range(20)]
    corpus = tmp_path / "corpus.conll"
    corpus.write_text("".join(f"{name}\tO\n\n" for name in names))

    def part(which: str, seed: str) -> list[str]:
        out = tmp_path / "out.jsonl"
        result = run("convert", corpus, out, "--part", which, "--shuffle", seed)
        assert result.exit_code == 0, result.output
        return [text.source.text for text in read_annotated_texts(out)]

    first, second = part("0:0.6", "0"), part("0.6:1", "0")
    assert len(first) == 12 and first != names[:12]
    assert sorted(first + second) == sorted(names)
    assert part("0:0.6", "1") != first


def test_to_docbin(run: Run, corpus: Path, tmp_path: Path):
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    out = tmp_path / "new" / "corpus.spacy"
    labels = ["--annotated-labels", "person,LOC,ORG", "--spans-key", "gold"]
    result = run("convert", corpus, out, *labels)
    assert result.exit_code == 0, result.output
    assert (
        "Entities not on the boundaries of the tokenizer of spacy.blank('en'): 0" in result.stdout
    )
    first, second = DocBin().from_disk(out).get_docs(spacy.blank("en").vocab)
    assert [(span.text, span.label_) for span in first.ents] == [("Ada", "person")]
    assert [(span.text, span.label_) for span in second.spans["gold"]] == [("New York", "LOC")]
    assert second.spans["gold"].attrs["labels"] == ["person", "LOC", "ORG"]


def test_nested_entities_are_counted(run: Run, tmp_path: Path):
    row = ["New York City", [0, 2, "New York City", "LOC"], [0, 1, "New York", "LOC"]]
    out = tmp_path / "corpus.jsonl"
    result = run("convert", write_paper(tmp_path / "in.jsonl", row), out)
    assert "Nested or overlapping entities: 2\n" in result.stdout


def test_entities_off_the_written_tokens_are_listed(run: Run, tmp_path: Path):
    path = write_paper(tmp_path / "in.jsonl", ["我 在"], ["在北京 了", [1, 3, "北京 ", "LOC"]])
    result = run("convert", path, tmp_path / "out.jsonl")
    assert result.exit_code == 0, result.output
    assert (
        "Entities not on the boundaries of the written tokens: 1\n"
        "  text 2, characters 1-4: '北京 ' (LOC)\n"
    ) in result.stdout


def test_long_lists_are_cut_unless_verbose(run: Run, tmp_path: Path):
    pytest.importorskip("spacy")
    tokens = [[place, place + 1] for place in range(12)]
    mentions = [{"start": start, "end": end, "label": "X"} for start, end in tokens]
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"text": "abcdefghijkl", "tokens": tokens, "mentions": mentions}))
    two_texts = tmp_path / "two.jsonl"
    word = {"text": "ab", "tokens": [[0, 2]], "mentions": []}
    two_texts.write_text(path.read_text() + "\n" + json.dumps(word))
    result = run("convert", two_texts, tmp_path / "out.spacy")
    assert result.exit_code == 0, result.output
    assert "the written tokens: 0\n" in result.stdout
    assert "the tokenizer of spacy.blank('en'): 12\n" in result.stdout
    assert result.stdout.count("  text 1, characters") == 10
    assert "  ... and 2 more (--verbose lists all)\n" in result.stdout
    result = run("convert", two_texts, tmp_path / "out.spacy", "--verbose")
    assert result.stdout.count("  text 1, characters") == 12
    assert "more" not in result.stdout


def test_characters_are_left_to_the_tokenizer(run: Run, tmp_path: Path):
    pytest.importorskip("spacy")
    path = write_paper(tmp_path / "in.jsonl", ["abc de", [0, 0, "a", "X"], [4, 5, "de", "X"]])
    result = run("convert", path, tmp_path / "out.spacy", "--offsets", "characters")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("characters 0-1: 'a' (X)") == 2
    result = run("convert", path, tmp_path / "out.spacy", "--lang", "zh", "--offsets", "characters")
    assert result.stdout.count("characters 0-1: 'a' (X)") == 0


def test_off_boundaries():
    source = TokenizedText("ab cd", ((0, 2), (3, 5)))
    inside, across, late = Mention(0, 1, "X"), Mention(0, 5, "X"), Mention(2, 5, "X")
    assert off_boundaries(AnnotatedText(source, (inside, across, late))) == [inside, late]


def test_count_overlapping():
    outer, inner, apart = Mention(0, 9, "X"), Mention(2, 4, "Y"), Mention(9, 12, "X")
    assert count_overlapping([outer, inner, apart]) == 2
    assert count_overlapping([apart, Mention(5, 7, "X"), inner, outer]) == 3
    assert count_overlapping([inner, Mention(4, 6, "X")]) == 0
    assert count_overlapping([Mention(0, 1, "X"), Mention(0, 1, "Y")]) == 2


@pytest.mark.parametrize(
    "out, arguments, code",
    [
        ("out.txt", [], "P302"),
        ("out", [], "P302"),
        ("out.jsonl", ["--map", "person"], "P303"),
        ("out.jsonl", ["--map", "person="], "P303"),
        ("out.jsonl", ["--map", "person=A", "--map", "person=B"], "P304"),
        ("out.jsonl", ["--format", "iob"], "P104"),
        ("out.jsonl", ["--scheme", "bmes"], "P104"),
        ("out.jsonl", ["--annotated-labels", "person"], "P117"),
        ("out.jsonl", ["--annotated-labels", ""], "P119"),
        ("out.jsonl", ["--tag-column", "5"], "P110"),
    ],
)
def test_errors_have_no_traceback(
    run: Run, corpus: Path, tmp_path: Path, out: str, arguments: list[str], code: str
):
    result = run("convert", corpus, tmp_path / out, *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: [{code}] ")
    assert "Traceback" not in result.output and result.stdout == ""
    assert not (tmp_path / out).exists()


def test_unknown_language(run: Run, corpus: Path, tmp_path: Path):
    pytest.importorskip("spacy")
    result = run("convert", corpus, tmp_path / "out.spacy", "--lang", "qq")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: [E048] Can't import language qq")


def test_docbin_needs_spacy(
    run: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "spacy" else find_spec(name, *rest),
    )
    result = run("convert", corpus, tmp_path / "out.spacy")
    assert result.exit_code == 1
    assert "[P301]" in result.stderr and "`pip install spacy`" in result.stderr


def test_entities_are_counted_as_they_are_written(run: Run, tmp_path: Path):
    """A .spacy file lacks those within a token."""
    pytest.importorskip("spacy")
    mentions = [{"start": 0, "end": 3, "label": "PER"}, {"start": 4, "end": 6, "label": "LOC"}]
    path = tmp_path / "in.jsonl"
    path.write_text(
        json.dumps({"text": "Ada Rome", "tokens": [[0, 3], [4, 8]], "mentions": mentions})
    )
    for suffix, count in ((".spacy", 1), (".jsonl", 2)):
        result = run("convert", path, tmp_path / f"out{suffix}")
        assert result.exit_code == 0, result.output
        assert f"Entities: {count}\n" in result.stdout
        assert ("  LOC: 1\n" in result.stdout) == (count == 2)
        assert "Entities not on the boundaries of the written tokens: 1\n" in result.stdout
