"""Measuring one decoder: what it takes for texts, and how good what it finds is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..decode.mentions import DecodedMention, Resolution, ScoredMention, non_overlapping
from ..scoring import MentionScores
from ..texts import AnnotatedText
from ..tree.causal_lm import CausalLM
from .decoders import BenchmarkDecoder, DecoderSpec
from .meters import Clock, ForwardTimer, PeakMemory
from .rows import Row, TextMeasurement, make_row


@dataclass(frozen=True)
class Measured:
    """What was measured of texts decoded at once.

    found (List[List[DecodedMention]]): The mentions of each.
    each (TextMeasurement): What each of them took, an equal part of it.
    malformed (int): Stretches of the outputs that could not be read.
    ungrounded (int): Mentions written that their text does not have.
    """

    found: list[list[DecodedMention]]
    each: TextMeasurement
    malformed: int
    ungrounded: int


class Contender:
    """A decoder on its model, and what was measured of it.

    spec (DecoderSpec): Its name.
    lm (CausalLM): Its model.
    decoder (BenchmarkDecoder): The decoder.
    replicas (Sequence[CausalLM]): What it runs in the place of the model, if it is several.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        lm: CausalLM,
        decoder: BenchmarkDecoder,
        replicas: Sequence[CausalLM] = (),
    ) -> None:
        self.spec = spec
        self.lm = lm
        self.decoder = decoder
        self._measurements: list[TextMeasurement] = []
        self._mentions, self._places = MentionScores(), MentionScores()
        self._malformed = self._ungrounded = 0
        self._is_several = len(replicas) > 1
        devices = list(dict.fromkeys(each.model.device for each in replicas or [lm]))
        self._clock = Clock(*devices)
        self._timer = ForwardTimer(lm.model)
        self._memory = PeakMemory(*devices)

    def measure(self, texts: Sequence[AnnotatedText], replays: Sequence[Any] | None) -> Measured:
        """texts (Sequence[AnnotatedText]): Texts to decode at once.
        replays (Optional[Sequence[Any]]): What is written.
        RETURNS (Measured): What it took, and what was found.
        """
        before = asdict(self.decoder.cost)
        self._memory.reset()
        with self._timer.running():
            start = self._clock.now()
            found = self.decoder.decode(texts, replays)
            seconds = self._clock.now() - start
        peak = self._memory.read_mb()
        after = asdict(self.decoder.cost)
        took = {name: (after[name] or 0) - (before[name] or 0) for name in after}
        is_simulated = after["simulated_seconds"] is not None
        # Only some of the passes count in what is simulated, or one after the other.
        is_partly_timed = is_simulated or self._is_several
        n = len(texts)
        each = TextMeasurement(
            seconds=(took["simulated_seconds"] if is_simulated else seconds) / n,
            passes=took["passes"] / n,
            tokens=took["tokens"] / n,
            distinct_tokens=took["distinct_tokens"] / n,
            # What is simulated would not have all of it on one device.
            peak_memory_mb=None if is_simulated else peak,
            model_seconds=None if is_partly_timed else self._timer.seconds / n,
        )
        return Measured(found, each, took["malformed"], took["ungrounded"])

    def add(self, texts: Sequence[AnnotatedText], measured: Measured) -> None:
        """texts (Sequence[AnnotatedText]): The texts.
        measured (Measured): What `measure` gave for them.
        """
        self._measurements += [measured.each] * len(texts)
        self._malformed += measured.malformed
        self._ungrounded += measured.ungrounded
        for text, found in zip(texts, measured.found, strict=True):
            self._score(text, found)

    def row(
        self,
        dataset: str,
        *,
        replays: bool,
        left_out: int | None,
        too_long: int,
        bytes_per_second: float | None,
    ) -> Row:
        """dataset (str): Name of the dataset.
        replays (bool): Whether gold was replayed, so that quality means nothing.
        left_out (Optional[int]): Gold mentions that could not be replayed.
        too_long (int): Texts left out, as they do not fit into a model's positions.
        bytes_per_second (Optional[float]): The device's memory bandwidth.
        RETURNS (Dict[str, Any]): What was measured.
        """
        weights = sum(p.numel() * p.element_size() for p in self.lm.model.parameters())
        if self._is_several:
            # Devices read them at the same time.
            bytes_per_second = None
        return make_row(
            dataset,
            self.spec.name,
            self._measurements,
            mentions_f=None if replays else self._mentions.fscore,
            ents_f=None if replays else self._places.fscore,
            malformed=None if replays else self._malformed,
            ungrounded=None if replays else self._ungrounded,
            left_out=left_out,
            too_long=too_long,
            is_batched=self.spec.batch_size > 1,
            seconds_per_pass=None if bytes_per_second is None else weights / bytes_per_second,
        )

    def _score(self, text: AnnotatedText, found: Sequence[DecodedMention]) -> None:
        string = text.source.text
        resolved = Resolution().resolve(string, found)
        if text.labels is not None:
            # What was found of other labels may be right.
            resolved = [m for m in resolved if m.label in text.labels]
        self._mentions.add(
            {(m.label, string[m.start : m.end]) for m in resolved},
            {(m.label, string[m.start : m.end]) for m in text.mentions},
        )
        # As `doc.ents` would hold them: of nested gold the longer ones.
        gold = [ScoredMention(m.start, m.end, m.label, 1.0) for m in text.mentions]
        self._places.add(_places(resolved), _places(gold))


def _places(mentions: Sequence[ScoredMention]) -> set[tuple[str, str]]:
    return {(m.label, f"{m.start}:{m.end}") for m in non_overlapping(mentions)}
