"""What `initialize`, `get_loss` and `update` teach."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("spacy")

import torch
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Adam

from spacy_padellm.decode.state import TextState
from spacy_padellm.pipeline.shim import PaDeLLMShim
from spacy_padellm.texts import AnnotatedText, Entity
from spacy_padellm.train.augmentation import MentionSwap
from spacy_padellm.train.supervised import SupervisedTree
from tests.pipeline.toy_pipeline import (
    SMALL_MODEL,
    component,
    entities,
    fresh_nlp,
    initialized_nlp,
    make_example,
    toy_examples,
)
from tests.toy_corpus import LABELS, SENTENCES, parse

VOCABULARY = {**SMALL_MODEL, "prefix_attention": "causal", "softmax": "vocabulary"}


def loss_of(nlp: Language, examples: Sequence[Example]) -> float:
    """The loss without learning from it."""
    pipe = component(nlp)
    scores = pipe.model.predict(pipe.make_trees(examples))
    return pipe.get_loss(examples, scores)[0]


def gradients(nlp: Language) -> list[torch.Tensor]:
    return [p.grad.clone() for p in component(nlp).shim.lm.model.parameters()]


def supervised(nlp: Language, examples: Sequence[Example]) -> int:
    """Tokens that the loss covers."""
    return sum(sum(tree.weights) for tree in component(nlp).make_trees(examples))


# Loss and gradient


def paper_loss(nlp: Language, markups: Sequence[str]) -> torch.Tensor:
    """Mean loss of the covered tokens of the paper's separate sequences, one at a time."""
    padellm = component(nlp).padellm
    encoder, model = padellm.encoder, padellm.lm.model
    terms = []
    for markup in markups:
        annotated = parse(markup)
        text = annotated.source.text
        for label in padellm.settings.labels:
            strings = [text[m.start : m.end] for m in annotated.mentions if m.label == label]
            prompt = [*encoder.encode(annotated.source).prefix, *encoder.branches[label]]
            count = encoder.count_ids[len(strings)]
            ends = [
                (encoder.openers[n], ids)
                for n, ids in enumerate(encoder.mentions(strings), start=1)
            ]
            for opener, ids in ends or [([], [])]:
                sequence = [*prompt, *count, *opener, *ids]
                covered = [True] * len(count) + [False] * len(opener) + [True] * len(ids)
                logits = model(input_ids=torch.tensor([sequence])).logits[0]
                for i, wanted in enumerate(covered, start=len(prompt)):
                    if wanted:
                        terms.append(-logits[i - 1].log_softmax(0)[sequence[i]])
    return torch.stack(terms).mean()


