"""Learn from few texts: rounds that are scored on what they left out, then training on all."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Adam, fix_random_seed

from ..checkpoints.options import has_fast_bfloat16
from ..corpus.docs import ask_labels, gold_spans, keep_labels, own_labels
from ..errors import Errors
from ..pipeline.component import PaDeLLMNER
from ..pipeline.scorer import mention_sets
from ..scoring import MentionScores
from ..settings import SPANS_KEY
from .recipe import Recipe

NAME = "padellm_ner"
Weights = dict[str, torch.Tensor]
# English sentences with names; `scripts/rehearsal_texts.py` wrote them.
_TEXTS = Path(__file__).with_name("texts.txt")


@dataclass(frozen=True)
class Learnt:
    """A pipeline that has learnt, and how well.

    Args:
        nlp: The pipeline.
        scores: Label → the scores on texts that the round had not seen, of all rounds together: of
            the set of mention strings of each text and label (paper, section 4.2).
        bias: The bias of text tags that was chosen by them.
    """

    nlp: Language
    scores: Mapping[str, MentionScores]
    bias: float


def read_rehearsal(path: Path | None = None) -> list[str]:
    """Read the texts on which a model rehearses what it knows: one on each line.

    Args:
        path: The file; `None` for the one of this package.

    Raises:
        ValueError: The file cannot be read, or has no text.
    """
    path = path or _TEXTS
    try:
        texts = [line for line in path.read_text(encoding="utf8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(Errors.P442.format(path=path, error=error)) from error
    if not texts:
        raise ValueError(Errors.P442.format(path=path, error="it has no text"))
    return texts


class Learner:
    """Makes pipelines that learn from few texts.

    Args:
        checkpoint: The checkpoint to start from.
        labels: The labels to learn, and their wordings.
        rehearsed: Texts on which the checkpoint rehearses its own labels; empty for none.
        lang: The language of the pipelines.
        device: The device to run on.
        keep: Whether the pipelines find the checkpoint's labels, too.
        seed: The seed of all that is random.

    Attributes:
        n_weights: Number of the model's weights.
        has_tags: Whether the model was taught text tags.

    Raises:
        ValueError: The checkpoint is not complete, it reads two wordings as the same, or it has a
            label of the same name that is to be kept.
    """

    def __init__(
        self,
        checkpoint: str,
        labels: Mapping[str, str],
        rehearsed: Sequence[str],
        *,
        lang: str = "en",
        device: str = "cpu",
        keep: bool = False,
        seed: int = 0,
    ) -> None:
        self._checkpoint, self._lang, self._device = checkpoint, lang, device
        self._labels, self._seed = dict(labels), seed
        base = self._start({})
        component = find_component(base)
        model, own = component.padellm, component.label_data
        # What is learnt under a wording need not be rehearsed under it, in whatever letters.
        encode = model.encoder.encode_wording
        learnt = [encode(word) for word in self._labels.values()]
        for label, ids in zip(self._labels, learnt, strict=True):
            if (first := list(self._labels)[learnt.index(ids)]) != label:
                named = {"second": label, "wording": self._labels[label]}
                raise ValueError(Errors.P445.format(first=first, **named))
        self._kept = {label: word for label, word in own.items() if encode(word) not in learnt}
        for label in self._kept if keep else ():
            if wording := self._labels.get(label):
                named = {"own": own[label], "wording": wording}
                raise ValueError(Errors.P446.format(label=label, **named))
        self.n_weights = model.lm.model.num_parameters()
        self.has_tags = model.settings.reads_tags
        self._found = {**self._kept, **self._labels} if keep else self._labels
        self._rehearsed = self._annotate(base, rehearsed) if self._kept else []

    def _start(self, config: Mapping[str, Any]) -> Language:
        nlp = spacy.blank(self._lang)
        model = {"name": self._checkpoint, "device": self._device, **config.get("model", {})}
        nlp.add_pipe(NAME, config={**config, "model": model})
        return nlp

    def _annotate(self, base: Language, texts: Sequence[str]) -> list[Example]:
        """Let the checkpoint annotate texts for its own labels."""
        found = base.pipe(texts, component_cfg={NAME: {"labels": self._kept}})
        examples = [Example(base.make_doc(doc.text), doc) for doc in found]
        for eg in examples:
            ask_labels(eg.reference, self._kept)
        return examples

    def learn(
        self, examples: Sequence[Example], recipe: Recipe, tell: Callable[[int], object]
    ) -> Learnt:
        """Train in rounds, score each on the texts that it left out, and go on from their average.

        Args:
            examples: The annotated texts. Their references are changed: they state the labels that
                they are annotated for.
            recipe: How to train.
            tell: Called after each step, with the number of steps since the last call.

        Returns:
            The pipeline that has learnt from all texts. Its scores are those of the rounds, which
            learnt from fewer texts, and not as long.
        """
        fix_random_seed(self._seed)
        for eg in examples:
            # All are asked for the same labels, and annotated for no others.
            labels = list(self._labels)
            if (own := own_labels(eg.reference)) is not None:
                known = {*own, *(span.label_ for span in gold_spans(eg.reference, SPANS_KEY))}
                labels = [label for label in labels if label in known]
            ask_labels(eg.reference, None)
            keep_labels(eg.reference, labels, SPANS_KEY)
        scores = {
            bias: {label: MentionScores() for label in self._labels} for bias in recipe.biases
        }
        share = recipe.kept if self._rehearsed else 0.0
        start: Weights = {}
        average: Weights = {}
        nlp = None
        for left_out in divide(examples, recipe.rounds, self._seed):
            # Without the last one, as there may not be room for both.
            del nlp
            rest = [eg for eg in examples if eg not in left_out]
            with warnings.catch_warnings():
                # The last training warns of what cannot be taught, in all texts.
                warnings.simplefilter("ignore")
                nlp = self._begin(rest, recipe)
            start = start or _weights(nlp)
            self._train(nlp, rest, recipe, recipe.steps, tell)
            learnt = _weights(nlp)
            for name, weight in learnt.items():
                average.setdefault(name, torch.zeros_like(weight)).add_(weight / recipe.rounds)
            _load(nlp, _mix(learnt, start, share))
            del learnt
            component = find_component(nlp)
            for bias in recipe.biases:
                component.shim.set_tag_bias(bias, self._labels.values())
                docs = nlp.pipe([eg.reference.text for eg in left_out])
                for doc, eg in zip(docs, left_out, strict=True):
                    _add(scores[bias], doc, eg.reference)
        del nlp
        nlp = self._begin(examples, recipe)
        _load(nlp, average)
        self._train(nlp, examples, recipe, recipe.last_steps, tell)
        _load(nlp, _mix(_weights(nlp), start, share))
        # Of equals the first, as in the recipe.
        best = max(recipe.biases, key=lambda bias: add_up(scores[bias].values()).fscore)
        # What was rehearsed is as sure as it was.
        find_component(nlp).shim.set_tag_bias(best, self._labels.values())
        return Learnt(nlp, scores[best], best)

    def _begin(self, examples: Sequence[Example], recipe: Recipe) -> Language:
        """Make a pipeline with the checkpoint's weights, to be trained on examples."""
        swap = {"rate": recipe.swap, "uses": 1, "join": recipe.join, "capitals": 0.0}
        fast = has_fast_bfloat16(self._device.partition(":")[0])
        model = {"tag_text": recipe.tag_text, "mixed_precision": fast}
        augment = {"@misc": "spacy_padellm.swap_mentions.v1", **swap}
        nlp = self._start({"labels": self._found, "augment": augment, "model": model})
        find_component(nlp).initialize(lambda: examples, labels=self._found)
        return nlp

    def _train(
        self,
        nlp: Language,
        examples: Sequence[Example],
        recipe: Recipe,
        count: int,
        tell: Callable[[int], object],
    ) -> None:
        component = find_component(nlp)
        # Few texts say little of what words mean, and without these a step is faster.
        embeddings = component.shim.lm.model.get_input_embeddings().requires_grad_(False)
        optimizer = Adam(
            recipe.rate, beta2=0.98, L2=0.01, L2_is_weight_decay=True, use_averages=False
        )
        steps = zip(
            deal(examples, recipe.step_texts, recipe.step_words),
            deal(self._rehearsed, recipe.step_rehearsed, recipe.step_words),
            range(count),
            strict=False,
        )
        for own, rehearsed, step in steps:
            optimizer.learn_rate = recipe.find_rate(step, count)
            component.update([*own, *rehearsed], sgd=optimizer, drop=recipe.dropout)
            tell(1)
        embeddings.requires_grad_(True)


