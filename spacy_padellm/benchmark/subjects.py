"""What is measured: trained models that decode, or a random one that replays gold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from ..checkpoints.settings import CheckpointSettings
from ..errors import Errors
from ..limits import MentionLimits
from ..tree.causal_lm import CausalLM
from .datasets import Dataset
from .decoders import DecoderSpec, build_decoder, output_format_of, runs_replicas
from .measure import Contender

# Enough for every mention of the paper's test sets.
REPLAY_LIMITS = MentionLimits(max_mentions=30, max_mention_tokens=32)


class Subject(Protocol):
    """What is measured.

    replays (bool): Whether decoders write gold, whatever the model chooses.
    """

    @property
    def replays(self) -> bool: ...

    def settings(self, dataset: Dataset) -> CheckpointSettings:
        """dataset (Dataset): A dataset.
        RETURNS (CheckpointSettings): What it is decoded with: labels and limits, above all.
        RAISES (ValueError): None of its labels is known.
        """
        ...

    def contenders(self, specs: Sequence[DecoderSpec], dataset: Dataset) -> list[Contender]:
        """specs (Sequence[DecoderSpec]): The decoders.
        dataset (Dataset): A dataset.
        RETURNS (List[Contender]): Each of them on its model, nothing measured yet.
        """
        ...


@dataclass(frozen=True)
class ReplayingModel:
    """A model that knows nothing.

    lm (CausalLM): The model.
    n_labels (int): With fewer labels, invented ones are looked for as well.
    replicas (Sequence[CausalLM]): Its replicas.
    """

    lm: CausalLM
    n_labels: int = 0
    replicas: Sequence[CausalLM] = ()
    replays: ClassVar[bool] = True

    def settings(self, dataset: Dataset) -> CheckpointSettings:
        """dataset (Dataset): A dataset.
        RETURNS (CheckpointSettings): Its template and labels.
        """
        missing = range(len(dataset.labels), self.n_labels)
        invented = {f"label {n}": f"label {n}" for n in missing}
        return CheckpointSettings(
            dataset.template, {**dataset.labels, **invented}, limits=REPLAY_LIMITS
        )

    def contenders(self, specs: Sequence[DecoderSpec], dataset: Dataset) -> list[Contender]:
        """specs (Sequence[DecoderSpec]): The decoders.
        dataset (Dataset): A dataset.
        RETURNS (List[Contender]): Each of them on the model.
        """
        settings = self.settings(dataset)
        return [_contend(spec, self.lm, settings, self.replicas) for spec in specs]


@dataclass(frozen=True)
class TrainedModel:
    """A checkpoint.

    name (str): Its folder.
    lm (CausalLM): The model.
    settings (CheckpointSettings): What it was trained with.
    replicas (Sequence[CausalLM]): The model's replicas.
    """

    name: str
    lm: CausalLM
    settings: CheckpointSettings
    replicas: Sequence[CausalLM] = ()


class TrainedModels:
    """Checkpoints, each trained to write another format.

    models (Sequence[TrainedModel]): The checkpoints.
    RAISES (ValueError): Two of them write the same format.
    """

    replays = False

    def __init__(self, models: Sequence[TrainedModel]) -> None:
        self._by_format: dict[str, TrainedModel] = {}
        for model in models:
            output_format = model.settings.output_format
            if output_format in self._by_format:
                raise ValueError(
                    Errors.P413.format(
                        first=self._by_format[output_format].name,
                        second=model.name,
                        output_format=output_format,
                    )
                )
            self._by_format[output_format] = model

    def settings(self, dataset: Dataset) -> CheckpointSettings:
        """dataset (Dataset): A dataset.
        RETURNS (CheckpointSettings): What the first checkpoint was trained with.
        RAISES (ValueError): One of them knows none of the dataset's labels.
        """
        for model in self._by_format.values():
            if not set(model.settings.labels) & set(dataset.labels):
                raise ValueError(
                    Errors.P414.format(
                        name=model.name,
                        dataset=dataset.name,
                        labels=", ".join(model.settings.labels),
                    )
                )
        return next(iter(self._by_format.values())).settings

    def contenders(self, specs: Sequence[DecoderSpec], dataset: Dataset) -> list[Contender]:
        """specs (Sequence[DecoderSpec]): The decoders.
        dataset (Dataset): A dataset.
        RETURNS (List[Contender]): Each of them on the checkpoint that writes its format.
        RAISES (ValueError): There is none.
        """
        contenders = []
        for spec in specs:
            wanted = output_format_of(spec)
            model = self._by_format.get(wanted)
            if model is None:
                raise ValueError(Errors.P412.format(name=spec.name, wanted=wanted))
            contenders.append(_contend(spec, model.lm, model.settings, model.replicas))
        return contenders


def _contend(
    spec: DecoderSpec, lm: CausalLM, settings: CheckpointSettings, replicas: Sequence[CausalLM]
) -> Contender:
    decoder = build_decoder(spec, lm, settings, replicas)
    return Contender(spec, lm, decoder, replicas if runs_replicas(spec) else ())
