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
    """The log-odds of each label against none, at tokens of one id."""
    tagged = {"softmax": "admissible", "text_tags": True, "label_vectors": label_vectors}
    each = make_decoder(lm, decode="tags", labels=ASKED, others=others, **tagged)
    text = each.encoder.encode(TEXTS["en"][0])
    (written,) = each.write([text])
    inside = written.tags.inside
    alone = [sum(a < end and start < b for a, b in text.offsets) == 1 for start, end in text.tokens]
    assert sum(alone) > 2
    against = 1 - inside[:, :-1] if label_vectors else inside[:, -1:]
    return np.log(inside[alone, :-1] / against[alone])


@pytest.mark.parametrize("label_vectors", [False, True])
@torch.inference_mode()
def test_a_bias_moves_log_odds(label_vectors):
    lm = random_lm("llama", "en", "bidirectional", 1)
    plain = odds_of(lm, label_vectors)
    # A wording in other letters is another one to this tokenizer.
    trained = ("PER", "place")
    moved = odds_of(lm, label_vectors, trained=trained, tag_bias=0.5, new_tag_bias=2.0)
    assert moved - plain == pytest.approx(np.tile([0.5, 2.0, 2.0], (len(plain), 1)), abs=1e-3)
    # Without a bias of their own, new labels are like others.
    assert odds_of(lm, label_vectors, trained=trained, tag_bias=0.5) == pytest.approx(
        plain + 0.5, abs=1e-3
    )
    assert odds_of(lm, label_vectors, trained=trained) == pytest.approx(plain, abs=1e-3)
