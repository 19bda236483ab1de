"""A benchmark: the decoders take turns on every text, so that what disturbs the machine disturbs
all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ..prompt.encoder import PromptEncoder
from ..texts import AnnotatedText
from ..tree.causal_lm import TextTooLongError
from .datasets import Dataset
from .decoders import DecoderSpec, Gold
from .measure import Contender, Measured
from .replay import replayable
from .rows import Row
from .subjects import Subject

# Texts decoded before anything is measured.
WARM_UP = 2

Item = tuple[AnnotatedText, Gold]


class BenchmarkRun:
    """Measures decoders on datasets. What was measured stays when it is interrupted.

    subject (Subject): The models.
    specs (Sequence[DecoderSpec]): The decoders.
    on_texts (Callable[[int], None]): Called with the number of texts each time some are done.
    bytes_per_second (Optional[float]): The device's memory bandwidth, to compare with.
    """

    def __init__(
        self,
        subject: Subject,
        specs: Sequence[DecoderSpec],
        on_texts: Callable[[int], None],
        bytes_per_second: float | None = None,
    ) -> None:
        self.rows: list[Row] = []
        self._left_out: Counter[str] = Counter()
        self._too_long = 0
        self._bytes_per_second = bytes_per_second
        self._subject = subject
        self._specs = list(specs)
        self._on_texts = on_texts
        self._group_size = max(spec.batch_size for spec in specs)

    def run(self, dataset: Dataset) -> None:
        """dataset (Dataset): A dataset; its rows are added.
        RAISES (KeyboardInterrupt): As it comes; texts that all decoders were measured on count.
        """
        settings = self._subject.settings(dataset)
        contenders = self._subject.contenders(self._specs, dataset)
        encoder = PromptEncoder(settings.template, settings.labels, contenders[0].lm.tokenizer)
        items: list[Item] = [
            (text, replayable(text, settings.labels, settings.limits, encoder))
            for text in dataset.texts
        ]
        self._left_out.clear()
        self._too_long = 0
        for contender in contenders:
            self._warm_up(contender, items[: max(WARM_UP, contender.spec.batch_size)])
        done = 0
        try:
            for first in range(0, len(items), self._group_size):
                group = items[first : first + self._group_size]
                done += self._measure_group(contenders, group, turn=first // self._group_size)
                self._on_texts(len(group))
        finally:
            for each in contenders if done or self._too_long else ():
                row = each.row(
                    dataset.name,
                    replays=self._subject.replays,
                    left_out=self._left_out[each.spec.name] if self._subject.replays else None,
                    too_long=self._too_long,
                    bytes_per_second=self._bytes_per_second,
                )
                self.rows.append(row)

    def _warm_up(self, contender: Contender, items: Sequence[Item]) -> None:
        with suppress(TextTooLongError):
            self._measure(contender, items)

    def _measure_group(
        self, contenders: Sequence[Contender], group: Sequence[Item], turn: int
    ) -> int:
        """RETURNS (int): How many texts were measured, of every decoder the same."""
        # Another one begins each time, as caches are warm for those that follow.
        first = turn % len(contenders)
        order = [*contenders[first:], *contenders[:first]]
        try:
            measured = [(each, self._measure(each, group)) for each in order]
        except TextTooLongError:
            fitting = [item for item in group if self._fits(contenders, item)]
            if len(fitting) == len(group):
                raise
            self._too_long += len(group) - len(fitting)
            return self._measure_group(contenders, fitting, turn) if fitting else 0
        for contender, batches in measured:
            for texts, result, left_out in batches:
                contender.add(texts, result)
                self._left_out[contender.spec.name] += left_out
        return len(group)

    def _fits(self, contenders: Sequence[Contender], item: Item) -> bool:
        try:
            for contender in contenders:
                self._measure(contender, [item])
        except TextTooLongError:
            return False
        return True

    def _measure(
        self, contender: Contender, items: Sequence[Item]
    ) -> list[tuple[list[AnnotatedText], Measured, int]]:
        size = contender.spec.batch_size
        batches = []
        for first in range(0, len(items), size):
            batch = items[first : first + size]
            texts = [text for text, _ in batch]
            replays: list[Any] | None = None
            left_out = 0
            if self._subject.replays:
                prepared = [contender.decoder.prepare(text, gold) for text, gold in batch]
                replays = [replay for replay, _ in prepared]
                written = sum(len(mentions) for _, gold in batch for mentions in gold.values())
                left_out = sum(len(text.mentions) for text in texts) - written
                left_out += sum(crossing for _, crossing in prepared)
            batches.append((texts, contender.measure(texts, replays), left_out))
        return batches
