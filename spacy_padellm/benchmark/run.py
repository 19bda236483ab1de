"""A benchmark run: decoders take turns on every text, so that disturbances slow all alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ..decode.mentions import DecodedMention, non_overlapping, resolve
from ..model import PaDeLLM
from ..scoring import MentionScores
from ..settings import DecodingOptions
from ..texts import AnnotatedText, Entity
from ..tree.causal_lm import TextTooLongError
from .datasets import Dataset
from .decoders import DecoderSpec, build_decoder, lms_of
from .free_text import LaboratoryCost
from .meters import Clock, ForwardTimer, PeakMemory
from .replay import Replay, ReplayedText
from .rows import Row, TextMeasurement, make_row
from .subjects import Subject

# Number of texts that are decoded before measuring starts.
WARM_UP = 2


@dataclass(frozen=True)
class Measured:
    """The measurement of texts that were decoded together.

    Args:
        texts: The texts.
        found: The mentions found in each text.
        each: The cost of each text, an equal share of the total.
        malformed: Number of stretches of the outputs that could not be read.
        ungrounded: Number of written mentions that are not in their text.
        left_out: Number of gold mentions that could not be replayed.
    """

    texts: Sequence[AnnotatedText]
    found: list[list[DecodedMention]]
    each: TextMeasurement
    malformed: int
    ungrounded: int
    left_out: int


class Contender:
    """A decoder with its model, and its measurements.

    Args:
        spec: The parsed name of the decoder.
        padellm: The model.
        replays: Whether gold mentions are replayed, so that scores mean nothing.
    """

    def __init__(self, spec: DecoderSpec, padellm: PaDeLLM, *, replays: bool) -> None:
        self.spec = spec
        self.padellm = padellm
        self.decoder = build_decoder(spec, padellm)
        self._replays = replays
        self._measured: list[Measured] = []
        lms = lms_of(spec, padellm)
        self._is_several = len(lms) > 1
        devices = list(dict.fromkeys(each.model.device for each in lms))
        self._clock = Clock(*devices)
        self._timer = ForwardTimer(padellm.lm.model)
        self._memory = PeakMemory(*devices)

    def measure(self, texts: Sequence[AnnotatedText]) -> list[Measured]:
        """Decode texts in batches of the size in the decoder's name, and measure each batch."""
        size = self.spec.batch_size
        return [self._measure(texts[first : first + size]) for first in range(0, len(texts), size)]

    def _measure(self, texts: Sequence[AnnotatedText]) -> Measured:
        replays = [Replay.of(text, self.padellm) for text in texts] if self._replays else []
        before = LaboratoryCost.of(self.decoder.cost)
        self._memory.reset()
        with self._timer.running():
            start = self._clock.now()
            encoded = [self.padellm.encode(text.source) for text in texts]
            if self._replays:
                pairs = zip(encoded, replays, strict=True)
                encoded = [ReplayedText.of(text, replay) for text, replay in pairs]
            found = self.decoder.decode(encoded)
            seconds = self._clock.now() - start
        peak = self._memory.read_mb()
        after = LaboratoryCost.of(self.decoder.cost)
        is_simulated = after.simulated_seconds is not None
        if is_simulated:
            seconds = (after.simulated_seconds or 0.0) - (before.simulated_seconds or 0.0)
        n = len(texts)
        each = TextMeasurement(
            seconds=seconds / n,
            passes=(after.passes - before.passes) / n,
            tokens=(after.tokens - before.tokens) / n,
            distinct_tokens=(after.distinct_tokens - before.distinct_tokens) / n,
            # Each of the simulated devices would hold only a part of it.
            peak_memory_mb=None if is_simulated else peak,
            # The timer adds up passes that overlap in a simulation, and misses those of other
            # replicas.
            model_seconds=None if is_simulated or self._is_several else self._timer.seconds / n,
        )
        return Measured(
            texts,
            found,
            each,
            malformed=after.malformed - before.malformed,
            ungrounded=after.ungrounded - before.ungrounded,
            left_out=sum(replay.left_out for replay in replays),
        )

    def add(self, measured: Iterable[Measured]) -> None:
        """Keep measurements that `measure` returned."""
        self._measured += measured

    def row(self, dataset: str, *, too_long: int, bytes_per_second: float | None) -> Row:
        """Sum up the measurements in a row.

        Args:
            dataset: Name of the dataset.
            too_long: Number of texts left out because they do not fit into a model's positions.
            bytes_per_second: The device's memory bandwidth; `None` if it is unknown.
        """
        weights = sum(p.numel() * p.element_size() for p in self.padellm.lm.model.parameters())
        if self._is_several:
            # Several devices read their weights at the same time.
            bytes_per_second = None
        mentions, places = self._score()
        measurements = [each.each for each in self._measured for _ in each.texts]
        return make_row(
            dataset,
            self.spec.name,
            measurements,
            mentions_f=None if self._replays else mentions.fscore,
            ents_f=None if self._replays else places.fscore,
            malformed=None if self._replays else sum(each.malformed for each in self._measured),
            ungrounded=None if self._replays else sum(each.ungrounded for each in self._measured),
            left_out=sum(each.left_out for each in self._measured) if self._replays else None,
            too_long=too_long,
            is_batched=self.spec.batch_size > 1,
            seconds_per_pass=None if bytes_per_second is None else weights / bytes_per_second,
        )

    def _score(self) -> tuple[MentionScores, MentionScores]:
        """Score the mentions found, by strings and by places."""
        mentions, places = MentionScores(), MentionScores()
        for measured in self._measured:
            for text, found in zip(measured.texts, measured.found, strict=True):
                string = text.source.text
                entities = resolve(string, found, DecodingOptions())
                if text.labels is not None:
                    # Mentions with other labels may be right, so they do not count.
                    entities = [each for each in entities if each.label in text.labels]
                mentions.add(
                    {(each.label, string[each.start : each.end]) for each in entities},
                    {(each.label, string[each.start : each.end]) for each in text.mentions},
                )
                # As in `doc.ents`: of nested gold mentions only the longer ones.
                gold = [Entity(m.start, m.end, m.label, 1.0) for m in text.mentions]
                places.add(_places(entities), _places(gold))
        return mentions, places


