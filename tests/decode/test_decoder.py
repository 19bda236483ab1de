from __future__ import annotations

import random
from collections import Counter
from functools import cache, partial
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_padellm import settings as settings_module
from spacy_padellm.decode.mentions import resolve
from spacy_padellm.decode.tags import TextTags
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.texts import TokenizedText
from spacy_padellm.tree.causal_lm import CausalLM, TextTooLongError
from spacy_padellm.tree.probe import PassCost
from spacy_padellm.tree.readout import Readout
from spacy_padellm.tree.token_tree import TokenTree
from tests.decode.decoders import LIMITS, assert_same, decode, make_decoder, outcome, sure_lm
from tests.reference import Paper
from tests.sample_texts import (
    NASTY,
    TEXTS,
    cut_at_characters,
    cut_at_spaces,
    tokenized_texts,
)
from tests.sample_tokenizers import WORDINGS, load_tokenizer
from tests.tiny_models import random_lm, tiny_model, ways_of
from tests.trained import FLAT, trained_lm
from tests.trained import TEXTS as LEARNT


def labels(lang: str = "en") -> list[str]:
    return list(WORDINGS[lang])


MODELS = [("llama", lang, seed) for lang in ("en", "zh") for seed in range(4)]
MODELS += [(family, "en", 0) for family in ("gpt2", "bert", "gemma2")]
CASES = [(*model, prefix) for model in MODELS for prefix in ("causal", "bidirectional")]
CASES += [("bloom", "en", 0, "causal")]


@pytest.mark.parametrize("softmax", ["vocabulary", "admissible"])
@pytest.mark.parametrize("family, lang, seed, prefix_attention", CASES)
def test_mentions_are_those_of_separate_sequences(family, lang, seed, prefix_attention, softmax):
    lm = random_lm(family, lang, prefix_attention, seed)
    paper = Paper.of(lm, TEMPLATES[lang], WORDINGS[lang], softmax=softmax)
    expected = [paper.decode(text, labels(lang)) for text in TEXTS[lang]]
    for way in ways_of(lm):
        found = decode(make_decoder(lm.run_as(way), lang, softmax=softmax), TEXTS[lang])
        assert_same(found, expected)


def test_the_random_models_write_something():
    """Mentions of several tokens, of several labels, in several places, else nothing is tested."""
    found = [
        mention
        for lang in TEXTS
        for seed in range(4)
        for text in decode(
            make_decoder(random_lm("llama", lang, "causal", seed), lang), TEXTS[lang]
        )
        for mention in text
    ]
    assert len(found) >= 60
    assert {mention.label for mention in found} == {*labels("en"), *labels("zh")}
    lengths = {end - start for mention in found for start, end in mention.places}
    assert len(lengths) >= 5
    assert any(len(mention.places) > 1 for mention in found)
    assert len({mention.log_prob for mention in found}) >= 40


def test_the_cost_is_each_distinct_token_once():
    lm = random_lm("llama", "en", "causal", 1)
    paper = Paper.of(lm, TEMPLATES["en"], WORDINGS["en"])
    for text in TEXTS["en"]:
        paper.evaluated.clear()
        paper.decode(text, labels())
        beginnings = {s[: i + 1] for s in paper.evaluated for i in range(len(s))}
        cached, recomputed, sequences = (
            make_decoder(lm.run_as(way), draft_threshold=None) for way in ways_of(lm)
        )
        drafting = make_decoder(lm)
        for each in (cached, recomputed, sequences, drafting):
            decode(each, [text])
            assert each.cost.distinct_tokens == len(beginnings)
        assert cached.cost.tokens == len(beginnings) <= drafting.cost.tokens
        assert (recomputed.cost.tokens > cached.cost.tokens) is (cached.cost.passes > 1)
        assert sequences.cost.tokens > recomputed.cost.tokens
        assert cached.cost.passes == recomputed.cost.passes == sequences.cost.passes
        assert drafting.cost.passes <= cached.cost.passes


def test_keys_and_values_of_distinct_tokens_are_kept_once():
    lm = random_lm("llama", "en", "causal", 1)
    lengths: list[int] = []
    hook = lm.model.register_forward_hook(
        lambda module, args, output: lengths.append(output.past_key_values.get_seq_length())
    )
    kept = {}
    try:
        for threshold in (None, 0.07):
            each = make_decoder(lm, draft_threshold=threshold)
            kept[threshold] = 0
            for text in TEXTS["en"]:
                decode(each, [text])
                kept[threshold] += lengths[-1]
            if threshold is None:
                assert kept[threshold] == each.cost.distinct_tokens
            else:
                # A draft that was wrong stays, too.
                assert kept[threshold] == each.cost.tokens > kept[None]
    finally:
        hook.remove()


def test_costs_add_up():
    each = make_decoder(random_lm("llama", "en", "causal", 1))
    decode(each, TEXTS["en"][:1])
    passes, tokens = each.cost.passes, each.cost.tokens
    assert passes > 0
    decode(each, TEXTS["en"][:1])
    assert (each.cost.passes, each.cost.tokens) == (2 * passes, 2 * tokens)
    assert each.cost.describe() == f"{2 * passes} forward passes, {2 * tokens} tokens run"


