"""Evaluation in training: the mentions that a model finds, and its loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..checkpoints.settings import CheckpointSettings
from ..decode.extraction import MentionExtractor
from ..scoring import MentionScores
from ..texts import AnnotatedText
from ..tree.causal_lm import CausalLM
from .objective import Objective
from .preparation import TaughtText
from .rows import pack_rows
from .supervised_tree import target_log_probs

# What there is of an evaluation, as `metric_for_best_model` may name it.
SCORES = ("loss", "mentions_p", "mentions_r", "mentions_f")


class DevEvaluation:
    """Scores a model on texts, of which each process reads a share.

    texts (Sequence[AnnotatedText]): Whole texts, to find the mentions of.
    taught (Sequence[TaughtText]): The same, as they would be taught.
    objective (Objective): What makes trees of them.
    settings (CheckpointSettings): What the model is run with.
    max_tokens (int): Most tokens of a row.
    """

    def __init__(
        self,
        texts: Sequence[AnnotatedText],
        taught: Sequence[TaughtText],
        objective: Objective,
        settings: CheckpointSettings,
        max_tokens: int,
    ) -> None:
        self.texts = texts
        self._taught = taught
        self._rows = pack_rows([text.size for text in taught], max_tokens, seed=0)
        self._objective = objective
        self._settings = settings

    def count(self, lm: CausalLM, at_once: int, share: int, shares: int) -> Tensor:
        """lm (CausalLM): The model, in evaluation mode.
        at_once (int): Texts that are read at once.
        share (int): Which of the shares to read, from 0.
        shares (int): How many there are.
        RETURNS (Tensor): What `score` takes, to be added up over the shares.
        """
        with torch.no_grad():
            scores = self._find(lm, self.texts[share::shares], at_once)
            loss, weight = self._lose(lm, self._rows[share::shares])
        counts = [scores.found_gold, scores.found, scores.gold, loss, weight]
        return torch.tensor(counts, dtype=torch.float64)

    def score(self, counts: Tensor) -> dict[str, float]:
        """counts (Tensor): Of all texts, from `count`.
        RETURNS (Dict[str, float]): Precision, recall and F-score (the paper's, over sets of mention
            strings), and the loss.
        """
        found_gold, found, gold, loss, weight = counts.tolist()
        scores = MentionScores(int(found_gold), int(found), int(gold))
        mean = loss / weight if weight else 0.0
        values = (mean, scores.precision, scores.recall, scores.fscore)
        return dict(zip(SCORES, values, strict=True))

    def _find(self, lm: CausalLM, texts: Sequence[AnnotatedText], at_once: int) -> MentionScores:
        extractor = MentionExtractor(lm, self._settings)
        scores = MentionScores()
        for first in range(0, len(texts), at_once):
            batch = texts[first : first + at_once]
            found = extractor.extract_long([text.source for text in batch])
            for text, mentions in zip(batch, found, strict=True):
                scores.add_text(text, mentions, extractor.labels)
        return scores

    def _lose(self, lm: CausalLM, rows: Sequence[Sequence[int]]) -> tuple[float, float]:
        loss = total = 0.0
        for row in rows:
            texts = [self._taught[place].text for place in row]
            labels = list(self._settings.labels)
            trees = [self._objective.build(text, labels)[0] for text in texts]
            weights = torch.tensor([w for tree in trees for w in tree.weights])
            loss -= float((weights * target_log_probs(lm, trees).cpu()).sum())
            total += float(weights.sum())
        return loss, total
