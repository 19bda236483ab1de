from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

pytest.importorskip("spacy")

import spacy
from spacy.language import Language
from spacy.training import Example

from spacy_padellm.learn.recipe import Recipe
from spacy_padellm.learn.run import Learner, Learnt, find_component, read_rehearsal
from spacy_padellm.model import PaDeLLM
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
SHORT = Recipe(rounds=2, steps=2, step_texts=2, step_rehearsed=1, biases=(0.0, 4.0))


@pytest.fixture(scope="module")
def checkpoint(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint with text tags."""
    lm, settings = trained_lm(tag_text=0.3)
    folder = tmp_path_factory.mktemp("tagged")
    PaDeLLM(lm, settings.as_trained(text_tags=True)).save_pretrained(folder)
    return str(folder)


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
    assert sum(counted) == 4
    assert find_component(learnt.nlp).label_data == LABELS
    learnt.nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    settings = find_component(again).padellm.settings
    assert settings.tag_bias == learnt.bias and set(LABELS.values()) <= set(settings.trained)
    text = "Ada left Rome"
    assert [*map(str, again(text).ents)] == [*map(str, learnt.nlp(text).ents)]


def test_it_learns(checkpoint: str):
    recipe = Recipe(rounds=2, steps=80, step_texts=4, rate=2e-3, swap=0.0, join=1, dropout=0.0)
    learnt = learn(checkpoint, recipe)
    found = learnt.nlp("Ada left Rome")
    assert {(ent.text, ent.label_) for ent in found.ents} == {("Ada", "GUEST"), ("Rome", "CITY")}
    assert learnt.scores["ents_f"] > 0.3


def test_the_average_of_the_rounds(checkpoint: str):
    """With no rate nothing is learnt, and the average is what it was."""
    learnt = learn(checkpoint, Recipe(rounds=3, steps=1, rate=0.0))
    before = PaDeLLM.from_pretrained(checkpoint).lm.model.state_dict()
    after = find_component(learnt.nlp).shim.lm.model.state_dict()
    assert all(torch.allclose(after[name], weight, atol=1e-6) for name, weight in before.items())


def test_the_same_seed_gives_the_same(checkpoint: str):
    first, again, other = (learn(checkpoint, SHORT, seed=seed) for seed in (1, 1, 2))
    weights = [
        find_component(each.nlp).shim.lm.model.state_dict() for each in (first, again, other)
    ]
    assert all(torch.equal(weights[1][name], weight) for name, weight in weights[0].items())
    assert not all(torch.equal(weights[2][name], weight) for name, weight in weights[0].items())
    assert first.scores == again.scores


def test_the_bias_is_the_one_that_scores_best(checkpoint: str, monkeypatch):
    scored = []

    def score(examples):
        scored.append(len(examples))
        return {"mentions_f": [0.2, 0.7, 0.7][len(scored) - 1]}

    monkeypatch.setattr("spacy_padellm.learn.run.score_mentions", score)
    learnt = learn(checkpoint, Recipe(rounds=2, steps=1, biases=(0.0, 1.0, 2.0)))
    # Each text once for each bias.
    assert scored == [len(MARKUPS)] * 3
    assert learnt.bias == 1.0 == find_component(learnt.nlp).padellm.settings.tag_bias


def test_no_round_has_seen_the_texts_that_it_is_scored_on(checkpoint: str, monkeypatch):
    seen: list[list[str]] = []
    train = Learner._train

    def note(self, examples, recipe, tell):
        seen.append([eg.text for eg in examples])
        return train(self, examples, recipe, tell)

    monkeypatch.setattr(Learner, "_train", note)
    learn(checkpoint, Recipe(rounds=3, steps=1))
    texts = sorted(eg.text for eg in examples(spacy.blank("en")))
    left_out = [[text for text in texts if text not in of_round] for of_round in seen]
    assert [len(each) for each in left_out] == [2, 2, 2]
    assert sorted(text for each in left_out for text in each) == texts


def test_rehearsal_keeps_what_it_knew(checkpoint: str):
    """The toy model forgets people's labels if they are not asked for."""
    recipe = Recipe(
        rounds=2, steps=40, step_texts=2, step_rehearsed=6, rate=5e-3, swap=0.0, join=1, dropout=0.0
    )
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
    assert find_component(learnt.nlp).label_data == expected


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