def random_texts(rng: random.Random, lang: str, count: int) -> list[TokenizedText]:
    """Texts of different length, some empty, some that spell special tokens."""
    pool = [word for text in TEXTS[lang] for word in text.text.split()] + NASTY
    texts = []
    for _ in range(count):
        words = rng.choices(pool, k=rng.randint(0, 8))
        texts.append(rng.choice([cut_at_spaces, cut_at_characters])(" ".join(words)))
    return texts


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "family, prefix_attention", [("llama", "bidirectional"), ("gpt2", "causal")]
)
def test_a_text_has_the_same_mentions_in_any_batch(family, prefix_attention, seed):
    rng = random.Random(seed)
    each = make_decoder(random_lm(family, "en", prefix_attention, seed % 4))
    texts = random_texts(rng, "en", 6)
    alone = [decode(each, [text])[0] for text in texts]
    assert_same(decode(each, texts), alone)
    order = rng.sample(range(6), 6)
    found = decode(each, [texts[i] for i in order])
    assert_same(found, [alone[i] for i in order])


@pytest.mark.parametrize("seed", range(4))
def test_texts_that_spell_special_tokens(seed):
    """All ways agree, and places are where the strings are."""
    texts = random_texts(random.Random(100 + seed), "en", 5)
    lm = random_lm("llama", "en", "causal", seed)
    expected, *others = (decode(make_decoder(lm.run_as(way)), texts) for way in ways_of(lm))
    for other in others:
        assert_same(other, expected)
    for text, mentions in zip(texts, expected, strict=True):
        starts = {start for start, _ in text.tokens}
        ends = {end for _, end in text.tokens}
        for mention in mentions:
            assert len({text.text[start:end] for start, end in mention.places}) == 1
            assert all(start in starts and end in ends for start, end in mention.places)


def test_labels_with_the_same_wording_have_the_same_mentions():
    lm = random_lm("llama", "en", "causal", 1)
    alike = make_decoder(lm, labels={"A": "PER", "B": "PER", "C": "ORG"})
    (found,) = decode(alike, TEXTS["en"][:1])
    by_label = {
        label: [(m.places, m.log_prob) for m in found if m.label == label] for label in "ABC"
    }
    assert by_label["A"]
    assert by_label["A"] == by_label["B"] != by_label["C"]


def test_mentions_come_label_by_label_as_in_the_settings():
    lm = random_lm("llama", "en", "causal", 1)
    (found,) = decode(make_decoder(lm), TEXTS["en"][:1])
    (other,) = decode(make_decoder(lm, labels=labels()[::-1]), TEXTS["en"][:1])
    assert [m.label for m in found] == sorted((m.label for m in found), key=labels().index)
    assert [m.label for m in other] == sorted((m.label for m in other), key=labels()[::-1].index)
    assert_same(
        [[m for m in other if m.label == label] for label in labels()],
        [[m for m in found if m.label == label] for label in labels()],
    )
    (some,) = decode(make_decoder(lm, labels=labels()[1:]), TEXTS["en"][:1])
    assert_same([some], [[m for m in found if m.label in labels()[1:]]])


def test_some_labels_are_written_alone():
    """As a replica does that shares a text with others."""
    each = make_decoder(random_lm("llama", "en", "causal", 1))
    encoded = [each.encoder.encode(text) for text in TEXTS["en"]]
    found = each.decode(encoded)
    for some in (labels()[1:], labels()[:1]):
        written = each.write(encoded, some)
        expected = [[m for m in text if m.label in some] for text in found]
        assert_same([text.mentions for text in written], expected)
        assert all(text.tags is None for text in written)


@pytest.mark.parametrize("text", ["", " ", "\n \t", "\u3000"])
def test_texts_without_anything_in_them(text):
    each = make_decoder(random_lm("llama", "en", "causal", 1))
    (other,) = decode(each, TEXTS["en"][:1])
    assert other
    passes = each.cost.passes
    for source in (TokenizedText(text, ()), cut_at_characters(text)):
        assert decode(each, [source]) == [[]]
        assert each.cost.passes == passes
        assert_same(decode(each, [source, TEXTS["en"][0], source]), [[], other, []])
        passes = each.cost.passes


def test_no_texts_and_no_labels():
    lm = random_lm("llama", "en", "causal", 1)
    for each in (make_decoder(lm), make_decoder(lm, labels={})):
        assert each.decode([]) == []
        assert each.cost.passes == 0
    assert decode(make_decoder(lm, labels={}), TEXTS["en"]) == [[]] * len(TEXTS["en"])
    assert each.cost.passes == 0


@pytest.mark.parametrize("most", [1, 2, 11])
def test_no_more_mentions_than_allowed(most):
    limits = {"max_mentions": most, "max_mention_tokens": 1}
    highest = 0
    for seed in range(4):
        each = make_decoder(random_lm("llama", "en", "causal", seed), limits=limits)
        for found in decode(each, TEXTS["en"]):
            for label in labels():
                highest = max(highest, sum(m.label == label for m in found))
    assert highest == most


@pytest.mark.parametrize("longest", [1, 2, 5])
def test_no_longer_mentions_than_allowed(longest):
    text = TEXTS["en"][0]
    limits = {"max_mentions": 4, "max_mention_tokens": longest}
    lengths = {
        len(text.text[start:end].split())
        for seed in range(4)
        for found in decode(
            make_decoder(random_lm("llama", "en", "causal", seed), limits=limits), [text]
        )
        for mention in found
        for start, end in mention.places
    }
    assert max(lengths) == longest


