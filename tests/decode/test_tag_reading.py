from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spacy_padellm.decode.mentions import DecodedMention
from spacy_padellm.decode.parallel import ParallelDecoder
from spacy_padellm.decode.tag_reading import (
    TagReader,
    find_readable,
    join_tags,
    tag_ids,
    tag_tokens,
)
from spacy_padellm.limits import MentionLimits
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES, PromptTemplate
from spacy_padellm.texts import TokenizedText
from spacy_padellm.tree.causal_lm import CausalLM
from spacy_padellm.tree.model_call import Readout
from spacy_padellm.tree.token_tree import TokenTree
from tests.sample_texts import TEXTS, cut_at_spaces
from tests.sample_tokenizers import (
    WORDINGS,
    load_tokenizer,
    lower_casing_tokenizer,
    small_tokenizer,
)
from tests.tiny_models import random_lm, ways_of

ENCODER = PromptEncoder(TEMPLATES["en"], WORDINGS["en"], small_tokenizer("en"))
LABELS = list(WORDINGS["en"])
LIMITS = MentionLimits(max_mentions=4, max_mention_tokens=4)
MODELS = [("llama", "causal"), ("llama", "bidirectional"), ("bert", "bidirectional")]


def decoder(lm: CausalLM, **settings) -> ParallelDecoder:
    return ParallelDecoder(lm, ENCODER, LIMITS, "admissible", **settings)


@pytest.mark.parametrize("family, prefix_attention", MODELS)
@torch.no_grad()
def test_tags_and_other_logits_are_those_of_runs_of_their_own(family, prefix_attention):
    whole = random_lm(family, "en", prefix_attention)
    ids = tag_ids(ENCODER, LABELS)
    prefixes = [ENCODER.prefix(text.text) for text in TEXTS["en"][:3]]
    sizes = [len(ENCODER.text_offsets(text.text)) for text in TEXTS["en"][:3]]
    wanted = torch.tensor([9, 3, 40])
    for lm in map(whole.forced, ways_of(whole)):
        trees = [TokenTree(prefix) for prefix in prefixes]
        nodes = [tree.insert([7, 8], tree.prefix_end)[-1:] for tree in trees]
        reader = TagReader(lm.open(trees, 99), trees, sizes, ids)
        found = reader.logits(nodes, Readout(wanted))
        expected = lm.open(trees, 99).logits(nodes, Readout(wanted))
        assert torch.allclose(found, expected, atol=1e-4)
        for tree, size, probs in zip(trees, sizes, reader.probs, strict=True):
            places = list(range(tree.prefix_length - size, tree.prefix_length))
            middle = torch.ones(size, dtype=torch.bool)
            alone = lm.open([tree], 99).logits([places], Readout(torch.tensor(ids), middle))
            assert np.allclose(probs, alone.softmax(dim=1).numpy(), atol=1e-5)
        # Later passes are the run's own.
        more = [tree.insert([9], node)[-1:] for tree, (node,) in zip(trees, nodes, strict=True)]
        assert reader.logits(more, Readout(wanted)).shape == (3, 3)


@pytest.mark.parametrize("family, prefix_attention", MODELS)
def test_what_is_written_stays_the_same_and_takes_no_more(family, prefix_attention):
    lm = random_lm(family, "en", prefix_attention)
    plain, reading = decoder(lm), decoder(lm, read_tags=True)
    for texts in (TEXTS["en"], TEXTS["en"][:1]):
        pairs = zip(plain.decode(texts, LABELS), reading.decode(texts, LABELS), strict=True)
        for written, found in pairs:
            kept = [m for m in found if m.log_prob > -math.inf]
            assert [(m.label, m.places) for m in kept] == [(m.label, m.places) for m in written]
            assert [m.log_prob for m in kept] == pytest.approx([m.log_prob for m in written])
            assert all(len(m.tagged) == len(m.places) for m in found)
    assert plain.cost == reading.cost


def test_tags_do_not_depend_on_the_batch():
    lm = random_lm("bert", "en", "bidirectional")
    together = decoder(lm, read_tags=True).decode(TEXTS["en"], LABELS)
    alone = [decoder(lm, read_tags=True).decode([text], LABELS)[0] for text in TEXTS["en"]]
    assert any(m.log_prob == -math.inf for found in together for m in found)
    for found, expected in zip(together, alone, strict=True):
        assert [(m.label, m.places) for m in found] == [(m.label, m.places) for m in expected]
        tagged = [each for m in expected for each in m.tagged]
        assert [each for m in found for each in m.tagged] == pytest.approx(tagged, abs=1e-5)


def test_a_token_has_the_mean_of_its_ids():
    text = cut_at_spaces("Anna in Oslo")
    # A space belongs to the token behind it; nothing is left of the last one.
    offsets = [(0, 2), (2, 4), (4, 7)]
    probs = np.array([[0.75, 0.25], [0.25, 0.75], [0.0, 1.0]])
    found = tag_tokens(text, offsets, probs)
    assert found[:2].tolist() == [[0.5, 0.5], [0.0, 1.0]]
    assert np.isnan(found[2]).all()


