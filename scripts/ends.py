"""Try an end that is written at once in a mention beyond the count.

    python scripts/ends.py finetune CONFIG [--set NAME=VALUE ...]
    python scripts/ends.py CHECKPOINT CORPUS [--limit N] [--dtype DTYPE]

The first command is `padellm finetune`, but each label is also taught that under a count that is
too large by one, the last mention ends at once. The second one prints a row for each way to choose
counts with what was learnt. All labels are opened, without text tags.
"""

from __future__ import annotations

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from counts import MOST, by_label, count_probs
from misses import GivenCounts, decode, load, score

from spacy_padellm import PaDeLLM
from spacy_padellm.cli.app import create_app
from spacy_padellm.decode.mentions import DecodedMention
from spacy_padellm.prompt.encoder import EncodedText, PromptEncoder
from spacy_padellm.texts import AnnotatedText
from spacy_padellm.train.objective import ParallelObjective, Taught
from spacy_padellm.train.supervised import SupervisedTree
from spacy_padellm.tree.choices import Continuations
from spacy_padellm.tree.model_call import Readout
from spacy_padellm.tree.token_tree import TokenTree


class EndsObjective(ParallelObjective):
    """The objective that also teaches the end beyond the count. Its softmax is the vocabulary's."""

    def teach(self, text: EncodedText, taught: Taught) -> SupervisedTree:
        """Build a tree of all counts and mentions, and of the ends beyond the counts."""
        built = super().teach(text, taught)
        for ids in self._beyond(taught):
            built.nodes.append(built.tree.insert(ids, built.tree.prefix_end)[-1])
            built.targets.append(self.encoder.end_id)
            built.weights.append(1.0)
        return built

    def sequences(self, text: EncodedText, taught: Taught) -> Iterator[list[int]]:
        """List the ids after the text in each of the tree's sequences."""
        yield from super().sequences(text, taught)
        for ids in self._beyond(taught):
            yield [*ids, self.encoder.end_id]

    def _beyond(self, taught: Taught) -> Iterator[list[int]]:
        """List the ids up to the last mention under each count that is too large by one."""
        for label, mentions in taught.items():
            if len(mentions) < self.encoder.max_mentions:
                yield open_last(self.encoder, label, len(mentions) + 1)


def open_last(encoder: PromptEncoder, label: str, count: int) -> list[int]:
    """List the ids after the text up to the last mention under a count."""
    return [*encoder.branches[label], *encoder.count_ids[count], *encoder.openers[count]]


class Counts(NamedTuple):
    """What a model says of the number of a label's mentions.

    Args:
        counts: The probability of each count from 0 on.
        ends: The probability that the last mention ends at once, under each count from 1 on.
    """

    counts: list[float]
    ends: list[float]


Rule = Callable[[Counts], int]


def own(label: Counts) -> int:
    """The most likely count."""
    return max(range(len(label.counts)), key=label.counts.__getitem__)


def first_end(least: float, begin: Rule = lambda label: 0) -> Rule:
    """Go on from a count as long as the next mention's end is less probable than this."""

    def choose(label: Counts) -> int:
        count = begin(label)
        while count < len(label.ends) and label.ends[count] < least:
            count += 1
        return count

    return choose


def joint(share: float) -> Rule:
    """The most likely count, when the ends have this share of the log-probability.

    The largest count has no end to go by, and is not chosen.
    """

    def choose(label: Counts) -> int:
        def log_prob(count: int) -> float:
            goes_on = sum(math.log(max(1 - end, 1e-9)) for end in label.ends[:count])
            ends = goes_on + math.log(max(label.ends[count], 1e-9))
            return (1 - share) * math.log(max(label.counts[count], 1e-9)) + share * ends

        return max(range(len(label.ends)), key=log_prob)

    return choose


RULES: dict[str, Rule] = {
    "the most likely count": own,
    **{f"mentions until an end of at least {p}": first_end(p) for p in (0.3, 0.5, 0.7)},
    **{f"counts and ends together, ends with a share of {w}": joint(w) for w in (0.3, 0.5, 0.7)},
    **{
        f"the most likely count, and on until an end of at least {p}": first_end(p, own)
        for p in (0.2, 0.3, 0.5)
    },
}


