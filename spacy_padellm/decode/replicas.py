"""Copies of a model on several devices, which divide the texts of a batch or their labels.

Labels are divided only if there are fewer texts than replicas.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..checkpoints.loading import is_quantized
from ..checkpoints.options import find_device
from ..errors import Errors
from ..prompt.encoder import EncodedText
from ..tree.causal_lm import CausalLM
from ..tree.packing import balance
from .decoder import DecodingCost, ParallelDecoder, Written
from .mentions import DecodedMention

Result = TypeVar("Result")


class Replicas:
    """The replicas of a model, made when they are first needed.

    Args:
        devices: The devices to run on. A device may be named more than once.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self.devices = tuple(devices)
        self._original: CausalLM | None = None
        self._replicas: list[CausalLM] = []
        self._is_outdated = False

    def of(self, lm: CausalLM) -> list[CausalLM]:
        """Return the replicas of a model, with its current weights.

        Raises:
            ValueError: There is no such device, or the model cannot be copied to it.
        """
        if self._original is not lm:
            # Drop the old replicas first, as there may not be room for both.
            self._original, self._replicas, self._is_outdated = None, [], False
            self._replicas = replicate(lm, self.devices)
            self._original = lm
        self.renew()
        return self._replicas

    def outdate(self) -> None:
        """Note that the model's weights have changed."""
        self._is_outdated = self._original is not None

    def renew(self) -> None:
        """Copy the model's weights to the existing replicas, if they have changed."""
        if self._is_outdated and self._original is not None:
            copy_weights(self._original, self._replicas)
        self._is_outdated = False


def replicate(lm: CausalLM, devices: Sequence[str]) -> list[CausalLM]:
    """Copy a model to several devices.

    Replicas on the same device share the weights, but no modules. So each can run in its own
    thread.

    Args:
        lm: The model.
        devices: The devices. A device may be named more than once.

    Returns:
        A replica for each device. The first one on the model's own device is the model itself.

    Raises:
        ValueError: There is no such device, or the model cannot be copied to it.
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
    """Copy a model's current weights to its replicas."""
    for replica in replicas:
        replica.forget_labels()
        for own, weight in zip(_tensors(replica.model), _tensors(lm.model), strict=True):
            if (own.device, own.data_ptr()) != (weight.device, weight.data_ptr()):
                own.copy_(weight)


def _copy(lm: CausalLM, device: torch.device) -> CausalLM:
    """Copy a model to a device. Weights that are there already are shared."""
    reason = None
    if len({tensor.device for tensor in _tensors(lm.model)}) > 1:
        reason = "it is spread over several devices already"
    elif is_quantized(lm.model):
        # Parts of quantized weights are neither parameters nor buffers.
        reason = "its weights are quantized"
    if reason is not None:
        name = type(lm.model).__name__
        raise ValueError(Errors.P066.format(model=name, device=str(device), reason=reason))
    taken: dict[int, Tensor] = {}
    try:
        for tensor in _tensors(lm.model):
            # This shares the memory if the tensor is on the device already.
            there = tensor.detach().to(device)
            if isinstance(tensor, torch.nn.Parameter):
                there = torch.nn.Parameter(there, requires_grad=False)
            taken[id(tensor)] = there
    except (RuntimeError, AssertionError) as error:
        raise ValueError(Errors.P045.format(device=str(device), error=error)) from error
    return CausalLM(
        # `deepcopy` uses the tensors in `taken` instead of copies.
        copy.deepcopy(lm.model, taken),
        lm.tokenizer,
        bidirectional_prefix=lm.bidirectional_prefix,
        support=lm.support,
    )


def _tensors(model: PreTrainedModel) -> Iterator[Tensor]:
    return chain(model.parameters(), model.buffers())


class _Share(NamedTuple):
    """The part of the work that one replica does: some labels of some texts; `None` for all.

    Only one of the replicas that share a text reads its tags, for all labels.
    """

    texts: list[int]
    labels: Sequence[str] | None


