"""Copies of a model on several devices, so that several texts or labels are decoded at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..checkpoints.loading import is_quantized
from ..checkpoints.options import find_device
from ..errors import Errors
from ..tree.causal_lm import CausalLM


class Replicas:
    """The replicas of a model, made when first asked for.

    devices (Sequence[str]): Where they run; none if there is but the model.
    """

    def __init__(self, devices: Sequence[str] = ()) -> None:
        self._devices = tuple(devices)
        self._original: CausalLM | None = None
        self._replicas: list[CausalLM] = []
        self._is_outdated = False

    def of(self, lm: CausalLM) -> list[CausalLM]:
        """lm (CausalLM): The model.
        RETURNS (List[CausalLM]): Its replicas, with its weights as they are; itself alone where no
            devices are named.
        RAISES (ValueError): There is no such device, or the model cannot be copied there.
        """
        if not self._devices:
            return [lm]
        if self._original is not lm:
            # First, as there may not be room for both.
            self._original, self._replicas, self._is_outdated = None, [], False
            self._replicas = replicate(lm, self._devices)
            self._original = lm
        self.renew()
        return self._replicas

    def outdate(self) -> None:
        """Say that the model's weights have changed."""
        self._is_outdated = self._original is not None

    def renew(self) -> None:
        """Copy the model's weights to the replicas there are, if they have changed."""
        if self._is_outdated and self._original is not None:
            copy_weights(self._original, self._replicas)
        self._is_outdated = False


def replicate(lm: CausalLM, devices: Sequence[str]) -> list[CausalLM]:
    """Copy a model to several devices. What runs on the same one shares the weights, but no
    modules, so that each replica can be run by a thread of its own.

    lm (CausalLM): The model.
    devices (Sequence[str]): The devices; one may be named more than once.
    RETURNS (List[CausalLM]): A replica for each. The first on the model's device is the model.
    RAISES (ValueError): There is no such device.
    """
    first_on = {lm.model.device: lm}
    untaken = {lm.model.device}
    replicas = []
    for name in devices:
        device = find_device(name)
        if device not in first_on:
            first_on[device] = _copy(lm, device)
            untaken.add(device)
        on_device = first_on[device]
        replicas.append(on_device if device in untaken else _copy(on_device, device))
        untaken.discard(device)
    return replicas


@torch.inference_mode()
def copy_weights(lm: CausalLM, replicas: Sequence[CausalLM]) -> None:
    """lm (CausalLM): A model.
    replicas (Sequence[CausalLM]): Its replicas, which are given the weights it has now.
    """
    for replica in replicas:
        for own, weight in zip(_tensors(replica.model), _tensors(lm.model), strict=True):
            if (own.device, own.data_ptr()) != (weight.device, weight.data_ptr()):
                own.copy_(weight)


def _copy(lm: CausalLM, device: torch.device) -> CausalLM:
    _check_copyable(lm.model, device)
    try:
        # What `deepcopy` finds here it takes instead of a copy.
        taken = {id(tensor): _take(tensor, device) for tensor in _tensors(lm.model)}
    except (RuntimeError, AssertionError) as error:
        raise ValueError(Errors.P045.format(device=str(device), error=error)) from error
    return CausalLM(
        copy.deepcopy(lm.model, taken),
        lm.tokenizer,
        prefix_attention=lm.prefix_attention,
        support=lm.support,
    )


def _check_copyable(model: PreTrainedModel, device: torch.device) -> None:
    reason = None
    if len({tensor.device for tensor in _tensors(model)}) > 1:
        reason = "it is spread over several devices already"
    elif is_quantized(model):
        # Some of what belongs to quantized weights is neither parameter nor buffer.
        reason = "its weights are quantized"
    if reason is not None:
        name = type(model).__name__
        raise ValueError(Errors.P066.format(model=name, device=str(device), reason=reason))


def _take(tensor: Tensor, device: torch.device) -> Tensor:
    """RETURNS (Tensor): A weight's copy on a device; its own memory, if it is there already."""
    there = tensor.detach().to(device)
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(there, requires_grad=False)
    return there


def _tensors(model: PreTrainedModel) -> Iterator[Tensor]:
    return chain(model.parameters(), model.buffers())
