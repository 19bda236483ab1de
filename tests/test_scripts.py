"""The scripts that say what counts cost."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from spacy_padellm.checkpoints.saving import save_checkpoint
from spacy_padellm.corpus.jsonl import write_jsonl
from tests.trained import FLAT, trained_lm

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(autouse=True)
def command_line(tmp_path, monkeypatch):
    """A model that has learnt its texts by heart, with tags, and these texts."""
    lm, settings = trained_lm(tag_text=0.3)
    save_checkpoint(tmp_path / "checkpoint", lm, replace(settings, text_tags=True))
    write_jsonl(tmp_path / "corpus.jsonl", FLAT)
    monkeypatch.syspath_prepend(str(SCRIPTS))
    command = ["script", str(tmp_path / "checkpoint"), str(tmp_path / "corpus.jsonl")]
    monkeypatch.setattr(sys, "argv", command)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_given_counts_are_written(number):
    misses = import_module("misses")
    padellm, texts = misses.load("")
    counts = dict.fromkeys(padellm.settings.labels, number)
    given = [misses.GivenCounts.of_numbers(counts, padellm) for _ in texts]
    for mentions in misses.decode(padellm, texts, given):
        for label in counts:
            assert sum(mention.label == label for mention in mentions) == number


def test_why_mentions_are_missing():
    misses = import_module("misses")
    padellm, texts = misses.load("")
    written = misses.decode(padellm, texts)
    causes, counted = misses.find_causes(padellm, texts, written)
    assert not causes and not any(ways["wrong"] for ways in counted.values())
    # As the scores do, causes count the same string once.
    gold = [(text.source.text, m) for text in texts for m in text.mentions]
    strings = {(text, m.label, text[m.start : m.end]) for text, m in gold}
    causes, counted = misses.find_causes(padellm, texts, [[] for _ in texts])
    assert causes == {"the count was too low": len(strings)} and counted[1]["wrong"]


def test_the_order_of_what_is_written():
    misses = import_module("misses")
    padellm, texts = misses.load("")
    gold = [misses.GivenCounts.of(text, padellm) for text in texts]
    written = misses.decode(padellm, texts, gold)
    total = sum(len(text.mentions) for text in texts)
    assert misses.find_order(padellm, texts, written) == Counter({"under their own number": total})
    # In sentences in which the same name does not come twice, all others move.
    moved = misses.find_order(padellm, texts, [mentions[::-1] for mentions in written])
    assert moved["under another number"] > 0 == moved["not written"]
    twice = misses.find_order(padellm, texts, [2 * mentions[:1] for mentions in written])
    assert twice["written once more than they are there"] > 0
    assert twice["not written"] > 0


def read_rows(capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """Read the name and F1 of each row of a table that was printed."""
    _, *rows = capsys.readouterr().out.splitlines()
    return {name: float(fscore) for *_, fscore, name in (row.split(maxsplit=3) for row in rows)}


def test_a_row_for_each_way_to_count(capsys):
    counts = import_module("counts")
    counts.main()
    found = read_rows(capsys)
    assert len(found) == len(counts.RULES) + 5
    assert found["the most likely count"] == found["the gold counts"] == 1
    # The tags of so small a model err now and then.
    assert 0.9 < found["tags and the larger count"] <= 1


def test_ends_beyond_the_count_are_taught():
    ends = import_module("ends")
    padellm = import_module("misses").load("")[0]
    encoder = padellm.encoder
    for text in FLAT:
        plain = padellm.make_objective().build(text)[0]
        objective = ends.EndsObjective(encoder, padellm.settings)
        built = objective.build(text)[0]
        examined = objective.examine(text)
        assert examined.size == len(built.tree) and examined.depth == built.depth
        new = list(zip(built.nodes, built.targets, strict=True))[len(plain.nodes) :]
        assert [target for _, target in new] == [encoder.end_id] * len(padellm.settings.labels)
        for (node, _), label in zip(new, padellm.settings.labels, strict=True):
            count = sum(mention.label == label for mention in text.mentions) + 1
            written = built.tree.sequence(node)[built.tree.prefix_length :]
            assert written == ends.open_last(encoder, label, count)


@pytest.mark.parametrize(
    ("rule", "count"),
    [
        ("own", 1),
        ("first_end(0.3)", 0),
        ("first_end(0.5)", 2),
        ("first_end(0.5, own)", 2),
        ("joint(0.0)", 1),
        ("joint(1.0)", 2),
    ],
)
def test_rules_about_ends(rule, count):
    ends = import_module("ends")
    label = ends.Counts([0.3, 0.6, 0.1, 0.0], [0.4, 0.01, 0.9])
    assert eval(rule, vars(ends))(label) == count


def test_a_row_for_each_rule_about_ends(capsys):
    ends = import_module("ends")
    ends.main()
    found = read_rows(capsys)
    assert len(found) == len(ends.RULES) + 1
    assert found["the most likely count"] == found["the gold counts"] == 1
