from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spacy_padellm.model import PaDeLLM
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.settings import DecodingOptions, Settings
from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText
from spacy_padellm.train.objective import ParallelObjective
from spacy_padellm.train.supervised import list_weights, target_log_probs
from spacy_padellm.train.tags import TextTag
from spacy_padellm.tree.causal_lm import CausalLM
from spacy_padellm.tree.readout import Readout
from tests.reference import Paper
from tests.sample_texts import cut_at_spaces, tokenized_texts
from tests.sample_tokenizers import (
    WORDINGS,
    load_tokenizer,
    make_encoder,
    small_tokenizer,
)
from tests.tiny_models import (
    plain_logits,
    prefix_lm_logits,
    random_lm,
    tiny_lm,
    tiny_model,
    ways_of,
)
from tests.train.samples import CASES, ENGLISH, LIMITS, annotate, by_label, objective, tree_loss


def paper_loss(lm: CausalLM, lang: str, softmax: str, texts: Sequence[AnnotatedText]) -> Tensor:
    """The sum over the paper's separate sequences."""
    paper = Paper.of(
        lm,
        TEMPLATES[lang],
        WORDINGS[lang],
        softmax=softmax,
        **LIMITS,
    )
    taught = [
        log_probs
        for text in texts
        for log_probs in paper.log_probs(text.source, by_label(text, list(WORDINGS[lang])))
    ]
    return -torch.cat(taught).double().sum()


FAMILIES = [
    (family, prefix)
    for family in ("llama", "gpt2", "bert", "gemma2", "bloom")
    for prefix in ("causal", "bidirectional")
    if (family, prefix) != ("bloom", "bidirectional")
]


@pytest.mark.parametrize("softmax", ["vocabulary", "admissible"])
@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("family, prefix_attention", FAMILIES)
def test_the_loss_is_that_of_the_papers_sequences(family, lang, prefix_attention, softmax):
    lm = random_lm(family, lang, prefix_attention)
    each = objective(lang, softmax)
    trees = [each.build(text)[0] for text in CASES[lang]]
    with torch.no_grad():
        expected = [paper_loss(lm, lang, softmax, [text]).item() for text in CASES[lang]]
        assert all(loss > 1 for loss in expected)
        for way in ways_of(lm):
            run = lm.run_as(way)
            for tree, loss in zip(trees, expected, strict=True):
                assert tree_loss(run, [tree], each.encoder).item() == pytest.approx(
                    loss, rel=0, abs=1e-4
                )
            # All texts in one batch.
            total = pytest.approx(sum(expected), rel=0, abs=1e-4)
            assert tree_loss(run, trees, each.encoder).item() == total


@pytest.mark.parametrize("softmax", ["vocabulary", "admissible"])
@pytest.mark.parametrize("prefix_attention", ["causal", "bidirectional"])
def test_so_are_its_gradients(prefix_attention, softmax):
    lm = random_lm("llama", "en", prefix_attention)
    weights = list(lm.model.parameters())
    each = objective("en", softmax)
    trees = [each.build(text)[0] for text in ENGLISH]
    expected = torch.autograd.grad(paper_loss(lm, "en", softmax, ENGLISH), weights)
    largest = max(gradient.abs().max() for gradient in expected)
    assert largest > 1
    for way in ways_of(lm):
        found = torch.autograd.grad(tree_loss(lm.run_as(way), trees, each.encoder), weights)
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours - theirs).abs().max() < 1e-5 * largest


def test_each_token_is_supervised_as_often_as_it_is_taught():
    """PER has four mentions, so its count is in four sequences."""
    encoder = objective().encoder
    tree, left_out = objective().build(ENGLISH[0])
    assert len(left_out) == 0
    edges = {
        (tuple(tree.tree.sequence(node)), target): weight
        for node, target, weight in zip(tree.nodes, tree.targets, tree.weights, strict=True)
    }
    assert len(edges) == len(tree.nodes)
    prompt = encoder.encode(ENGLISH[0].source).prefix + encoder.branches["PER"]
    four, newline = encoder.count_ids[4]
    assert edges[(*prompt,), four] == 4
    assert edges[(*prompt, four), newline] == 4
    for n, name in enumerate(["Anna", "Bob", "Anna", "Bob Hill"], start=1):
        (mention,) = encoder.mentions([name])
        opened = [*prompt, four, newline, *encoder.openers[n]]
        for place, target in enumerate(mention):
            assert edges[(*opened, *mention[:place]), target] == 1
    absent = objective(labels=("PER",)).build(ENGLISH[1])[0]
    assert absent.targets == encoder.count_ids[0]
    assert absent.weights == [1, 1]


