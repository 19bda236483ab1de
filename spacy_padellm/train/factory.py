"""The objective that a checkpoint's settings ask for."""

from __future__ import annotations

from ..benchmark.output_formats.factory import get_output_format
from ..benchmark.output_objective import OutputObjective
from ..checkpoints.settings import CheckpointSettings
from ..prompt.encoder import PromptEncoder
from .objective import Objective
from .parallel import ParallelObjective


def make_objective(
    encoder: PromptEncoder, settings: CheckpointSettings, tag_text: float = 0.0
) -> Objective:
    """encoder (PromptEncoder): The template's ids.
    settings (CheckpointSettings): What the model is to be run with.
    tag_text (float): Weight of what each token of the text is taught in addition.
    RETURNS (Objective): What teaches it.
    RAISES (ValueError): A negative weight, or a tokenizer that text tags are not possible with.
    """
    if settings.output_format == "parallel":
        return ParallelObjective(encoder, settings.limits, settings.softmax, tag_text)
    output_format = get_output_format(settings.output_format)
    return OutputObjective(encoder, settings.limits, output_format, tag_text)