@pytest.mark.parametrize("way", ["cached", "recomputed", "sequences"])
def test_a_text_longer_than_the_positions(way):
    """Sequences of the text have to fit, with all that may be written."""
    lm = random_lm("llama", "en", "causal", 1).run_as(way)
    each = make_decoder(lm)
    text = TokenizedText("a" * 119, ((0, 1),))
    # 2 + 119 of the text, 3 of the label, 2 of the count, 1 of the opener, 1 of the mention.
    assert len(each.encoder.encode(text).prefix) == 121
    (found,) = decode(each, [text])
    assert {m.places for m in found} <= {((0, 1),)}
    longer = TokenizedText("a" * 120, ((0, 1),))
    with pytest.raises(ValueError, match=r"P023.* 129 tokens.* 128 positions.*get_spans"):
        decode(each, [TEXTS["en"][0], longer])
    assert [each.fits(each.encoder.encode(t)) for t in (text, longer)] == [True, False]


def test_no_gradients_are_kept():
    lm = random_lm("llama", "en", "causal", 1)
    decode(make_decoder(lm), TEXTS["en"][:1])
    assert all(p.grad is None for p in lm.model.parameters())


POLICIES = [
    {},
    {"draft_threshold": 0.0},
    {"draft_threshold": 1.0},
    {"draft_threshold": 0.02, "open_counts": (1, 2, 4)},
    # More than there may be, too.
    {"open_counts": (1, 50)},
]


ADVERSE_LIMITS = {"max_mentions": 12, "max_mention_tokens": 3}


def adverse(seed: int) -> tuple[CausalLM, list[TokenizedText]]:
    """A random model, which chooses against every guess, and texts that repeat themselves."""
    rng = random.Random(seed)
    texts = [*TEXTS["en"], *random_texts(rng, "en", 2)]
    words = ["ab", "abc", "abd", "b"]
    texts += [cut_at_spaces(" ".join(rng.choices(words, k=7))) for _ in range(2)]
    return random_lm("llama", "en", rng.choice(["causal", "bidirectional"]), seed), texts


@pytest.mark.parametrize("softmax", ["vocabulary", "admissible"])
def test_adverse_texts_have_what_makes_drafts_hard(softmax):
    """Strings in several places, mentions at the text's end and mentions that begin alike."""
    seen = Counter()
    for lm, texts in map(adverse, range(3)):
        drafting = make_decoder(lm, softmax=softmax, limits=ADVERSE_LIMITS)
        for text, found in zip(texts, decode(drafting, texts), strict=True):
            strings = {text.text[slice(*mention.places[0])] for mention in found}
            seen["repeated"] += any(len(mention.places) > 1 for mention in found)
            seen["at the end"] += any(m.places[-1][1] == len(text.text) for m in found)
            seen["begin alike"] += any(a != b and a.startswith(b) for a in strings for b in strings)
        seen["rejected drafts"] += drafting.cost.tokens > drafting.cost.distinct_tokens
    assert min(seen[each] for each in ("repeated", "at the end", "begin alike")) > 0
    assert seen["rejected drafts"] == 3


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("softmax", ["vocabulary", "admissible"])
def test_drafts_change_nothing_but_the_cost(softmax, seed, policy):
    lm, texts = adverse(seed)
    plain = make_decoder(lm, softmax=softmax, limits=ADVERSE_LIMITS, draft_threshold=None)
    expected = decode(plain, texts)
    assert any(expected)
    for way in ways_of(lm):
        each = make_decoder(lm.run_as(way), softmax=softmax, limits=ADVERSE_LIMITS, **policy)
        assert_same(decode(each, texts), expected)
        assert each.cost.passes <= plain.cost.passes
        assert each.cost.distinct_tokens == plain.cost.distinct_tokens
    assert plain.cost.tokens == plain.cost.distinct_tokens


def test_a_model_that_knows_its_texts_needs_three_passes():
    """One for the counts, one for the first tokens, one for the rest."""
    lm, trained = trained_lm()
    passes = []
    for text in LEARNT:
        plain = make_decoder(lm, labels=trained.labels, draft_threshold=None)
        each = make_decoder(lm, labels=trained.labels)
        expected = decode(plain, [text.source])
        assert_same(decode(each, [text.source]), expected)
        string = text.source.text
        found = sorted((m.label, string[slice(*m.places[0])]) for m in expected[0])
        assert found == sorted((m.label, string[m.start : m.end]) for m in text.mentions)
        passes.append((each.cost.passes, plain.cost.passes))
    assert all(ours <= min(3, plain) for ours, plain in passes)
    assert any(plain > 3 for _, plain in passes)


def test_mentions_opened_while_they_are_counted():
    """Where all counts were foreseen, first tokens are known a pass earlier."""
    lm, trained = trained_lm()
    saved = []
    for text in LEARNT:
        each = make_decoder(lm, labels=trained.labels)
        opening = make_decoder(lm, labels=trained.labels, open_counts=(1,))
        assert_same(decode(opening, [text.source]), decode(each, [text.source]))
        counts = {sum(m.label == label for m in text.mentions) for label in trained.labels}
        if counts <= {0, 1}:
            saved.append(each.cost.passes - opening.cost.passes)
        else:
            assert opening.cost.passes == each.cost.passes
    assert set(saved) == {0, 1}


