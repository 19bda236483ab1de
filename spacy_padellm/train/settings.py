"""What a model is to be trained with: the configuration's word, then the checkpoint's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..checkpoints.loading import load_settings
from ..checkpoints.settings import CheckpointSettings
from ..errors import Errors
from ..prompt.presets import PRESETS, find_preset
from ..prompt.template import get_template
from ..texts import AnnotatedText
from .config import FinetuneConfig


def find_settings(config: FinetuneConfig, texts: Sequence[AnnotatedText]) -> CheckpointSettings:
    """config (FinetuneConfig): What is stated.
    texts (Sequence[AnnotatedText]): The training texts.
    RETURNS (CheckpointSettings): What is stated, else the preset's, else what the checkpoint was
        trained with, else the defaults.
    RAISES (ValueError): A value that is not possible, or no label at all.
    """
    settings = load_settings(config.checkpoint, config.load) or CheckpointSettings()
    changes: dict[str, Any] = {
        name: getattr(config, name)
        for name in ("output_format", "prefix_attention", "softmax")
        if getattr(config, name) is not None
    }
    known = dict(settings.labels)
    own = known
    if config.preset is not None:
        preset = find_preset(config.preset)
        if preset is None:
            names = tuple(PRESETS)
            raise ValueError(Errors.P031.format(name="preset", value=config.preset, values=names))
        changes["template"] = preset.template
        own = dict(preset.labels)
        known |= own
    if config.template is not None:
        changes["template"] = get_template(config.template)
    changes["labels"] = _find_labels(config.labels, own, known, texts)
    if not changes["labels"]:
        raise ValueError(Errors.P078.format(labels="none stated"))
    settings = replace(settings, untrained=(), **changes)
    return settings.override_limits(config.max_mentions, config.max_mention_tokens)


def _find_labels(
    stated: list[str] | dict[str, str] | None,
    own: Mapping[str, str],
    known: Mapping[str, str],
    texts: Sequence[AnnotatedText],
) -> dict[str, str]:
    if isinstance(stated, Mapping):
        return dict(stated)
    if stated is not None:
        return {label: known.get(label, label) for label in stated}
    found = sorted({mention.label for text in texts for mention in text.mentions})
    return {**own, **{label: own.get(label, known.get(label, label)) for label in found}}
