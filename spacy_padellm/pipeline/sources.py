"""Where a component's language model comes from: a checkpoint, or fresh from training texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol, cast

from ..core.causal_lm import CausalLM, PrefixAttention
from ..core.checkpoint import CheckpointSettings, load_causal_lm, load_settings
from ..core.small_lm import SmallModelShape, build_small_lm, train_tokenizer
from ..core.softmax import Softmax
from ..errors import Errors


class LMSource(Protocol):
    """Makes a language model."""

    def settings(self) -> CheckpointSettings:
        """RETURNS (CheckpointSettings): The settings it comes with; no weights are loaded."""
        ...

    def load(self, settings: CheckpointSettings) -> CausalLM:
        """settings (CheckpointSettings): What it is to be run with.
        RETURNS (CausalLM): The model.
        RAISES (ValueError): There is none before training.
        """
        ...

    def create(
        self, settings: CheckpointSettings, texts: Iterable[str], max_mentions: int
    ) -> CausalLM:
        """settings (CheckpointSettings): What it is to be trained with.
        texts (Iterable[str]): Training texts.
        max_mentions (int): Most mentions of a label in a text.
        RETURNS (CausalLM): The model to train.
        """
        ...

    def load_saved(self, folder: str, settings: CheckpointSettings) -> CausalLM:
        """folder (str): Where a pipeline was saved.
        settings (CheckpointSettings): What it was saved with.
        RETURNS (CausalLM): The model.
        """
        ...


@dataclass(frozen=True)
class PretrainedSource:
    """A checkpoint folder or hub id.

    name (str): Folder or hub id.
    device (str): Where to run.
    dtype (str): What weights are kept in.
    prefix_attention (Optional[str]): Overrides the checkpoint's.
    softmax (Optional[str]): Overrides the checkpoint's.
    """

    name: str
    device: str
    dtype: str
    prefix_attention: str | None
    softmax: str | None

    def settings(self) -> CheckpointSettings:
        """RETURNS (CheckpointSettings): What its `padellm.json` says, or the defaults."""
        if not self.name:
            raise ValueError(Errors.P201)
        settings = load_settings(self.name) or CheckpointSettings()
        if self.prefix_attention is not None:
            attention = cast(PrefixAttention, self.prefix_attention)
            settings = replace(settings, prefix_attention=attention)
        if self.softmax is not None:
            settings = replace(settings, softmax=cast(Softmax, self.softmax))
        return settings

    def load(self, settings: CheckpointSettings) -> CausalLM:
        """settings (CheckpointSettings): What it is to be run with.
        RETURNS (CausalLM): The model.
        """
        return self.load_saved(self.name, settings)

    def create(
        self, settings: CheckpointSettings, texts: Iterable[str], max_mentions: int
    ) -> CausalLM:
        """settings (CheckpointSettings): What it is to be trained with.
        texts (Iterable[str]): Not needed.
        max_mentions (int): Not needed.
        RETURNS (CausalLM): The model to fine-tune.
        """
        return self.load(settings)

    def load_saved(self, folder: str, settings: CheckpointSettings) -> CausalLM:
        """folder (str): A checkpoint folder.
        settings (CheckpointSettings): What it was saved with.
        RETURNS (CausalLM): The model.
        """
        return load_causal_lm(
            folder,
            prefix_attention=settings.prefix_attention,
            device=self.device,
            dtype=self.dtype,
        )


@dataclass(frozen=True)
class SmallSource:
    """A fresh small model.

    shape (SmallModelShape): Its size.
    device (str): Where to run.
    prefix_attention (str): Whether the text attends in both directions.
    softmax (str): What probabilities are taken over.
    """

    shape: SmallModelShape
    device: str
    prefix_attention: str
    softmax: str

    def settings(self) -> CheckpointSettings:
        """RETURNS (CheckpointSettings): The settings, as yet without labels."""
        return CheckpointSettings(
            prefix_attention=cast(PrefixAttention, self.prefix_attention),
            softmax=cast(Softmax, self.softmax),
        )

    def load(self, settings: CheckpointSettings) -> CausalLM:
        """settings (CheckpointSettings): What it is to be run with.
        RAISES (ValueError): There is nothing before training.
        """
        raise ValueError(Errors.P202)

    def create(
        self, settings: CheckpointSettings, texts: Iterable[str], max_mentions: int
    ) -> CausalLM:
        """settings (CheckpointSettings): What it is to be trained with.
        texts (Iterable[str]): The tokenizer's training texts.
        max_mentions (int): Most mentions of a label in a text.
        RETURNS (CausalLM): The model, untrained.
        """
        wordings = settings.labels.values()
        tokenizer = train_tokenizer(
            texts, settings.template, wordings, max_mentions, self.shape.vocab_size
        )
        return build_small_lm(tokenizer, self.shape, settings.prefix_attention).to(self.device)

    def load_saved(self, folder: str, settings: CheckpointSettings) -> CausalLM:
        """folder (str): A checkpoint folder.
        settings (CheckpointSettings): What it was saved with.
        RETURNS (CausalLM): The model.
        """
        return load_causal_lm(
            folder, prefix_attention=settings.prefix_attention, device=self.device
        )
