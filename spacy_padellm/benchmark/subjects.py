"""The models to measure: trained ones, or a random one with replayed gold mentions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig

from ..checkpoints.files import find_checkpoint
from ..checkpoints.options import get_dtype
from ..decode.replicas import Replicas
from ..errors import Errors
from ..model import PaDeLLM
from ..settings import Settings
from ..tree.causal_lm import CausalLM
from .datasets import Dataset
from .decoders import DecoderSpec, adapt

_LLAMA: dict[str, Any] = {"model_type": "llama", "vocab_size": 32000}
# `tiny` is for counting passes and tokens, which are the same for every shape.
SHAPES: Mapping[str, dict[str, Any]] = {
    "tiny": {
        **_LLAMA,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "max_position_embeddings": 4096,
    },
    # JackFram/llama-160m
    "llama-160m": {
        **_LLAMA,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
    },
    # meta-llama/Llama-2-7b-hf
    "llama2-7b": {
        **_LLAMA,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 4096,
    },
}


@dataclass(frozen=True)
class ReplayingModel:
    """A model with random weights, for which decoders write the gold mentions.

    Args:
        lm: The model.
        n_labels: Least number of labels. If a dataset has fewer, labels are invented.
        replicas: The model's replicas; `None` for none.
    """

    lm: CausalLM
    n_labels: int = 0
    replicas: Replicas | None = None
    replays: ClassVar[bool] = True

    def contend(self, specs: Sequence[DecoderSpec], dataset: Dataset) -> list[PaDeLLM]:
        """Return the model for each decoder, with a dataset's template and labels."""
        missing = range(len(dataset.labels), self.n_labels)
        invented = {f"label {n}": f"label {n}" for n in missing}
        # Enough for every mention of the paper's test sets.
        settings = Settings(
            dataset.template,
            {**dataset.labels, **invented},
            max_mentions=30,
            max_mention_tokens=32,
        )
        padellm = PaDeLLM(self.lm, settings, replicas=self.replicas)
        return [adapt(padellm, spec) for spec in specs]


@dataclass(frozen=True)
class TrainedModel:
    """A trained model and its name.

    Args:
        name: Its folder.
        padellm: The model.
    """

    name: str
    padellm: PaDeLLM


class TrainedModels:
    """Trained models, at most one for each output format.

    Args:
        models: The models.

    Raises:
        ValueError: Two of them write the same format.
    """

    replays: ClassVar[bool] = False

    def __init__(self, models: Sequence[TrainedModel]) -> None:
        self._by_format: dict[str, TrainedModel] = {}
        for model in models:
            output_format = model.padellm.settings.output_format
            if output_format in self._by_format:
                first = self._by_format[output_format].name
                raise ValueError(
                    Errors.P413.format(first=first, second=model.name, output_format=output_format)
                )
            self._by_format[output_format] = model

    @classmethod
    def load(cls, names: Sequence[str], **options: Any) -> TrainedModels:
        """Load checkpoints.

        Args:
            names: Checkpoint folders, or trained pipelines that contain one.
            **options: As for `PaDeLLM.from_pretrained`.
        """
        return cls(
            [
                TrainedModel(name, PaDeLLM.from_pretrained(find_checkpoint(name), **options))
                for name in names
            ]
        )

    def contend(self, specs: Sequence[DecoderSpec], dataset: Dataset) -> list[PaDeLLM]:
        """Return the model for each decoder: the one that writes its output format.

        Raises:
            ValueError: No model writes a decoder's format, or a model has none of the dataset's
                labels.
        """
        for model in self._by_format.values():
            labels = model.padellm.settings.labels
            if not set(labels) & set(dataset.labels):
                raise ValueError(
                    Errors.P414.format(
                        name=model.name, dataset=dataset.name, labels=", ".join(labels)
                    )
                )
        found = []
        for spec in specs:
            if spec.output_format not in self._by_format:
                raise ValueError(Errors.P412.format(name=spec.name, wanted=spec.output_format))
            found.append(self._by_format[spec.output_format].padellm)
        return found


Subject = ReplayingModel | TrainedModels


def build_random_lm(
    shape: str, tokenizer: str, *, device: str = "cpu", dtype: str = "float32", seed: int = 0
) -> CausalLM:
    """Build a model with random weights, to measure what does not depend on its knowledge.

    Args:
        shape: A name in `SHAPES`, or the path of a model's `config.json`.
        tokenizer: A tokenizer's folder or hub id.
        device: The device to run on.
        dtype: The dtype of the weights.
        seed: Seed of the weights.

    Returns:
        The model, in evaluation mode.

    Raises:
        ValueError: There is no such shape or tokenizer, or the model's vocabulary is smaller than
            the tokenizer's.
    """
    config = _load_config(shape)
    torch_dtype = get_dtype(dtype)
    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer)
    except Exception as error:  # Each tokenizer library raises its own errors.
        raise ValueError(Errors.P042.format(name=tokenizer, error=error)) from error
    if len(loaded) > config.vocab_size:
        raise ValueError(
            Errors.P406.format(tokens=len(loaded), shape=shape, size=config.vocab_size)
        )
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, torch_dtype=torch_dtype)
    return CausalLM(model.eval(), loaded).to(device)


def _load_config(shape: str) -> PretrainedConfig:
    if shape in SHAPES:
        return AutoConfig.for_model(**SHAPES[shape])
    path = Path(shape)
    if not path.is_file():
        raise ValueError(Errors.P405.format(shape=shape, names=", ".join(SHAPES)))
    try:
        return AutoConfig.for_model(**json.loads(path.read_text(encoding="utf8")))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(Errors.P407.format(path=path, error=error)) from error
