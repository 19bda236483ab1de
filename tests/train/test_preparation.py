from __future__ import annotations

import warnings

import pytest

from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.texts import AnnotatedText, TokenizedText
from spacy_padellm.train.factory import make_objective
from spacy_padellm.train.preparation import GoldReport, prepare_texts
from tests.toy_corpus import LABELS, parse
from tests.train.toys import TRAIN
from tests.trained import LIMITS, trained_lm

LM, SETTINGS = trained_lm()
OBJECTIVE = make_objective(
    PromptEncoder(SETTINGS.template, SETTINGS.labels, LM.tokenizer), SETTINGS
)


def prepare(texts: list[AnnotatedText], labels=LABELS, fits=lambda text: True):
    return prepare_texts(texts, OBJECTIVE, labels, fits=fits, check_depth=LM.check_depth)


def messages(report: GoldReport) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report.warn()
    return "\n".join(str(each.message) for each in caught)


def test_all_is_taught_and_nothing_said():
    taught, report = prepare(TRAIN)
    assert [each.text for each in taught] == TRAIN
    trees = [OBJECTIVE.build(text, LABELS)[0] for text in TRAIN]
    assert [each.size for each in taught] == [len(tree.tree) for tree in trees]
    assert report.gold == sum(len(text.mentions) for text in TRAIN) > 0
    assert messages(report) == ""


def test_gold_that_cannot_be_taught_is_counted_by_reason():
    many = parse(" ".join(["[Dan|PER]"] * (LIMITS.max_mentions + 2)))
    long = parse("[a b c d e|ORG] left .")
    off = AnnotatedText(TokenizedText("Dan left", ((0, 8),)), parse("[Dan|PER] left").mentions)
    taught, report = prepare([many, long, off, *TRAIN])
    assert len(report.left_out.too_many) == 2
    assert len(report.left_out.too_long) == len(report.left_out.unaligned) == 1
    assert [len(each.left_out) for each in taught[:3]] == [2, 1, 1]
    said = messages(report)
    assert f"W070] 4 of {report.gold} gold" in said
    assert "2 too many" in said and "1 unaligned (for example PER 'Dan')" in said


def test_labels_that_are_not_taught_and_that_there_are_none_of():
    labels = ["PER", "LOC"]
    taught, report = prepare([parse("[Dan|PER] left [Acme|ORG] .", None)], labels)
    assert len(taught) == 1 and report.gold == 1
    said = messages(report)
    assert "W072] Mentions of labels that are not taught: 1 ORG." in said
    assert "W073] No training text has a mention of LOC" in said


def test_texts_that_teach_nothing():
    idle = parse("Dan left .", labels=["DATE"])
    taught, report = prepare([idle, *TRAIN])
    assert [each.text for each in taught] == TRAIN
    assert f"W071] 1 of {len(TRAIN) + 1} texts" in messages(report)


def test_a_label_of_partly_annotated_texts_is_not_absent():
    _, report = prepare([parse("[Dan|PER] left .", labels=["PER"])])
    assert report.absent == []


def test_long_texts_are_cut_into_windows():
    text = parse("[Dan|PER] met [New York|LOC] and [Bob Hill|PER] there .")
    taught, report = prepare([text], fits=lambda source: len(source.tokens) <= 5)
    assert len(taught) == report.windows > 1
    strings = {
        each.text.source.text[m.start : m.end] for each in taught for m in each.text.mentions
    }
    assert strings == {"Dan", "New York", "Bob Hill"}
    assert report.gold == 3 and not report.left_out


def test_mentions_across_windows_are_counted():
    text = parse("It [a b c d|ORG] is .")
    _, report = prepare([text], fits=lambda source: len(source.tokens) <= 2)
    assert [mention.label for _, mention in report.left_out.across_windows] == ["ORG"]


def test_a_text_too_long_for_the_model():
    with pytest.raises(ValueError, match=r"(?s)P208.*P023.*'Dan left"):
        prepare([parse("Dan left " * 60)])
