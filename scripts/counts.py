"""Try other ways to choose how many mentions of a label are written.

    python scripts/counts.py CHECKPOINT CORPUS [--limit N] [--dtype DTYPE]

The corpus is a file that `padellm benchmark --datasets` takes. All labels are opened. The mentions
of each label are written twice, under its most likely count and under the second most likely one,
and each rule chooses among them. A row for gold counts says what is lost to counts. If the model
was taught text tags, four more rows say what they mend.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from misses import GivenCounts, decode, load, score

from spacy_padellm import PaDeLLM
from spacy_padellm.decode.decoder import ParallelDecoder, Written
from spacy_padellm.decode.mentions import DecodedMention
from spacy_padellm.scoring import MentionScores
from spacy_padellm.settings import DecodingOptions
from spacy_padellm.texts import AnnotatedText
from spacy_padellm.tree.choices import Continuations
from spacy_padellm.tree.model_call import Readout
from spacy_padellm.tree.token_tree import TokenTree

# Counts up to here are compared. More mentions of a label in a text are rare.
MOST = 9


@dataclass(frozen=True)
class Counted:
    """The two most likely counts of a label, and what is written under each.

    Args:
        counts: The counts, the most likely one first.
        probs: The probability of each, among all counts up to `MOST`.
        zero: The probability that there is no mention.
        written: The mentions under each.
    """

    counts: tuple[int, int]
    probs: tuple[float, float]
    zero: float
    written: tuple[list[DecodedMention], list[DecodedMention]]

    @property
    def ratio(self) -> float:
        """How likely the second count is, relative to the first."""
        return self.probs[1] / self.probs[0]


Rule = Callable[[Counted], list[DecodedMention]]


def own(label: Counted) -> list[DecodedMention]:
    """The most likely count, as the paper has it."""
    return label.written[0]


def larger(least: float) -> Rule:
    """The larger count, if the second is at least this likely, relative to the first."""

    def choose(label: Counted) -> list[DecodedMention]:
        takes_second = label.counts[1] > label.counts[0] and label.ratio >= least
        return label.written[takes_second]

    return choose


def opened(most: float) -> Rule:
    """A count above 0, if "none" is less probable than this."""

    def choose(label: Counted) -> list[DecodedMention]:
        return label.written[label.counts[0] == 0 and label.zero < most]

    return choose


def extra(least: float, sure: float) -> Rule:
    """The most likely count, and probable mentions that only a larger count has."""

    def choose(label: Counted) -> list[DecodedMention]:
        first, second = label.written
        if label.counts[1] < label.counts[0] or label.ratio < least:
            return first
        known = {mention.places for mention in first}
        return first + [
            mention for mention in second if mention.places not in known and prob(mention) >= sure
        ]

    return choose


def marginal(least: float) -> Rule:
    """The mentions that are probable when both counts are summed over."""

    def choose(label: Counted) -> list[DecodedMention]:
        total: dict[object, float] = {}
        for share, mentions in zip(label.probs, label.written, strict=True):
            for mention in mentions:
                total[mention.places] = total.get(mention.places, 0.0) + share * prob(mention)
        kept = {mention.places: mention for each in label.written[::-1] for mention in each}
        return [mention for places, mention in kept.items() if total[places] >= least]

    return choose


RULES: dict[str, Rule] = {
    "the most likely count": own,
    **{f"the larger count, if at least {r} times as likely": larger(r) for r in (0.3, 0.5, 0.7)},
    **{f'a count above 0, if "none" is below {p}': opened(p) for p in (0.55, 0.65, 0.75)},
    **{
        f"and mentions of at least {p} of a larger count at least {r} times as likely": extra(r, p)
        for r in (0.1, 0.2, 0.4)
        for p in (0.5, 0.7)
    },
    **{f"mentions of at least {p}, both counts summed over": marginal(p) for p in (0.3, 0.4, 0.5)},
}


def prob(mention: DecodedMention) -> float:
    """The probability of a written mention."""
    return math.exp(mention.log_prob or 0.0)


@torch.inference_mode()
def count_probs(padellm: PaDeLLM, text: AnnotatedText) -> dict[str, list[float]]:
    """Compute the probabilities of the counts 0 to `MOST` of each label."""
    encoder, trie = padellm.encoder, padellm.encoder.counts
    tree = TokenTree(encoder.encode(text.source).prefix)
    # The steps of each count, from a node to an id, and the ids that may follow the node.
    steps: dict[tuple[str, int], list[tuple[int, int]]] = {}
    admissible: dict[int, list[int]] = {}
    for label in padellm.settings.labels:
        start = tree.insert(encoder.branches[label], tree.prefix_end)[-1]
        for number, ids in enumerate(encoder.count_ids[: MOST + 1]):
            nodes, place = [start, *tree.insert(ids[:-1], start)], trie.start
            steps[label, number] = list(zip(nodes, ids, strict=True))
            for node, token_id in steps[label, number]:
                admissible[node] = list(trie.children(place))
                place = trie.children(place)[token_id]
    over_vocabulary = padellm.settings.softmax == "vocabulary"
    continuations = Continuations(list(admissible.values()), over_vocabulary=over_vocabulary)
    run = padellm.lm.open([tree], len(tree))
    found = continuations.log_probs(run.logits([list(admissible)], Readout(continuations.needed)))
    of_node = {
        node: dict(zip(ids, log_probs, strict=False))
        for (node, ids), log_probs in zip(admissible.items(), found.tolist(), strict=True)
    }
    sums: dict[str, list[float]] = {label: [] for label in padellm.settings.labels}
    for (label, _), path in steps.items():
        sums[label].append(sum(of_node[node][token_id] for node, token_id in path))
    return {label: torch.tensor(each).softmax(0).tolist() for label, each in sums.items()}


def count_twice(padellm: PaDeLLM, texts: Sequence[AnnotatedText]) -> list[dict[str, Counted]]:
    """Write the mentions of each label under its two most likely counts."""
    probs = [count_probs(padellm, text) for text in texts]
    ranked = [
        {label: sorted(range(len(each)), key=each.__getitem__)[:-3:-1] for label, each in p.items()}
        for p in probs
    ]
    written: list[list[dict[str, list[DecodedMention]]]] = []
    for place in range(2):
        counts = [{label: each[place] for label, each in of_text.items()} for of_text in ranked]
        given = [GivenCounts.of_numbers(each, padellm) for each in counts]
        written.append([by_label(padellm, m) for m in decode(padellm, texts, given)])
    return [
        {
            label: Counted(
                (ranked[n][label][0], ranked[n][label][1]),
                (p[label][ranked[n][label][0]], p[label][ranked[n][label][1]]),
                p[label][0],
                (written[0][n][label], written[1][n][label]),
            )
            for label in p
        }
        for n, p in enumerate(probs)
    ]


def by_label(
    padellm: PaDeLLM, mentions: Sequence[DecodedMention]
) -> dict[str, list[DecodedMention]]:
    """Sort written mentions by label."""
    found: dict[str, list[DecodedMention]] = {label: [] for label in padellm.settings.labels}
    for mention in mentions:
        found[mention.label].append(mention)
    return found


def apply(rule: Rule, texts: Sequence[Mapping[str, Counted]]) -> list[list[DecodedMention]]:
    """List the mentions of each text that a rule chooses."""
    return [[mention for label in text.values() for mention in rule(label)] for text in texts]


def score_tags(padellm: PaDeLLM, texts: Sequence[AnnotatedText]) -> dict[str, MentionScores]:
    """Score what text tags find, alone and together with the model's counts."""
    scores: dict[str, MentionScores] = {}

    def write(name: str, options: DecodingOptions) -> tuple[ParallelDecoder, list[Written]]:
        decoder = ParallelDecoder(padellm.lm, padellm.encoder, padellm.settings, options)
        encoded = [padellm.encoder.encode(text.source) for text in texts]
        written = decoder.write(encoded, list(padellm.settings.labels))
        scores[name] = score(padellm, texts, [decoder.join(each) for each in written], options)
        return decoder, written

    write("tags alone", DecodingOptions(decode="tags"))
    decoder, written = write("tags and the most likely count", DecodingOptions(decode="all"))
    given = []
    for each in written:
        numbers = Counter(mention.label for mention in each.mentions)
        assert each.tags is not None  # Otherwise the decoder would have refused.
        larger = {label: max(numbers[label], each.tags.count(label)) for label in each.labels}
        given.append(GivenCounts.of_numbers(larger, padellm))
    under_larger = decode(padellm, texts, given)
    scores["the larger count of the model and its tags"] = score(padellm, texts, under_larger)
    joined = [
        decoder.join(replace(each, mentions=mentions))
        for each, mentions in zip(written, under_larger, strict=True)
    ]
    scores["tags and the larger count"] = score(padellm, texts, joined, decoder.options)
    return scores


def main() -> None:
    """Print a row for each rule."""
    padellm, texts = load(__doc__)
    counted = count_twice(padellm, texts)
    scores = {name: score(padellm, texts, apply(rule, counted)) for name, rule in RULES.items()}
    if padellm.settings.reads_tags:
        scores |= score_tags(padellm, texts)
    gold = [GivenCounts.of(text, padellm) for text in texts]
    scores["the gold counts"] = score(padellm, texts, decode(padellm, texts, gold))
    print("precision  recall  mentions_f")
    for name, found in scores.items():
        print(f"{found.precision:9.4f} {found.recall:7.4f} {found.fscore:11.4f}  {name}")


if __name__ == "__main__":
    main()
