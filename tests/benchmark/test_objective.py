from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy

from spacy_padellm.benchmark.objective import OutputObjective
from spacy_padellm.model import PaDeLLM
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.settings import Settings
from spacy_padellm.texts import AnnotatedText, Mention
from spacy_padellm.tree.causal_lm import CausalLM
from tests.sample_texts import cut_at_spaces, tokenized_texts
from tests.sample_tokenizers import WORDINGS, small_tokenizer
from tests.tiny_models import plain_logits, prefix_lm_logits, random_lm, ways_of
from tests.train.samples import CASES, ENGLISH, LIMITS, annotate, tree_loss

LABELS = ["PER", "LOC", "ORG"]
FORMATS = ["augmented", "structured"]
# As a person would write them.
WRITTEN = {
    "augmented": [
        "[Anna | PER] met [Bob | PER] in [New [York | ORG] | location] , [Anna | PER] met "
        "[Bob Hill | PER] .",
        "Nothing here .",
        "[JAPAN | location]",
    ],
    "structured": [
        "((PER, Anna), (PER, Bob), (location, New York), (ORG, York), (PER, Anna), "
        "(PER, Bob Hill))",
        "()",
        "((location, JAPAN))",
    ],
}


def objective(
    name: str,
    lang: str = "en",
    labels: Sequence[str] | None = None,
    tag_text: float = 0.0,
    **limits: int,
) -> OutputObjective:
    """What teaches some of the labels, by default all."""
    wordings = {label: WORDINGS[lang][label] for label in WORDINGS[lang]}
    if labels is not None:
        wordings = {label: wordings[label] for label in labels}
    settings = Settings(TEMPLATES[lang], wordings, output_format=name, **{**LIMITS, **limits})
    return OutputObjective(PaDeLLM(random_lm("llama", lang), settings), tag_text)


def written_ids(text: str, output: str) -> tuple[list[int], list[int]]:
    """Prefix and the rest, by the tokenizer alone; in text and output no special token is one."""
    tokenizer = small_tokenizer("en")
    plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.encode_special_tokens = True
    before, opener = (tokenizer.convert_tokens_to_ids(each) for each in ("text:\n", "\n"))
    prefix = [tokenizer.bos_token_id, before, *plain.encode(text, add_special_tokens=False).ids]
    ids = plain.encode(output, add_special_tokens=False).ids
    return prefix, [opener, *ids, tokenizer.eos_token_id]