def _weights(nlp: Language) -> Weights:
    """Copy the weights of a pipeline, in single precision, so that few roundings add up."""
    state = find_component(nlp).shim.lm.model.state_dict()
    return {name: weight.cpu().to(torch.float32, copy=True) for name, weight in state.items()}


def _mix(learnt: Weights, start: Weights, share: float) -> Weights:
    """Replace a share of the weights that learnt by those at the start."""
    if share == 0:
        return learnt
    return {name: torch.lerp(weight, start[name], share) for name, weight in learnt.items()}


def _load(nlp: Language, weights: Weights) -> None:
    """Give a pipeline other weights."""
    lm = find_component(nlp).shim.lm
    lm.model.load_state_dict(weights)
    lm.forget_labels()


def divide(examples: Sequence[Example], count: int, seed: int) -> list[list[Example]]:
    """Divide examples into parts of about the same size. Equal texts are in the same part.

    Args:
        examples: The examples.
        count: Number of parts.
        seed: The seed of what goes where.
    """
    of_text: dict[str, list[Example]] = {}
    for eg in examples:
        of_text.setdefault(eg.text, []).append(eg)
    texts = random.Random(seed).sample(sorted(of_text), len(of_text))
    return [[eg for text in texts[n::count] for eg in of_text[text]] for n in range(count)]


def _add(scores: Mapping[str, MentionScores], doc: Doc, gold: Doc) -> None:
    """Add what was found in a text to the scores of each label."""
    sets = mention_sets(doc, gold, SPANS_KEY)
    for label, of_label in scores.items():
        of_label.add(*({each for each in mentions if each[0] == label} for mentions in sets))


def add_up(scores: Iterable[MentionScores]) -> MentionScores:
    """Add up scores."""
    counts = zip(*((each.found_gold, each.found, each.gold) for each in scores), strict=True)
    return MentionScores(*map(sum, counts))


def deal(examples: Sequence[Example], size: int, most_words: int) -> Iterator[list[Example]]:
    """Deal examples in hands without end, each as often as any other.

    Args:
        examples: The examples; without any, all hands are empty.
        size: Number of examples in a hand.
        most_words: Most words in a hand: with longer texts it is smaller, but one text at least.
    """
    pile: list[Example] = []
    while True:
        while examples and len(pile) < size:
            pile += random.sample(examples, len(examples))
        words = accumulate(len(eg.reference) for eg in pile[:size])
        count = max(1, sum(total <= most_words for total in words))
        yield pile[:count]
        pile = pile[count:]


def find_component(nlp: Language) -> PaDeLLMNER:
    """Return the component of a pipeline that learns."""
    component = nlp.get_pipe(NAME)
    assert isinstance(component, PaDeLLMNER)
    return component
