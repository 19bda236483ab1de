"""Whether all weights of a model can be trained."""

from __future__ import annotations

import warnings

import torch
from transformers import PreTrainedModel

from ..checkpoints.quantization import is_quantized
from ..errors import Errors, Warnings

# Smaller steps than their precision are lost to such weights.
_SHORT = (torch.bfloat16, torch.float16)


def check_trainable(model: PreTrainedModel) -> None:
    """Warn where steps will be lost to the weights' precision.

    model (PreTrainedModel): A model, all weights of which are to be trained.
    RAISES (ValueError): Its weights are quantized.
    """
    if is_quantized(model):
        raise ValueError(Errors.P074)
    short = {str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.dtype in _SHORT}
    if short:
        warnings.warn(Warnings.W075.format(dtype=", ".join(sorted(short))), stacklevel=3)
