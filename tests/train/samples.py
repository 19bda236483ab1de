"""Gold of a few texts, and what a model loses on it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from torch import Tensor

from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.settings import Settings
from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText
from spacy_padellm.train.objective import ParallelObjective
from spacy_padellm.train.supervised import SupervisedTree, target_log_probs, weighted_loss
from spacy_padellm.tree.causal_lm import CausalLM
from tests.sample_texts import cut_at_characters, cut_at_spaces
from tests.sample_tokenizers import WORDINGS, make_encoder, small_tokenizer

LIMITS = {"max_mentions": 4, "max_mention_tokens": 5}


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
def objective(
    lang: str = "en",
    softmax: str = "vocabulary",
    labels: tuple[str, ...] | None = None,
    tag_text: float = 0.0,
    max_mentions: int = LIMITS["max_mentions"],
    max_mention_tokens: int = LIMITS["max_mention_tokens"],
    label_vectors: bool = False,
) -> ParallelObjective:
    """What teaches some of the labels, by default all, each with its wording or its own name."""
    wordings = {label: WORDINGS[lang].get(label, label) for label in labels or WORDINGS[lang]}
    limits = (max_mentions, max_mention_tokens)
    encoder = make_encoder(TEMPLATES[lang], wordings, small_tokenizer(lang), *limits)
    settings = Settings(
        TEMPLATES[lang], wordings, "causal", softmax, *limits, label_vectors=label_vectors
    )
    return ParallelObjective(encoder, settings, tag_text)


def tree_loss(lm: CausalLM, trees: Sequence[SupervisedTree], encoder: PromptEncoder) -> Tensor:
    """The sum over all that is taught, not its mean."""
    return weighted_loss(trees, target_log_probs(lm, trees, encoder).double(), total=1.0)
