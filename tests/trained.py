"""A tiny model that has learnt a few texts by heart."""

from __future__ import annotations

from functools import cache

import torch

from spacy_padellm.benchmark.output_formats.base import OutputFormatName
from spacy_padellm.checkpoints.settings import CheckpointSettings
from spacy_padellm.checkpoints.small_lm import SmallModelShape, build_small_lm, train_tokenizer
from spacy_padellm.limits import MentionLimits
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES, PromptTemplate
from spacy_padellm.train.factory import make_objective
from spacy_padellm.train.supervised_tree import target_log_probs
from spacy_padellm.tree.causal_lm import CausalLM
from tests.toy_corpus import LABELS, SENTENCES, parse

LIMITS = MentionLimits(max_mentions=4, max_mention_tokens=4)
TEXTS = [parse(sentence) for sentence in SENTENCES[:8]]
SHAPE = SmallModelShape(width=64, depth=2, heads=4, feed_forward=64, max_positions=128)


@cache
def trained_lm(
    template: PromptTemplate = TEMPLATES["en"], output_format: OutputFormatName = "parallel"
) -> tuple[CausalLM, CheckpointSettings]:
    """The tokenizer knows the pieces of the English template, whichever is used."""
    labels = {label: label for label in LABELS}
    settings = CheckpointSettings(template, labels, limits=LIMITS, output_format=output_format)
    texts = [text.source.text for text in TEXTS]
    tokenizer = train_tokenizer(texts, TEMPLATES["en"], LABELS, LIMITS.max_mentions, 320)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lm = build_small_lm(tokenizer, SHAPE, "causal")
    objective = make_objective(PromptEncoder(template, settings.labels, tokenizer), settings)
    trees = [objective.build(text, LABELS)[0] for text in TEXTS]
    weights = torch.tensor([w for tree in trees for w in tree.weights], dtype=torch.float)
    optimizer = torch.optim.AdamW(lm.model.parameters(), lr=5e-3)
    for _ in range(400):
        log_probs = target_log_probs(lm, trees)
        loss = -(weights * log_probs).sum() / weights.sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        # Every token the most probable one, by far.
        if log_probs.min() > -0.1:
            return lm, settings
    raise AssertionError(f"not learnt: {log_probs.min()}")
