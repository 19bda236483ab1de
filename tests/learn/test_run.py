from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("spacy")

import spacy
from spacy.language import Language
from spacy.training import Example

from spacy_padellm.corpus.docs import annotated_labels, ask_labels, keep_labels, own_labels
from spacy_padellm.learn.recipe import Recipe
from spacy_padellm.learn.run import (
    Learner,
    Learnt,
    _add,
    add_up,
    deal,
    divide,
    find_component,
    read_rehearsal,
)
from spacy_padellm.model import PaDeLLM
from spacy_padellm.scoring import MentionScores
from tests.pipeline.toy_pipeline import make_example
from tests.trained import TEXTS, trained_lm

# What the model finds as PER is to be called a guest, and places are new to it.
MARKUPS = [
    "[Ada|GUEST] left [Rome|CITY]",
    "[Bob Hill|GUEST] left [Oslo|CITY]",
    "[Ada|GUEST] saw [Bob Hill|GUEST]",
    "nobody left [Rome|CITY]",
    "[Ada|GUEST] was in [Oslo|CITY]",
    "it rained",
]
LABELS = {"GUEST": "guest", "CITY": "city"}
SHORT = Recipe(rounds=2, steps=2, last_steps=2, step_texts=2, step_rehearsed=1, biases=(0.0, 4.0))