def test_each_distinct_token_is_in_the_tree_once_and_the_last_not_at_all():
    text = ENGLISH[0]
    encoder = objective().encoder
    tree, _ = objective().build(text)
    sequences = []
    for label, mentions in by_label(text, ["PER", "LOC", "ORG"]).items():
        start = encoder.encode(text.source).prefix + encoder.branches[label]
        start += encoder.count_ids[len(mentions)]
        for n, ids in enumerate(encoder.mentions(mentions), start=1):
            sequences.append((*start, *encoder.openers[n], *ids[:-1]))
    beginnings = {s[: i + 1] for s in sequences for i in range(len(s))}
    found = {tuple(tree.tree.sequence(node)) for node in range(len(tree.tree))}
    assert found == beginnings
    assert len(tree.tree) == len(beginnings)
    assert tree.depth == max(map(len, sequences))
    assert tree.tree.prefix_length == len(encoder.encode(text.source).prefix)


def test_mentions_are_numbered_in_order_of_appearance():
    """However they are listed; the shorter of two that begin together first."""
    source = ENGLISH[0].source
    mentions = list(ENGLISH[0].mentions)
    nested = [Mention(16, 19, "LOC"), *mentions]
    each = objective(labels=("PER", "LOC"))
    expected, _ = each.build(AnnotatedText(source, tuple(sorted(nested))))
    for seed in range(5):
        random.Random(seed).shuffle(nested)
        found, _ = each.build(AnnotatedText(source, tuple(nested)))
        assert (found.targets, found.weights) == (expected.targets, expected.weights)
        assert found.tree.ids == expected.tree.ids
    encoder = each.encoder
    start = encoder.encode(source).prefix + encoder.branches["LOC"] + encoder.count_ids[2]
    for n, string in enumerate(["New", "New York"], start=1):
        (ids,) = encoder.mentions([string])
        sequence = [*start, *encoder.openers[n], *ids[:-1]]
        assert sequence in [expected.tree.sequence(node) for node in expected.nodes]


def taught_labels(text: AnnotatedText, labels: Sequence[str]) -> dict[str, int]:
    """Which labels a tree teaches, with the count it teaches for each."""
    encoder = objective().encoder
    tree, _ = objective(labels=tuple(labels)).build(text)
    counts = {tuple(encoder.count_ids[n][:1]): n for n in range(5)}
    prefix = encoder.encode(text.source).prefix
    taught = {}
    for label in WORDINGS["en"]:
        for node, target in zip(tree.nodes, tree.targets, strict=True):
            if tree.tree.sequence(node) == prefix + encoder.branches[label]:
                taught[label] = counts[target,]
    return taught


