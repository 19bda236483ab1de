from __future__ import annotations

import dataclasses
import random
import weakref

from spacy_padellm.texts import AnnotatedText, Mention
from spacy_padellm.train.augmentation import MentionSwap
from spacy_padellm.train.objective import Objective
from spacy_padellm.train.versions import TextVersions
from tests.sample_texts import cut_at_spaces
from tests.train.samples import ENGLISH, annotate, objective

PEOPLE = objective(labels=("PER",))


def versions(of: Objective = PEOPLE, **changes) -> TextVersions:
    return TextVersions(of, **{"fits": lambda depth: True, **changes})


def test_trees_are_built_once_while_there_is_room():
    each = objective()
    expected = [each.build(text)[0] for text in ENGLISH]
    cache = versions(each)
    built = [cache.build_next(text) for text in ENGLISH]
    assert [vars(tree)["targets"] for tree in built] == [tree.targets for tree in expected]
    assert all(cache.build_next(text) is tree for text, tree in zip(ENGLISH, built, strict=True))
    assert len(cache) == 3
    # Room for the first two: the one used longest ago makes way.
    cache = versions(each, max_bytes=expected[0].bytes + expected[1].bytes)
    first, second = cache.build_next(ENGLISH[0]), cache.build_next(ENGLISH[1])
    assert cache.build_next(ENGLISH[0]) is first
    cache.build_next(ENGLISH[2])
    assert cache.build_next(ENGLISH[0]) is first and len(cache) == 2
    assert cache.build_next(ENGLISH[1]) is not second
    # Without any, nothing is kept.
    none = versions(each, max_bytes=0)
    assert none.build_next(ENGLISH[0]).targets == expected[0].targets and len(none) == 0
    assert none.build_next(ENGLISH[0]).targets == expected[0].targets


def test_texts_are_augmented_as_often_as_wanted():
    texts = [
        annotate(cut_at_spaces("Anna met Bob ."), ("PER", "Anna"), ("PER", "Bob")),
        # Neither what is too long nor another label's mentions are swapped in.
        annotate(cut_at_spaces("a b c d e f g"), ("PER", "a b c d e f"), ("LOC", "g")),
    ]
    swap = MentionSwap(rate=1.0, uses=2)
    cache = versions(swap=swap)
    plain = [PEOPLE.build(text)[0] for text in texts]
    first = [cache.build_next(text) for text in texts]
    assert [tree.targets for tree in first] == [tree.targets for tree in plain]
    assert [cache.build_next(text) for text in texts] == first
    made = set()
    for _ in range(40):
        (tree, _), (again, _) = ([cache.build_next(text) for text in texts] for _ in range(2))
        assert again is tree
        made.add(tuple(tree.tree.ids))
    sources = [cut_at_spaces(f"{a} met {b} .") for a in ("Anna", "Bob") for b in ("Anna", "Bob")]
    expected = [
        AnnotatedText(s, tuple(Mention(a, b, "PER") for a, b in (s.tokens[0], s.tokens[2])))
        for s in sources
    ]
    assert made == {tuple(PEOPLE.build(text)[0].tree.ids) for text in expected}


def test_texts_are_augmented_where_there_is_no_room_to_keep_trees():
    text = annotate(cut_at_spaces("Anna met Bob ."), ("PER", "Anna"), ("PER", "Bob"))
    cache = versions(swap=MentionSwap(rate=1.0, uses=2), max_bytes=0)
    plain = PEOPLE.build(text)[0].tree.ids
    assert cache.build_next(text).tree.ids == cache.build_next(text).tree.ids == plain
    assert len({tuple(cache.build_next(text).tree.ids) for _ in range(40)}) == 4


def test_an_augmented_text_that_is_too_long_is_used_as_it_was():
    texts = [
        annotate(cut_at_spaces("Anna met Bob ."), ("PER", "Anna")),
        annotate(cut_at_spaces("Annabella Bobadilla left"), ("PER", "Annabella Bobadilla")),
    ]
    plain = [PEOPLE.build(text)[0] for text in texts]
    swap = MentionSwap(rate=1.0)
    for limit, kinds in [(max(tree.depth for tree in plain), 1), (100, 2)]:
        cache = versions(swap=swap, fits=lambda depth: depth <= limit)  # noqa: B023
        assert [cache.build_next(text).depth for text in texts] == [tree.depth for tree in plain]
        assert len({cache.build_next(texts[0]).depth for _ in range(30)}) == kinds


def test_mentions_of_one_training_are_not_in_another():
    swap = MentionSwap(rate=1.0)
    first, second = (
        annotate(cut_at_spaces(f"{name} left"), ("PER", name)) for name in ("Anna", "Bob")
    )
    versions(swap=swap).build_next(first)
    cache = versions(swap=swap)
    expected = PEOPLE.build(second)[0].tree.ids
    assert all(cache.build_next(second).tree.ids == expected for _ in range(20))


def test_a_version_that_is_asked_for_is_built_whatever_was_built_before():
    text = annotate(cut_at_spaces("Anna met Bob ."), ("PER", "Anna"), ("PER", "Bob"))
    plain = PEOPLE.build(text)[0].tree.ids
    cache = versions(swap=MentionSwap(rate=1.0, uses=2))
    cache.collect(text)
    made = cache.build(text, 1, random.Random(3))
    assert cache.build(text, 1, random.Random(4)) is made
    assert cache.build(text).tree.ids == plain
    assert cache.build(text, 1, random.Random(3)).tree.ids == made.tree.ids


def test_what_is_not_used_again_is_not_kept():
    text = annotate(cut_at_spaces("Anna met Bob ."), ("PER", "Anna"), ("PER", "Bob"))
    cache = versions(swap=MentionSwap(rate=1.0))
    plain = cache.build_next(text)
    built = [cache.build_next(text) for _ in range(40)]
    assert len({tuple(tree.tree.ids) for tree in built}) == 4 and len(cache) == 1
    # Where the same mentions are swapped in, the text stays as it was.
    assert {tree is plain for tree in built} == {True, False}
    assert all((tree is plain) == (tree.tree.ids == plain.tree.ids) for tree in built)


def test_equal_texts_may_have_versions_of_their_own():
    text = annotate(cut_at_spaces("Anna met Bob ."), ("PER", "Anna"), ("PER", "Bob"))
    cache = versions(swap=MentionSwap(rate=1.0, uses=2))
    cache.collect(text)
    built = [cache.build(text, 1, random.Random(number), number) for number in range(9)]
    assert len({tuple(tree.tree.ids) for tree in built}) > 1
    again = [cache.build(text, 1, random.Random(number), number) for number in range(9)]
    assert all(new is old for new, old in zip(again, built, strict=True))
    assert len({id(cache.build(text, 0, None, number)) for number in range(9)}) == 1


def test_texts_that_are_collected_are_kept_without_their_encoding():
    """It would take many times as much memory."""
    text = annotate(cut_at_spaces("Anna left"), ("PER", "Anna"))
    encoded = dataclasses.replace(text, source=PEOPLE.encoder.encode(text.source))
    swap = MentionSwap(rate=0.0, join=2)
    swap.collect(encoded, encoded.mentions)
    kept = weakref.ref(encoded.source)
    del encoded
    assert kept() is None
    assert {swap(text).source.text for _ in range(30)} == {"Anna left", "Anna left Anna left"}
