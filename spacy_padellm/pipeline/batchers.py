"""`spacy_padellm.batch_by_padded.v1`: batches of similar lengths, in random order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Batcher = Callable[[Iterable[Any]], Iterator[list[Any]]]


def create_batch_by_padded_v1(size: int, buffer: int = 400) -> Batcher:
    """As `spacy.batch_by_padded.v1`, but the batches made from a buffer are shuffled. spaCy's
    come longest first, so that steps on long and on short texts take turns.

    size (int): Most tokens of a batch, padding included. A longer text is a batch of its own.
    buffer (int): How many texts are sorted at once.
    RETURNS (Callable[[Iterable[Any]], Iterator[List[Any]]]): The batcher.
    """

    def batch_by_padded(items: Iterable[Any]) -> Iterator[list[Any]]:
        from spacy.training.batchers import minibatch_by_padded_size
        from spacy.util import minibatch

        for buffered in minibatch(items, buffer):
            batches = list(minibatch_by_padded_size(buffered, size, buffer=len(buffered)))
            random.shuffle(batches)
            yield from batches

    return batch_by_padded
