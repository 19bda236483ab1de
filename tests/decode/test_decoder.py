from __future__ import annotations

import random
from collections import Counter
from itertools import chain

import pytest

from spacy_padellm.decode.drafts import DraftPolicy
from spacy_padellm.decode.mentions import DecodedMention
from spacy_padellm.decode.parallel import ParallelDecoder
from spacy_padellm.limits import MentionLimits
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.texts import TokenizedText
from spacy_padellm.tree.causal_lm import CausalLM
from spacy_padellm.tree.token_tree import TokenTree
from tests.reference import Paper
from tests.sample_texts import NASTY, TEXTS, cut_at_characters, cut_at_spaces
from tests.sample_tokenizers import WORDINGS, load_tokenizer
from tests.tiny_models import random_lm, tiny_model, ways_of
from tests.trained import TEXTS as LEARNT
from tests.trained import trained_lm

LIMITS = MentionLimits(max_mentions=4, max_mention_tokens=4)


def decoder(lm: CausalLM, lang: str = "en", **settings) -> ParallelDecoder:
    encoder = PromptEncoder(TEMPLATES[lang], WORDINGS[lang], lm.tokenizer)
    return ParallelDecoder(lm, encoder, settings.pop("limits", LIMITS), **settings)


def labels(lang: str = "en") -> list[str]:
    return list(WORDINGS[lang])


def assert_same(found: list[list[DecodedMention]], expected: list[list[DecodedMention]]) -> None:
    assert [[(m.label, m.places) for m in text] for text in found] == [
        [(m.label, m.places) for m in text] for text in expected
    ]
    for ours, theirs in zip(chain(*found), chain(*expected), strict=True):
        assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-5)


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
        found = decoder(lm.forced(way), lang, softmax=softmax).decode(TEXTS[lang], labels(lang))
        assert_same(found, expected)


