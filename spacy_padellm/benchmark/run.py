"""A benchmark: the decoders take turns on every text, so that what disturbs the machine disturbs
all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core.prompt import PromptEncoder
from ..core.texts import AnnotatedText
from .datasets import Dataset
from .decoders import DecoderSpec, Gold
from .measure import Contender, Measured
from .replay import replayable
from .rows import Row
from .subjects import Subject

# Texts decoded before anything is measured.
WARM_UP = 2


class BenchmarkRun:
    """Measures decoders on datasets. What was measured stays when it is interrupted.

    subject (Subject): The models.
    specs (Sequence[DecoderSpec]): The decoders.
    on_texts (Callable[[int], None]): Called with the number of texts each time some are done.
    """

    def __init__(
        self, subject: Subject, specs: Sequence[DecoderSpec], on_texts: Callable[[int], None]
    ) -> None:
        self.rows: list[Row] = []
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
        texts = dataset.texts
        golds: list[Gold] = [
            replayable(text, settings.labels, settings.limits, encoder) for text in texts
        ]
        for contender in contenders:
            self._measure(contender, texts[:WARM_UP], golds[:WARM_UP])
        done = 0
        try:
            while done < len(texts):
                group = slice(done, done + self._group_size)
                self._measure_group(contenders, texts[group], golds[group], turn=done)
                done += len(texts[group])
                self._on_texts(len(texts[group]))
        finally:
            left_out = None
            if self._subject.replays:
                written = sum(len(each) for gold in golds[:done] for each in gold.values())
                left_out = sum(len(text.mentions) for text in texts[:done]) - written
            if done:
                self.rows += [
                    each.row(dataset.name, replays=self._subject.replays, left_out=left_out)
                    for each in contenders
                ]

    def _measure_group(
        self,
        contenders: Sequence[Contender],
        texts: Sequence[AnnotatedText],
        golds: Sequence[Gold],
        turn: int,
    ) -> None:
        # Another one begins each time, as caches are warm for those that follow.
        first = turn // self._group_size % len(contenders)
        order = [*contenders[first:], *contenders[:first]]
        measured = [(each, self._measure(each, texts, golds)) for each in order]
        for contender, batches in measured:
            for batch, result in batches:
                contender.add(batch, result)

    def _measure(
        self, contender: Contender, texts: Sequence[AnnotatedText], golds: Sequence[Gold]
    ) -> list[tuple[Sequence[AnnotatedText], Measured]]:
        size = contender.spec.batch_size
        batches = []
        for first in range(0, len(texts), size):
            batch = texts[first : first + size]
            replays: list[Any] | None = None
            if self._subject.replays:
                pairs = zip(batch, golds[first : first + size], strict=True)
                replays = [contender.decoder.prepare(text, gold) for text, gold in pairs]
            batches.append((batch, contender.measure(batch, replays)))
        return batches
