from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest

pytest.importorskip("spacy")

from spacy.util import registry


def make(size: int, buffer: int = 400) -> Callable[[Iterable[str]], Iterator[list[str]]]:
    batcher: Callable[[Iterable[str]], Iterator[list[str]]]
    batcher = registry.batchers.get("spacy_padellm.batch_by_padded.v1")(size, buffer)
    return batcher


def test_batches_are_of_similar_lengths_and_hold_everything_once():
    texts = ["x" * (7 * n % 40) + str(n) for n in range(200)]
    batches = list(make(100)(iter(texts)))
    assert Counter(text for batch in batches for text in batch) == Counter(texts)
    assert all(len(batch) * max(map(len, batch)) <= 100 for batch in batches)
    padded = sum(len(batch) * max(map(len, batch)) for batch in batches)
    assert padded < 1.15 * sum(map(len, texts))


def test_their_order_is_random_within_a_buffer():
    texts = ["x" * n for n in range(1, 41)]
    random.seed(0)
    orders = {tuple(len(batch[0]) for batch in make(40)(texts)) for _ in range(10)}
    assert len(orders) > 5
    for batches in (list(make(40, buffer=20)(texts)) for _ in range(5)):
        lengths = [len(text) for batch in batches for text in batch]
        assert sorted(lengths[:20]) == list(range(1, 21))


def test_a_text_that_is_too_long_is_a_batch_of_its_own():
    assert sorted(make(3)(["aaaaa", "b", "c"]), key=len) == [["aaaaa"], ["b", "c"]]


def test_nothing_makes_no_batch():
    assert list(make(10)([])) == []
