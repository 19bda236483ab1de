"""The sources of a component's language model: a checkpoint, or a new model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ..checkpoints.encoder_lm import build_encoder_lm
from ..checkpoints.loading import load_causal_lm, load_settings
from ..checkpoints.options import LoadOptions
from ..checkpoints.small_lm import SmallModelShape, build_small_lm, train_tokenizer
from ..errors import Errors
from ..prompt.template import Preset
from ..settings import BUNDLED_MODEL, Settings
from ..tree.causal_lm import CausalLM


class LMSource(Protocol):
    """Provides a language model."""

    @property
    def options(self) -> LoadOptions:
        """How weights are loaded, including saved ones."""
        ...

    @property
    def saves_weights(self) -> bool:
        """Whether weights are saved with a pipeline."""
        ...

    def load_settings(self, preset: Preset | None) -> Settings | None:
        """Read the settings the model was trained with, if any. No weights are loaded.

        Args:
            preset: What a checkpoint that does not say was trained with.
        """
        ...

    def load(self, settings: Settings, preset: Preset | None) -> CausalLM:
        """Load the model.

        Args:
            settings: What it is to be run with.
            preset: Names the checkpoint where nothing else does.

        Raises:
            ValueError: There is none before training.
        """
        ...

    def create(self, settings: Settings, texts: Iterable[str]) -> CausalLM | None:
        """Create the model to train, or return `None` to train the loaded one.

        Args:
            settings: What it is to be trained with.
            texts: Training texts.
        """
        ...


@dataclass(frozen=True)
class PretrainedSource:
    """A checkpoint folder or hub id.

    Args:
        name: Folder or hub id; `None` for the preset's, or the bundled checkpoint.
        options: Where to, in which precision, from where.
        saves_weights: Whether a saved pipeline has the weights in it, or reads them from here.
    """

    name: str | None
    options: LoadOptions
    saves_weights: bool

    def load_settings(self, preset: Preset | None) -> Settings | None:
        """Read the settings in `padellm.json`, or take the preset's if there is none."""
        described = None if preset is None else Settings(preset.template, preset.labels)
        if preset is not None and self.name is None and preset.checkpoint is not None:
            # The preset says it all, and nothing need be fetched.
            return described
        return load_settings(self._find_name(preset), self.options) or described

    def load(self, settings: Settings, preset: Preset | None) -> CausalLM:
        """Load the checkpoint."""
        return load_causal_lm(
            self._find_name(preset),
            bidirectional_prefix=settings.prefix_attention == "bidirectional",
            options=self.options,
        )

    def create(self, settings: Settings, texts: Iterable[str]) -> CausalLM | None:
        """Return `None`: the checkpoint is fine-tuned."""
        return None

    def _find_name(self, preset: Preset | None) -> str:
        if self.name is None:
            of_preset = None if preset is None else preset.checkpoint
            return of_preset or BUNDLED_MODEL
        if not self.name:
            raise ValueError(Errors.P201)
        return self.name


@dataclass(frozen=True)
class FreshSource:
    """A new model, created when training starts.

    Args:
        device: Where to run.
        encoder: Folder or hub id of the pretrained encoder that is made a causal language model;
            `None` for a small model with fresh weights.
        shape: The small model's size.
    """

    device: str
    encoder: str | None = None
    shape: SmallModelShape | None = None
    # There is nowhere else to read them from.
    saves_weights: bool = True

    @property
    def options(self) -> LoadOptions:
        """How weights are loaded once they are saved."""
        return LoadOptions(device=self.device)

    def load_settings(self, preset: Preset | None) -> Settings | None:
        """Return `None`: the model has not been trained yet."""
        return None

    def load(self, settings: Settings, preset: Preset | None) -> CausalLM:
        """Raise an error: there is no model before training."""
        raise ValueError(Errors.P202)

    def create(self, settings: Settings, texts: Iterable[str]) -> CausalLM | None:
        """Create the model. A small model gets a tokenizer trained on the training texts."""
        bidirectional = settings.prefix_attention == "bidirectional"
        if self.encoder is not None:
            lm = build_encoder_lm(
                self.encoder, settings.template, settings.max_mentions, bidirectional
            )
        else:
            shape = self.shape or SmallModelShape()
            tokenizer = train_tokenizer(
                texts,
                settings.template,
                settings.labels.values(),
                settings.max_mentions,
                shape.vocab_size,
            )
            lm = build_small_lm(tokenizer, shape, bidirectional)
        return lm.to(self.options.place)