@settings(max_examples=40)
@given(
    texts=st.lists(tokenized_texts(), min_size=1, max_size=5),
    seed=st.integers(0, 3),
    prefix=st.sampled_from(["causal", "bidirectional"]),
    softmax=st.sampled_from(["vocabulary", "admissible"]),
    threshold=st.sampled_from([None, 0.0, 0.07, 0.5, 1.0]),
    open_counts=st.lists(st.integers(1, 12), max_size=3).map(tuple),
    batch_tokens=st.sampled_from([1, 80, 1024]),
    way=st.sampled_from(["cached", "recomputed", "sequences"]),
)
def test_nothing_but_the_model_and_the_text_says_what_is_found(
    texts, seed, prefix, softmax, threshold, open_counts, batch_tokens, way
):
    """Against one token a pass, each text alone, each branch a sequence of its own."""
    lm = random_lm("llama", "en", prefix, seed)
    plain = make_decoder(lm.run_as("sequences"), softmax=softmax, draft_threshold=None)
    each = make_decoder(
        lm.run_as(way),
        softmax=softmax,
        draft_threshold=threshold,
        open_counts=open_counts,
        batch_tokens=batch_tokens,
    )
    alone = [outcome(plain, [text]) for text in texts]
    fitting = [text for text, one in zip(texts, alone, strict=True) if one is not TextTooLongError]
    expected = [one[0] for one in alone if one is not TextTooLongError]
    assert_same(decode(each, fitting), expected)
    if len(fitting) < len(texts):
        assert outcome(each, texts) is TextTooLongError


@pytest.mark.parametrize("budget", [1, 60, 150, 10**6])
def test_results_come_in_the_order_of_the_texts_whatever_the_batches(budget):
    texts = random.Random(0).choices(TEXTS["en"], k=9)
    make = partial(make_decoder, random_lm("llama", "en", "causal", 1), batch_tokens=budget)
    each = make()
    found = decode(each, texts)
    passes = 0
    for text, mentions in zip(texts, found, strict=True):
        own = make()
        assert_same([mentions], decode(own, [text]))
        passes += own.cost.passes
    assert (each.cost.passes < passes) is (budget > 1)


def test_a_text_that_does_not_fit_beside_one_that_does():
    each = make_decoder(random_lm("llama", "en", "causal", 1), batch_tokens=1)
    with pytest.raises(TextTooLongError, match="P023"):
        decode(each, [TEXTS["en"][1], TokenizedText("a" * 130, ((0, 1),))])


@pytest.mark.parametrize("name", ["llama2", "gpt2", "byt5"])
def test_drafts_with_tokenizers_that_know_nothing_of_the_template(name, request):
    """Openers, counts and their ends take several tokens; mentions are spelled in many."""
    tokenizer = load_tokenizer(name, request)
    model = tiny_model("llama", vocab_size=len(tokenizer), max_position_embeddings=1000)
    lm = CausalLM(model, tokenizer)
    limits = {"max_mentions": 12, "max_mention_tokens": 4}
    texts = [*TEXTS["en"], *TEXTS["zh"]]
    seen = set()
    for softmax in ("vocabulary", "admissible"):
        plain = make_decoder(lm, softmax=softmax, limits=limits, draft_threshold=None)
        expected = decode(plain, texts)
        seen |= {sum(m.label == label for m in text) for text in expected for label in labels()}
        for policy in ({}, {"draft_threshold": 0.0, "open_counts": (1, 10)}):
            each = make_decoder(lm, softmax=softmax, limits=limits, **policy)
            assert_same(decode(each, texts), expected)
            assert each.cost.passes < plain.cost.passes
            assert each.cost.distinct_tokens == plain.cost.distinct_tokens
    assert max(seen) > 1


def test_counts_of_two_digits_are_drafted_like_others():
    """Random models do count beyond nine, and a wrong guess of a number's end is mended."""
    limits = {"max_mentions": 12, "max_mention_tokens": 2}
    counts = set()
    for seed in range(8):
        lm = random_lm("llama", "en", "causal", seed)
        plain = make_decoder(lm, limits=limits, draft_threshold=None)
        each = make_decoder(lm, limits=limits)
        expected = decode(plain, TEXTS["en"])
        assert_same(decode(each, TEXTS["en"]), expected)
        counts |= {sum(m.label == label for m in text) for text in expected for label in labels()}
    assert {0, 2} <= counts
    assert max(counts) >= 10


TAGGED = [("llama", "causal"), ("llama", "bidirectional"), ("bert", "bidirectional")]
reading_decoder = partial(make_decoder, softmax="admissible", text_tags=True)


@pytest.mark.parametrize("family, prefix_attention", TAGGED)
@torch.inference_mode()
def test_tags_are_those_of_a_run_of_their_own(family, prefix_attention):
    whole = sure_lm(family, prefix_attention)
    for lm in map(whole.run_as, ways_of(whole)):
        each = reading_decoder(lm)
        encoded = [each.encoder.encode(text) for text in TEXTS["en"][:3]]
        for text, written in zip(encoded, each.write(encoded, labels()), strict=True):
            tree = TokenTree(text.prefix)
            places = list(range(len(text.prefix) - text.length, len(text.prefix)))
            middle = torch.ones(text.length, dtype=torch.bool)
            logits = lm.open([tree], 99).logits([places], Readout(middle=middle))
            inside = each.encoder.label_choices(list(each.encoder.wordings.values()))
            begins = each.encoder.begin_choices
            expected = TextTags(
                text,
                labels(),
                text.offsets,
                inside.log_probs(logits).exp().numpy(),
                1 - begins.log_probs(logits).exp()[:, -1].numpy(),
                LIMITS["max_mention_tokens"],
            )
            assert np.allclose(written.tags.inside, expected.inside, atol=1e-4)
            assert np.allclose(written.tags.begins, expected.begins, atol=1e-4)


