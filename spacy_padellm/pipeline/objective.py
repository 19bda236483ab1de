"""The objective a component trains."""

from __future__ import annotations

import warnings

from ..checkpoints.settings import CheckpointSettings
from ..errors import Warnings
from ..prompt.encoder import PromptEncoder
from ..train.factory import make_objective
from ..train.objective import Objective
from ..train.text_tags import find_untaggable


def make_component_objective(
    encoder: PromptEncoder, settings: CheckpointSettings, tag_text: float
) -> Objective:
    """encoder (PromptEncoder): The template's ids.
    settings (CheckpointSettings): What the model is run with.
    tag_text (float): Weight of what each token of the text is taught in addition: 0, with a
        warning, where a label or number that came after the tokenizer was made is no single token.
    RETURNS (Objective): What teaches the model.
    """
    if tag_text:
        limit = settings.limits.max_mentions
        if untaggable := find_untaggable(encoder, settings.labels, limit):
            warnings.warn(Warnings.W204.format(name=untaggable[0]), stacklevel=3)
            tag_text = 0.0
    return make_objective(encoder, settings, tag_text)
