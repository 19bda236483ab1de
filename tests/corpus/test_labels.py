from __future__ import annotations

from pathlib import Path

import pytest

from spacy_padellm.corpus.labels import (
    check_label_options,
    drop_labels,
    rename_labels,
    state_labels,
)
from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText

SOURCE = TokenizedText("Ada in Rome", ((0, 3), (4, 6), (7, 11)))
TEXT = AnnotatedText(SOURCE, (Mention(0, 3, "person"), Mention(7, 11, "city")))
PATH = Path("corpus.txt")


def test_drop_labels():
    text = AnnotatedText(SOURCE, TEXT.mentions, ("city", "person", "river"))
    dropped = drop_labels(text, ["city", "lake"])
    assert [mention.label for mention in dropped.mentions] == ["person"]
    assert dropped.labels == ("person", "river") and dropped.source == SOURCE
    assert drop_labels(TEXT, []) == TEXT


def test_rename_labels():
    renamed = rename_labels(TEXT, {"city": "LOC", "absent": "X"})
    assert [mention.label for mention in renamed.mentions] == ["person", "LOC"]
    assert renamed.labels is None


def test_renaming_also_renames_annotated_labels_and_merges_them():
    text = AnnotatedText(SOURCE, TEXT.mentions, ("city", "person", "river"))
    renamed = rename_labels(text, {"city": "LOC", "river": "LOC"})
    assert renamed.labels == ("LOC", "person")


def test_state_labels():
    assert state_labels(PATH, (3, TEXT), None) == TEXT
    stated = state_labels(PATH, (3, TEXT), ["person", "city", "river"])
    assert stated.labels == ("person", "city", "river")
    assert state_labels(PATH, (3, stated), None) == stated
    assert state_labels(PATH, (3, stated), ["river", "city", "person"]).mentions == TEXT.mentions


def test_mentions_beyond_the_annotated_labels():
    with pytest.raises(ValueError, match=r"\[P117\] corpus.txt, line 3: .*'city'.*\(person\)"):
        state_labels(PATH, (3, TEXT), ["person"])
    with pytest.raises(ValueError, match=r"\[P117\] corpus.txt, line 3"):
        state_labels(PATH, (3, AnnotatedText(SOURCE, TEXT.mentions, ("city",))), None)


def test_conflicting_statements():
    stated = state_labels(PATH, (3, TEXT), ["person", "city"])
    with pytest.raises(ValueError, match=r"\[P118\] corpus.txt, line 3.*for person, city, while"):
        state_labels(PATH, (3, stated), ["person", "city", "river"])


def test_empty_labels_in_options():
    check_label_options(None, {})
    check_label_options(["PER"], {"person": "PER"})
    with pytest.raises(ValueError, match=r"\[P119\].*annotated labels"):
        check_label_options(["PER", ""], {})
    with pytest.raises(ValueError, match=r"\[P119\].*label map"):
        check_label_options(None, {"person": ""})
