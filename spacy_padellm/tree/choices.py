"""What a model chooses among at a node, and how probable it finds each choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import Errors

# Rows of logits that are computed at once.
_ROWS = 8


class Continuations:
    """The ids that may come next at each of several places, and their log-probabilities.

    Args:
        admissible: The ids that may come next at each place.
        over_vocabulary: Whether the softmax is over the whole vocabulary, as in the paper, or over
            the admissible ids only.
        also: Further ids whose logits are needed for something else.

    Attributes:
        ids: The admissible ids, padded with -1, shape `(n, most)`; `most` is the largest number at
            a place.
        needed: The ids whose logits are needed, in ascending order; `None` for the whole
            vocabulary.
    """

    def __init__(
        self,
        admissible: Sequence[Sequence[int]],
        *,
        over_vocabulary: bool,
        also: Sequence[Tensor] = (),
    ) -> None:
        most = max(map(len, admissible), default=1)
        padded = [[*ids, *[-1] * (most - len(ids))] for ids in admissible]
        self.ids = torch.tensor(padded, dtype=torch.long).reshape(len(padded), most)
        self.needed: Tensor | None = None
        self._columns = self.ids.clamp_min(0)
        if not over_vocabulary:
            own = torch.tensor(sorted(set().union(*admissible)), dtype=torch.long)
            self.needed = torch.cat([own, *also]).unique() if also else own
            # Padding, clamped to 0, gets the first column; `log_probs` masks it.
            self._columns = torch.searchsorted(self.needed, self._columns)

    def log_probs(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """Compute the log-probabilities of the admissible ids.

        Args:
            logits: Logits of the needed ids, shape `(m, n_needed)` or `(m, vocabulary)`.
            rows: The row of `logits` that belongs to each place, shape `(n,)`; `None` if row i
                belongs to place i.

        Returns:
            Log-probabilities, shape `(n, most)`, minus infinity at padding.
        """
        columns = self._columns.to(logits.device)
        is_padding = (self.ids < 0).to(logits.device)
        if rows is None:
            rows = torch.arange(len(columns), device=logits.device)
        if self.needed is not None:
            picked = logits[rows[:, None], columns].float().masked_fill(is_padding, -torch.inf)
            return picked - picked.logsumexp(dim=1, keepdim=True)
        found: Tensor = _LogProbsOverVocabulary.apply(  # type: ignore[no-untyped-call]
            logits, rows, columns
        )
        return found.masked_fill(is_padding, -torch.inf)


class _LogProbsOverVocabulary(torch.autograd.Function):
    """Log-probabilities of some ids, in float32, with the softmax over all columns.

    Few rows are computed at once. With a large vocabulary, torch's own functions fill several
    hundred megabytes anew, again and again, and that takes longer than the sums.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Compute the log-probability at each place.

        Args:
            ctx: Keeps what the backward pass needs.
            logits: The logits, shape `(m, vocabulary)`.
            rows: The row of each place, shape `(n,)`.
            columns: The ids wanted at each place, shape `(n, most)`.

        Returns:
            Log-probabilities, shape `(n, most)`.
        """
        parts = [part.float().logsumexp(dim=1, keepdim=True) for part in logits.split(_ROWS)]
        totals = torch.cat(parts)
        ctx.save_for_backward(logits, rows, columns, totals)
        return logits[rows[:, None], columns].float() - totals[rows]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Compute the gradient of the logits."""
        logits, rows, columns, totals = ctx.saved_tensors
        result = torch.empty_like(logits)
        times = torch.zeros_like(totals).index_add_(0, rows, gradient.sum(dim=1, keepdim=True))
        parts = (each.split(_ROWS) for each in (result, logits, totals, times))
        for into, of, total, of_row in zip(*parts, strict=True):
            into.copy_((of.float() - total).exp_().mul_(-of_row))
        result.index_put_((rows[:, None], columns), gradient.to(result), accumulate=True)
        return result, None, None


def check_numbers(probs: Tensor) -> None:
    """Check that a model's output is numbers.

    Args:
        probs: Probabilities or their logarithms, on the CPU, so that nothing waits for a device.

    Raises:
        ValueError: One is NaN.
    """
    if probs.isnan().any():
        raise ValueError(Errors.P029)


class TagChoices:
    """The tags among which each token of a text chooses, and their log-probabilities.

    A tag is spelled with one id or several. The logit of a tag is the mean of the logits of its
    ids, that is, the logit of the mean of their rows in the output layer. The last tag stands for
    none.

    Args:
        tags: The ids of each tag.

    Attributes:
        count: The number of tags.
        needed: The ids whose logits are needed, in ascending order.
    """

    def __init__(self, tags: Sequence[Sequence[int]]) -> None:
        self.count = len(tags)
        self.needed = torch.tensor(sorted(set().union(*tags)), dtype=torch.long)
        row_of = {token_id: row for row, token_id in enumerate(self.needed.tolist())}
        self._means = torch.zeros(len(row_of), len(tags))
        for tag, ids in enumerate(tags):
            for token_id in ids:
                self._means[row_of[token_id], tag] += 1 / len(ids)

    def log_probs(
        self, logits: Tensor, given: Tensor | None = None, allowed: Tensor | None = None
    ) -> Tensor:
        """Compute the log-probabilities of the tags.

        Args:
            logits: Logits at each token, shape `(n, n_given)` or `(n, vocabulary)`.
            given: The ids of the logits, in ascending order, shape `(n_given,)`. They include all
                needed ids. `None` for the whole vocabulary.
            allowed: Booleans, shape `(n, n_tags)`: which tags each token may choose. `None` if all.

        Returns:
            Log-probabilities, shape `(n, n_tags)`, minus infinity where a tag is not allowed.
        """
        scores = self._scores(logits, given)
        if allowed is not None:
            scores = scores.masked_fill(~allowed.to(scores.device), -torch.inf)
        return scores.log_softmax(dim=1)

    def against_none(self, logits: Tensor, given: Tensor | None = None) -> Tensor:
        """Compute the log-odds of each tag but the last against none, whatever the others are.

        Args:
            logits: Logits at each token, shape `(n, n_given)` or `(n, vocabulary)`.
            given: The ids of the logits, as for `log_probs`.

        Returns:
            Log-odds, shape `(n, n_tags - 1)`.
        """
        scores = self._scores(logits, given)
        return scores[:, :-1] - scores[:, -1:]

    def _scores(self, logits: Tensor, given: Tensor | None) -> Tensor:
        columns = self.needed if given is None else torch.searchsorted(given, self.needed)
        return logits.float()[:, columns.to(logits.device)] @ self._means.to(logits.device)
