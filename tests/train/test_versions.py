from __future__ import annotations

import random

import pytest

from spacy_padellm.train.augmentation import MentionSwap
from spacy_padellm.train.supervised_tree import SupervisedTree
from spacy_padellm.train.versions import Versions
from tests.toy_corpus import LABELS, parse
from tests.train.test_preparation import LM, OBJECTIVE, prepare
from tests.train.toys import TRAIN

TAUGHT, _ = prepare(TRAIN)
ALL = range(len(TRAIN))
AMPLE = 10_000


def versions(taught=None, fits=LM.fits, seed: int = 0, **changes) -> Versions:
    swap = MentionSwap(**{"rate": 0.5, "uses": 1, "join": 1, **changes})
    return Versions(
        TAUGHT if taught is None else taught, OBJECTIVE, LABELS, swap=swap, fits=fits, seed=seed
    )


def ids(trees: list[SupervisedTree]) -> list[list[int]]:
    return [tree.tree.ids for tree in trees]


PLAIN = ids([OBJECTIVE.build(text, LABELS)[0] for text in TRAIN])


def test_without_augmentation_texts_are_as_they_are():
    plain = Versions(TAUGHT, OBJECTIVE, LABELS, swap=None, fits=LM.fits, seed=0)
    assert ids(plain.build(ALL, 7, AMPLE)) == PLAIN
    assert plain.growth == 1


def test_a_version_depends_on_seed_epoch_and_text_alone():
    random.seed(1)
    first = versions(join=2, capitals=0.2)
    epochs = [ids(first.build(ALL, epoch, AMPLE)) for epoch in range(4)]
    assert epochs[0] == PLAIN
    assert epochs[1] != epochs[2] != epochs[3] and PLAIN not in epochs[1:]
    random.seed(2)
    # Another process, in another order, which saw no epoch before.
    second = versions(join=2, capitals=0.2)
    backwards = [second.build([place], 3, AMPLE)[0] for place in reversed(ALL)]
    assert ids(backwards[::-1]) == epochs[3]
    assert ids(versions(join=2, seed=5).build(ALL, 3, AMPLE)) != epochs[3]


def test_chance_elsewhere_is_left_alone():
    random.seed(3)
    expected = random.random()
    random.seed(3)
    versions(join=2, capitals=0.5).build(ALL, 2, AMPLE)
    assert random.random() == expected


def test_a_version_is_used_as_often_as_stated():
    of = versions(uses=2)
    epochs = [ids(of.build(ALL, epoch, AMPLE)) for epoch in range(6)]
    assert epochs[0] == epochs[1] == PLAIN
    assert epochs[2] == epochs[3] != PLAIN
    assert epochs[4] == epochs[5] != epochs[3]


@pytest.mark.parametrize("join, growth", [(1, 1), (2, 1.5), (3, 2)])
def test_a_row_never_grows_beyond_its_tokens(join: int, growth: float):
    of = versions(join=join)
    assert of.growth == growth
    room = sum(each.size for each in TAUGHT) + 30
    for epoch in range(1, 6):
        trees = of.build(ALL, epoch, room)
        assert sum(len(tree.tree) for tree in trees) <= room
        assert ids(trees) != PLAIN


def test_a_version_too_deep_for_the_model_is_not_used():
    assert ids(versions(fits=lambda depth: False).build(ALL, 1, AMPLE)) == PLAIN


def test_a_version_with_more_left_out_is_not_used():
    # Two of these have more mentions than can be taught.
    text = parse("[Dan|PER] asked [Ada|PER] and [Cleo|PER] .")
    taught, _ = prepare([text] * 4)
    trees = versions(taught, rate=0.0, join=3).build(range(4), 1, AMPLE)
    assert ids(trees) == ids([OBJECTIVE.build(text, LABELS)[0]]) * 4
