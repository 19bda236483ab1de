"""Evaluation during training: scores of the mentions found, and the loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..model import PaDeLLM
from ..scoring import MentionScores
from ..texts import AnnotatedText
from ..train.supervised import list_weights, target_log_probs, weighted_loss
from ..train.versions import TextVersions
from .rows import TaughtText, pack_rows

# The scores of an evaluation, by the names that `metric_for_best_model` can take.
SCORES = ("loss", "mentions_p", "mentions_r", "mentions_f")


class DevEvaluation:
    """An evaluation of a model on texts, which are divided among the processes.

    Args:
        texts: Whole texts, in which the model looks for mentions.
        taught: The same texts prepared as for training, for the loss.
        versions: Builds their trees.
        max_tokens: Most tokens of a row.
    """

    def __init__(
        self,
        texts: Sequence[AnnotatedText],
        taught: Sequence[TaughtText],
        versions: TextVersions,
        max_tokens: int,
    ) -> None:
        self.texts = texts
        self._taught = taught
        self._rows = pack_rows([text.size for text in taught], max_tokens, seed=0)
        self._versions = versions

    @torch.no_grad()
    def count(self, model: PaDeLLM, at_once: int, share: int, shares: int) -> Tensor:
        """Evaluate one share of the texts, and return the counts for `score`.

        Args:
            model: The model, in evaluation mode.
            at_once: Number of texts to decode at once.
            share: The share to evaluate, from 0.
            shares: Number of shares.

        Returns:
            The counts, shape `(5,)`, float64. Add them up over all shares.
        """
        scores, loss, weight = MentionScores(), 0.0, 0.0
        texts = self.texts[share::shares]
        for first in range(0, len(texts), at_once):
            batch = texts[first : first + at_once]
            found = model.predict([text.source for text in batch], nested=True)
            for text, entities in zip(batch, found, strict=True):
                scores.add_text(text, entities, model.settings.labels)
        for row in self._rows[share::shares]:
            trees = [self._versions.build(self._taught[place].text) for place in row]
            loss += float(
                weighted_loss(trees, target_log_probs(model.lm, trees, model.encoder), total=1.0)
            )
            weight += sum(list_weights(trees))
        counts = [scores.found_gold, scores.found, scores.gold, loss, weight]
        return torch.tensor(counts, dtype=torch.float64)

    def score(self, counts: Tensor) -> dict[str, float]:
        """Compute the scores of all texts: loss, precision, recall and F-score.

        The last three are the paper's, over sets of mention strings.

        Args:
            counts: The sum of the counts of all shares.

        Returns:
            The scores, by the names in `SCORES`.
        """
        found_gold, found, gold, loss, weight = counts.tolist()
        scores = MentionScores(int(found_gold), int(found), int(gold))
        mean = loss / weight if weight else 0.0
        values = (mean, scores.precision, scores.recall, scores.fscore)
        return dict(zip(SCORES, values, strict=True))