def causal_lm_loss(lm: CausalLM, text: str, output: str) -> Tensor:
    """Cross entropy of the output behind its prompt, in one plain sequence."""
    prefix, rest = written_ids(text, output)
    whole = [*prefix, *rest]
    if lm.bidirectional_prefix:
        logits = prefix_lm_logits(lm.model, whole, len(prefix))
    else:
        logits = plain_logits(lm.model, whole)
    first = len(prefix) + 1
    return cross_entropy(logits[first - 1 : -1], torch.tensor(whole[first:]), reduction="sum")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("prefix_attention", ["causal", "bidirectional"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_the_loss_is_that_of_the_sequence_written_out(family, prefix_attention, name):
    lm = random_lm(family, "en", prefix_attention)
    trees = [objective(name).build(text)[0] for text in ENGLISH]
    weights = list(lm.model.parameters())
    losses = [
        causal_lm_loss(lm, text.source.text, output)
        for text, output in zip(ENGLISH, WRITTEN[name], strict=True)
    ]
    assert all(loss > 1 for loss in losses)
    gradients = torch.autograd.grad(sum(losses), weights, allow_unused=True)
    largest = max(gradient.abs().max() for gradient in gradients if gradient is not None)
    for way in ways_of(lm):
        found = tree_loss(lm.run_as(way), trees, objective(name).encoder)
        assert found.item() == pytest.approx(sum(losses).item(), rel=0, abs=1e-3)
        for ours, theirs in zip(
            torch.autograd.grad(found, weights, allow_unused=True), gradients, strict=True
        ):
            assert (ours is None) == (theirs is None)
            assert ours is None or (ours - theirs).abs().max() < 1e-5 * largest


@pytest.mark.parametrize("name", FORMATS)
def test_the_tree_is_one_chain(name):
    for text, output in zip(ENGLISH, WRITTEN[name], strict=True):
        tree, left_out = objective(name).build(text)
        prefix, rest = written_ids(text.source.text, output)
        assert len(left_out) == 0
        assert tree.tree.ids == [*prefix, *rest[:-1]]
        assert tree.tree.parents == list(range(-1, len(tree.tree) - 1))
        assert tree.tree.prefix_length == len(prefix)
        assert tree.nodes == list(range(len(prefix), len(tree.tree)))
        assert tree.targets == rest[1:] and tree.weights == [1.0] * len(tree.targets)
        assert (tree.admissible, tree.tags) == (None, None)
        size = len(tree.tree)
        assert tree.depth == tree.sequence_tokens == size
        assert objective(name).examine(text)[1:] == (True, size, size, size)


@settings(max_examples=200)
@given(source=tokenized_texts(), data=st.data())
@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_taught_is_read_again(name, lang, source, data):
    """Labels whose wording is a special token are spelled, in training as in decoding."""
    each = objective(name, lang)
    spans = each.encoder.encode(source).spans
    labels = list(WORDINGS[lang])
    gold = set()
    if spans:
        pairs = st.tuples(st.sampled_from(spans), st.sampled_from(labels))
        gold = {Mention(*span, label) for span, label in data.draw(st.sets(pairs, max_size=8))}
    tree, left_out = each.build(AnnotatedText(source, tuple(gold)))
    assert {reason for reason, _ in left_out} <= {"crossing"}
    crossing = {mention for _, mention in left_out}
    output = each.encoder.decode(tree.targets[:-1])
    parsed = each.output_format.parse(output, source, each.encoder.labels)
    assert (parsed.malformed, parsed.ungrounded) == (0, 0)
    assert tree.targets[-1] == each.encoder.end_id not in tree.targets[:-1]
    if name == "augmented":
        found = {Mention(*mention.places[0], mention.label) for mention in parsed.mentions}
        assert found == gold - crossing and len(parsed.mentions) == len(found)
    else:
        assert not crossing
        for mention, wanted in zip(parsed.mentions, sorted(gold), strict=True):
            assert mention.label == wanted.label
            assert (wanted.start, wanted.end) in mention.places


TEXT = cut_at_spaces("Anna Bob Cleo Dan Eve Finn  Gil")


def left_out_of(name: str, mentions: Sequence[Mention], labels: Sequence[str]) -> dict:
    """And that the others are taught, unless some are where the model could not find them."""
    each = objective(name, labels=labels)
    text = AnnotatedText(TEXT, tuple(mentions))
    tree, left_out = each.build(text)
    assert each.examine(text).left_out.by_reason == left_out.by_reason
    missing = {mention for _, mention in left_out}
    rest = AnnotatedText(TEXT, tuple(m for m in mentions if m not in missing))
    alone, nothing = each.build(rest)
    taught = [] if "unaligned" in left_out.by_reason else alone.targets
    assert (tree.targets, len(nothing)) == (taught, 0)
    return {reason: [m for _, m in found] for reason, found in left_out.by_reason.items()}


@pytest.mark.parametrize("name", FORMATS)
def test_gold_that_cannot_be_taught(name):
    anna, cut = Mention(0, 4, "PER"), Mention(5, 7, "PER")
    six = Mention(0, 26, "PER")
    assert left_out_of(name, [anna], ["PER"]) == {}
    assert left_out_of(name, [anna, cut, six], ["PER"]) == {"unaligned": [cut], "too_long": [six]}
    # There is no highest number that a further mention could have.
    names = [Mention(start, end, "PER") for start, end in TEXT.tokens]
    assert len(names) > LIMITS["max_mentions"] and left_out_of(name, names, ["PER"]) == {}


def test_crossing_mentions():
    anna_bob, bob_cleo = Mention(0, 8, "PER"), Mention(5, 13, "ORG")
    gold = [bob_cleo, anna_bob, Mention(5, 8, "PER"), Mention(14, 17, "PER")]
    assert left_out_of("augmented", gold, ["PER", "ORG"]) == {"crossing": [bob_cleo]}
    assert left_out_of("structured", gold, ["PER", "ORG"]) == {}
    # What is not to be taught is in nobody's way.
    assert left_out_of("augmented", gold, ["ORG"]) == {}


@pytest.mark.parametrize("tag_text", [0.0, 0.5])
@pytest.mark.parametrize("name", FORMATS)
def test_partly_annotated_texts_are_not_taught(name, tag_text):
    """Their output would say that mentions of the other labels are absent."""
    each = objective(name, tag_text=tag_text)
    source = cut_at_spaces("Anna met Bob in Rome")
    text = annotate(source, ("PER", "Anna"), ("LOC", "Rome"), labels=["PER", "LOC"])
    tree, left_out = each.build(text)
    assert (tree.nodes, tree.targets, tree.weights, tree.tags) == ([], [], [], None)
    reported = {"partly_annotated": [(source.text, mention) for mention in text.mentions]}
    assert left_out.by_reason == reported
    examined = each.examine(text)
    assert examined.left_out.by_reason == reported
    assert (examined.depth, examined.size, examined.is_taught) == (tree.depth, tree.depth, False)
    # Nor is what nothing is asked for.
    assert objective(name, labels=[]).build(text)[0].nodes == []
    for labels in (["PER"], ["LOC", "PER"]):
        each = objective(name, labels=labels, tag_text=tag_text)
        tree, left_out = each.build(text)
        assert tree.nodes and len(left_out) == 0
        assert each.examine(text).is_taught


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("name", FORMATS)
def test_text_tags_come_on_top(name, lang):
    plain, tagged = objective(name, lang), objective(name, lang, tag_text=0.25)
    for text in CASES[lang]:
        (without, _), (tree, _) = plain.build(text), tagged.build(text)
        assert tree.tree.ids == without.tree.ids and without.tags is None
        for field in ("nodes", "targets", "weights", "admissible"):
            assert getattr(tree, field) == getattr(without, field)
        assert tree.tags is not None
        size = plain.encoder.encode(text.source).length
        end = tree.tree.prefix_length
        assert tree.tagged_nodes == list(range(end - size, end))
        assert sum(tree.tags.weights) == pytest.approx(0.25 * 2 * size)


def test_tags_of_more_mentions_than_have_a_number():
    each = objective("structured", labels=["PER"], tag_text=0.5, max_mentions=1)
    names = [Mention(start, end, "PER") for start, end in TEXT.tokens]
    tree, left_out = each.build(AnnotatedText(TEXT, tuple(names)))
    assert len(left_out) == 0 and tree.tags is not None
    tags = [tag[1:] for tag in tree.tags.tags]
    assert tags.count(("begins", 0)) == 1
    assert tags.count(("inside", 0)) >= len(names)


def test_a_negative_weight():
    with pytest.raises(ValueError, match=r"P034.*tag_text is -1"):
        objective("augmented", tag_text=-1)


@pytest.mark.parametrize("name", FORMATS)
def test_a_model_of_the_format_is_taught_so(name):
    """Through the entry point, as pipelines and fine-tuning do."""
    settings = Settings(labels=WORDINGS["en"], output_format=name, **LIMITS)
    found = PaDeLLM(random_lm("llama"), settings).make_objective(0.5)
    assert isinstance(found, OutputObjective)
    assert (found.output_format.name, found.tag_text) == (name, 0.5)
