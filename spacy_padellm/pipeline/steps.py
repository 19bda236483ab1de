"""Training steps: torch's AdamW with the config's settings."""

from __future__ import annotations

import warnings

import torch
from thinc.api import Optimizer
from transformers import PreTrainedModel

from ..checkpoints.loading import check_trainable
from ..errors import Warnings

# A higher learning rate ruins a model that was trained before, within a few steps.
HIGH_RATE = 5e-4


def make_adamw(model: PreTrainedModel, stated: Optimizer) -> torch.optim.AdamW:
    """Create torch's AdamW optimizer with the settings of a config's optimizer.

    thinc's own optimizer takes no bfloat16 and needs cupy on a GPU.

    Args:
        model: The model to train. Weights that need no gradient stay as they are.
        stated: The config's optimizer. A warning says how to replace settings that have no effect.

    Returns:
        The optimizer.

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
        # On a CPU, fused steps are many times as fast.
        fused=True,
    )
