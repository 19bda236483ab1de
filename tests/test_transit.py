"""The notices of public transport: what is learnt on the training part is not its strings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spacy_padellm.corpus.formats import read_annotated_texts
from spacy_padellm.scoring import MentionScores
from spacy_padellm.texts import AnnotatedText

FOLDER = Path(__file__).parents[1] / "assets" / "transit"
LABELS = {"LINE", "STATION", "TIME", "DELAY", "CAUSE"}


def read(part: str) -> list[AnnotatedText]:
    return read_annotated_texts(FOLDER / f"{part}.jsonl")


def strings(texts: list[AnnotatedText]) -> dict[str, str]:
    """Mention strings, and the label of each one's last."""
    return {
        text.source.text[m.start : m.end].lower(): m.label for text in texts for m in text.mentions
    }


def frame(text: AnnotatedText) -> str:
    """The text with labels in the place of mentions."""
    whole = text.source.text
    for m in reversed(text.mentions):
        whole = f"{whole[: m.start]}<{m.label}>{whole[m.end :]}"
    return whole.lower()


def test_there_is_enough_of_it():
    parts = {part: read(part) for part in ("train", "dev", "test")}
    assert sum(map(len, parts.values())) >= 400
    for texts in parts.values():
        assert {m.label for text in texts for m in text.mentions} == LABELS
        assert len({text.source.text for text in texts}) == len(texts)


def test_mentions_are_whole_words():
    for part in ("train", "dev", "test"):
        for text in read(part):
            for m in text.mentions:
                around = text.source.text[: m.start][-1:] + text.source.text[m.end :][:1]
                assert not any(map(str.isalnum, around)), text


def test_mentions_are_on_spacys_token_boundaries():
    make_doc = pytest.importorskip("spacy").blank("en").make_doc
    for part in ("train", "dev", "test"):
        for text in read(part):
            doc = make_doc(text.source.text)
            assert all(doc.char_span(m.start, m.end) for m in text.mentions), text


@pytest.mark.parametrize("other", ["dev", "test"])
def test_no_frame_is_shared(other):
    assert not {frame(text) for text in read("train")} & {frame(text) for text in read(other)}


def test_few_mentions_are_shared():
    known, found = strings(read("train")), strings(read("test"))
    assert len(known.keys() & found.keys()) < 0.3 * len(found)


def test_a_gazetteer_does_not_do():
    """All strings of the training part wherever they stand."""
    gazetteer = strings(read("train"))
    scores = MentionScores()
    for text in read("test"):
        lower = text.source.text.lower()
        found = {
            (label, string)
            for string, label in gazetteer.items()
            if re.search(rf"(?<!\w){re.escape(string)}(?!\w)", lower)
        }
        gold = {(m.label, text.source.text[m.start : m.end].lower()) for m in text.mentions}
        scores.add(found, gold)
    assert scores.fscore < 0.4