@pytest.mark.parametrize("family, prefix_attention", TAGGED)
def test_all_labels_are_written_as_without_tags(family, prefix_attention):
    lm = sure_lm(family, prefix_attention)
    plain = reading_decoder(lm, tag_share=0.0)
    reading = reading_decoder(lm, decode="all")
    assert (plain.reads_tags, reading.reads_tags) == (False, True)
    for texts in (TEXTS["en"], TEXTS["en"][:1]):
        for written, found in zip(decode(plain, texts), decode(reading, texts), strict=True):
            kept = [m for m in found if m.log_prob is not None]
            assert [(m.label, m.places) for m in kept] == [(m.label, m.places) for m in written]
            expected = [m.log_prob for m in written]
            assert [m.log_prob for m in kept] == pytest.approx(expected, abs=1e-3)
            assert all(len(m.tagged) == len(m.places) and m.asked for m in found)
            assert all(m.tagged is None for m in written)
    assert plain.cost.distinct_tokens == reading.cost.distinct_tokens


@pytest.mark.parametrize("family, prefix_attention", TAGGED)
def test_what_tags_decide_need_not_be_written(family, prefix_attention, monkeypatch):
    """The same entities are found if all labels are opened that could change one."""
    monkeypatch.setattr(settings_module, "SURE", 1.0)
    monkeypatch.setattr(settings_module, "UNSURE", 0.0)
    opened = Counter()
    for seed in range(6):
        lm = sure_lm(family, prefix_attention, seed)
        for share, threshold in ((0.65, 0.0), (0.8, 0.0), (0.65, 0.6), (0.65, 0.9), (0.4, 0.0)):
            options = {"tag_share": share, "threshold": threshold, "deduplicate": "span"}
            found = {}
            for name in ("doubtful", "all"):
                each = reading_decoder(lm, decode=name, **options)
                encoded = [each.encoder.encode(text) for text in TEXTS["en"]]
                written = each.write(encoded, labels())
                found[name] = [
                    [(e.start, e.end, e.label) for e in resolve(text.text, decoded, each.options)]
                    for text, decoded in zip(encoded, map(each.join, written), strict=True)
                ]
                opened[name] += sum(len(of_text.labels) for of_text in written)
                opened[name, share] += sum(len(of_text.labels) for of_text in written)
            assert found["doubtful"] == found["all"]
    assert 0 < opened["doubtful"] < 0.8 * opened["all"]
    # Tags of half the weight or less decide nothing.
    assert opened["doubtful", 0.4] == opened["all", 0.4]


cached_sure_lm = cache(sure_lm)


@settings(max_examples=60)
@given(
    texts=st.lists(tokenized_texts(), min_size=1, max_size=4),
    family=st.sampled_from(["llama", "bert"]),
    seed=st.integers(0, 3),
    softmax=st.sampled_from(["vocabulary", "admissible"]),
    share=st.floats(0.51, 1.0),
    threshold=st.sampled_from([0.0, 0.5, 0.6, 0.9]),
    occurrences=st.sampled_from(["in_order", "all"]),
    sure=st.sampled_from([0.7, 1.0]),
)
def test_entities_of_any_text_are_those_of_the_labels_in_doubt(
    texts, family, seed, softmax, share, threshold, occurrences, sure
):
    """What is written of a label does not depend on the others. If the model may be sure of
    everything, the entities are those of all labels. And with all labels, what is written is what
    is written without tags.
    """
    with mock.patch.multiple(settings_module, SURE=sure, UNSURE=1 - sure):
        check_labels_in_doubt(texts, family, seed, softmax, share, threshold, occurrences)


def check_labels_in_doubt(texts, family, seed, softmax, share, threshold, occurrences):
    lm = cached_sure_lm(family, "bidirectional", seed)
    plain, every, doubtful = (
        reading_decoder(
            lm,
            softmax=softmax,
            decode=name,
            tag_share=weight,
            threshold=threshold,
            occurrences=occurrences,
            deduplicate="span",
        )
        for name, weight in (("all", 0.0), ("all", share), ("doubtful", share))
    )
    texts = [text for text in texts if plain.fits(plain.encoder.encode(text))]
    without, of_all = (decode(each, texts) for each in (plain, every))
    of_some = doubtful.write([doubtful.encoder.encode(text) for text in texts], labels())
    for text, expected, ours, some in zip(texts, without, of_all, of_some, strict=True):
        less = doubtful.join(some)
        written = [m for m in ours if m.log_prob is not None]
        assert [(m.label, m.places) for m in written] == [(m.label, m.places) for m in expected]
        log_probs = [m.log_prob for m in expected]
        assert [m.log_prob for m in written] == pytest.approx(log_probs, abs=1e-3)
        in_doubt = [(m.label, m.places) for m in written if m.label in some.labels]
        assert [(m.label, m.places) for m in less if m.log_prob is not None] == in_doubt
        entities = [
            [(e.start, e.end, e.label) for e in resolve(text.text, each, every.options)]
            for each in (ours, less)
        ]
        assert entities[0] == entities[1] or settings_module.SURE < 1
    assert doubtful.cost.distinct_tokens <= every.cost.distinct_tokens


