"""Gold of a few texts, and what a model loses on it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from spacy_padellm.limits import MentionLimits
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText
from spacy_padellm.train.parallel import ParallelObjective
from spacy_padellm.train.supervised_tree import SupervisedTree, target_log_probs
from spacy_padellm.tree.causal_lm import CausalLM
from tests.sample_texts import cut_at_characters, cut_at_spaces
from tests.sample_tokenizers import WORDINGS, small_tokenizer

LIMITS = MentionLimits(max_mentions=4, max_mention_tokens=5)


def annotate(
    source: TokenizedText, *mentions: tuple[str, str], labels: Sequence[str] | None = None
) -> AnnotatedText:
    """Mentions by label and string, at the string's first place not taken under the label."""
    found: list[Mention] = []
    for label, string in mentions:
        start = source.text.index(string)
        while Mention(start, start + len(string), label) in found:
            start = source.text.index(string, start + 1)
        found.append(Mention(start, start + len(string), label))
    return AnnotatedText(source, tuple(found), None if labels is None else tuple(labels))


ENGLISH = [
    annotate(
        cut_at_spaces("Anna met Bob in New York , Anna met Bob Hill ."),
        *[("PER", "Anna"), ("PER", "Bob"), ("LOC", "New York"), ("PER", "Anna")],
        *[("PER", "Bob Hill"), ("ORG", "York")],
    ),
    annotate(cut_at_spaces("Nothing here ."), labels=["PER", "LOC", "ORG"]),
    annotate(cut_at_spaces("JAPAN"), ("LOC", "JAPAN")),
]
CHINESE = [
    annotate(
        cut_at_characters("1963年出生，工科学士，高级工程师，北京物资。"),
        *[("ORG", "北京物资"), ("LOC", "北京"), ("NAME", "工科学士"), ("NAME", "高级工程师")],
    )
]
CASES = {"en": ENGLISH, "zh": CHINESE}


def by_label(text: AnnotatedText, labels: Sequence[str]) -> dict[str, list[str]]:
    ordered = sorted(text.mentions, key=lambda m: (m.start, m.end))
    return {
        label: [text.source.text[m.start : m.end] for m in ordered if m.label == label]
        for label in labels
    }


@cache
def objective(lang: str = "en", softmax: str = "vocabulary") -> ParallelObjective:
    encoder = PromptEncoder(TEMPLATES[lang], WORDINGS[lang], small_tokenizer(lang))
    return ParallelObjective(encoder, LIMITS, softmax)


def tree_loss(lm: CausalLM, trees: Sequence[SupervisedTree]) -> Tensor:
    weights = torch.tensor([w for tree in trees for w in tree.weights], dtype=torch.double)
    return -(weights * target_log_probs(lm, trees).double()).sum()