@pytest.fixture(scope="module")
def checkpoint(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint with text tags."""
    lm, settings = trained_lm(tag_text=0.3)
    folder = tmp_path_factory.mktemp("tagged")
    PaDeLLM(lm, settings.as_trained(text_tags=True)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def vectors(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same, with vectors of labels that nothing has taught it to use."""
    lm, settings = trained_lm(tag_text=0.3)
    folder = tmp_path_factory.mktemp("vectors")
    changed = replace(settings, softmax="admissible", label_vectors=True)
    PaDeLLM(lm, changed.as_trained(text_tags=True)).save_pretrained(folder)
    return str(folder)


class Round(NamedTuple):
    texts: list[str]
    before: dict[str, torch.Tensor]
    weights: dict[str, torch.Tensor]


def examples(nlp: Language) -> list[Example]:
    return [make_example(nlp, markup) for markup in MARKUPS]


def learn(checkpoint: str, recipe: Recipe, rehearsed=(), **options) -> Learnt:
    learner = Learner(checkpoint, LABELS, rehearsed, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return learner.learn(examples(spacy.blank("en")), recipe, lambda n: None)


def test_what_is_learnt_is_a_pipeline(checkpoint: str, tmp_path: Path):
    counted = []
    learner = Learner(checkpoint, LABELS, [])
    learnt = learner.learn(examples(spacy.blank("en")), SHORT, counted.append)
    assert sum(counted) == SHORT.all_steps == 6
    assert find_component(learnt.nlp).label_data == LABELS
    learnt.nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    settings = find_component(again).padellm.settings
    assert settings.tag_bias == learnt.bias and set(LABELS.values()) <= set(settings.trained)
    text = "Ada left Rome"
    assert [*map(str, again(text).ents)] == [*map(str, learnt.nlp(text).ents)]


def test_what_cannot_be_taught_is_said_once(checkpoint: str):
    nlp = spacy.blank("en")
    long = make_example(nlp, f"[{'Ada ' * 40}Hill|GUEST] left")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Learner(checkpoint, LABELS, []).learn([*examples(nlp), long], SHORT, lambda n: None)
    said = [str(each.message) for each in caught if "W070" in str(each.message)]
    assert len(said) == 1 and "1 of 10 gold mentions" in said[0] and "too long" in said[0]


def test_it_learns(checkpoint: str):
    often = {"steps": 80, "last_steps": 40, "step_texts": 4, "rate": 2e-3}
    recipe = Recipe(rounds=2, swap=0.0, join=1, dropout=0.0, **often)
    learnt = learn(checkpoint, recipe)
    found = learnt.nlp("Ada left Rome")
    assert {(ent.text, ent.label_) for ent in found.ents} == {("Ada", "GUEST"), ("Rome", "CITY")}
    assert add_up(learnt.scores.values()).fscore > 0.3
    assert [learnt.scores[label].gold for label in LABELS] == [5, 4]


def noted_rounds(monkeypatch: pytest.MonkeyPatch) -> list[Round]:
    """What each round of the learners that follow is trained on, and the weights it ends with."""
    rounds: list[Round] = []
    train = Learner._train

    def weights(nlp: Language) -> dict[str, torch.Tensor]:
        state = find_component(nlp).shim.lm.model.state_dict()
        return {name: weight.clone() for name, weight in state.items()}

    def note(self, nlp, examples, *options):
        before = weights(nlp)
        train(self, nlp, examples, *options)
        rounds.append(Round([eg.text for eg in examples], before, weights(nlp)))

    monkeypatch.setattr(Learner, "_train", note)
    return rounds


def test_it_goes_on_from_the_average_of_the_rounds(checkpoint: str, monkeypatch):
    noted = noted_rounds(monkeypatch)
    learnt = learn(checkpoint, Recipe(rounds=3, steps=2, last_steps=2))
    *rounds, last = noted
    for name, weight in last.before.items():
        each = torch.stack([of_round.weights[name] for of_round in rounds])
        assert torch.allclose(weight, each.mean(dim=0), atol=1e-6)
    assert any(not torch.equal(w, rounds[1].weights[name]) for name, w in rounds[0].weights.items())
    texts = [eg.text for eg in examples(spacy.blank("en"))]
    assert sorted(last.texts) == sorted(texts)
    end = find_component(learnt.nlp).shim.lm.model.state_dict()
    assert any(not torch.equal(weight, last.before[name]) for name, weight in end.items())


def test_it_keeps_a_share_of_the_checkpoint_if_it_rehearses(checkpoint: str, monkeypatch):
    noted = noted_rounds(monkeypatch)
    recipe = replace(SHORT, kept=0.25)
    learnt = learn(checkpoint, recipe, ["Ada left Rome"])
    first, *_, last = noted
    end = find_component(learnt.nlp).shim.lm.model.state_dict()
    assert end.keys() == last.weights.keys()
    for name, weight in end.items():
        expected = 0.75 * last.weights[name] + 0.25 * first.before[name]
        assert torch.allclose(weight, expected, atol=1e-6)
    assert any(not torch.allclose(w, first.before[name]) for name, w in end.items())


def test_words_mean_what_they_did(checkpoint: str, monkeypatch):
    noted = noted_rounds(monkeypatch)
    model = find_component(learn(checkpoint, SHORT).nlp).shim.lm.model
    embeddings = model.get_input_embeddings().weight
    (name,) = (name for name, weight in model.named_parameters() if weight is embeddings)
    assert all(torch.equal(each.weights[name], noted[0].before[name]) for each in noted)
    assert all(weight.requires_grad for weight in model.parameters())


def test_it_predicts_with_the_average(vectors: str, tmp_path: Path):
    """Also with vectors of labels, which are kept from one text to the next."""
    learnt = learn(vectors, Recipe(rounds=2, steps=20, last_steps=5, step_texts=2, rate=2e-3))
    texts = [eg.text for eg in examples(spacy.blank("en"))]
    learnt.nlp.to_disk(tmp_path)
    labels = {**LABELS, **trained_lm(tag_text=0.3)[1].labels}
    found, again = (
        find_component(nlp).padellm.predict(texts, labels=labels)
        for nlp in (learnt.nlp, spacy.load(tmp_path))
    )
    assert any(found) and [[e.score for e in each] for each in found] == [
        pytest.approx([e.score for e in each], abs=1e-5) for each in again
    ]


def test_the_same_seed_gives_the_same(checkpoint: str):
    first, again, other = (learn(checkpoint, SHORT, seed=seed) for seed in (1, 1, 2))
    weights = [
        find_component(each.nlp).shim.lm.model.state_dict() for each in (first, again, other)
    ]
    assert all(torch.equal(weights[1][name], weight) for name, weight in weights[0].items())
    assert not all(torch.equal(weights[2][name], weight) for name, weight in weights[0].items())
    assert first.scores == again.scores


def test_the_bias_is_the_one_that_scores_best(checkpoint: str, monkeypatch):
    right = iter([1, 3, 3])

    def score(scores):
        # Each mention once for each bias.
        assert [each.gold for each in scores] == [5, 4]
        return MentionScores(next(right), 5, 5)

    monkeypatch.setattr("spacy_padellm.learn.run.add_up", score)
    learnt = learn(checkpoint, Recipe(rounds=2, steps=1, last_steps=1, biases=(0.0, 1.0, 2.0)))
    assert learnt.bias == 1.0 == find_component(learnt.nlp).padellm.settings.tag_bias


def test_no_round_has_seen_the_texts_that_it_is_scored_on(checkpoint: str, monkeypatch):
    noted = noted_rounds(monkeypatch)
    learn(checkpoint, Recipe(rounds=3, steps=1, last_steps=1))
    rounds = noted[:-1]
    texts = sorted(eg.text for eg in examples(spacy.blank("en")))
    left_out = [[text for text in texts if text not in each.texts] for each in rounds]
    assert [len(each) for each in left_out] == [2, 2, 2]
    assert sorted(text for each in left_out for text in each) == texts


@given(st.lists(st.sampled_from("abcdefgh"), min_size=4), st.integers(2, 4), st.integers(0, 9))
def test_parts_share_no_text(words: list[str], count: int, seed: int):
    nlp = spacy.blank("en")
    texts = [Example(nlp.make_doc(word), nlp.make_doc(word)) for word in words]
    parts = divide(texts, count, seed)
    assert len(parts) == count and sorted(eg.text for each in parts for eg in each) == sorted(words)
    distinct = [{eg.text for eg in each} for each in parts]
    assert sum(map(len, distinct)) == len(set(words))
    assert max(map(len, distinct)) - min(map(len, distinct)) <= 1


@given(
    st.lists(st.integers(1, 30), max_size=6),
    st.integers(1, 8),
    st.integers(1, 60),
    st.integers(1, 20),
)
def test_long_texts_make_small_hands(lengths: list[int], size: int, most_words: int, count: int):
    nlp = spacy.blank("en")
    texts = [make_example(nlp, " ".join([f"w{n}"] * length)) for n, length in enumerate(lengths)]
    hands = list(islice(deal(texts, size, most_words), count))
    if not texts:
        assert hands == [[]] * count
        return
    for hand, following in pairwise(hands):
        words = sum(len(eg.reference) for eg in hand)
        assert 1 <= len(hand) <= size and (words <= most_words or len(hand) == 1)
        # None is smaller than it has to be.
        assert len(hand) == size or words + len(following[0].reference) > most_words
    often = Counter(eg.text for hand in hands for eg in hand)
    assert max(often.values()) - min(often[eg.text] for eg in texts) <= 1


def test_scores_add_up():
    together = add_up([MentionScores(1, 2, 3), MentionScores(2, 2, 4)])
    assert together == MentionScores(3, 4, 7)


def test_what_annotation_does_not_tell_is_not_scored():
    nlp = spacy.blank("en")
    found, gold = (make_example(nlp, "[Ada|GUEST] left [Rome|CITY]").reference for _ in "ab")
    keep_labels(gold, ["GUEST"], "padellm")
    scores = {label: MentionScores() for label in LABELS}
    _add(scores, found, gold)
    assert scores == {"GUEST": MentionScores(1, 1, 1), "CITY": MentionScores()}


def test_a_text_is_annotated_for_the_labels_that_it_asks_for(checkpoint: str):
    texts = examples(spacy.blank("en"))
    ask_labels(texts[2].reference, {"GUEST": "guest"})
    # Annotation of a label that is not asked for is there all the same.
    ask_labels(texts[3].reference, ["GUEST"])
    Learner(checkpoint, LABELS, []).learn(texts, SHORT, lambda n: None)
    known = [annotated_labels(eg.reference, "padellm") for eg in texts]
    assert [list(each) for each in known[1:4]] == [["GUEST", "CITY"], ["GUEST"], ["GUEST", "CITY"]]
    assert all(own_labels(eg.reference) is None for eg in texts)


def test_wordings_that_the_model_reads_as_the_same():
    with pytest.raises(ValueError, match=r"P445.*A and B are both called 'drug'"):
        Learner("padellm_en_small", {"A": "Drug", "B": "drug"}, [])


def test_mentions_are_read_also_from_a_span_group_alone(checkpoint: str):
    texts = examples(spacy.blank("en"))
    for eg in texts:
        eg.reference.spans["padellm"] = list(eg.reference.ents)
        eg.reference.set_ents([], default="missing")
    learnt = Learner(checkpoint, LABELS, []).learn(texts, SHORT, lambda n: None)
    assert [learnt.scores[label].gold for label in LABELS] == [5, 4]


def test_a_label_of_the_checkpoint_under_another_name(checkpoint: str):
    with pytest.raises(ValueError, match=r"P446.*label PER, too, which it calls 'PER'.*'patient'"):
        Learner(checkpoint, {"PER": "patient"}, [], keep=True)
    learner = Learner(checkpoint, {"PEOPLE": "PER"}, ["Ada left Rome"], keep=True)
    # What is learnt is not rehearsed, and goes by its new name only.
    assert list(learner._found) == ["LOC", "ORG", "PEOPLE"]


def test_rehearsal_keeps_what_it_knew(checkpoint: str):
    """The toy model forgets people's labels if they are not asked for."""
    often = {"steps": 80, "last_steps": 40, "step_texts": 2, "step_rehearsed": 6, "rate": 1e-2}
    recipe = Recipe(rounds=2, swap=0.0, join=1, dropout=0.0, **often)
    known = [text.source.text for text in TEXTS]
    expected = found_by(PaDeLLM.from_pretrained(checkpoint), known)
    assert sum(map(len, expected)) > 3
    kept, forgot = (
        found_by(find_component(learn(checkpoint, recipe, texts).nlp).padellm, known)
        for texts in (known, [])
    )
    assert agreement(kept, expected) > agreement(forgot, expected)


def found_by(model: PaDeLLM, texts: list[str]) -> list[set[tuple[int, int, str]]]:
    labels = trained_lm(tag_text=0.3)[1].labels
    found = model.predict(texts, labels=labels)
    return [{(each.start, each.end, each.label) for each in of_text} for of_text in found]


def agreement(found, expected) -> float:
    both = sum(len(a & b) for a, b in zip(found, expected, strict=True))
    return 2 * both / (sum(map(len, found)) + sum(map(len, expected)))


@pytest.mark.parametrize("keep", [False, True])
def test_labels_of_the_checkpoint(checkpoint: str, keep: bool):
    learnt = learn(checkpoint, SHORT, ["Ada left Rome"], keep=keep)
    own = trained_lm(tag_text=0.3)[1].labels
    expected = {**own, **LABELS} if keep else LABELS
    component = find_component(learnt.nlp)
    assert component.label_data == expected
    # The bias is not for what is rehearsed.
    assert component.padellm.settings.usual == tuple(LABELS.values())
    assert component.padellm.settings.other_tag_bias == 0.0


def test_texts_to_rehearse_on(tmp_path: Path):
    texts = read_rehearsal()
    assert len(texts) == len(set(texts)) == 400
    (tmp_path / "own.txt").write_text("Ada left.\n\nBob, too.\n")
    assert read_rehearsal(tmp_path / "own.txt") == ["Ada left.", "Bob, too."]
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "other.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("empty.txt", "other.txt", "none.txt"):
        with pytest.raises(ValueError, match=rf"P442.*{name}"):
            read_rehearsal(tmp_path / name)