def test_an_id_of_two_tokens_and_an_id_of_none():
    text = TokenizedText("can\u200bnot  Oslo", ((0, 3), (4, 7), (9, 13)))
    offsets = [(0, 7), (7, 8), (8, 13)]
    probs = np.array([[0.75, 0.25], [0.0, 1.0], [0.5, 0.5]])
    assert tag_tokens(text, offsets, probs).tolist() == [[0.75, 0.25], [0.75, 0.25], [0.5, 0.5]]


def test_a_blank_of_its_own_is_in_no_token(request):
    """Byte-level tokenizers have ids for second blanks, which were taught that they are nothing."""
    encoder = PromptEncoder(
        PromptTemplate("{text}{label}"), {"A": "A"}, load_tokenizer("gpt2", request)
    )
    text = cut_at_spaces("Anna   Berg  here")
    (ids,) = encoder.text([text.text])
    pieces = [encoder.decode([each]) for each in ids]
    is_blank = np.array([[float(piece.isspace())] for piece in pieces])
    assert is_blank.any()
    assert not tag_tokens(text, encoder.text_offsets(text.text), is_blank).any()


OSLO = ((13, 17), (20, 24))
TEXT = cut_at_spaces("Anna Berg in Oslo , Oslo")
TAGS = [[0.9, 0.0, 0.1], [0.7, 0.1, 0.2], [0, 0, 1], [0.2, 0.6, 0.2], [0, 0, 1], [0.1, 0.3, 0.6]]


def test_tags_confirm_what_is_written_and_name_what_is_not():
    written = [
        DecodedMention("LOC", OSLO, -0.1),
        DecodedMention("PER", ((0, 4),), -0.2),
        DecodedMention("ORG", ((0, 4),), -0.3),
    ]
    assert join_tags(TEXT, ["PER", "LOC"], np.array(TAGS), written, 4) == [
        DecodedMention("LOC", OSLO, -0.1, pytest.approx((0.6, 0.3))),
        DecodedMention("PER", ((0, 4),), -0.2, pytest.approx((0.9,))),
        # A label that no tag stands for.
        DecodedMention("ORG", ((0, 4),), -0.3),
        DecodedMention("PER", ((0, 9),), -math.inf, pytest.approx((0.8,))),
        DecodedMention("LOC", ((13, 17),), -math.inf, pytest.approx((0.6,))),
    ]


def test_what_only_tags_name_is_no_longer_than_a_mention():
    named = join_tags(TEXT, ["PER", "LOC"], np.array(TAGS), [], 1)
    assert [mention.places for mention in named] == [((13, 17),)]


def test_tokens_of_which_nothing_is_known_are_in_no_mention_and_no_mean():
    unknown = [math.nan] * 3
    tags = np.array([unknown, TAGS[0], unknown, TAGS[1], unknown, TAGS[2]])
    text = cut_at_spaces("- Anna - Berg - in")
    whole = DecodedMention("PER", ((0, 15),), -0.2)
    assert join_tags(text, ["PER", "LOC"], tags, [whole], 9) == [
        DecodedMention("PER", ((0, 15),), -0.2, pytest.approx((0.8,))),
        DecodedMention("PER", ((2, 6),), -math.inf, pytest.approx((0.9,))),
        DecodedMention("PER", ((9, 13),), -math.inf, pytest.approx((0.7,))),
    ]


def test_what_only_tags_name_neither_begins_nor_ends_with_whitespace():
    text = TokenizedText("\nAnna\n\nBerg \n", ((0, 1), (1, 5), (5, 7), (7, 11), (12, 13)))
    tags = np.array([[0.8, 0.2]] * 5)
    (mention,) = join_tags(text, ["PER"], tags, [], 9)
    assert mention.places == ((1, 11),)
    assert join_tags(text, ["PER"], np.array([[0.8, 0.2], *[[0.0, 1.0]] * 4]), [], 9) == []


def test_labels_of_several_ids_have_no_tags():
    wordings = {"PER": "PER", "LOC": "no such token"}
    encoder = PromptEncoder(TEMPLATES["en"], wordings, small_tokenizer("en"))
    assert find_readable(encoder, ["LOC", "PER"]) == ["PER"]
    lm = random_lm("llama", "en", "bidirectional")
    reading = ParallelDecoder(lm, encoder, LIMITS, "admissible", read_tags=True)
    found = [m for text in reading.decode(TEXTS["en"], ["LOC", "PER"]) for m in text]
    assert {bool(m.tagged) for m in found if m.label == "PER"} == {True}
    assert {bool(m.tagged) for m in found if m.label == "LOC"} == {False}


def test_case_marks_are_read_with_their_words():
    tokenizer = lower_casing_tokenizer()
    tokenizer.add_tokens(["<capitalized>"], special_tokens=True)
    template = PromptTemplate("{text}{label}", capitalized="<capitalized>")
    encoder = PromptEncoder(template, {"A": "a"}, tokenizer)
    text = cut_at_spaces("in Paris in")
    (ids,) = encoder.text([text.text])
    mark = tokenizer.convert_tokens_to_ids("<capitalized>")
    is_mark = np.array([[float(token_id == mark)] for token_id in ids])
    found = tag_tokens(text, encoder.text_offsets(text.text), is_mark)
    assert [bool(each) for (each,) in found] == [False, True, False]