class SharedDecoder:
    """A decoder that runs replicas at the same time and divides texts or labels among them.

    Args:
        decoders: The decoder of each replica, all with the same settings.
    """

    def __init__(self, decoders: Sequence[ParallelDecoder]) -> None:
        self._decoders = list(decoders)
        # All decoders have the same settings, so the first one answers for all.
        self._first = self._decoders[0]
        self.fits = self._first.fits

    @property
    def cost(self) -> DecodingCost:
        """The cost of all replicas so far, added up."""
        costs = [decoder.cost for decoder in self._decoders]
        return DecodingCost(
            sum(cost.passes for cost in costs),
            sum(cost.tokens for cost in costs),
            sum(cost.distinct_tokens for cost in costs),
        )

    def decode(self, texts: Sequence[EncodedText]) -> list[list[DecodedMention]]:
        """Find the mentions of texts, label by label, in the order of their numbers."""
        if len(texts) < len(self._decoders):
            shares = self._share_labels(texts)
        else:
            loads = [len(text.prefix) + sum(_loads(text)) for text in texts]
            shares = [_Share(share, None) for share in balance(loads, len(self._decoders))]
        results = run_together(
            [
                partial(
                    decoder.write,
                    [texts[item] for item in share.texts],
                    share.labels,
                )
                for decoder, share in zip(self._decoders, shares, strict=False)
            ]
        )
        parts: list[list[Written]] = [[] for _ in texts]
        for share, result in zip(shares, results, strict=True):
            for item, written in zip(share.texts, result, strict=True):
                parts[item].append(written)
        found = []
        for text, of_text in zip(texts, parts, strict=True):
            order = {label: place for place, label in enumerate(text.encoder.labels)}
            # In the order in which a single replica would have written them.
            mentions = [mention for part in of_text for mention in part.mentions]
            mentions.sort(key=lambda each: order[each.label])
            opened = [label for part in of_text for label in part.labels]
            # Every replica reads the tags of its texts, for all labels.
            tags = next((part.tags for part in of_text), None)
            united = Written(mentions, tags, opened)
            found.append(self._first.join(united))
        return found

    def _share_labels(self, texts: Sequence[EncodedText]) -> list[_Share]:
        """Divide the labels of each text among several replicas."""
        loads = [_loads(text) for text in texts]
        lengths = [len(text.prefix) for text in texts]
        shares = []
        for number, size in enumerate(size_teams(lengths, loads, len(self._decoders))):
            # Make the trie once, before the replicas that share this text need it.
            _ = texts[number].trie
            labels = list(texts[number].encoder.labels)
            for part in balance(loads[number], size):
                shares.append(_Share([number], [labels[i] for i in part]))
        return shares


def _loads(text: EncodedText) -> list[int]:
    """Return the number of tokens that each label of a text takes."""
    return [len(branch) for branch in text.encoder.branches.values()]


def size_teams(lengths: Sequence[int], loads: Sequence[Sequence[int]], replicas: int) -> list[int]:
    """Decide how many replicas work on each text.

    Every text gets one. Each further replica goes to the text with the most work left per replica.

    Args:
        lengths: Number of tokens of each text. Every replica of the text runs all of them.
        loads: For each text, the number of tokens of each label. The replicas of a text divide the
            labels.
        replicas: Number of replicas, at least the number of texts.

    Returns:
        The number of replicas of each text, at most the number of labels.
    """
    sizes = [1] * len(lengths)
    for _ in range(replicas - len(lengths)):
        growing = [text for text, size in enumerate(sizes) if size < len(loads[text])]
        if not growing:
            break
        sizes[max(growing, key=lambda text: lengths[text] + sum(loads[text]) / sizes[text])] += 1
    return sizes


def run_together(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run tasks at the same time, each in its own thread.

    Returns:
        The result of each task.

    Raises:
        Exception: The error of the first task that failed, in the given order, after all tasks have
            ended.
    """
    if len(tasks) < 2:
        return [task() for task in tasks]
    # New threads for each call: they cost little beside a forward pass, and kept ones would be
    # missing in a forked process.
    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(task) for task in tasks]]
