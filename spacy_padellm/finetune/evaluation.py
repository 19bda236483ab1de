"""Evaluation in training: the mentions that a model finds, and its loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..model import PaDeLLM
from ..scoring import MentionScores
from ..texts import AnnotatedText
from ..train.objective import Objective
from ..train.supervised import target_log_probs, total_weight, weighted_loss
from .rows import TaughtText, pack_rows

# What there is of an evaluation, as `metric_for_best_model` may name it.
SCORES = ("loss", "mentions_p", "mentions_r", "mentions_f")


class DevEvaluation:
    """Scores a model on texts, of which each process reads a share.

    Args:
        texts: Whole texts, to find the mentions of.
        taught: The same, as they would be taught.
        objective: What makes trees of them.
        max_tokens: Most tokens of a row.
    """

    def __init__(
        self,
        texts: Sequence[AnnotatedText],
        taught: Sequence[TaughtText],
        objective: Objective,
        max_tokens: int,
    ) -> None:
        self.texts = texts
        self._taught = taught
        self._rows = pack_rows([text.size for text in taught], max_tokens, seed=0)
        self._objective = objective

    @torch.no_grad()
    def count(self, model: PaDeLLM, at_once: int, share: int, shares: int) -> Tensor:
        """Count what a share of the texts adds to the scores.

        Args:
            model: The model, in evaluation mode.
            at_once: Texts that are read at once.
            share: Which of the shares to read, from 0.
            shares: How many there are.

        Returns:
            What `score` takes, to be added up over the shares.
        """
        scores, loss, weight = MentionScores(), 0.0, 0.0
        texts = self.texts[share::shares]
        for first in range(0, len(texts), at_once):
            batch = texts[first : first + at_once]
            found = model.predict([text.source for text in batch], nested=True)
            for text, entities in zip(batch, found, strict=True):
                scores.add_text(text, entities, model.settings.labels)
        for row in self._rows[share::shares]:
            trees = [self._objective.build(self._taught[place].text)[0] for place in row]
            loss += float(weighted_loss(trees, target_log_probs(model.lm, trees), total=1.0))
            weight += total_weight(trees)
        counts = [scores.found_gold, scores.found, scores.gold, loss, weight]
        return torch.tensor(counts, dtype=torch.float64)

    def score(self, counts: Tensor) -> dict[str, float]:
        """Take the scores of all texts: precision, recall and F-score (the paper's, over sets of
        mention strings), and the loss.

        Args:
            counts: The sum of what `count` gave.
        """
        found_gold, found, gold, loss, weight = counts.tolist()
        scores = MentionScores(int(found_gold), int(found), int(gold))
        mean = loss / weight if weight else 0.0
        values = (mean, scores.precision, scores.recall, scores.fscore)
        return dict(zip(SCORES, values, strict=True))