def _places(entities: Sequence[Entity]) -> set[tuple[str, str]]:
    return {(each.label, f"{each.start}:{each.end}") for each in non_overlapping(entities)}


class BenchmarkRun:
    """A run that measures decoders on datasets, and keeps its results if it is interrupted.

    Args:
        subject: The models.
        specs: The parsed names of the decoders.
        on_texts: Called with the number of texts each time some are done.
        bytes_per_second: The device's memory bandwidth; `None` if it is unknown.

    Attributes:
        rows: The results, a row for each dataset and decoder.
    """

    def __init__(
        self,
        subject: Subject,
        specs: Sequence[DecoderSpec],
        on_texts: Callable[[int], None],
        bytes_per_second: float | None = None,
    ) -> None:
        self.rows: list[Row] = []
        self._bytes_per_second = bytes_per_second
        self._subject = subject
        self._specs = list(specs)
        self._on_texts = on_texts
        self._group_size = max(spec.batch_size for spec in specs)

    def run(self, dataset: Dataset) -> None:
        """Measure all decoders on a dataset, and add its rows.

        Raises:
            KeyboardInterrupt: The user interrupts. Texts that all decoders were measured on count.
        """
        models = self._subject.contend(self._specs, dataset)
        contenders = [
            Contender(spec, padellm, replays=self._subject.replays)
            for spec, padellm in zip(self._specs, models, strict=True)
        ]
        for contender in contenders:
            with suppress(TextTooLongError):
                contender.measure(dataset.texts[: max(WARM_UP, contender.spec.batch_size)])
        done = too_long = 0
        try:
            for first in range(0, len(dataset.texts), self._group_size):
                group = dataset.texts[first : first + self._group_size]
                # A different decoder begins each time, since caches are warm for the others.
                turn = first // self._group_size % len(contenders)
                measured = self._measure([*contenders[turn:], *contenders[:turn]], group)
                done += measured
                too_long += len(group) - measured
                self._on_texts(len(group))
        finally:
            for each in contenders if done or too_long else ():
                row = each.row(
                    dataset.name, too_long=too_long, bytes_per_second=self._bytes_per_second
                )
                self.rows.append(row)

    def _measure(self, contenders: Sequence[Contender], group: Sequence[AnnotatedText]) -> int:
        """Measure decoders on texts, and leave out texts that do not fit all of their models.

        Returns:
            The number of texts measured.
        """
        try:
            measured = [(each, each.measure(group)) for each in contenders]
        except TextTooLongError:
            fitting = [text for text in group if self._fits(contenders, text)]
            if len(fitting) == len(group):
                raise
            return self._measure(contenders, fitting) if fitting else 0
        for contender, results in measured:
            contender.add(results)
        return len(group)

    def _fits(self, contenders: Sequence[Contender], text: AnnotatedText) -> bool:
        try:
            for contender in contenders:
                contender.measure([text])
        except TextTooLongError:
            return False
        return True