@pytest.mark.parametrize("family, prefix_attention", TAGGED)
def test_with_tags_alone_nothing_is_written(family, prefix_attention):
    """One pass over the text's own tokens."""
    each = reading_decoder(sure_lm(family, prefix_attention), decode="tags")
    encoded = [each.encoder.encode(text) for text in TEXTS["en"]]
    found = each.decode(encoded)
    assert sum(map(len, found)) > 0
    assert all(m.log_prob is None and not m.asked for text in found for m in text)
    assert each.cost.passes == 1
    size = sum(len(text.prefix) for text in encoded)
    assert (each.cost.tokens, each.cost.distinct_tokens) == (size, size)
    assert not any("trie" in vars(text) for text in encoded)


@pytest.mark.parametrize(
    "changes", [{"text_tags": False}, {"text_tags": True, "output": "byt5"}], ids=str
)
def test_tags_alone_need_a_model_that_has_them(changes, request):
    lm = random_lm("llama", "en", "causal")
    if "output" in changes:
        tokenizer = load_tokenizer(changes["output"], request)
        lm = CausalLM(tiny_model("llama", vocab_size=len(tokenizer)), tokenizer)
    with pytest.raises(ValueError, match=r'P039.*decode = "tags".*tag_text.*"doubtful"'):
        make_decoder(lm, text_tags=changes["text_tags"], decode="tags")


@pytest.mark.parametrize(
    "run, token, n_texts, expected",
    [
        # A CPU, with one text and with many.
        (2.0, 0.25, 1, 0.25 / 2.25),
        (2.0, 0.25, 8, 0.5),
        (2.0, 0.25, 100, 0.7),
        # A GPU.
        (20.0, 0.001, 1, 0.02),
        (20.0, 0.05, 16, 0.05 / 1.3),
        # Nothing is written.
        (2.0, 0.25, 0, 0.7),
    ],
)
def test_drafts_pay_by_what_a_pass_and_a_token_take(run, token, n_texts, expected):
    lm = random_lm("llama", "en", "causal", 1).run_as("cached")
    lm.pass_cost = PassCost(run, token)
    each = make_decoder(lm, draft_threshold="auto")
    assert each._find_threshold(n_texts) == pytest.approx(expected)
    assert make_decoder(lm, draft_threshold=0.3)._find_threshold(n_texts) == 0.3
    assert make_decoder(lm, draft_threshold=None)._find_threshold(n_texts) is None


@pytest.mark.parametrize("cost", [PassCost(1.0, 1e-6), PassCost(0.0, 1.0)], ids=str)
def test_what_pays_does_not_change_what_is_found(cost):
    lm = random_lm("llama", "en", "causal", 1).run_as("cached")
    lm.pass_cost = cost
    expected = decode(make_decoder(lm, draft_threshold=None), TEXTS["en"])
    each = make_decoder(lm, draft_threshold="auto")
    assert_same(decode(each, TEXTS["en"]), expected)


def test_mentions_that_tags_name_are_checked_in_one_pass():
    """Where the model writes what they say, a text takes two passes, and no token too many."""
    lm, trained = trained_lm(tag_text=1.0)
    each = make_decoder(
        lm,
        labels=trained.labels,
        softmax=trained.softmax,
        text_tags=True,
        decode="all",
        draft_threshold=0.5,
    )
    found = decode(each, [text.source for text in FLAT])
    for text, mentions in zip(FLAT, found, strict=True):
        string = text.source.text
        written = [m for m in mentions if m.log_prob is not None]
        assert sorted((m.label, string[slice(*m.places[0])]) for m in written) == sorted(
            (m.label, string[m.start : m.end]) for m in text.mentions
        )
    assert each.cost.passes == 2
    assert each.cost.tokens == each.cost.distinct_tokens


def test_tags_do_not_depend_on_the_batch():
    lm = sure_lm("bert", "bidirectional")
    together = decode(reading_decoder(lm), TEXTS["en"])
    alone = [decode(reading_decoder(lm), [text])[0] for text in TEXTS["en"]]
    assert any(m.log_prob is None for found in together for m in found)
    assert_same(together, alone, tolerance=1e-3)


@pytest.mark.parametrize("changes", [{"text_tags": False}, {"tag_share": 0.0}], ids=str)
def test_tags_are_read_only_where_they_were_taught_and_count(changes):
    each = reading_decoder(random_lm("llama", "en", "causal", 1), **changes)
    assert not each.reads_tags
    assert all(m.tagged is None for text in decode(each, TEXTS["en"]) for m in text)


@pytest.mark.parametrize("softmax", ["vocabulary", "admissible"])
def test_labels_of_several_ids_have_tags(softmax):
    lm = sure_lm("llama", "bidirectional")
    wordings = {"LOC": "no such token", "PER": "PER"}
    reading = reading_decoder(lm, labels=wordings, softmax=softmax, decode="all")
    assert len(reading.encoder.wordings["LOC"]) > 1
    found = [m for text in decode(reading, TEXTS["en"]) for m in text]
    assert {m.label for m in found} == {"LOC", "PER"}
    assert all(m.tagged is not None for m in found)


