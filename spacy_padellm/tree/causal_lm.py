"""Causal language model over token trees: a Hugging Face model, its tokenizer, how trees run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import Errors
from .model_call import ModelCall
from .probe import probe_tree_support
from .runs import TreeRun, TreeSupport, Way, open_run
from .token_tree import TokenTree


class TextTooLongError(ValueError):
    """A text is longer than a model can run."""


class CausalLM:
    """A model that runs token trees.

    Args:
        model: A model with a language modelling head.
        tokenizer: Its tokenizer.
        bidirectional_prefix: Whether the text attends in both directions, as the model was or will
            be trained.
        support: How the model runs trees; `None` to probe.

    Attributes:
        call: Its forward pass.
        max_depth: Longest sequence that can be run, in tokens; `None` for any. With a bidirectional
            prefix it has to fit into the attention's window.

    Raises:
        ValueError: The text is to attend in both directions, and the model takes no custom mask.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        bidirectional_prefix: bool = False,
        support: TreeSupport | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.bidirectional_prefix = bidirectional_prefix
        self.support = support or probe_tree_support(model)
        self.call = ModelCall(model)
        if self.bidirectional_prefix and self.support.mask_form is None:
            raise ValueError(Errors.P021.format(model=type(model).__name__))
        self._positions: int | None = getattr(model.config, "max_position_embeddings", None)
        window = self.support.max_depth if self.bidirectional_prefix else None
        self.max_depth = min(filter(None, (self._positions, window)), default=None)

    def to(self, device: str) -> CausalLM:
        """Move the model.

        Args:
            device: Where to run, e.g. `"cuda:0"`.

        Returns:
            Itself.

        Raises:
            ValueError: There is no such device.
        """
        try:
            torch.nn.Module.to(self.model, torch.device(device))
        except (RuntimeError, AssertionError) as error:
            raise ValueError(Errors.P045.format(device=device, error=error)) from error
        return self

    def run_as(self, way: Way) -> CausalLM:
        """Make the same model run trees in another way."""
        return CausalLM(
            self.model,
            self.tokenizer,
            bidirectional_prefix=self.bidirectional_prefix,
            support=replace(self.support, way=way),
        )

    def through(self, wrapper: torch.nn.Module) -> CausalLM:
        """Call the same model through what is around it.

        Args:
            wrapper: An adapter around it, or what trains it on several devices.
        """
        wrapped = copy.copy(self)
        wrapped.call = self.call.through(wrapper)
        return wrapped

    def fits(self, depth: int) -> bool:
        """Tell whether the model can run a sequence of so many tokens."""
        return self.max_depth is None or depth <= self.max_depth

    def check_depth(self, depth: int) -> None:
        """Check that the model can run a sequence.

        Args:
            depth: Length of the longest sequence to be run, in tokens.

        Raises:
            TextTooLongError: The model has no positions for it, or its attention window is too
                short for a bidirectional prefix.
        """
        if self._positions is not None and depth > self._positions:
            raise TextTooLongError(Errors.P023.format(depth=depth, positions=self._positions))
        window = self.support.max_depth
        if self.bidirectional_prefix and window is not None and depth > window:
            raise TextTooLongError(Errors.P024.format(depth=depth, window=window))

    def open(
        self, trees: Sequence[TokenTree], depth: int, *, for_training: bool = False
    ) -> TreeRun:
        """Begin running a batch of trees.

        Args:
            trees: The trees; they may change between passes.
            depth: The deepest they will get, in tokens.
            for_training: Whether the run is a single pass with gradients, of finished trees.

        Raises:
            TextTooLongError: The model cannot run sequences this long.
        """
        self.check_depth(depth)
        support = self.support
        if support.max_depth is not None and depth > support.max_depth:
            # Attention has a window shorter than this: only the model itself masks it rightly.
            support = replace(support, way="sequences", mask_form=None)
        elif for_training and support.way == "cached":
            support = replace(support, way="recomputed")
        return open_run(self.call, trees, support, bidirectional_prefix=self.bidirectional_prefix)
