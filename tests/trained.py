"""A tiny model that has learnt a few texts by heart."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import torch

from spacy_padellm.checkpoints.small_lm import SmallModelShape, build_small_lm, train_tokenizer
from spacy_padellm.model import PaDeLLM
from spacy_padellm.prompt.template import TEMPLATES, PromptTemplate
from spacy_padellm.settings import Settings
from spacy_padellm.train.supervised import target_log_probs, weighted_loss
from spacy_padellm.tree.causal_lm import CausalLM
from tests.toy_corpus import LABELS, SENTENCES, parse

LIMITS = {"max_mentions": 4, "max_mention_tokens": 4}
TEXTS = [parse(sentence) for sentence in SENTENCES[:8]]
# Those without mentions inside others, as a token has a single tag.
FLAT = [text for text in TEXTS if all(a.end <= b.start for a, b in pairwise(sorted(text.mentions)))]
SHAPE = SmallModelShape(width=64, depth=2, heads=4, feed_forward=64, max_positions=128)


@cache
def trained_lm(
    template: PromptTemplate = TEMPLATES["en"],
    output_format: str = "parallel",
    tag_text: float = 0.0,
) -> tuple[CausalLM, Settings]:
    """The tokenizer knows the pieces of the English template, whichever is used. With text tags the
    text attends in both directions, or its first tokens could not know theirs.
    """
    labels = {label: label for label in LABELS}
    settings = Settings(
        template, labels, output_format=output_format, trained=tuple(labels), **LIMITS
    )
    texts = [text.source.text for text in TEXTS]
    tokenizer = train_tokenizer(texts, TEMPLATES["en"], LABELS, settings.max_mentions, 320)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lm = build_small_lm(tokenizer, SHAPE, bidirectional_prefix=tag_text > 0)
    padellm = PaDeLLM(lm, settings)
    objective = padellm.make_objective(tag_text)
    trees = [objective.build(text)[0] for text in (FLAT if tag_text else TEXTS)]
    optimizer = torch.optim.AdamW(lm.model.parameters(), lr=5e-3)
    for _ in range(400):
        log_probs = target_log_probs(lm, trees, padellm.encoder)
        weighted_loss(trees, log_probs).backward()
        optimizer.step()
        optimizer.zero_grad()
        # Every token the most probable one, by far.
        if log_probs.min() > -0.1:
            return lm, settings
    raise AssertionError(f"not learnt: {log_probs.min()}")
