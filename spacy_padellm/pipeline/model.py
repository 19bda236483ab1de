"""The component's thinc model: a shim around the language model, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from thinc.api import Model
from thinc.types import Floats1d

from ..train.supervised_tree import SupervisedTree
from .shim import CausalLMShim
from .sources import LMSource


def build_model(
    source: LMSource,
    *,
    mixed_precision: bool,
    tag_text: float = 0.0,
    devices: Sequence[str] = (),
) -> Model[Sequence[SupervisedTree], Floats1d]:
    """source (LMSource): Where the language model comes from.
    mixed_precision (bool): Whether to train under bfloat16 autocast.
    tag_text (float): Weight of what the tokens of training texts are taught in addition.
    devices (Sequence[str]): Where replicas predict; none for the source's device alone.
    RETURNS (Model): Supervised trees → log-probabilities of their supervised tokens.
    """
    shim = CausalLMShim(source, mixed_precision=mixed_precision, tag_text=tag_text, devices=devices)
    return Model("padellm_causal_lm", forward, shims=[shim], attrs={"dropout_rate": 0.0})


def forward(
    model: Model, trees: Sequence[SupervisedTree], is_train: bool
) -> tuple[Floats1d, Callable[[Floats1d], list[Any]]]:
    """model (Model): The model.
    trees (Sequence[SupervisedTree]): The trees.
    is_train (bool): Whether gradients are wanted.
    RETURNS (Tuple[Floats1d, Callable]): Log-probabilities, tree by tree, and their backward pass.
    """
    return get_shim(model)(trees, is_train, model.attrs["dropout_rate"])


def get_shim(model: Model) -> CausalLMShim:
    """model (Model): A model of this package.
    RETURNS (CausalLMShim): Its shim.
    """
    return cast(CausalLMShim, model.shims[0])