@pytest.mark.parametrize("softmax", ["vocabulary", "admissible"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_text_tags_come_on_top(lang, softmax):
    """All else stays as it is."""
    plain, tagged = objective(lang, softmax), objective(lang, softmax, tag_text=0.25)
    for text in CASES[lang]:
        (without, _), (tree, left_out) = plain.build(text), tagged.build(text)
        assert tree.tree.ids == without.tree.ids and len(left_out) == 0
        for field in ("nodes", "targets", "weights", "admissible"):
            assert getattr(tree, field) == getattr(without, field)
        assert without.tags is None and without.tagged_nodes == []
        assert tree.tags is not None
        size = plain.encoder.encode(text.source).length
        end = tree.tree.prefix_length
        assert tree.tagged_nodes == list(range(end - size, end))
        assert sum(tree.tags.weights) == pytest.approx(0.25 * 2 * size)
        assert list_weights([tree, without]) == [
            *tree.weights,
            *without.weights,
            *tree.tags.weights,
        ]
        # The first mention's first character opens it.
        first = min(text.mentions, default=None)
        if first is not None:
            before = plain.encoder.encode(text.source.stretch(0, first.start)).length
            assert TextTag(before, "begins", 0) in tree.tags.tags


@pytest.mark.parametrize("softmax", ["vocabulary", "admissible"])
def test_what_teaches_a_model(softmax):
    settings = Settings(TEMPLATES["en"], WORDINGS["en"], softmax=softmax, **LIMITS)
    model = PaDeLLM(random_lm("llama"), settings)
    made = model.make_objective(0.5)
    assert isinstance(made, ParallelObjective)
    assert (made.settings, made.encoder, made.tag_text) == (settings, model.encoder, 0.5)


def check_examination(each: ParallelObjective, text: AnnotatedText) -> None:
    tree, left_out = each.build(text)
    examined = each.examine(text)
    assert examined.left_out.by_reason == left_out.by_reason
    measures = (bool(tree.nodes), tree.depth, len(tree.tree), tree.sequence_tokens)
    assert examined[1:] == measures


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_a_text_would_teach_without_building_its_tree(lang):
    every = tuple(WORDINGS[lang])
    unknown = [dataclasses.replace(text, labels=()) for text in CASES[lang]]
    for text in [*CASES[lang], *unknown]:
        for labels in (every, every[:1]):
            each = objective(lang, labels=labels)
            check_examination(each, text)


@given(tokenized_texts(), st.sampled_from(["vocabulary", "admissible"]), st.data())
def test_trees_of_any_text_are_measured_without_building_them(source, softmax, data):
    """Rows are planned with these sizes."""
    places = st.integers(0, len(source.text))
    mentions = st.builds(Mention, places, places, st.sampled_from(["PER", "LOC", "ORG"]))
    drawn = data.draw(st.lists(mentions.filter(lambda m: m.start < m.end), max_size=8))
    text = AnnotatedText(source, tuple(sorted(drawn)))
    check_examination(objective(softmax=softmax), text)


def test_a_mention_listed_twice_is_one():
    text = ENGLISH[0]
    twice = dataclasses.replace(text, mentions=text.mentions * 2)
    once, again = (objective().build(each)[0] for each in (text, twice))
    assert (again.tree.ids, again.targets, again.weights) == (
        once.tree.ids,
        once.targets,
        once.weights,
    )


def test_text_tags_are_learnt_with_the_rest():
    """The loss over both is the weighted sum of the two."""
    lm = random_lm("llama", "en", "bidirectional")
    each = [objective("en", "admissible", tag_text=tag_text) for tag_text in (0.0, 0.5, 1.0)]
    with torch.no_grad():
        a, b, c = (tree_loss(lm, [of.build(ENGLISH[0])[0]], of.encoder) for of in each)
    assert c - a > 1
    assert (c - a).item() == pytest.approx(2 * (b - a).item(), rel=1e-5)


@pytest.mark.parametrize("softmax", ["vocabulary", "admissible"])
def test_text_tags_are_read_at_the_middle_layer(softmax):
    """Beside trees without any; the rest is read at the last one, as ever."""
    whole = tiny_model("llama", num_hidden_layers=4, vocab_size=len(small_tokenizer("en")))
    lower = copy.deepcopy(whole)
    lower.model.layers = lower.model.layers[:2]
    lm, middle = (
        CausalLM(model, small_tokenizer("en"), bidirectional_prefix=True)
        for model in (whole, lower)
    )
    plain, tagged = objective("en", softmax), objective("en", softmax, tag_text=0.25)
    tree, other = tagged.build(ENGLISH[0])[0], plain.build(ENGLISH[1])[0]
    untagged = plain.build(ENGLISH[0])[0]
    encoder = tagged.encoder
    choices = {
        "inside": encoder.label_choices(list(encoder.wordings.values())),
        "begins": encoder.begin_choices,
    }
    assert tree.tags is not None
    with torch.no_grad():
        found = target_log_probs(lm, [tree, other], tagged.encoder)
        taught = target_log_probs(lm, [untagged, other], plain.encoder)
        at_the_end = middle.open([tree.tree], tree.depth).logits([tree.tagged_nodes])
    expected = {kind: each.log_probs(at_the_end) for kind, each in choices.items()}
    tags = torch.stack([expected[tag.kind][tag.place, tag.target] for tag in tree.tags.tags])
    assert len(tags) > 0
    assert torch.allclose(found, torch.cat([taught, tags]), atol=1e-4)


def test_labels_that_a_text_is_not_annotated_for_take_no_probability():
    """From those that it is annotated for; beside a text of all labels."""
    lm = random_lm("llama", "en", "bidirectional")
    each = objective("en", "admissible", tag_text=0.5)
    some = dataclasses.replace(ENGLISH[0], labels=("PER",))
    trees = [each.build(text)[0] for text in (some, ENGLISH[0])]
    with torch.no_grad():
        alone = [target_log_probs(lm, [tree], each.encoder) for tree in trees]
        together = target_log_probs(lm, trees, each.encoder)
        logits = lm.open([trees[0].tree], trees[0].depth).logits(
            [trees[0].tagged_nodes],
            Readout(middle=torch.ones(len(trees[0].tagged_nodes), dtype=torch.bool)),
        )
    counts = [len(tree.nodes) for tree in trees]
    tokens = [found[:count] for found, count in zip(alone, counts, strict=True)]
    tags = [found[count:] for found, count in zip(alone, counts, strict=True)]
    assert torch.allclose(together, torch.cat([*tokens, *tags]), atol=1e-4)
    ids = [*each.encoder.wordings["PER"], each.encoder.end_id]
    expected = logits[:, ids].log_softmax(dim=1)
    assert trees[0].tags is not None
    for tag, found in zip(trees[0].tags.tags, tags[0], strict=True):
        if tag.kind == "inside":
            column = 0 if tag.target == list(WORDINGS["en"]).index("PER") else 1
            assert found.item() == pytest.approx(expected[tag.place, column].item(), abs=1e-4)


@pytest.mark.parametrize("softmax", ["vocabulary", "admissible"])
@pytest.mark.parametrize("name", ["small-en", "llama2"])
def test_tags_of_several_ids_are_learnt(name, softmax, request):
    """Llama 2 knows no piece of the paper's template, so openers have several ids, too."""
    labels = {"PER": "the name of a person", "LOC": "place or town"}
    tokenizer = load_tokenizer(name, request)
    model = tiny_model("llama", vocab_size=len(tokenizer))
    lm = CausalLM(model, tokenizer, bidirectional_prefix=True)
    encoder = make_encoder(TEMPLATES["en"], labels, tokenizer, *LIMITS.values())
    assert min(len(ids) for ids in encoder.wordings.values()) > 1
    assert (len(encoder.openers[1]) > 1) is (name == "llama2")
    settings = Settings(TEMPLATES["en"], labels, "bidirectional", softmax, *LIMITS.values())
    each = ParallelObjective(encoder, settings, tag_text=1.0)
    assert each.teaches_tags
    text = annotate(cut_at_spaces("Anna met Bob in Oslo"), ("PER", "Anna"), ("LOC", "Oslo"))
    tree, _ = each.build(text)
    n_tokens = len(tree.nodes)
    optimizer = torch.optim.Adam(lm.model.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss = -target_log_probs(lm, [tree], encoder)[n_tokens:].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1 and losses[-1] < 0.1
    # And are read.
    taught = dataclasses.replace(settings, text_tags=True)
    model.eval()
    reading = PaDeLLM(lm, taught, DecodingOptions(decode="tags"))
    (found,) = reading.predict([text.source])
    assert [Mention(m.start, m.end, m.label) for m in found] == list(text.mentions)


def test_a_tree_of_labels_that_are_not_taught_has_no_tags():
    unknown = annotate(cut_at_spaces("Anna ."), labels=["OTHER"])
    assert objective(tag_text=0.5).build(unknown)[0].nodes == []


def test_a_negative_weight():
    with pytest.raises(ValueError, match=r"P034.*tag_text is -1"):
        objective(tag_text=-1)


def test_about_the_bytes_a_tree_takes():
    each = objective("en", "admissible")
    tree = each.build(ENGLISH[0])[0]
    before = tree.bytes
    lm = random_lm("llama", "en", "causal")
    with torch.no_grad():
        target_log_probs(lm, [tree], each.encoder)
    size = len(tree.tree)
    assert tree.bytes == before > size * size + 100 * size


def test_labels_a_text_is_not_annotated_for_are_left_out():
    source, mentions = ENGLISH[0].source, ENGLISH[0].mentions
    every = ["PER", "LOC", "ORG"]
    assert taught_labels(AnnotatedText(source, mentions), every) == {"PER": 4, "LOC": 1, "ORG": 1}
    only_people = tuple(m for m in mentions if m.label == "PER")
    # Absent, if the text is annotated for all; unknown, if it is not.
    assert taught_labels(AnnotatedText(source, only_people), every) == {
        "PER": 4,
        "LOC": 0,
        "ORG": 0,
    }
    for labels, expected in [
        (("PER",), {"PER": 4}),
        (("ORG", "PER"), {"PER": 4, "ORG": 0}),
        (("PER", "OTHER"), {"PER": 4}),
        ((), {}),
    ]:
        assert taught_labels(AnnotatedText(source, only_people, labels), every) == expected
    # A label that is not looked for is not taught, whatever is annotated.
    assert taught_labels(AnnotatedText(source, mentions), ["LOC"]) == {"LOC": 1}


@pytest.mark.parametrize("family", ["llama", "bloom"])
@pytest.mark.parametrize("softmax", ["vocabulary", "admissible"])
def test_a_text_that_teaches_nothing(family, softmax):
    lm = random_lm(family, "en", "causal")
    nothing = AnnotatedText(ENGLISH[0].source, (), ())
    empty, left_out = objective("en", softmax, labels=("PER",)).build(nothing)
    assert (empty.nodes, len(left_out)) == ([], 0)
    each = objective("en", softmax, labels=("LOC",))
    other, _ = each.build(ENGLISH[2])
    loss = tree_loss(lm, [other], each.encoder)
    assert torch.allclose(tree_loss(lm, [empty, other, empty], each.encoder), loss, atol=1e-4)
    alone = tree_loss(lm, [empty], each.encoder)
    assert alone.item() == 0
    alone.backward()  # and no gradient, not an error
    assert all(p.grad is None or not p.grad.any() for p in lm.model.parameters())
    lm.model.zero_grad(set_to_none=True)


def test_an_empty_text_has_no_mentions_to_teach():
    empty = AnnotatedText(TokenizedText("", ()), ())
    each = objective(labels=("PER", "LOC"))
    tree, left_out = each.build(empty)
    assert (tree.targets, len(left_out)) == (each.encoder.count_ids[0] * 2, 0)


def test_a_text_longer_than_the_positions():
    lm = random_lm("llama", "en", "causal")
    text = AnnotatedText(TokenizedText("a" * 130, ((0, 130),)), ())
    each = objective(labels=("PER",))
    tree, _ = each.build(text)
    with pytest.raises(ValueError, match=r"P023.* 128 positions"):
        target_log_probs(lm, [tree], each.encoder)


@pytest.mark.parametrize("name", ["llama2", "gpt2"])
@pytest.mark.parametrize("prefix_attention", ["causal", "bidirectional"])
def test_with_a_real_tokenizer(name, prefix_attention, request):
    """Sequences made of the encoder's parts, run one by one."""
    tokenizer = load_tokenizer(name, request)
    model = tiny_model("llama", vocab_size=len(tokenizer))
    lm = CausalLM(
        model,
        tokenizer,
        bidirectional_prefix=prefix_attention == "bidirectional",
        support=tiny_lm("llama").support,
    )
    encoder = make_encoder(TEMPLATES["en"], WORDINGS["en"], tokenizer, **LIMITS)
    text = ENGLISH[0]
    prefix = encoder.encode(text.source).prefix
    expected = []
    with torch.no_grad():
        for label, mentions in by_label(text, list(WORDINGS["en"])).items():
            for n, ids in enumerate(encoder.mentions(mentions), start=1):
                prompt = prefix + encoder.branches[label]
                count, opener = encoder.count_ids[len(mentions)], encoder.openers[n]
                whole = [*prompt, *count, *opener, *ids]
                logits = (
                    plain_logits(model, whole)
                    if prefix_attention == "causal"
                    else prefix_lm_logits(model, whole, len(prefix))
                )
                log_probs = logits.log_softmax(dim=1)
                taught = [*range(len(prompt), len(prompt) + len(count))]
                taught += range(len(whole) - len(ids), len(whole))
                expected += [log_probs[place - 1, whole[place]].item() for place in taught]
        settings = Settings(TEMPLATES["en"], WORDINGS["en"], **LIMITS)
        tree, _ = ParallelObjective(encoder, settings).build(text)
        found = tree_loss(lm, [tree], encoder).item()
    assert found == pytest.approx(-sum(expected), rel=0, abs=1e-4)


def own_labels(text: AnnotatedText, labels: dict[str, str], each: ParallelObjective):
    """The text as it is when it is asked for labels of its own."""
    encoder = each.encoder.with_labels(labels)
    return dataclasses.replace(text, source=encoder.encode(text.source))


@pytest.mark.parametrize("label_vectors", [False, True])
def test_trees_of_different_labels_are_learnt_together_as_alone(label_vectors):
    lm = random_lm("llama", "en", "bidirectional")
    each = objective("en", "admissible", tag_text=0.5, label_vectors=label_vectors)
    asked = [{"PER": "writer", "LOC": "place"}, {"ORG": "club"}, {"LOC": "person", "PER": "place"}]
    texts = [own_labels(ENGLISH[0], labels, each) for labels in asked]
    trees = [each.build(text)[0] for text in (*texts, ENGLISH[0])]
    with torch.no_grad():
        together = target_log_probs(lm, trees, each.encoder)
        alone = [target_log_probs(lm, [tree], each.encoder) for tree in trees]
        # An objective that has only these labels.
        for text, labels, found in zip(texts, asked, alone, strict=False):
            settings = dataclasses.replace(each.settings, labels=labels)
            other = ParallelObjective(text.source.encoder, settings, 0.5)
            tree, left_out = other.build(dataclasses.replace(text, source=ENGLISH[0].source))
            assert len(left_out) == 0
            assert torch.allclose(target_log_probs(lm, [tree], other.encoder), found, atol=1e-5)
    counts = [len(tree.nodes) for tree in trees]
    tokens = [found[:count] for found, count in zip(alone, counts, strict=True)]
    tags = [found[count:] for found, count in zip(alone, counts, strict=True)]
    assert torch.allclose(together, torch.cat([*tokens, *tags]), atol=1e-4)
    assert len(list_weights(trees)) == len(together)


def test_tags_with_vectors_say_of_each_label_alone_whether_a_token_is_in_it():
    lm = random_lm("llama", "en", "bidirectional")
    each = objective("en", "admissible", tag_text=0.5, label_vectors=True)
    some = dataclasses.replace(ENGLISH[0], labels=("PER", "LOC"))
    (tree, _) = each.build(some)
    assert tree.tags is not None
    encoder, (first, *_) = each.encoder, [len(tree.nodes)]
    middle = torch.ones(len(tree.tagged_nodes), dtype=torch.bool)
    with torch.no_grad():
        found = target_log_probs(lm, [tree], encoder)[first:]
        vectors = lm.encode_labels(list(encoder.label_texts.values()))
        run = lm.open([tree.tree], tree.depth)
        hidden = run.logits([tree.tagged_nodes], Readout(torch.tensor([0]), middle, hidden=True))
        run = lm.open([tree.tree], tree.depth)
        none = run.logits([tree.tagged_nodes], Readout(torch.tensor([encoder.end_id]), middle))
    odds = hidden @ vectors.T * hidden.shape[1] ** -0.5 - none
    labels = list(encoder.labels)
    named: dict[tuple[str, str], list[int]] = {}
    for tag, log_prob in zip(tree.tags.tags, found, strict=True):
        if tag.kind != "begins":
            sign = 1 if tag.kind == "inside" else -1
            expected = torch.nn.functional.logsigmoid(sign * odds[tag.place, tag.target])
            assert log_prob.item() == pytest.approx(expected.item(), abs=1e-4)
            named.setdefault((labels[tag.target], tag.kind), []).append(tag.place)
    # "New York" is a place, and nothing is said of what was not looked for.
    assert {label for label, _ in named} == {"PER", "LOC"}
    for label in ("PER", "LOC"):
        inside, outside = named[label, "inside"], named[label, "outside"]
        assert sorted(inside + outside) == list(range(tree.tags.length))
    assert set(tree.tags.weights) == {0.5}


def test_labels_of_the_same_wording_are_learnt_though_one_is_not_annotated():
    lm = random_lm("llama", "en", "bidirectional")
    each = objective("en", "admissible", tag_text=0.5)
    text = own_labels(ENGLISH[2], {"LOC": "place", "CITY": "place"}, each)
    (tree, _) = each.build(dataclasses.replace(text, labels=("LOC",)))
    with torch.no_grad():
        assert target_log_probs(lm, [tree], each.encoder).isfinite().all()
