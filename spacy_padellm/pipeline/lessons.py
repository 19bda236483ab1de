"""What a component is taught: the supervised trees of examples, and warnings of what is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from spacy.training import Example
from thinc.types import Floats1d

from ..errors import Errors, Warnings
from ..train.augmentation import MentionSwap
from ..train.gold import GoldReport, WindowedText
from ..train.objective import Objective
from ..train.supervised import SupervisedTree, weighted_loss
from ..train.versions import TextVersions
from ..tree.choices import check_numbers
from .docs import gold_labels
from .shim import PaDeLLMShim

Cut = Callable[[Iterable[Example]], list[WindowedText]]


class Lessons:
    """A builder of the supervised trees of a component's examples.

    Args:
        shim: The component's shim.
        cut: Collects the training texts of examples, in windows.
        swap: Augments training texts; `None` for no augmentation.

    Raises:
        ValueError: `swap` is not a `MentionSwap`.
    """

    def __init__(self, shim: PaDeLLMShim, cut: Cut, swap: MentionSwap | None) -> None:
        if not (swap is None or isinstance(swap, MentionSwap)):
            raise ValueError(Errors.P207.format(value=swap))
        self._shim = shim
        self._cut = cut
        self._swap = swap
        # Made at the first training step, once labels and model are final.
        self._versions: TextVersions | None = None
        # Whether the user knows which labels are not taught.
        self._has_reported = False

    def forget(self) -> None:
        """Begin anew at the next step, as labels or model have changed."""
        self._versions = None

    def begin(self, examples: Iterable[Example], *, of_labels: bool) -> None:
        """Begin training, and warn of annotation that cannot be taught.

        Args:
            examples: The examples. They are read once, one at a time.
            of_labels: Whether to warn also of labels that no text has and of labels that are not
                taught.
        """
        objective = self._learn_from(self._shim.make_objective()).objective
        report = GoldReport(tuple(self._shim.labels), self._shim.lm.check_depth)
        # One at a time: a corpus may be larger than memory.
        for eg in examples:
            for text in self._cut([eg]):
                windows = [window for _, window in text.windows]
                own = next(filter(None, map(objective.own_encoder, windows)), None)
                asked = None if own is None else tuple(own.labels)
                report.add(text, [objective.examine(window) for window in windows], asked)
        report.warn(of_labels=of_labels)
        self._has_reported = True

    def make_trees(self, examples: Iterable[Example]) -> list[SupervisedTree]:
        """Build the supervised trees for a training step.

        Args:
            examples: A batch of examples. Each use of a text builds its next version.

        Returns:
            A tree for each window that teaches something.
        """
        versions = self._versions or self._learn_from(self._shim.make_objective())
        objective = versions.objective
        windows = [window for text in self._cut(examples) for _, window in text.windows]
        own = [each.labels for window in windows if (each := objective.own_encoder(window))]
        # Of labels that go by several names, the one that they are called by.
        named = [label for labels in own for label, word in labels.items() if word == label]
        self._shim.note_training(text_tags=objective.teaches_tags, others=named)
        trees = [versions.build_next(window) for window in windows]
        return [tree for tree in trees if tree.teaches]

    def check(self, name: str, examples: Sequence[Example], spans_key: str | None) -> None:
        """Warn, once for all steps, of labels that are not taught.

        Args:
            name: The component's name.
            examples: A batch of examples.
            spans_key: The span group with their gold mentions; `None` for their entities.
        """
        if self._has_reported:
            return
        labels = self._shim.labels
        if others := [each for each in gold_labels(examples, spans_key) if each not in labels]:
            warnings.warn(Warnings.W209.format(name=name, labels=", ".join(others)), stacklevel=3)
            self._has_reported = True

    def _learn_from(self, objective: Objective) -> TextVersions:
        fits = self._shim.lm.fits
        self._versions = TextVersions(objective, swap=self._swap, fits=fits)
        return self._versions


def find_loss(trees: Sequence[SupervisedTree], log_probs: Floats1d) -> tuple[float, Floats1d]:
    """Compute the loss of a training step, and its gradient.

    Args:
        trees: The trees.
        log_probs: Log-probabilities of what they teach, from the model, shape `(n,)`.

    Raises:
        ValueError: The loss is not a number.
    """
    scores = torch.tensor(log_probs, requires_grad=True)
    loss = weighted_loss(trees, scores)
    check_numbers(loss.detach())
    loss.backward()
    assert scores.grad is not None
    return float(loss.detach()), cast(Floats1d, scores.grad.numpy())
