from __future__ import annotations

import pytest
import torch

from spacy_padellm.finetune.evaluation import DevEvaluation
from spacy_padellm.scoring import MentionScores
from spacy_padellm.train.supervised import target_log_probs
from spacy_padellm.train.versions import TextVersions
from tests.finetune.test_rows import LM, MODEL, OBJECTIVE, prepare
from tests.toy_corpus import SENTENCES, parse

VERSIONS = TextVersions(OBJECTIVE, fits=LM.fits)
# Some that the model knows by heart, and others.
TEXTS = [parse(sentence) for sentence in SENTENCES[4:16]]


@pytest.fixture(scope="module")
def dev() -> DevEvaluation:
    return DevEvaluation(TEXTS, prepare(TEXTS)[0], VERSIONS, 150)


def test_scores_are_those_of_what_is_predicted(dev: DevEvaluation):
    scores = MentionScores()
    for text in TEXTS:
        string = text.source.text
        found = MODEL.predict([text.source], nested=True)[0]
        scores.add(
            {(m.label, string[m.start : m.end]) for m in found},
            {(m.label, string[m.start : m.end]) for m in text.mentions},
        )
    found = dev.score(dev.count(MODEL, 5, 0, 1))
    assert found["mentions_f"] == pytest.approx(scores.fscore)
    assert 0 < found["mentions_p"] == pytest.approx(scores.precision)
    assert found["mentions_r"] == pytest.approx(scores.recall)


def test_loss_is_that_of_training(dev: DevEvaluation):
    trees = [OBJECTIVE.build(text)[0] for text in TEXTS]
    weights = torch.tensor([w for tree in trees for w in tree.weights])
    with torch.no_grad():
        loss = -(weights * target_log_probs(LM, trees, MODEL.encoder)).sum() / weights.sum()
    assert dev.score(dev.count(MODEL, 5, 0, 1))["loss"] == pytest.approx(float(loss), rel=1e-4)


def test_shares_add_up(dev: DevEvaluation):
    whole = dev.count(MODEL, 4, 0, 1)
    parts = [dev.count(MODEL, 4, share, 5) for share in range(5)]
    assert torch.allclose(torch.stack(parts).sum(0), whole)
    assert all(part[2] < whole[2] for part in parts)


def test_only_labels_a_text_is_annotated_for_count():
    partly = [parse("[Bob Hill|PER] works for Acme .", labels=["PER"])]
    counts = DevEvaluation(partly, prepare(partly)[0], VERSIONS, 150).count(MODEL, 1, 0, 1)
    assert counts[:3].tolist() == [1, 1, 1]


def test_nothing_to_count():
    counts = torch.zeros(5, dtype=torch.float64)
    empty = DevEvaluation(TEXTS, [], VERSIONS, 150)
    assert set(empty.score(counts).values()) == {0.0}
