"""Causal language model over token trees: a Hugging Face model, its tokenizer, how trees run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import Errors
from .base import TreeRun
from .model_call import ModelCall
from .probe import probe_tree_support
from .support import TreeSupport, Way
from .token_tree import TokenTree
from .ways import open_run

PrefixAttention = Literal["causal", "bidirectional"]


class TextTooLongError(ValueError):
    """A text is longer than a model can run."""


class CausalLM:
    """A model that runs token trees.

    model (PreTrainedModel): A model with a language modelling head.
    tokenizer (PreTrainedTokenizerBase): Its tokenizer.
    prefix_attention (PrefixAttention): Whether the text attends in both directions, as the model
        was or will be trained.
    support (Optional[TreeSupport]): How the model runs trees; `None` to probe.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prefix_attention: PrefixAttention = "causal",
        support: TreeSupport | None = None,
    ) -> None:
        if prefix_attention not in get_args(PrefixAttention):
            raise ValueError(
                Errors.P031.format(
                    name="prefix_attention",
                    value=prefix_attention,
                    values=get_args(PrefixAttention),
                )
            )
        self.model = model
        self.tokenizer = tokenizer
        self.prefix_attention = prefix_attention
        self.support = support or probe_tree_support(model)
        if self.bidirectional and self.support.mask_form is None:
            raise ValueError(Errors.P021.format(model=type(model).__name__))
        self._call = ModelCall(model)

    @property
    def bidirectional(self) -> bool:
        """RETURNS (bool): Whether the text attends in both directions."""
        return self.prefix_attention == "bidirectional"

    @property
    def max_positions(self) -> int | None:
        """RETURNS (Optional[int]): Longest sequence the model has positions for, in tokens."""
        return getattr(self.model.config, "max_position_embeddings", None)

    def to(self, device: str) -> CausalLM:
        """device (str): Where to run, e.g. `"cuda:0"`.
        RETURNS (CausalLM): Itself, moved there.
        RAISES (ValueError): There is no such device.
        """
        try:
            torch.nn.Module.to(self.model, torch.device(device))
        except (RuntimeError, AssertionError) as error:
            raise ValueError(Errors.P045.format(device=device, error=error)) from error
        return self

    def forced(self, way: Way) -> CausalLM:
        """way (Way): How to run trees.
        RETURNS (CausalLM): The same model, running them this way.
        """
        support = replace(self.support, way=way)
        return CausalLM(
            self.model, self.tokenizer, prefix_attention=self.prefix_attention, support=support
        )

    def through(self, wrapper: torch.nn.Module) -> CausalLM:
        """wrapper (torch.nn.Module): What the model is called through: an adapter around it, or
            what trains it on several devices.
        RETURNS (CausalLM): The same model, called so.
        """
        wrapped = copy.copy(self)
        wrapped._call = self._call.through(wrapper)
        return wrapped

    @property
    def max_depth(self) -> int | None:
        """RETURNS (Optional[int]): Longest sequence that can be run, in tokens; `None` for any.
        With a bidirectional prefix it has to fit into the attention's window.
        """
        window = self.support.max_depth if self.bidirectional else None
        return min(filter(None, (self.max_positions, window)), default=None)

    def fits(self, depth: int) -> bool:
        """depth (int): Length of the longest sequence to be run, in tokens.
        RETURNS (bool): Whether the model can run it.
        """
        return self.max_depth is None or depth <= self.max_depth

    def check_depth(self, depth: int) -> None:
        """depth (int): Length of the longest sequence to be run, in tokens.
        RAISES (TextTooLongError): The model has no positions for it, or its attention window is too
            short for a bidirectional prefix.
        """
        if self.max_positions is not None and depth > self.max_positions:
            raise TextTooLongError(Errors.P023.format(depth=depth, positions=self.max_positions))
        window = self.support.max_depth
        if self.bidirectional and window is not None and depth > window:
            raise TextTooLongError(Errors.P024.format(depth=depth, window=window))

    def open(self, trees: Sequence[TokenTree], depth: int) -> TreeRun:
        """Begin running a batch of trees.

        trees (Sequence[TokenTree]): The trees; they may change between passes.
        depth (int): The deepest they will get, in tokens.
        RETURNS (TreeRun): The run.
        RAISES (ValueError): The model cannot run sequences this long.
        """
        return self._open(trees, depth, self.support.way)

    def open_for_training(self, trees: Sequence[TokenTree], depth: int) -> TreeRun:
        """Begin a single pass with gradients: as `open`, without a cache.

        trees (Sequence[TokenTree]): The finished trees.
        depth (int): Their depth, in tokens.
        RETURNS (TreeRun): The run.
        RAISES (ValueError): The model cannot run sequences this long.
        """
        way = self.support.way
        return self._open(trees, depth, "recomputed" if way == "cached" else way)

    def _open(self, trees: Sequence[TokenTree], depth: int, way: Way) -> TreeRun:
        self.check_depth(depth)
        support = replace(self.support, way=way)
        if self.support.max_depth is not None and depth > self.support.max_depth:
            # Attention has a window shorter than this: only the model itself masks it rightly.
            instead: dict[Way, Way] = {
                "cached": "sequences",
                "recomputed": "sequences",
                # Padding behind the prefix would count as a part of the window.
                "batch_shared": "batch",
            }
            support = replace(support, way=instead.get(way, way), mask_form=None)
        return open_run(self._call, trees, support, bidirectional_prefix=self.bidirectional)
