"""What a model is run with: as it was saved, or as its source says and its config overrides."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..checkpoints.settings import CheckpointSettings
from ..errors import Warnings
from ..prompt.presets import Preset
from ..prompt.template import PromptTemplate
from ..prompt.tokenization import TextEncoder
from .labels import Labels, check_labels, make_wordings
from .sources import LMSource, PretrainedSource


class ConfiguredSettings:
    """The settings of a model. What the config states is kept until they are asked for: nothing is
    read before, as what a saved pipeline was once made from may be gone.

    source (LMSource): Where the model comes from.
    """

    def __init__(self, source: LMSource) -> None:
        self.source = source
        self._current: CheckpointSettings | None = None
        self._overrides: dict[str, Any] = {}
        self._labels: Labels | None = None
        self._limits: dict[str, int | None] = {}
        self._trained_wordings: set[str] | None = None
        # Whether weights were saved with the settings, so that the source no longer counts.
        self._is_saved = False

    @property
    def is_known(self) -> bool:
        """RETURNS (bool): Whether `current` is known without reading the source."""
        return self._current is not None

    @property
    def current(self) -> CheckpointSettings:
        """RETURNS (CheckpointSettings): What the model is run with."""
        if self._current is None:
            changes = dict(self._overrides)
            if self._labels is not None:
                changes["labels"] = make_wordings(self._labels, self._of_source().labels)
            settings = self.source.settings(**changes)
            self._current = settings.override_limits(**self._limits)
        return self._current

    @property
    def labels(self) -> Mapping[str, str]:
        """RETURNS (Mapping[str, str]): Label → its wording; nothing is read for it where the config
        states them all.
        """
        if self._current is None:
            if isinstance(self._labels, Mapping):
                return self._labels
            if self._labels is None and "labels" in self._overrides:
                stated: Mapping[str, str] = self._overrides["labels"]
                return stated
        return self.current.labels

    @property
    def known_wordings(self) -> dict[str, str]:
        """RETURNS (Dict[str, str]): Label → its wording, of all labels the model comes with."""
        own = {} if self._is_saved else self._of_source().labels
        return {**own, **self.current.labels}

    def state(
        self,
        *,
        preset: Preset | None = None,
        template: PromptTemplate | None = None,
        output_format: str | None = None,
        labels: Labels | None = None,
        max_mentions: int | None = None,
        max_mention_tokens: int | None = None,
    ) -> None:
        """Take what a config states, where it states something.

        preset (Optional[Preset]): Template, labels and checkpoint, where the others are not given.
        template (Optional[PromptTemplate]): The prompt's wording.
        output_format (Optional[str]): How mentions are written.
        labels (Optional[Union[Sequence[str], Mapping[str, str]]]): Labels, or labels and their
            wording, in the place of a checkpoint's, whose wordings they have where none is given.
        max_mentions (Optional[int]): Most mentions of a label, also of what is saved.
        max_mention_tokens (Optional[int]): Longest mention, likewise.
        RAISES (ValueError): A value that is not possible.
        """
        if preset is not None:
            if isinstance(self.source, PretrainedSource):
                self.source = replace(self.source, preset=preset)
            self.override(template=preset.template, labels=dict(preset.labels))
        if template is not None:
            self.override(template=template)
        if output_format is not None:
            self.override(output_format=output_format)
        if labels is not None:
            check_labels(labels)
            self._labels = labels
            self._overrides.pop("labels", None)
        limits = {"max_mentions": max_mentions, "max_mention_tokens": max_mention_tokens}
        limited = (self._current or CheckpointSettings()).override_limits(**limits)
        self._limits = limits
        if self._current is not None:
            self._current = limited

    def override(self, **changes: Any) -> None:
        """changes (Any): Fields of `CheckpointSettings` to replace, until something saved is
        loaded.
        """
        self._overrides.update(changes)
        if self._current is not None:
            self._current = replace(self._current, **changes)

    def note_text_tags(self, taught: bool) -> None:
        """taught (bool): Whether the model is taught text tags that can be read."""
        self._current = replace(self.current, text_tags=taught)

    def note_trained(self) -> None:
        """Say that the model was trained with its labels."""
        self._find_trained().update(self.current.labels.values())

    def note_new_weights(self) -> None:
        """Say that the model was made anew, with what its source knows."""
        self._trained_wordings = None

    def find_untrained(self, tokenizer: PreTrainedTokenizerBase) -> list[str]:
        """tokenizer (PreTrainedTokenizerBase): The model's.
        RETURNS (List[str]): Labels whose wording the model was never trained with.
        """
        encoder = TextEncoder(tokenizer)
        # By ids: to a model that lower-cases, "PERSON" is "person".
        trained = [encoder.encode_wording(each) for each in self._find_trained()]
        return [
            label
            for label, wording in self.current.labels.items()
            if encoder.encode_wording(wording) not in trained
        ]

    def restore(self, saved: CheckpointSettings, *, with_weights: bool) -> None:
        """Take what was saved in the place of what the source says and the config overrides, but
        for limits.

        saved (CheckpointSettings): What was saved.
        with_weights (bool): Whether weights were, too.
        """
        self._warn_of_ignored(saved)
        self._current, self._overrides = saved.override_limits(**self._limits), {}
        self._labels = None
        self._is_saved = with_weights
        self._trained_wordings = _trained(saved) if with_weights else None

    def _of_source(self) -> CheckpointSettings:
        # What else the config overrides may not go with what the checkpoint says.
        others = {name: value for name, value in self._overrides.items() if name != "labels"}
        return self.source.settings(**others)

    def _find_trained(self) -> set[str]:
        if self._trained_wordings is None:
            self._trained_wordings = _trained(self._of_source())
        return self._trained_wordings

    def _warn_of_ignored(self, saved: CheckpointSettings) -> None:
        """Warn of what the config states and a saved pipeline, trained otherwise, does not do."""
        stated = {**self.source.stated(), **self._overrides}
        labels = make_wordings(self._labels or (), saved.labels)
        # Labels are added in training, so those of the config need only be among the saved ones.
        missing = {**labels, **stated.pop("labels", {})}.items() - saved.labels.items()
        ignored = [name for name, value in stated.items() if value != getattr(saved, name)]
        if missing:
            ignored.append(f"labels ({', '.join(sorted(label for label, _ in missing))})")
        if ignored:
            warnings.warn(Warnings.W202.format(ignored=", ".join(ignored)), stacklevel=2)


def _trained(settings: CheckpointSettings) -> set[str]:
    labels = settings.labels.items()
    return {wording for label, wording in labels if label not in settings.untrained}