@pytest.mark.parametrize("softmax", ["vocabulary", "admissible"])
def test_a_tokenizer_that_knows_nothing_of_the_template_has_tags(softmax, request):
    """Labels and openers of the paper's English template take several ids of Llama 2."""
    tokenizer = load_tokenizer("llama2", request)
    model = tiny_model("llama", vocab_size=len(tokenizer), max_position_embeddings=1000)
    lm = CausalLM(model, tokenizer, bidirectional_prefix=True)
    reading = reading_decoder(lm, softmax=softmax, decode="all")
    assert min(len(ids) for ids in reading.encoder.openers.values()) > 1
    encoded = [reading.encoder.encode(text) for text in TEXTS["en"]]
    for text, written in zip(encoded, reading.write(encoded, labels()), strict=True):
        assert written.tags.inside.shape == (len(text.tokens), len(labels()) + 1)
        assert np.allclose(written.tags.inside.sum(axis=1), 1.0, atol=1e-5)
        # Nothing begins within an id that also spells the token before.
        begins, ends = written.tags.begins, [0, *(end for _, end in text.tokens)]
        within = [
            any(a < end and start < b for a, b in text.offsets)
            for (start, _), end in zip(text.tokens, ends, strict=False)
        ]
        assert [begin == 0 for begin in begins] == within and (begins < 1).all()
    plain = reading_decoder(lm, softmax=softmax, tag_share=0.0)
    found = [[m for m in text if m.log_prob is not None] for text in decode(reading, TEXTS["en"])]
    expected = decode(plain, TEXTS["en"])
    assert [[(m.label, m.places) for m in text] for text in found] == [
        [(m.label, m.places) for m in text] for text in expected
    ]


ASKED = [["PER", "LOC", "ORG"], ["ORG", "PER", "LOC"], ["LOC", "PER"], ["PER"]]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_what_other_labels_are_asked_changes_only_a_softmax(activation):
    """What is written of a label, and its tags by a sigmoid, are the same beside any others."""
    lm = sure_lm("llama", "bidirectional", factor=4.0)
    assert {label for each in ASKED for label in each} <= set(labels())
    found = []
    for asked in ASKED:
        reading = reading_decoder(lm, labels=asked, decode="all", tag_activation=activation)
        written = reading.write([reading.encoder.encode(text) for text in TEXTS["en"]])
        found.append(
            [
                (
                    [(m.places, m.log_prob) for m in each.mentions if m.label == "PER"],
                    [each.tags.score("PER", place) for place in text.tokens],
                )
                for each, text in zip(written, TEXTS["en"], strict=True)
            ]
        )
    every = found[0]
    moved = []
    for other in found[1:]:
        for (mentions, tags), (expected, expected_tags) in zip(other, every, strict=True):
            assert [places for places, _ in mentions] == [places for places, _ in expected]
            log_probs = [log_prob for _, log_prob in expected]
            assert [log_prob for _, log_prob in mentions] == pytest.approx(log_probs, abs=1e-5)
            moved += [abs(a - b) for a, b in zip(tags, expected_tags, strict=True)]
    assert sum(len(mentions) for mentions, _ in every) > 0 and max(max(t) for _, t in every) > 0.1
    assert max(moved) < 1e-5 if activation == "sigmoid" else max(moved) > 1e-3


def test_a_sigmoid_holds_each_label_against_none():
    lm = sure_lm("llama", "bidirectional", factor=4.0)
    text = TEXTS["en"][0]
    inside = {}
    for activation in ("softmax", "sigmoid"):
        reading = reading_decoder(lm, tag_activation=activation)
        (written,) = reading.write([reading.encoder.encode(text)])
        inside[activation] = written.tags.inside
    # Tokens of one id: a mean of ratios is not the ratio of means.
    none = inside["softmax"][:, -1:]
    expected = inside["softmax"] / (inside["softmax"] + none)
    one = [len(ids) == 1 for ids in _ids_of_tokens(lm, text)]
    assert sum(one) > 2
    assert inside["sigmoid"][one] == pytest.approx(expected[one], abs=1e-5)


def _ids_of_tokens(lm, text):
    encoded = make_decoder(lm).encoder.encode(text)
    return [
        [place for place, (a, b) in enumerate(encoded.offsets) if a < end and start < b]
        for start, end in text.tokens
    ]


def test_tokenizers_without_offsets_have_no_tags(request):
    tokenizer = load_tokenizer("byt5", request)
    model = tiny_model("llama", vocab_size=len(tokenizer), max_position_embeddings=1000)
    wordings = {"A": "a", "B": "b"}
    reading = reading_decoder(CausalLM(model, tokenizer), labels=wordings)
    assert not reading.reads_tags
    assert all(m.tagged is None for text in decode(reading, TEXTS["en"]) for m in text)