def test_the_random_models_write_something():
    """Mentions of several tokens, of several labels, in several places, else nothing is tested."""
    found = [
        mention
        for lang in TEXTS
        for seed in range(4)
        for text in decoder(random_lm("llama", lang, "causal", seed), lang).decode(
            TEXTS[lang], labels(lang)
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
            decoder(lm.forced(way), policy=None) for way in ways_of(lm)
        )
        drafting = decoder(lm)
        for each in (cached, recomputed, sequences, drafting):
            each.decode([text], labels())
            assert each.cost.distinct_tokens == len(beginnings)
        assert cached.cost.tokens == len(beginnings) <= drafting.cost.tokens
        assert (recomputed.cost.tokens > cached.cost.tokens) is (cached.cost.passes > 1)
        assert sequences.cost.tokens > recomputed.cost.tokens
        assert cached.cost.passes == recomputed.cost.passes == sequences.cost.passes
        assert drafting.cost.passes <= cached.cost.passes


def test_keys_and_values_of_distinct_tokens_are_kept_once(monkeypatch):
    lm = random_lm("llama", "en", "causal", 1)
    runs = []
    open_run = lm.open
    monkeypatch.setattr(lm, "open", lambda *a: runs.append(open_run(*a)) or runs[-1])
    plain, drafting = decoder(lm, policy=None), decoder(lm)
    for text in TEXTS["en"]:
        for each in (plain, drafting):
            each.decode([text], labels())
    kept = [run._cache.kept.get_seq_length() for run in runs]
    assert sum(kept[::2]) == plain.cost.distinct_tokens
    # A draft that was wrong stays, too.
    assert sum(kept[1::2]) == drafting.cost.tokens > plain.cost.tokens


def test_costs_add_up():
    each = decoder(random_lm("llama", "en", "causal", 1))
    each.decode(TEXTS["en"][:1], labels())
    passes, tokens = each.cost.passes, each.cost.tokens
    assert passes > 0
    each.decode(TEXTS["en"][:1], labels())
    assert (each.cost.passes, each.cost.tokens) == (2 * passes, 2 * tokens)


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
    each = decoder(random_lm(family, "en", prefix_attention, seed % 4))
    texts = random_texts(rng, "en", 6)
    alone = [each.decode([text], labels())[0] for text in texts]
    assert_same(each.decode(texts, labels()), alone)
    order = rng.sample(range(6), 6)
    found = each.decode([texts[i] for i in order], labels())
    assert_same(found, [alone[i] for i in order])


@pytest.mark.parametrize("seed", range(4))
def test_texts_that_spell_special_tokens(seed):
    """All ways agree, and places are where the strings are."""
    texts = random_texts(random.Random(100 + seed), "en", 5)
    lm = random_lm("llama", "en", "causal", seed)
    expected, *others = (decoder(lm.forced(way)).decode(texts, labels()) for way in ways_of(lm))
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
    encoder = PromptEncoder(TEMPLATES["en"], {"A": "PER", "B": "PER", "C": "ORG"}, lm.tokenizer)
    (found,) = ParallelDecoder(lm, encoder, LIMITS).decode(TEXTS["en"][:1], ["A", "B", "C"])
    by_label = {
        label: [(m.places, m.log_prob) for m in found if m.label == label] for label in "ABC"
    }
    assert by_label["A"]
    assert by_label["A"] == by_label["B"] != by_label["C"]


def test_mentions_come_label_by_label_as_asked():
    lm = random_lm("llama", "en", "causal", 1)
    (found,) = decoder(lm).decode(TEXTS["en"][:1], labels())
    (other,) = decoder(lm).decode(TEXTS["en"][:1], labels()[::-1])
    assert [m.label for m in found] == sorted((m.label for m in found), key=labels().index)
    assert_same(
        [[m for m in other if m.label == label] for label in labels()],
        [[m for m in found if m.label == label] for label in labels()],
    )
    (some,) = decoder(lm).decode(TEXTS["en"][:1], labels()[1:])
    assert_same([some], [[m for m in found if m.label in labels()[1:]]])


@pytest.mark.parametrize("text", ["", " ", "\n \t", "\u3000"])
def test_texts_without_anything_in_them(text):
    each = decoder(random_lm("llama", "en", "causal", 1))
    (other,) = each.decode(TEXTS["en"][:1], labels())
    assert other
    passes = each.cost.passes
    for source in (TokenizedText(text, ()), cut_at_characters(text)):
        assert each.decode([source], labels()) == [[]]
        assert each.cost.passes == passes
        assert_same(each.decode([source, TEXTS["en"][0], source], labels()), [[], other, []])
        passes = each.cost.passes


def test_no_texts_and_no_labels():
    each = decoder(random_lm("llama", "en", "causal", 1))
    assert each.decode([], labels()) == []
    assert each.decode(TEXTS["en"], []) == [[]] * len(TEXTS["en"])
    assert each.cost.passes == 0


@pytest.mark.parametrize("most", [1, 2, 11])
def test_no_more_mentions_than_allowed(most):
    limits = MentionLimits(max_mentions=most, max_mention_tokens=1)
    highest = 0
    for seed in range(4):
        each = decoder(random_lm("llama", "en", "causal", seed), limits=limits)
        for found in each.decode(TEXTS["en"], labels()):
            for label in labels():
                count = sum(m.label == label for m in found)
                highest = max(highest, count)
    assert highest == most


@pytest.mark.parametrize("longest", [1, 2, 5])
def test_no_longer_mentions_than_allowed(longest):
    text = TEXTS["en"][0]
    limits = MentionLimits(max_mentions=4, max_mention_tokens=longest)
    lengths = {
        len(text.text[start:end].split())
        for seed in range(4)
        for found in decoder(random_lm("llama", "en", "causal", seed), limits=limits).decode(
            [text], labels()
        )
        for mention in found
        for start, end in mention.places
    }
    assert max(lengths) == longest


@pytest.mark.parametrize("limits", [{"max_mentions": 0}, {"max_mention_tokens": -1}])
def test_limits_below_one(limits):
    ((name, value),) = limits.items()
    with pytest.raises(ValueError, match=rf"P032.*{name} is {value}.*at least 1"):
        MentionLimits(**limits)


@pytest.mark.parametrize("way", ["cached", "recomputed", "sequences"])
def test_a_text_longer_than_the_positions(way):
    """Sequences of the text have to fit, with all that may be written."""
    lm = random_lm("llama", "en", "causal", 1).forced(way)
    each = decoder(lm)
    text = TokenizedText("a" * 119, ((0, 1),))
    # 2 + 119 of the text, 3 of the label, 2 of the count, 1 of the opener, 1 of the mention.
    assert len(each.encoder.prefix(text.text)) == 121
    (found,) = each.decode([text], labels())
    assert {m.places for m in found} <= {((0, 1),)}
    longer = TokenizedText("a" * 120, ((0, 1),))
    with pytest.raises(ValueError, match=r"P023.* 129 tokens.* 128 positions.*get_spans"):
        each.decode([TEXTS["en"][0], longer], labels())


def test_no_gradients_are_kept():
    lm = random_lm("llama", "en", "causal", 1)
    decoder(lm).decode(TEXTS["en"][:1], labels())
    assert all(p.grad is None for p in lm.model.parameters())


POLICIES = [
    DraftPolicy(),
    DraftPolicy(0.0),
    DraftPolicy(1.0),
    DraftPolicy(0.02, open_counts=(1, 2, 4)),
]


ADVERSE_LIMITS = MentionLimits(max_mentions=12, max_mention_tokens=3)


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
        drafting = decoder(lm, softmax=softmax, limits=ADVERSE_LIMITS)
        for text, found in zip(texts, drafting.decode(texts, labels()), strict=True):
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
    plain = decoder(lm, softmax=softmax, limits=ADVERSE_LIMITS, policy=None)
    expected = plain.decode(texts, labels())
    assert any(expected)
    for way in ways_of(lm):
        each = decoder(lm.forced(way), softmax=softmax, limits=ADVERSE_LIMITS, policy=policy)
        assert_same(each.decode(texts, labels()), expected)
        assert each.cost.passes <= plain.cost.passes
        assert each.cost.distinct_tokens == plain.cost.distinct_tokens
    assert plain.cost.tokens == plain.cost.distinct_tokens


def test_a_model_that_knows_its_texts_needs_three_passes():
    """One for the counts, one for the first tokens, one for the rest."""
    lm, settings = trained_lm()
    encoder = PromptEncoder(settings.template, settings.labels, lm.tokenizer)
    passes = []
    for text in LEARNT:
        plain = ParallelDecoder(lm, encoder, settings.limits, policy=None)
        each = ParallelDecoder(lm, encoder, settings.limits)
        expected = plain.decode([text.source], list(settings.labels))
        assert_same(each.decode([text.source], list(settings.labels)), expected)
        string = text.source.text
        found = sorted((m.label, string[slice(*m.places[0])]) for m in expected[0])
        assert found == sorted((m.label, string[m.start : m.end]) for m in text.mentions)
        passes.append((each.cost.passes, plain.cost.passes))
    assert all(ours <= min(3, plain) for ours, plain in passes)
    assert any(plain > 3 for _, plain in passes)


def test_mentions_opened_while_they_are_counted():
    """Where all counts were foreseen, first tokens are known a pass earlier."""
    lm, settings = trained_lm()
    encoder = PromptEncoder(settings.template, settings.labels, lm.tokenizer)
    policy = DraftPolicy(open_counts=(1,))
    saved = []
    for text in LEARNT:
        each = ParallelDecoder(lm, encoder, settings.limits)
        opening = ParallelDecoder(lm, encoder, settings.limits, policy=policy)
        expected = each.decode([text.source], list(settings.labels))
        assert_same(opening.decode([text.source], list(settings.labels)), expected)
        counts = {sum(m.label == label for m in text.mentions) for label in settings.labels}
        if counts <= {0, 1}:
            saved.append(each.cost.passes - opening.cost.passes)
        else:
            assert opening.cost.passes == each.cost.passes
    assert set(saved) == {0, 1}


@pytest.mark.parametrize("policy", [None, *POLICIES], ids=str)
def test_a_replay_is_written_whatever_the_model_chooses(policy):
    lm = random_lm("llama", "en", "causal", 1)
    each = decoder(lm, policy=policy)
    text = TEXTS["en"][0]
    gold = {"PER": ["Anna", "Bob", "Bob"], "LOC": ["New York"], "ORG": []}
    replay = {label: each.encoder.mentions(strings) for label, strings in gold.items()}
    (found,) = each.decode([text], labels(), [replay])
    written = [(m.label, text.text[slice(*m.places[0])]) for m in found]
    assert written == [(label, string) for label, strings in gold.items() for string in strings]
    finished = TokenTree(each.encoder.prefix(text.text))
    for label, mentions in replay.items():
        (*_, start) = finished.insert(each.encoder.branch(label), finished.prefix_end)
        for n, ids in enumerate(mentions, start=1):
            head = each.encoder.count(len(mentions)) + each.encoder.opener(n)
            finished.insert(head + ids[:-1], start)
    # A last token after which only the end is left is not run.
    assert len(finished) - 4 <= each.cost.distinct_tokens <= len(finished)
    if policy is None:
        assert each.cost.tokens == each.cost.distinct_tokens


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_what_is_drafted_first_does_not_depend_on_what_is_replayed(policy, monkeypatch):
    lm = random_lm("llama", "en", "causal", 1)
    each = decoder(lm, policy=policy)
    passes: list[list[int]] = []
    forward = lm.model.forward

    def record(**inputs):
        passes.append(inputs["input_ids"].flatten().tolist())
        return forward(**inputs)

    monkeypatch.setattr(lm.model, "forward", record)
    first = []
    for gold in (["Anna", "Bob"], ["New York", "met", "Bob"], []):
        replay = {label: each.encoder.mentions(gold) for label in labels()}
        passes.clear()
        each.decode(TEXTS["en"][:1], labels(), [replay])
        first.append(passes[0])
    assert first[0] == first[1] == first[2]


@pytest.mark.parametrize("name", ["llama2", "gpt2", "byt5"])
def test_drafts_with_tokenizers_that_know_nothing_of_the_template(name, request):
    """Openers, counts and their ends take several tokens; mentions are spelled in many."""
    tokenizer = load_tokenizer(name, request)
    model = tiny_model("llama", vocab_size=len(tokenizer), max_position_embeddings=1000)
    lm = CausalLM(model, tokenizer)
    limits = MentionLimits(max_mentions=12, max_mention_tokens=4)
    texts = [*TEXTS["en"], *TEXTS["zh"]]
    seen = set()
    for softmax in ("vocabulary", "admissible"):
        plain = decoder(lm, softmax=softmax, limits=limits, policy=None)
        expected = plain.decode(texts, labels())
        seen |= {sum(m.label == label for m in text) for text in expected for label in labels()}
        for policy in (DraftPolicy(), DraftPolicy(0.0, open_counts=(1, 10))):
            each = decoder(lm, softmax=softmax, limits=limits, policy=policy)
            assert_same(each.decode(texts, labels()), expected)
            assert each.cost.passes < plain.cost.passes
            assert each.cost.distinct_tokens == plain.cost.distinct_tokens
    assert max(seen) > 1


def test_counts_of_two_digits_are_drafted_like_others():
    """Random models do count beyond nine, and a wrong guess of a number's end is mended."""
    limits = MentionLimits(max_mentions=12, max_mention_tokens=2)
    counts = set()
    for seed in range(8):
        lm = random_lm("llama", "en", "causal", seed)
        plain = decoder(lm, limits=limits, policy=None)
        each = decoder(lm, limits=limits)
        expected = plain.decode(TEXTS["en"], labels())
        assert_same(each.decode(TEXTS["en"], labels()), expected)
        counts |= {sum(m.label == label for m in text) for text in expected for label in labels()}
    assert {0, 2} <= counts
    assert max(counts) >= 10
