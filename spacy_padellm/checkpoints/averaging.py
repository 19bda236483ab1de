"""Several checkpoints of one model → their average."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import Errors
from ..settings import Settings
from ..tree.causal_lm import CausalLM
from .loading import load_causal_lm
from .settings import load_settings
from .options import LoadOptions


def load_average(names: Sequence[str], *, dtype: str = "auto") -> tuple[CausalLM, Settings]:
    """Load checkpoints that were trained from the same weights, and average those they have come
    to: often a better model than any of them, of the same size (Wortsman et al., 2022, "Model
    soups").

    names (Sequence[str]): Checkpoints, one or more.
    dtype (str): What weights are kept in; `"auto"` for what the first one's are stored in.
    RETURNS (Tuple[CausalLM, Settings]): The model, and the settings all of them have.
    RAISES (ValueError): A checkpoint is not complete, or they differ in more than their weights.
    """
    first, *others = names
    lm, settings = load_checkpoint(first, options=LoadOptions(dtype=dtype))
    weights = lm.model.state_dict()
    # In double precision, so that the order does not matter.
    sums = {key: weight.double() for key, weight in weights.items()}
    for name in others:
        other, other_settings = load_checkpoint(name)
        added = other.model.state_dict()
        alike = (
            other_settings == settings and other.tokenizer.get_vocab() == lm.tokenizer.get_vocab()
        )
        shapes = {key: weight.shape for key, weight in added.items()}
        if not alike or shapes != {key: weight.shape for key, weight in weights.items()}:
            raise ValueError(Errors.P049.format(first=first, name=name))
        for key, weight in added.items():
            sums[key] += weight.double()
    with torch.no_grad():
        for key, weight in weights.items():
            weight.copy_(sums[key] / len(names))
    return lm, settings
