"""Where a component's language model comes from: a checkpoint, or fresh from training texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from ..checkpoints.encoder_lm import build_encoder_lm
from ..checkpoints.loading import load_causal_lm, load_settings
from ..checkpoints.options import LoadOptions
from ..checkpoints.settings import CheckpointSettings
from ..checkpoints.small_lm import SmallModelShape, build_small_lm, train_tokenizer
from ..defaults import BUNDLED_MODEL
from ..errors import Errors
from ..prompt.presets import Preset
from ..tree.causal_lm import CausalLM


class LMSource(Protocol):
    """Makes a language model.

    options (LoadOptions): How weights are loaded, from what was saved as well.
    saves_weights (bool): Whether they are saved with a pipeline.
    """

    @property
    def options(self) -> LoadOptions: ...

    @property
    def saves_weights(self) -> bool: ...

    def stated(self) -> dict[str, Any]:
        """RETURNS (Dict[str, Any]): Fields of `CheckpointSettings` that the config states."""
        ...

    def settings(self, **changes: Any) -> CheckpointSettings:
        """changes (Any): Fields to replace, checked together with the others.
        RETURNS (CheckpointSettings): The settings it comes with; no weights are loaded.
        """
        ...

    def load(self, settings: CheckpointSettings) -> CausalLM:
        """settings (CheckpointSettings): What it is to be run with.
        RETURNS (CausalLM): The model.
        RAISES (ValueError): There is none before training.
        """
        ...

    def create(
        self, settings: CheckpointSettings, texts: Iterable[str], saved: CausalLM | None
    ) -> CausalLM:
        """settings (CheckpointSettings): What it is to be trained with.
        texts (Iterable[str]): Training texts.
        saved (Optional[CausalLM]): The model of the saved pipeline this is.
        RETURNS (CausalLM): The model to train.
        """
        ...


@dataclass(frozen=True)
class PretrainedSource:
    """A checkpoint folder or hub id.

    name (Optional[str]): Folder or hub id; `None` for the preset's, or the bundled checkpoint.
    options (LoadOptions): Where to, in which precision, from where.
    prefix_attention (Optional[str]): Overrides the checkpoint's.
    softmax (Optional[str]): Overrides the checkpoint's.
    saves_weights (bool): Whether a saved pipeline has them in it, or reads them from here.
    preset (Optional[Preset]): What a checkpoint without a `padellm.json` was trained with.
    """

    name: str | None
    options: LoadOptions
    prefix_attention: str | None
    softmax: str | None
    saves_weights: bool
    preset: Preset | None = None

    def stated(self) -> dict[str, Any]:
        """RETURNS (Dict[str, Any]): What overrides a checkpoint's `padellm.json`."""
        fields = {"prefix_attention": self.prefix_attention, "softmax": self.softmax}
        return {name: value for name, value in fields.items() if value is not None}

    def settings(self, **changes: Any) -> CheckpointSettings:
        """changes (Any): Fields to replace.
        RETURNS (CheckpointSettings): What its `padellm.json` says, or the defaults.
        """
        return replace(self._find_settings(), **{**self.stated(), **changes})

    def load(self, settings: CheckpointSettings) -> CausalLM:
        """settings (CheckpointSettings): What it is to be run with.
        RETURNS (CausalLM): The model.
        """
        return load_causal_lm(
            self._find_name(), prefix_attention=settings.prefix_attention, options=self.options
        )

    def create(
        self, settings: CheckpointSettings, texts: Iterable[str], saved: CausalLM | None
    ) -> CausalLM:
        """settings (CheckpointSettings): What it is to be trained with.
        texts (Iterable[str]): Not needed.
        saved (Optional[CausalLM]): The model of a saved pipeline: what is fine-tuned further, as
            the folder it once came from may be gone.
        RETURNS (CausalLM): The model to fine-tune.
        """
        return saved or self.load(settings)

    def _find_name(self) -> str:
        if self.name is None:
            of_preset = None if self.preset is None else self.preset.checkpoint
            return of_preset or BUNDLED_MODEL
        if not self.name:
            raise ValueError(Errors.P201)
        return self.name

    def _find_settings(self) -> CheckpointSettings:
        if self.preset is None:
            return load_settings(self._find_name(), self.options) or CheckpointSettings()
        described = CheckpointSettings(self.preset.template, self.preset.labels)
        if self.name is None and self.preset.checkpoint is not None:
            # The preset says it all, and nothing need be fetched.
            return described
        return load_settings(self._find_name(), self.options) or described


@dataclass(frozen=True)
class _FreshSource:
    """What is made when training begins.

    device (str): Where to run.
    prefix_attention (str): Whether the text attends in both directions.
    softmax (str): What probabilities are taken over.
    """

    device: str
    prefix_attention: str
    softmax: str
    # There is nowhere else to read them from.
    saves_weights: ClassVar[bool] = True

    @property
    def options(self) -> LoadOptions:
        """RETURNS (LoadOptions): How weights are loaded once they are saved."""
        return LoadOptions(device=self.device)

    def stated(self) -> dict[str, Any]:
        """RETURNS (Dict[str, Any]): What it is made with."""
        return {"prefix_attention": self.prefix_attention, "softmax": self.softmax}

    def settings(self, **changes: Any) -> CheckpointSettings:
        """changes (Any): Fields to replace.
        RETURNS (CheckpointSettings): The settings, as yet without labels.
        """
        return CheckpointSettings(**{**self.stated(), **changes})

    def load(self, settings: CheckpointSettings) -> CausalLM:
        """settings (CheckpointSettings): What it is to be run with.
        RAISES (ValueError): There is nothing before training.
        """
        raise ValueError(Errors.P202)


@dataclass(frozen=True)
class EncoderSource(_FreshSource):
    """A pretrained encoder, made a causal language model.

    name (str): Folder or hub id of the encoder.
    """

    name: str

    def create(
        self, settings: CheckpointSettings, texts: Iterable[str], saved: CausalLM | None
    ) -> CausalLM:
        """settings (CheckpointSettings): What it is to be trained with.
        texts (Iterable[str]): Not needed.
        saved (Optional[CausalLM]): Not needed: it starts from the encoder.
        RETURNS (CausalLM): The model to train.
        """
        lm = build_encoder_lm(
            self.name,
            settings.template,
            settings.limits.max_mentions,
            settings.prefix_attention,
        )
        return lm.to(self.options.place)


@dataclass(frozen=True)
class SmallSource(_FreshSource):
    """A fresh small model.

    shape (SmallModelShape): Its size.
    """

    shape: SmallModelShape

    def create(
        self, settings: CheckpointSettings, texts: Iterable[str], saved: CausalLM | None
    ) -> CausalLM:
        """settings (CheckpointSettings): What it is to be trained with.
        texts (Iterable[str]): The tokenizer's training texts.
        saved (Optional[CausalLM]): Not needed: it starts afresh.
        RETURNS (CausalLM): The model, untrained.
        """
        tokenizer = train_tokenizer(
            texts,
            settings.template,
            settings.labels.values(),
            settings.limits.max_mentions,
            self.shape.vocab_size,
        )
        return build_small_lm(tokenizer, self.shape, settings.prefix_attention).to(
            self.options.place
        )
