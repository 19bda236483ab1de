"""Training steps: a torch optimizer with spaCy's settings, and bfloat16."""

from __future__ import annotations

import warnings

import torch
from thinc.api import Optimizer
from transformers import PreTrainedModel

from ..checkpoints.loading import check_trainable
from ..errors import Warnings


def make_adamw(model: PreTrainedModel, stated: Optimizer) -> torch.optim.AdamW:
    """Make a torch AdamW with a config's settings; thinc's own optimizer takes no bfloat16 and, on
    a GPU, needs cupy.

    Args:
        model: The model to train. Weights that need no gradient stay as they are.
        stated: The config's optimizer. A warning names what it states in vain.

    Raises:
        ValueError: The weights cannot be trained.
    """
    check_trainable(model)
    remedies = {
        '@optimizers = "Adam.v1"': stated.use_radam or not (stated.b1 or stated.b2),
        "use_averages = false": stated.averages is not None,
        "L2_is_weight_decay = true": stated.L2 and not stated.L2_is_weight_decay,
    }
    if wanted := [remedy for remedy, needed in remedies.items() if needed]:
        warnings.warn(Warnings.W203.format(remedies=", ".join(wanted)), stacklevel=3)
    return torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        betas=(stated.b1, stated.b2),
        eps=stated.eps,
        weight_decay=stated.L2,
        # On a CPU many times as fast as one operation after the other.
        fused=True,
    )


def has_fast_bfloat16(device: str) -> bool:
    """Check whether a torch device type supports bfloat16 without emulation."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False
