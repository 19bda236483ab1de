"""Texts that nobody meant to have entities found in."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("spacy")

from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.language import Language
from spacy.tokens import Doc

from tests.pipeline.toy_pipeline import (
    checkpoint_nlp,
    entities,
    initialized_nlp,
    mentions,
    toy_examples,
    train_by_heart,
)
from tests.toy_corpus import parse

TEMPLATE_PIECES = ["</s>", "<s>", "<pad>", "<num>5", "<mention 1>", "\nentity type:\nPER\n\n<num>"]
ODD = [
    "",
    " ",
    "   ",
    "\n",
    "\n\n\n",
    "\t \n",
    "\u00a0",
    "\u3000",
    "a",
    ".",
    "北",
    "😀",
    "👩‍👩‍👧",
    "e\u0301",
    "\u0301",
    "\ufeff",
    "\x00",
    "\U0010ffff",
    "a" * 30,
    "!" * 30,
    "ﷺ",
    *TEMPLATE_PIECES,
    *(piece * 2 for piece in TEMPLATE_PIECES),
]


def check(doc: Doc, text: str) -> None:
    """Whatever was found lies in the text, on its tokens, and has a probability."""
    assert doc.text == text
    scores = doc.spans["padellm"].attrs["scores"].tolist()
    assert len(scores) == len(doc.spans["padellm"])
    assert all(0 <= score <= 1 for score in scores)
    for span in doc.spans["padellm"]:
        assert span.text.strip() == span.text != ""
    assert doc.has_annotation("ENT_IOB")


@pytest.mark.parametrize("text", ODD)
def test_odd_texts(toy_nlp: Language, text: str):
    check(toy_nlp(text), text)
    (piped,) = toy_nlp.pipe([text])
    check(piped, text)


mixtures = st.lists(st.sampled_from([*ODD, "Ada"]), max_size=4).map("".join)


@settings(max_examples=40)
@given(text=mixtures.filter(lambda text: len(text.encode()) <= 36))
def test_any_mixture(toy_nlp: Language, text: str):
    check(toy_nlp(text), text)


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\t \n", "\u3000"])
def test_texts_without_anything_to_find(toy_nlp: Language, text: str):
    doc = toy_nlp(text)
    assert doc.ents == () and mentions(doc) == []
    assert doc.spans["padellm"].attrs["scores"].shape == (0,)


def test_texts_without_entities(toy_nlp: Language):
    doc = toy_nlp("Nothing happened today .")
    assert doc.ents == () and mentions(doc) == []


def test_empty_texts_among_others(toy_nlp: Language):
    docs = list(toy_nlp.pipe(["", "Ada asked Ada why .", " ", "It rains in Rome again ."]))
    assert [entities(doc) for doc in docs] == [
        [],
        [("Ada", "PER")] * 2,
        [],
        [("Rome", "LOC")],
    ]


@pytest.mark.parametrize("piece", TEMPLATE_PIECES)
def test_the_templates_pieces_are_text_in_a_text(piece: str):
    """They are learned and found as any others, in a mention and beside one."""
    markups = [f"[Ada {piece} Bob|PER] left .", f"{piece} left [Rome|LOC] ."]
    nlp = initialized_nlp(markups)
    pipe = nlp.get_pipe("padellm_ner")
    special = set(pipe.shim.lm.tokenizer.added_tokens_decoder)
    for tree in pipe.make_trees(toy_examples(nlp, markups)):
        ids = tree.tree.ids[: tree.tree.prefix_length]
        # Begin of sequence and `text:\n`, and no other special token.
        assert [i for i in ids if i in special] == ids[:2]
    train_by_heart(nlp, markups)
    docs = [nlp(parse(markup).source.text) for markup in markups]
    assert [mentions(doc) for doc in docs] == [[(f"Ada {piece} Bob", "PER")], [("Rome", "LOC")]]


def test_a_token_longer_than_the_model(toy_nlp: Language, caplog: pytest.LogCaptureFixture):
    """It is left out, and what stands around it is read."""
    text = "Ada met Bob Hill in Rome ."
    doc = toy_nlp(f"{text} {'x' * 500} {text}")
    assert [ent.text for ent in doc.ents] == [ent.text for ent in toy_nlp(text).ents] * 2
    assert "A token of 500 characters is too long to be read: 'xxx" in caplog.text
    assert toy_nlp("x" * 500).ents == ()


def test_a_token_longer_than_a_window(toy_checkpoint: Path):
    getter = {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 2, "stride": 2}
    nlp = checkpoint_nlp(toy_checkpoint, get_spans=getter)
    with pytest.raises(ValueError, match=r"\[P023\].*`get_spans`"):
        nlp("Ada saw " + "x" * 500)


def test_chinese():
    markups = ["[常建良|NAME]，男，", "[王江|NAME]，[北京|LOC]人。", "工程师。"]
    labels = {"NAME": "名称", "LOC": "籍贯"}
    nlp = initialized_nlp(markups, lang="zh", template="zh", labels=labels)
    train_by_heart(nlp, markups)
    docs = [nlp(parse(markup).source.text) for markup in markups]
    assert [entities(doc) for doc in docs] == [
        [("常建良", "NAME")],
        [("王江", "NAME"), ("北京", "LOC")],
        [],
    ]
    for text in ODD:
        check(nlp(text), text)