def test_loss_and_gradient_are_those_of_the_papers_sequences():
    nlp = initialized_nlp(model=VOCABULARY)
    markups = SENTENCES[:7]
    expected = paper_loss(nlp, markups)
    expected.backward()
    wanted = gradients(nlp)
    component(nlp).shim.lm.model.zero_grad()
    losses = component(nlp).update(toy_examples(nlp, markups))
    assert losses == {"padellm_ner": pytest.approx(expected.item(), rel=1e-5)}
    assert loss_of(nlp, toy_examples(nlp, markups)) == pytest.approx(expected.item(), rel=1e-5)
    for found, gradient in zip(gradients(nlp), wanted, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("model", [SMALL_MODEL, VOCABULARY])
def test_the_gradient_is_the_losss(model: dict[str, Any]):
    nlp = initialized_nlp(model=model)
    examples = toy_examples(nlp, SENTENCES[:3])
    pipe = component(nlp)
    scores = pipe.model.predict(pipe.make_trees(examples))
    loss, gradient = pipe.get_loss(examples, scores)
    assert gradient.shape == scores.shape and loss > 0
    step = 0.5
    for i in range(len(scores)):
        moved = scores.copy()
        moved[i] += step
        slope = (pipe.get_loss(examples, moved)[0] - loss) / step
        assert gradient[i] == pytest.approx(slope, abs=1e-5)
    # A token counts once for each sequence it is in.
    assert -gradient.sum() == pytest.approx(1, abs=1e-5)
    assert len({round(float(g), 6) for g in gradient}) > 1


def test_update_lowers_the_loss():
    nlp = initialized_nlp()
    examples = toy_examples(nlp)[:8]
    optimizer = Adam(1e-3, use_averages=False)
    before = loss_of(nlp, examples)
    losses = [component(nlp).update(examples, sgd=optimizer)["padellm_ner"] for _ in range(5)]
    assert losses[0] == pytest.approx(before, rel=1e-4)
    assert losses == sorted(losses, reverse=True)
    assert loss_of(nlp, examples) < losses[-1] < before


def test_a_loss_that_is_no_number_is_an_error():
    nlp = initialized_nlp()
    examples = toy_examples(nlp)[:4]
    weight = next(component(nlp).shim.lm.model.parameters())
    torch.nn.init.constant_(weight, float("nan"))
    with pytest.raises(ValueError, match="P029"):
        component(nlp).update(examples, sgd=Adam(1e-3))


def test_losses_add_up():
    nlp = initialized_nlp()
    examples = toy_examples(nlp)[:4]
    losses = {"other": 1.0}
    found = component(nlp).update(examples, losses=losses)
    assert found is losses and losses["other"] == 1.0
    once = losses["padellm_ner"]
    component(nlp).update(examples, losses=losses)
    assert losses["padellm_ner"] == pytest.approx(2 * once, rel=1e-4)


def test_gradients_accumulate():
    nlp = initialized_nlp()
    first, second = toy_examples(nlp, SENTENCES[:3]), toy_examples(nlp, SENTENCES[3:9])
    pipe = component(nlp)
    pipe.update(first + second)
    together = gradients(nlp)
    pipe.shim.lm.model.zero_grad()
    pipe.update(first)
    alone = gradients(nlp)
    pipe.update(second)
    # Each call's loss is the mean over its own tokens, and gradients add up: scaled back to sums
    # they are those of both batches at once.
    counts = [supervised(nlp, batch) for batch in (first, second)]
    assert counts[0] != counts[1]
    for one, both, whole in zip(alone, gradients(nlp), together, strict=True):
        summed = one * counts[0] + (both - one) * counts[1]
        torch.testing.assert_close(summed, whole * sum(counts), rtol=1e-3, atol=1e-4)


def test_accumulated_gradients_are_stepped_once():
    # Batches of one size, with a scale that Adam does not feel: the step of both at once.
    batches = [
        ["[Ada|PER] asked [Ada|PER] why .", "It rains in [Rome|LOC] again ."],
        ["[Dan|PER] asked [Dan|PER] why .", "It rains in [Oslo|LOC] again ."],
    ]
    weights = []
    for accumulate in (True, False):
        nlp = initialized_nlp()
        optimizer = Adam(1e-3, L2=0.0, grad_clip=0.0, eps=1e-12, use_averages=False)
        halves = [toy_examples(nlp, batch) for batch in batches]
        assert supervised(nlp, halves[0]) == supervised(nlp, halves[1])
        if accumulate:
            before = [p.detach().clone() for p in component(nlp).shim.lm.model.parameters()]
            for half in halves:
                component(nlp).update(half)
            parameters = component(nlp).shim.lm.model.parameters()
            assert all(torch.equal(p, b) for p, b in zip(parameters, before, strict=True))
            component(nlp).finish_update(optimizer)
        else:
            component(nlp).update(halves[0] + halves[1], sgd=optimizer)
        weights.append(torch.cat([p.flatten() for p in component(nlp).shim.lm.model.parameters()]))
    assert not torch.equal(weights[0], torch.cat([b.flatten() for b in before]))
    # Where a gradient is next to nothing, its sign may differ.
    assert (weights[0] - weights[1]).abs().gt(1e-5).float().mean() < 0.01


def test_language_update_and_evaluate():
    nlp = initialized_nlp()
    optimizer = nlp.create_optimizer()
    losses = nlp.update(toy_examples(nlp)[:8], sgd=optimizer)
    assert losses["padellm_ner"] > 0
    scores = nlp.evaluate(toy_examples(nlp)[:8])
    assert {"ents_f", "ents_per_type", "mentions_p", "mentions_r", "mentions_f"} <= set(scores)


def test_evaluation_uses_the_components_spans_key():
    nlp = fresh_nlp(spans_key="found", labels=LABELS)
    pipe = component(nlp)
    example = make_example(nlp, "[University of [Oslo|LOC]|ORG]", spans_key="found")
    pipe.set_annotations([example.predicted], [[Entity(0, 18, "ORG", 0.5)]])
    assert pipe.score([example])["mentions_r"] == 0.5
    found = [Entity(0, 18, "ORG", 0.5), Entity(14, 18, "LOC", 0.25)]
    pipe.set_annotations([example.predicted], [found])
    assert pipe.score([example])["mentions_r"] == 1.0


# What is taught


def test_texts_without_annotation_are_skipped():
    nlp = initialized_nlp()
    unknown = Example(nlp.make_doc("Ada met Bob ."), nlp.make_doc("Ada met Bob ."))
    known = make_example(nlp, SENTENCES[0])
    assert loss_of(nlp, [known, unknown]) == loss_of(nlp, [known])
    model = component(nlp).shim.lm.model
    before = [p.detach().clone() for p in model.parameters()]
    losses = component(nlp).update([unknown], sgd=Adam(1e-2, use_averages=False))
    assert losses == {"padellm_ner": 0.0}
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    # An annotated text without a mention does teach.
    assert component(nlp).update([make_example(nlp, "Nobody left .")])["padellm_ner"] > 0


def test_empty_texts_teach_nothing():
    nlp = initialized_nlp()
    examples = [make_example(nlp, ""), make_example(nlp, SENTENCES[0])]
    assert loss_of(nlp, examples) == loss_of(nlp, examples[1:])
    assert component(nlp).update(examples[:1], sgd=nlp.create_optimizer()) == {"padellm_ner": 0.0}


def test_labels_a_text_is_not_annotated_for_are_not_taught():
    nlp = initialized_nlp()
    markup = "[Ada|PER] left [Rome|LOC] ."
    partial = [make_example(nlp, markup, labels=["PER", "LOC"])]
    full = [make_example(nlp, markup)]
    assert loss_of(nlp, partial) != pytest.approx(loss_of(nlp, full), rel=1e-3)
    component(nlp).initialize(lambda: full, labels=["PER", "LOC"])
    without = loss_of(nlp, full)
    assert loss_of(nlp, partial) == without
    # Unlike a label it is annotated for, and has no mention of.
    component(nlp).add_label("ORG")
    assert loss_of(nlp, partial) == without
    assert loss_of(nlp, full) != pytest.approx(without, rel=1e-3)


def test_texts_annotated_for_other_labels_teach_nothing():
    nlp = initialized_nlp()
    examples = [
        make_example(nlp, SENTENCES[0]),
        make_example(nlp, "[3|NUM] left .", labels=["NUM"]),
    ]
    assert loss_of(nlp, examples) == loss_of(nlp, examples[:1])
    model = component(nlp).shim.lm.model
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = Adam(1e-2, L2=0.1, use_averages=False)
    losses = component(nlp).update(examples[1:], sgd=optimizer)
    assert losses == {"padellm_ner": 0.0}
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_gold_of_the_span_group_goes_before_entities():
    nlp = initialized_nlp()
    nested = make_example(nlp, "The [University of [Rome|LOC]|ORG] hired [Ada|PER] .")
    flat = make_example(nlp, "The [University of Rome|ORG] hired [Ada|PER] .")
    assert entities(nested.reference) == entities(flat.reference)
    assert loss_of(nlp, [nested]) != pytest.approx(loss_of(nlp, [flat]), rel=1e-3)
    nested.reference.spans.pop("padellm")
    assert loss_of(nlp, [nested]) == loss_of(nlp, [flat])


def test_texts_that_differ_are_an_error():
    nlp = initialized_nlp()
    example = make_example(nlp, "[Ada|PER] left")
    wrong = Example(nlp.make_doc("Ada Left"), example.reference)
    with pytest.raises(ValueError, match=r"\[P205\].*Create both docs from the same text"):
        component(nlp).update([wrong])


def test_training_without_labels():
    nlp = fresh_nlp()
    with pytest.raises(ValueError, match=r"\[P204\].*doc\.spans\['padellm'\]"):
        nlp.initialize(lambda: [make_example(nlp, "Nobody left .")])


def test_training_texts_too_long_for_the_model():
    """Said before training, and of texts that come later."""
    nlp = fresh_nlp(get_spans={"@span_getters": "spacy-transformers.doc_spans.v1"})
    text = " ".join(["Ada left ."] * 40)
    examples = [make_example(nlp, "[Ada|PER] left ."), make_example(nlp, f"[Ada|PER] {text}")]
    with pytest.raises(ValueError, match=r"(?s)\[P208\].*P023.*`get_spans`.*'Ada Ada left \."):
        nlp.initialize(lambda: examples)
    nlp.initialize(lambda: examples[:1])
    model = component(nlp).shim.lm.model
    with pytest.raises(ValueError, match=r"\[P023\].*`get_spans`"):
        nlp.update(examples)
    assert not model.training


def test_training_texts_too_long_for_the_model_are_cut_into_windows():
    nlp = fresh_nlp()
    text = "[Ada|PER] left . " * 40
    nlp.initialize(lambda: [make_example(nlp, text)])
    trees = component(nlp).make_trees([make_example(nlp, text)])
    assert len(trees) > 1
    assert all(component(nlp).shim.lm.fits(tree.depth) for tree in trees)


# Gold that cannot be taught


STRIDED = {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 4, "stride": 4}


def initialize_with(example_of: Any, **config: Any) -> tuple[Language, list[str]]:
    nlp = fresh_nlp(**config)
    examples = [example_of(nlp), make_example(nlp, "[Eve|PER] left .")]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nlp.initialize(lambda: examples)
        for _ in range(2):
            nlp.update(examples, sgd=nlp.create_optimizer())
    return nlp, [str(w.message) for w in caught if "[W070]" in str(w.message)]


def unaligned_example(nlp: Language) -> Example:
    """The tokenizer leaves `AdaBob` whole, the gold tokens do not."""
    words, spaces = ["Ada", "Bob", "left", "Rome"], [False, True, True, False]
    reference = Doc(nlp.vocab, words=words, spaces=spaces)
    reference.set_ents([Span(reference, 0, 1, "PER"), Span(reference, 3, 4, "LOC")])
    return Example(nlp.make_doc(reference.text), reference)


def many_people(nlp: Language) -> Example:
    return make_example(nlp, "[Ada|PER] [Bob|PER] [Cleo|PER] [Dan|PER] in [Rome|LOC]")


def long_name(nlp: Language) -> Example:
    return make_example(nlp, "[Ada of New York|PER] left [Rome|LOC]")


def nothing_wrong(nlp: Language) -> Example:
    return make_example(nlp, "[Ada|PER] [Bob|PER] left [Rome|LOC]")


@pytest.mark.parametrize(
    "example_of, config, message",
    [
        (
            many_people,
            {"max_mentions": 2},
            "2 of 6 gold mentions can't be taught: 2 too many (for example PER 'Cleo')",
        ),
        (
            long_name,
            {"max_mention_tokens": 3},
            "1 of 3 gold mentions can't be taught: 1 too long (for example PER 'Ada of New York')",
        ),
        (
            unaligned_example,
            {},
            "1 of 3 gold mentions can't be taught: 1 unaligned (for example PER 'Ada')",
        ),
        (
            lambda nlp: make_example(nlp, "we saw in [New York|LOC] [Ada|PER]"),
            {"get_spans": STRIDED},
            "1 of 3 gold mentions can't be taught: 1 across windows (for example LOC 'New York')",
        ),
        (
            lambda nlp: make_example(nlp, "[Ada of Rome|PER] [Ada|PER] [Bob|PER] [Cleo|PER]"),
            {"max_mentions": 2, "max_mention_tokens": 2},
            "2 of 5 gold mentions can't be taught: 1 too long (for example PER 'Ada of Rome'); "
            "1 too many (for example PER 'Cleo')",
        ),
    ],
)
def test_gold_that_cannot_be_taught_is_reported_once(
    example_of: Any, config: dict[str, Any], message: str
):
    _, warned = initialize_with(example_of, **config)
    assert len(warned) == 1
    assert warned[0].startswith(f"[W070] {message}. ")
    assert "`max_mentions`" in warned[0]


def test_nothing_is_reported_where_all_gold_is_taught():
    assert initialize_with(nothing_wrong, max_mentions=2, max_mention_tokens=1)[1] == []
    getter = {**STRIDED, "window": 4, "stride": 2}
    assert initialize_with(nothing_wrong, get_spans=getter)[1] == []


def test_the_rest_of_such_a_text_is_taught():
    nlp, _ = initialize_with(many_people, max_mentions=2)
    kept = make_example(nlp, "[Ada|PER] [Bob|PER] Cleo Dan in [Rome|LOC]")
    assert loss_of(nlp, [many_people(nlp)]) == loss_of(nlp, [kept])


def test_windows_are_taught_with_the_mentions_in_them():
    whole = "[Ada|PER] left in May [Bob Hill|PER] left [Rome|LOC]"
    nlp = initialized_nlp([whole], get_spans=STRIDED)
    parts = ["[Ada|PER] left in May", "[Bob Hill|PER] left [Rome|LOC]"]
    assert loss_of(nlp, toy_examples(nlp, [whole])) == pytest.approx(
        loss_of(nlp, toy_examples(nlp, parts)), rel=1e-5
    )


SENTENCE_WINDOWS = {"@span_getters": "spacy-transformers.sent_spans.v1"}


def test_sentences_are_windows_in_training_too():
    nlp = fresh_nlp(get_spans=SENTENCE_WINDOWS, max_mentions=1)
    nlp.add_pipe("sentencizer", before="padellm_ner")
    nlp.config["training"]["annotating_components"] = ["sentencizer"]
    text = " ".join([*SENTENCES[1:5], *["It rains in [Rome|LOC] again ."] * 12])
    examples = [make_example(nlp, text)]
    with warnings.catch_warnings():
        # One mention a sentence and label, as many as may be.
        warnings.simplefilter("error")
        nlp.initialize(lambda: examples)
    assert not examples[0].predicted.has_annotation("SENT_START")
    assert component(nlp).labels == tuple(LABELS)
    losses = nlp.update(examples, sgd=nlp.create_optimizer(), annotates=["sentencizer"])
    assert losses["padellm_ner"] > 0
    pieces = [f"{sentence}." for sentence in text.split(".")[:-1]]
    pieces = [make_example(nlp, piece.strip()) for piece in pieces]
    assert len(pieces) == 16
    for example in [*examples, *pieces]:
        nlp.get_pipe("sentencizer")(example.predicted)
    assert loss_of(nlp, examples) == pytest.approx(loss_of(nlp, pieces), rel=1e-5)


def test_windows_of_what_no_component_sets():
    nlp = fresh_nlp(get_spans=SENTENCE_WINDOWS)
    nlp.add_pipe("sentencizer", before="padellm_ner")
    with pytest.raises(
        ValueError, match=r"\[P206\].*\[E030\].*\n.*`training\.annotating_components`"
    ):
        nlp.initialize(lambda: toy_examples(nlp))


def test_training_texts_are_augmented_as_the_config_says(monkeypatch: pytest.MonkeyPatch):
    made = []
    augment = MentionSwap.__call__

    def recording_augment(self: MentionSwap, *arguments: Any) -> AnnotatedText:
        made.append(augment(self, *arguments))
        return made[-1]

    monkeypatch.setattr(MentionSwap, "__call__", recording_augment)
    swap = {"@misc": "spacy_padellm.swap_mentions.v1", "rate": 1.0, "uses": 2}
    nlp = initialized_nlp(augment=swap)
    examples = [make_example(nlp, markup) for markup in ("[Ada|PER] left", "met [Bob Hill|PER]")]
    random.seed(0)
    for _ in range(12):
        component(nlp).update(examples)
    # As they are at first, and then anew for every second time.
    assert len(made) == 2 * (12 / 2 - 1)
    assert {text.source.text for text in made} == {
        "Ada left",
        "Bob Hill left",
        "met Ada",
        "met Bob Hill",
    }
    assert [eg.reference.text for eg in examples] == ["Ada left", "met Bob Hill"]


def test_text_tags_are_taught_as_the_config_says(monkeypatch: pytest.MonkeyPatch):
    taught: dict[float, SupervisedTree] = {}
    for weight in (0.0, 0.5):
        nlp = initialized_nlp(model={**SMALL_MODEL, "tag_text": weight})
        call = PaDeLLMShim.__call__

        def recording_call(
            shim: PaDeLLMShim, trees: Sequence[SupervisedTree], *settings: Any
        ) -> Any:
            (taught[shim.tag_text],) = trees
            return call(shim, trees, *settings)  # noqa: B023

        monkeypatch.setattr(PaDeLLMShim, "__call__", recording_call)
        component(nlp).update([make_example(nlp, "[Ada|PER] left")])
        monkeypatch.undo()
    plain, tagged = taught[0.0], taught[0.5]
    assert (tagged.targets, tagged.weights) == (plain.targets, plain.weights)
    assert plain.tags is None and tagged.tags is not None
    # What each of the two words, and the space between them, is in and begins.
    assert tagged.tags.weights == [0.5] * 2 * 3


def test_text_tags_of_what_came_after_the_tokenizer(monkeypatch: pytest.MonkeyPatch):
    """A label of several pieces is taught and read like any other."""
    nlp = initialized_nlp(model={**SMALL_MODEL, "tag_text": 1.0}, tag_share=1.0)
    component(nlp).add_label("FOUNDER")
    assert len(component(nlp).padellm.encoder.wordings["FOUNDER"]) > 1
    optimizer = nlp.create_optimizer()
    optimizer.learn_rate = 2e-3
    example = make_example(nlp, "[Ada|FOUNDER] left")
    for _ in range(30):
        assert component(nlp).update([example], sgd=optimizer)["padellm_ner"] > 0
    monkeypatch.setattr(TextState, "mentions", lambda state: iter(()))
    assert [(ent.text, ent.label_) for ent in nlp("Ada left").ents] == [("Ada", "FOUNDER")]


def test_text_tags_that_are_taught_are_read(monkeypatch: pytest.MonkeyPatch):
    """Here by a model that writes nothing, of texts where no mention is inside another."""
    flat = [markup for markup in SENTENCES if "[University" not in markup]
    nlp = initialized_nlp(model={**SMALL_MODEL, "tag_text": 1.0}, tag_share=1.0)
    optimizer = nlp.create_optimizer()
    optimizer.learn_rate = 2e-3
    for _ in range(60):
        nlp.update(toy_examples(nlp, flat), sgd=optimizer)
    assert component(nlp).shim.settings.text_tags
    monkeypatch.setattr(TextState, "mentions", lambda state: iter(()))
    assert nlp.evaluate(toy_examples(nlp, flat))["ents_f"] > 0.99
    unread = fresh_nlp(model={**SMALL_MODEL, "tag_text": 1.0}, tag_share=0.0)
    unread.from_bytes(nlp.to_bytes())
    assert component(unread).shim.settings.text_tags
    assert unread.evaluate(toy_examples(nlp, flat))["ents_f"] in (0.0, None)


def test_text_tags_that_are_no_longer_taught_are_no_longer_read():
    nlp = initialized_nlp(model={**SMALL_MODEL, "tag_text": 1.0})
    (example,) = toy_examples(nlp)[:1]
    nlp.update([example])
    assert component(nlp).padellm is component(nlp).padellm
    assert component(nlp).shim.settings.text_tags
    plain = fresh_nlp()
    plain.from_bytes(nlp.to_bytes())
    before = component(plain).padellm
    plain.update([example])
    assert not component(plain).shim.settings.text_tags
    assert component(plain).padellm is not before


def test_labels_that_no_text_has_are_taught_as_absent():
    nlp = fresh_nlp(labels=["PER", "LOC", "ORG"])
    examples = [
        make_example(nlp, "[Ada|PER] left"),
        make_example(nlp, "so did Bob", labels=["PER", "LOC"]),
    ]
    with pytest.warns(UserWarning, match=r"\[W073\] No training text .* of LOC, ORG,"):
        nlp.initialize(lambda: examples)


def test_labels_that_no_text_is_annotated_for_are_not_taught(recwarn):
    nlp = fresh_nlp(labels=["PER", "ORG"])
    nlp.initialize(lambda: [make_example(nlp, "[Ada|PER] left", labels=["PER"])])
    nlp.initialize(lambda: toy_examples(nlp))
    assert not [w for w in recwarn if "W073" in str(w.message)]


def test_what_augments_nothing():
    with pytest.raises(ValueError, match=r"\[P207\].*swap_mentions"):
        fresh_nlp(augment={"@misc": "spacy.first_longest_spans_filter.v1"})


def test_gold_of_labels_a_text_is_not_annotated_for_is_reported():
    nlp = fresh_nlp()
    examples = [
        make_example(nlp, "[Ada|PER] left [Rome|LOC]", labels=["PER"]),
        make_example(nlp, "in [Rome|LOC]"),
    ]
    with pytest.warns(UserWarning, match=r"\[W070\] 1 of 3 .*1 not annotated .*LOC 'Rome'"):
        nlp.initialize(lambda: examples)
