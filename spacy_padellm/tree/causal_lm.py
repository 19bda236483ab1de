"""A causal language model that runs token trees: a Hugging Face model with its tokenizer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import Errors
from .forks import use_one_thread_in_forks
from .model_call import ModelCall
from .probe import PassCost, measure_cost, probe_tree_support
from .readout import Readout
from .run import TreeRun, TreeSupport, Way
from .runs import open_run
from .token_tree import TokenTree

# Most wordings whose vectors are kept.
_MOST_VECTORS = 10_000


class TextTooLongError(ValueError):
    """The error for a text that is longer than a model can run."""


class _ShortLinear(torch.nn.Linear):
    """A linear layer that multiplies in bfloat16 to predict on a CPU, and in float32 to train.

    Input, output and bias are float32, and so is the weight. A copy of it in bfloat16 is kept.
    """

    # The copy, and the state of the weight that it was made from.
    _kept: tuple[tuple[int, int], Tensor] | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer."""
        # With gradient checkpointing, a layer in training runs without gradients first.
        if self.training or torch.is_grad_enabled() or input.device.type != "cpu":
            # A step of training follows. Fused optimizers do not count it as a new version.
            self._kept = None
            return super().forward(input)
        output = torch.nn.functional.linear(input.bfloat16(), self._short_weight()).float()
        return output if self.bias is None else output.add_(self.bias)

    def _short_weight(self) -> Tensor:
        """Return the weight in bfloat16, made anew if the weight was changed since."""
        weight = self.weight
        version = 0 if weight.is_inference() else weight._version
        state = (weight.data_ptr(), version)
        kept = self._kept
        if kept is None or kept[0] != state:
            kept = self._kept = (state, weight.detach().bfloat16())
        return kept[1]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the copy out of pickles and deep copies."""
        return {name: value for name, value in vars(self).items() if name != "_kept"}

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self._kept = None
        return super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]


class CausalLM:
    """A causal language model that runs token trees.

    Args:
        model: A Hugging Face model with a language modelling head.
        tokenizer: Its tokenizer.
        bidirectional_prefix: Whether the tokens of the text attend in both directions. It must
            match the model's training.
        support: How the model runs trees; `None` to find out with the probe.

    Attributes:
        call: The model's forward pass.
        max_depth: Length of the longest sequence that can be run, in tokens; `None` if there is no
            limit. A bidirectional prefix also limits it to the attention window.

    Raises:
        ValueError: The prefix is bidirectional, but the model takes no custom mask.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        bidirectional_prefix: bool = False,
        support: TreeSupport | None = None,
    ) -> None:
        use_one_thread_in_forks()
        self.model = model
        self.tokenizer = tokenizer
        self.bidirectional_prefix = bidirectional_prefix
        self.support = support or probe_tree_support(model)
        self.call = ModelCall(model)
        # The ids of a label's wording → its vector, for the weights as they are.
        self._vectors: dict[tuple[int, ...], Tensor] = {}
        if self.bidirectional_prefix and self.support.mask_form is None:
            raise ValueError(Errors.P021.format(model=type(model).__name__))
        self._positions: int | None = getattr(model.config, "max_position_embeddings", None)
        window = self.support.max_depth if self.bidirectional_prefix else None
        self.max_depth = min(filter(None, (self._positions, window)), default=None)

    @cached_property
    def pass_cost(self) -> PassCost:
        """What a pass and a token take, measured once, on the device that the model is on."""
        return measure_cost(self.call, self.support, longest=self.max_depth)

    def to(self, device: str) -> CausalLM:
        """Move the model to a device and return this object.

        Args:
            device: The device's name, such as `"cuda:0"`.

        Raises:
            ValueError: There is no such device.
        """
        try:
            torch.nn.Module.to(self.model, torch.device(device))
        except (RuntimeError, AssertionError) as error:
            raise ValueError(Errors.P045.format(device=device, error=error)) from error
        vars(self).pop("pass_cost", None)
        self.forget_labels()
        return self

    @property
    def device(self) -> str:
        """The name of the model's device."""
        return str(self.model.device)

    def predict_in_bfloat16(self) -> int:
        """Let linear layers multiply in bfloat16 to predict on a CPU; they train in float32.

        The output layer is left out.

        Returns:
            The number of these layers. Some families have none, such as GPT-2.
        """
        head = self.model.get_output_embeddings()
        layers = [
            module
            for module in self.model.base_model.modules()
            if type(module) is torch.nn.Linear and module is not head
        ]
        for layer in layers:
            # In place, so that hooks and names stay as they are.
            layer.__class__ = _ShortLinear
        vars(self).pop("pass_cost", None)
        return len(layers)

    def run_as(self, way: Way) -> CausalLM:
        """Return the same model with another way to run trees."""
        return CausalLM(
            self.model,
            self.tokenizer,
            bidirectional_prefix=self.bidirectional_prefix,
            support=replace(self.support, way=way),
        )

    def through(self, wrapper: torch.nn.Module) -> CausalLM:
        """Return a copy that calls the same model through a wrapper.

        Args:
            wrapper: An adapter around the model, or the wrapper that trains it on several devices.
        """
        wrapped = copy.copy(self)
        wrapped.call = self.call.through(wrapper)
        return wrapped

    def fits(self, depth: int) -> bool:
        """Return whether the model can run a sequence of `depth` tokens."""
        return self.max_depth is None or depth <= self.max_depth

    def check_depth(self, depth: int) -> None:
        """Check that the model can run a sequence of a given length.

        Args:
            depth: Length of the longest sequence, in tokens.

        Raises:
            TextTooLongError: The model has too few positions, or the prefix is bidirectional and
                the attention window is too short.
        """
        if self._positions is not None and depth > self._positions:
            raise TextTooLongError(Errors.P023.format(depth=depth, positions=self._positions))
        window = self.support.max_depth
        if self.bidirectional_prefix and window is not None and depth > window:
            raise TextTooLongError(Errors.P024.format(depth=depth, window=window))

    def open(
        self,
        trees: Sequence[TokenTree],
        depth: int,
        *,
        for_training: bool = False,
        in_halves: bool = False,
    ) -> TreeRun:
        """Start a run of a batch of trees.

        Args:
            trees: The trees; they may change between passes.
            depth: The greatest depth that any tree will reach, in tokens.
            for_training: Whether this is a training run: one pass with gradients over finished
                trees.
            in_halves: Whether to run the layers in halves, if the model can: for a caller that
                reads whole passes at the middle layer.

        Raises:
            TextTooLongError: The model cannot run sequences of this length.
        """
        self.check_depth(depth)
        support = replace(self.support, in_halves=in_halves and self.support.in_halves)
        if support.max_depth is not None and depth > support.max_depth:
            # Beyond the attention window, only the model's own mask is right.
            support = replace(support, way="sequences", mask_form=None)
        elif for_training and support.way == "cached":
            support = replace(support, way="recomputed")
        return open_run(self.call, trees, support, bidirectional_prefix=self.bidirectional_prefix)

    def encode_labels(
        self, wordings: Sequence[tuple[int, ...]], *, for_training: bool = False
    ) -> Tensor:
        """Make the vectors of labels, with which text tags are compared.

        The model reads each wording as a text. Its vector is the mean of the middle layer's output
        over all ids. Vectors to predict with are kept until the weights change.

        Args:
            wordings: The ids of each wording, as of a text.
            for_training: Whether gradients are wanted.

        Returns:
            The vectors, shape `(n, width)`.

        Raises:
            TextTooLongError: A wording is longer than the model's positions.
        """
        if for_training:
            self.forget_labels()
            return self._run_labels(wordings)
        if new := [each for each in dict.fromkeys(wordings) if each not in self._vectors]:
            if len(self._vectors) + len(new) > _MOST_VECTORS:
                self.forget_labels()
                new = list(dict.fromkeys(wordings))
            self._vectors.update(zip(new, self._run_labels(new), strict=True))
        return torch.stack([self._vectors[each] for each in wordings])

    def forget_labels(self) -> None:
        """Forget the vectors of labels, as the weights change."""
        self._vectors.clear()

    def _run_labels(self, wordings: Sequence[tuple[int, ...]]) -> Tensor:
        trees = [TokenTree(ids) for ids in wordings]
        # One pass, from which nothing is kept.
        run = self.open(trees, max(map(len, trees)), for_training=True, in_halves=True)
        lengths = [len(tree) for tree in trees]
        middle = torch.ones(sum(lengths), dtype=torch.bool)
        readout = Readout(torch.zeros(1, dtype=torch.long), middle, hidden=True)
        hidden = run.logits([range(length) for length in lengths], readout).float()
        return torch.stack([part.mean(dim=0) for part in hidden.split(lengths)])