def test_it_is_said_once_that_no_more_mentions_can_be_written(caplog):
    lm = random_lm("llama", "en", "causal", 1)
    counts = {
        Counter(mention.label for mention in found).most_common(1)[0]
        for found in decode(make_decoder(lm), TEXTS["en"])
        if found
    }
    most = max(count for _, count in counts)
    caplog.clear()
    for limit in (most, most + 1):
        decoder = make_decoder(lm, limits={**LIMITS, "max_mentions": limit})
        for _ in "ab":
            found = decode(decoder, TEXTS["en"])
        full = {
            label
            for of_text in found
            for label, count in Counter(mention.label for mention in of_text).items()
            if count == limit
        }
        said = [record.getMessage() for record in caplog.records]
        assert full or limit > most
        assert len(said) == bool(full)
        assert all(f"[W092] A text has {limit} mentions of" in each for each in said)
        caplog.clear()


# Memory


NO_MEMORY = [
    MemoryError(),
    RuntimeError("could not create a primitive"),
    torch.cuda.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", NO_MEMORY)
def test_texts_are_run_in_halves_if_memory_is_short(error, monkeypatch, caplog):
    lm = random_lm("llama", "en", "causal", 0)
    decoder = make_decoder(lm)
    expected = decode(decoder, TEXTS["en"])
    sizes, run = [], CausalLM.open

    def open_few(self, trees, *args, **kwargs):
        sizes.append(len(trees))
        if len(trees) > 1:
            raise error
        return run(self, trees, *args, **kwargs)

    monkeypatch.setattr(CausalLM, "open", open_few)
    assert_same(decode(decoder, TEXTS["en"]), expected)
    assert sizes[0] == len(TEXTS["en"]) == 4 and sizes[-2:] == [1, 1]
    # It is said once.
    decode(decoder, TEXTS["en"])
    assert [record.getMessage()[:6] for record in caplog.records].count("[W091]") == 1


@pytest.mark.parametrize("error", [*NO_MEMORY, RuntimeError("shapes differ")])
def test_a_text_that_cannot_be_run_alone_is_an_error(error, monkeypatch):
    decoder = make_decoder(random_lm("llama", "en", "causal", 0))
    calls = []

    def fail(self, trees, *args, **kwargs):
        calls.append(len(trees))
        raise error

    monkeypatch.setattr(CausalLM, "open", fail)
    with pytest.raises(type(error)):
        decode(decoder, TEXTS["en"])
    # Alone, it is tried twice.
    assert calls[1:][-2:] == ([1, 1] if error in NO_MEMORY else [])


def test_a_text_alone_is_tried_with_less_memory(monkeypatch):
    """oneDNN's kernels need memory, too, and may find none when there is enough for the text."""
    lm = random_lm("llama", "en", "causal", 0)
    decoder = make_decoder(lm)
    expected = decode(decoder, TEXTS["en"])
    run = CausalLM.open

    def open_without_onednn(self, trees, *args, **kwargs):
        if torch._C._get_mkldnn_enabled():
            raise RuntimeError("could not create a primitive")
        return run(self, trees, *args, **kwargs)

    before = torch._C._get_mkldnn_enabled()
    torch.backends.mkldnn.set_flags(_enabled=True)
    try:
        monkeypatch.setattr(CausalLM, "open", open_without_onednn)
        assert_same(decode(decoder, TEXTS["en"]), expected)
        assert torch._C._get_mkldnn_enabled()
    finally:
        torch.backends.mkldnn.set_flags(_enabled=before)


vector_decoder = partial(reading_decoder, label_vectors=True)


@pytest.mark.parametrize("family, prefix_attention", TAGGED)
@torch.inference_mode()
def test_tags_with_vectors_do_not_depend_on_the_other_labels(family, prefix_attention):
    lm = random_lm(family, "en", prefix_attention)
    together = vector_decoder(lm, decode="tags")
    texts = TEXTS["en"][:4]
    all_tags = [each.tags for each in together.write([together.encoder.encode(t) for t in texts])]
    for column, label in enumerate(together.encoder.labels):
        alone = vector_decoder(lm, decode="tags", labels=[label])
        for text, tags in zip(texts, all_tags, strict=True):
            (written,) = alone.write([alone.encoder.encode(text)])
            assert np.allclose(written.tags.inside[:, 0], tags.inside[:, column], atol=1e-5)
            assert np.allclose(written.tags.begins, tags.begins, atol=1e-5)
    # What is above one half is more probable than none.
    assert all((tags.inside[:, -1] == 0.5).all() for tags in all_tags)


@pytest.mark.parametrize("family, prefix_attention", TAGGED)
@torch.inference_mode()
def test_texts_with_labels_of_their_own_have_the_tags_that_they_have_alone(
    family, prefix_attention
):
    lm = random_lm(family, "en", prefix_attention)
    each = vector_decoder(lm)
    asked = [{"A": "a river"}, {"B": "person", "A": "a river"}, {"C": "a river", "B": "city"}]
    encoded = [
        each.encoder.with_labels(labels).encode(text)
        for labels, text in zip(asked, TEXTS["en"][:3], strict=True)
    ]
    together = each.write(encoded)
    for text, found in zip(encoded, together, strict=True):
        (alone,) = each.write([text])
        assert np.allclose(alone.tags.inside, found.tags.inside, atol=1e-5)
        assert [m.label for m in alone.mentions] == [m.label for m in found.mentions]
    # Under whatever label, a wording means the same.
    other = each.encoder.with_labels({"Z": "a river"}).encode(TEXTS["en"][2])
    (renamed,) = each.write([other])
    assert np.allclose(renamed.tags.inside[:, 0], together[2].tags.inside[:, 0], atol=1e-5)