@torch.inference_mode()
def end_probs(padellm: PaDeLLM, text: AnnotatedText) -> dict[str, list[float]]:
    """Compute how probable the end of the last mention is under the counts 1 to `MOST`."""
    encoder = padellm.encoder
    tree = TokenTree(encoder.encode(text.source).prefix)
    most = min(MOST, encoder.max_mentions)
    nodes = {
        (label, count): tree.insert(open_last(encoder, label, count), tree.prefix_end)[-1]
        for label in padellm.settings.labels
        for count in range(1, most + 1)
    }
    continuations = Continuations([[encoder.end_id]] * len(nodes), over_vocabulary=True)
    run = padellm.lm.open([tree], len(tree))
    logits = run.logits([list(nodes.values())], Readout(continuations.needed))
    probs = continuations.log_probs(logits).exp().flatten().tolist()
    found: dict[str, list[float]] = {label: [] for label in padellm.settings.labels}
    for (label, _), prob in zip(nodes, probs, strict=True):
        found[label].append(prob)
    return found


def write_under(
    padellm: PaDeLLM, texts: Sequence[AnnotatedText], chosen: Sequence[Sequence[dict[str, int]]]
) -> list[dict[tuple[str, int], list[DecodedMention]]]:
    """Write the mentions of each label under each count that is chosen for it.

    Args:
        padellm: The model.
        texts: The texts.
        chosen: For each rule and each text, the count of each label.
    """
    written: list[dict[tuple[str, int], list[DecodedMention]]] = [{} for _ in texts]
    todo: list[dict[str, list[int]]] = [defaultdict(list) for _ in texts]
    for numbers in chosen:
        for counts, each in zip(todo, numbers, strict=True):
            for label, count in each.items():
                if count not in counts[label]:
                    counts[label].append(count)
    while left := [n for n, counts in enumerate(todo) if any(counts.values())]:
        # A label whose counts are all written gets no mention.
        taken = [{label: each[-1] if each else 0 for label, each in todo[n].items()} for n in left]
        given = [GivenCounts.of_numbers(each, padellm) for each in taken]
        found = decode(padellm, [texts[n] for n in left], given)
        for n, counts, mentions in zip(left, taken, found, strict=True):
            sorted_mentions = by_label(padellm, mentions)
            for label, count in counts.items():
                written[n][label, count] = sorted_mentions[label]
                del todo[n][label][-1:]
    return written


def main() -> None:
    """Print a row for each rule."""
    padellm, texts = load(__doc__)
    told = []
    for text in texts:
        counts, ends = count_probs(padellm, text), end_probs(padellm, text)
        told.append({label: Counts(counts[label], ends[label]) for label in counts})
    chosen = {
        name: [{label: rule(each) for label, each in of_text.items()} for of_text in told]
        for name, rule in RULES.items()
    }
    numbers = [Counter(mention.label for mention in text.mentions) for text in texts]
    most, labels = padellm.encoder.max_mentions, list(padellm.settings.labels)
    chosen["the gold counts"] = [{label: min(n[label], most) for label in labels} for n in numbers]
    written = write_under(padellm, texts, list(chosen.values()))
    print("precision  recall  mentions_f")
    for name, counts in chosen.items():
        mentions = [
            [mention for item in each.items() for mention in of_text[item]]
            for of_text, each in zip(written, counts, strict=True)
        ]
        found = score(padellm, texts, mentions)
        print(f"{found.precision:9.4f} {found.recall:7.4f} {found.fscore:11.4f}  {name}")


def finetune() -> None:
    """Run the command line with the other objective."""

    def make_objective(padellm: PaDeLLM, tag_text: float = 0.0) -> EndsObjective:
        return EndsObjective(padellm.encoder, padellm.settings, tag_text)

    PaDeLLM.make_objective = make_objective  # type: ignore[method-assign]
    create_app()()


if __name__ == "__main__":
    if sys.argv[1:2] == ["finetune"]:
        finetune()
    else:
        main()
