"""What is added to the tags that a model reads; how they are read is in `test_decoder.py`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.decode.decoders import make_decoder
from tests.sample_texts import TEXTS
from tests.tiny_models import random_lm

ASKED = {"PER": "PER", "LOC": "Place", "NEW": "a river"}


def odds_of(lm, label_vectors: bool, **others) -> np.ndarray:
    """The log-odds of mentions of a token, label by label."""
    tagged = {"softmax": "admissible", "text_tags": True, "label_vectors": label_vectors}
    each = make_decoder(lm, decode="tags", labels=ASKED, others=others, **tagged)
    text = each.encoder.encode(TEXTS["en"][0])
    (written,) = each.write([text])
    scores = np.array(
        [[written.tags.score(label, place) for label in ASKED] for place in text.tokens]
    )
    assert (scores > 0).sum() > 6
    scores[scores == 0] = np.nan
    return np.log(scores / (1 - scores))


@pytest.mark.parametrize("label_vectors", [False, True])
@torch.inference_mode()
def test_labels_of_other_wordings_have_a_bias_of_their_own(label_vectors):
    lm = random_lm("llama", "en", "bidirectional", 1)
    plain = odds_of(lm, label_vectors)
    # A wording in other letters is another one to this tokenizer.
    usual = ("PER", "place")
    moved = odds_of(lm, label_vectors, usual=usual, tag_bias=0.5, other_tag_bias=2.0)
    assert moved == pytest.approx(plain + np.array([0.5, 2.0, 2.0]), abs=1e-3, nan_ok=True)
    # If none are usual, all have the same.
    moved = odds_of(lm, label_vectors, tag_bias=0.5, other_tag_bias=2.0)
    assert moved == pytest.approx(plain + 0.5, abs=1e-3, nan_ok=True)
    found = odds_of(lm, label_vectors, usual=usual)
    assert found == pytest.approx(plain, abs=1e-3, nan_ok=True)
