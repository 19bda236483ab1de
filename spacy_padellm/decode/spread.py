"""Decoding with several replicas of a model at once: each takes some of a batch's texts or, where
there are fewer texts than replicas, some of a text's labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeVar

from ..benchmark.autoregressive import AutoregressiveDecoder
from ..texts import TokenizedText
from .cost import DecodingCost, sum_costs
from .mentions import DecodedMention
from .parallel import ParallelDecoder, Prompt, Written
from .writing import Replay

AnyDecoder = TypeVar("AnyDecoder", ParallelDecoder, AutoregressiveDecoder)
Result = TypeVar("Result")
Item = TypeVar("Item")


class _Spread(Generic[AnyDecoder]):
    """Decoders that work at the same time.

    decoders (Sequence[AnyDecoder]): A decoder for each replica, otherwise the same.
    """

    def __init__(self, decoders: Sequence[AnyDecoder]) -> None:
        self._decoders: list[AnyDecoder] = list(decoders)
        # Says what all of them agree on.
        self._first: AnyDecoder = self._decoders[0]

    @property
    def cost(self) -> DecodingCost:
        """RETURNS (DecodingCost): What all of them took so far, together."""
        return sum_costs(decoder.cost for decoder in self._decoders)


class TextSpread(_Spread[AutoregressiveDecoder]):
    """Autoregressive decoders share the texts of a batch: an output is one sequence."""

    def decode(
        self,
        texts: Sequence[TokenizedText],
        labels: Sequence[str],
        replays: Sequence[Sequence[int]] | None = None,
    ) -> list[list[DecodedMention]]:
        """texts (Sequence[TokenizedText]): The texts.
        labels (Sequence[str]): The labels to look for.
        replays (Optional[Sequence[Sequence[int]]]): As of `AutoregressiveDecoder.decode`.
        RETURNS (List[List[DecodedMention]]): For each text its mentions, in the order written.
        RAISES (ValueError): A text is longer than the model's positions.
        """
        loads = [len(self._first.encoder.prefix(text.text)) for text in texts]
        shares = balance(loads, len(self._decoders))
        results = run_together(
            [
                partial(decoder.decode, _pick(texts, share), labels, _told(replays, share))
                for decoder, share in zip(self._decoders, shares, strict=False)
            ]
        )
        found: list[list[DecodedMention]] = [[] for _ in texts]
        for share, result in zip(shares, results, strict=True):
            for item, mentions in zip(share, result, strict=True):
                found[item] = mentions
        return found


@dataclass(frozen=True)
class _Share:
    """What a replica writes.

    texts (List[int]): The numbers of its texts.
    labels (Sequence[str]): The labels whose mentions it writes.
    reads_tags (bool): Whether it reads the texts' tags, for all labels.
    """

    texts: list[int]
    labels: Sequence[str]
    reads_tags: bool = True


class ParallelSpread(_Spread[ParallelDecoder]):
    """Parallel decoders share the texts of a batch or, where there are few, their labels."""

    def decode(
        self,
        texts: Sequence[TokenizedText],
        labels: Sequence[str],
        replays: Sequence[Replay] | None = None,
    ) -> list[list[DecodedMention]]:
        """texts (Sequence[TokenizedText]): The texts.
        labels (Sequence[str]): The labels to look for.
        replays (Optional[Sequence[Replay]]): As of `ParallelDecoder.decode`.
        RETURNS (List[List[DecodedMention]]): For each text its mentions, label by label, in the
            order the model numbered them.
        RAISES (ValueError): A text is longer than the model's positions.
        """
        if not labels:
            return [[] for _ in texts]
        prompts = [self._first.read(text) for text in texts]
        if len(texts) < len(self._decoders):
            shares = self._share_labels(prompts, labels)
            # Once for all replicas that write the same text.
            list_mentions = self._first.list_mentions
            prompts = [replace(each, trie=list_mentions(each.text)) for each in prompts]
        else:
            shares = self._share_texts(prompts, labels)
        tag_labels = self._first.find_tag_labels(labels)
        parts = self._write(prompts, shares, tag_labels, replays)
        return [
            self._first.join(text, tag_labels, _unite(of_text, labels))
            for text, of_text in zip(texts, parts, strict=True)
        ]

    def _write(
        self,
        prompts: Sequence[Prompt],
        shares: Sequence[_Share],
        tag_labels: Sequence[str],
        replays: Sequence[Replay] | None,
    ) -> list[list[Written]]:
        """RETURNS (List[List[Written]]): For each text what its replicas wrote."""
        results = run_together(
            [
                partial(
                    decoder.write,
                    _pick(prompts, share.texts),
                    share.labels,
                    tag_labels if share.reads_tags else (),
                    _told(replays, share.texts),
                )
                for decoder, share in zip(self._decoders, shares, strict=False)
            ]
        )
        parts: list[list[Written]] = [[] for _ in prompts]
        for share, result in zip(shares, results, strict=True):
            for item, written in zip(share.texts, result, strict=True):
                parts[item].append(written)
        return parts

    def _share_texts(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[_Share]:
        asked = self._first.count_label_tokens(labels)
        loads = [len(prompt.prefix) + asked for prompt in prompts]
        return [_Share(share, labels) for share in balance(loads, len(self._decoders))]

    def _share_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[_Share]:
        loads = [self._first.count_label_tokens([label]) for label in labels]
        lengths = [len(prompt.prefix) for prompt in prompts]
        shares = []
        for text, size in enumerate(size_teams(lengths, loads, len(self._decoders))):
            for place, part in enumerate(balance(loads, size)):
                shares.append(_Share([text], _pick(labels, part), reads_tags=place == 0))
        return shares


def size_teams(lengths: Sequence[int], loads: Sequence[int], replicas: int) -> list[int]:
    """How many replicas each text gets: one, and more where the most is left to do.

    lengths (Sequence[int]): Tokens of each text, which every replica runs.
    loads (Sequence[int]): Tokens of each label, which replicas divide.
    replicas (int): How many there are, as many as texts at least.
    RETURNS (List[int]): For each text, at most as many as labels.
    """
    sizes = [1] * len(lengths)
    for _ in range(replicas - len(lengths)):
        growing = [text for text, size in enumerate(sizes) if size < len(loads)]
        if not growing:
            break
        sizes[max(growing, key=lambda text: lengths[text] + sum(loads) / sizes[text])] += 1
    return sizes


def _unite(parts: Sequence[Written], labels: Sequence[str]) -> Written:
    """parts (Sequence[Written]): What was written of a text, each label in one of them.
    labels (Sequence[str]): The labels.
    RETURNS (Written): All of it, as one replica would have written it.
    """
    order = {label: place for place, label in enumerate(labels)}
    mentions = [mention for part in parts for mention in part.mentions]
    tags = next((part.tags for part in parts if part.tags is not None), None)
    return Written(sorted(mentions, key=lambda mention: order[mention.label]), tags)


def balance(loads: Sequence[int], shares: int) -> list[list[int]]:
    """Divide items so that no share is much more than another: the largest one left goes to the
    share with the least.

    loads (Sequence[int]): How much each item is.
    shares (int): How many shares to make.
    RETURNS (List[List[int]]): The items' numbers, in ascending order, and no empty share.
    """
    made: list[list[int]] = [[] for _ in range(shares)]
    totals = [0] * shares
    for item in sorted(range(len(loads)), key=lambda i: -loads[i]):
        least = totals.index(min(totals))
        made[least].append(item)
        totals[least] += loads[item]
    return [sorted(share) for share in made if share]


def run_together(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """tasks (Sequence[Callable[[], Result]]): What to run, each in a thread of its own.
    RETURNS (List[Result]): What each gave.
    RAISES (Exception): What the first of them that failed raised, once all have ended.
    """
    if len(tasks) < 2:
        return [task() for task in tasks]
    # Threads cost little beside a forward pass, and a forked process would not have them.
    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(task) for task in tasks]]


def _pick(items: Sequence[Item], places: Sequence[int]) -> list[Item]:
    return [items[place] for place in places]


def _told(replays: Sequence[Item] | None, places: Sequence[int]) -> list[Item] | None:
    return None if replays is None else _pick(replays, places)
