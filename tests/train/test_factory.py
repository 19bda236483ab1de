from __future__ import annotations

import pytest

from spacy_padellm.benchmark.output_objective import OutputObjective
from spacy_padellm.checkpoints.settings import CheckpointSettings
from spacy_padellm.limits import MentionLimits
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.train.factory import make_objective
from spacy_padellm.train.parallel import ParallelObjective
from tests.sample_tokenizers import WORDINGS, small_tokenizer

ENCODER = PromptEncoder(TEMPLATES["en"], WORDINGS["en"], small_tokenizer("en"))
LIMITS = MentionLimits(3, 4)


@pytest.mark.parametrize("softmax", ["vocabulary", "admissible"])
def test_parallel(softmax):
    settings = CheckpointSettings(softmax=softmax, limits=LIMITS)
    made = make_objective(ENCODER, settings, 0.5)
    assert isinstance(made, ParallelObjective)
    assert (made.softmax, made.limits, made.tag_text) == (softmax, LIMITS, 0.5)


@pytest.mark.parametrize("name", ["augmented", "structured"])
def test_output_formats(name):
    settings = CheckpointSettings(limits=LIMITS, output_format=name)
    made = make_objective(ENCODER, settings)
    assert isinstance(made, OutputObjective)
    assert (made.output_format.name, made.limits, made.tag_text) == (name, LIMITS, 0.0)
