"""The sources of a component's language model: a checkpoint, or a new model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from ..checkpoints.loading import load_causal_lm, load_settings
from ..checkpoints.options import LoadOptions
from ..errors import Errors
from ..model import PaDeLLM
from ..prompt.template import Preset
from ..settings import BUNDLED_MODEL, Settings
from ..tree.causal_lm import CausalLM

if TYPE_CHECKING:
    from ..checkpoints.small_lm import SmallModelShape


class LMSource(Protocol):
    """The interface of a source, which provides the component's language model.

    Attributes:
        builds: The class of what finds entities with the model.
        runs_here: Whether the model runs in this process, with weights that can be loaded.
        is_trained: Whether the model was trained before.
    """

    builds: ClassVar[type[PaDeLLM]]
    runs_here: ClassVar[bool]
    is_trained: ClassVar[bool]

    @property
    def options(self) -> LoadOptions:
        """The options for loading weights, also those in a saved pipeline."""
        ...

    @property
    def saves_weights(self) -> bool:
        """Whether a saved pipeline contains the weights."""
        ...

    def load_settings(self, preset: Preset | None) -> Settings | None:
        """Read the settings that the model was trained with, without loading weights.

        Args:
            preset: A preset, whose settings count if a checkpoint has none.

        Returns:
            The settings; `None` if they are unknown.
        """
        ...

    def load(self, settings: Settings, preset: Preset | None) -> CausalLM:
        """Load the model.

        Args:
            settings: The settings to run it with.
            preset: A preset, whose checkpoint is loaded if the source names none.

        Raises:
            ValueError: The source names no model, or the model is only created in training.
        """
        ...

    def create(self, settings: Settings, texts: Iterable[str]) -> CausalLM | None:
        """Create the model to train.

        Args:
            settings: The settings to train it with.
            texts: The training texts.

        Returns:
            The new model; `None` to train the model that `load` returns.
        """
        ...


@dataclass(frozen=True)
class PretrainedSource:
    """A source that loads a checkpoint.

    Args:
        name: Folder or hub id; `None` for the preset's checkpoint, or the bundled one.
        options: The options for loading the checkpoint.
        saves_weights: Whether a saved pipeline contains the weights. If not, it reads them from
            `name`.
    """

    builds: ClassVar[type[PaDeLLM]] = PaDeLLM
    runs_here: ClassVar[bool] = True
    is_trained: ClassVar[bool] = True
    name: str | None
    options: LoadOptions
    saves_weights: bool

    def load_settings(self, preset: Preset | None) -> Settings | None:
        """Read the settings in `padellm.json`, or take the preset's if there is no such file."""
        described = None if preset is None else Settings.of_preset(preset)
        if preset is not None and self.name is None and preset.checkpoint is not None:
            # The preset has all settings of its checkpoint, so nothing needs to be downloaded.
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
        """Return `None`, since the checkpoint itself is trained."""
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
    """A source that creates a new model when training starts.

    Args:
        device: The device to run on.
        encoder: Folder or hub id of a pretrained encoder, which becomes a causal language model;
            `None` for a small model with random weights.
        shape: Size of the small model; `None` for the default size.
        saves_weights: True, since the weights exist nowhere else.
    """

    builds: ClassVar[type[PaDeLLM]] = PaDeLLM
    runs_here: ClassVar[bool] = True
    is_trained: ClassVar[bool] = False
    device: str
    encoder: str | None = None
    shape: SmallModelShape | None = None
    saves_weights: bool = True

    @property
    def options(self) -> LoadOptions:
        """The options for loading the weights once they are saved."""
        return LoadOptions(device=self.device)

    def load_settings(self, preset: Preset | None) -> Settings | None:
        """Return `None`, since the model has not been trained yet."""
        return None

    def load(self, settings: Settings, preset: Preset | None) -> CausalLM:
        """Raise a `ValueError`, since there is no model before training."""
        raise ValueError(Errors.P202)

    def create(self, settings: Settings, texts: Iterable[str]) -> CausalLM | None:
        """Create the model. A small model gets a tokenizer trained on the training texts."""
        # Only training needs these, and they import more of transformers.
        from ..checkpoints.encoder_lm import build_encoder_lm
        from ..checkpoints.small_lm import SmallModelShape, build_small_lm, train_tokenizer

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
