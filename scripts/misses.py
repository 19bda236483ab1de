"""Say why a model misses mentions, and what its counts cost it.

    python scripts/misses.py CHECKPOINT CORPUS [--limit N] [--dtype DTYPE]

The corpus is a file that `padellm benchmark --datasets` takes. All labels are opened, without text
tags.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from spacy_padellm import PaDeLLM
from spacy_padellm.benchmark.datasets import load_datasets
from spacy_padellm.benchmark.replay import Replay, ReplayedText, ReplayingDecoder
from spacy_padellm.decode.mentions import DecodedMention, non_overlapping, resolve
from spacy_padellm.scoring import MentionScores
from spacy_padellm.settings import DecodingOptions
from spacy_padellm.texts import AnnotatedText
from spacy_padellm.tree.token_tree import Trie

# Counts from here on are one row of the table.
MOST = 5


class GivenCounts(Replay):
    """What decoders write for a text: given counts, and mentions of their own choice."""

    @classmethod
    def of_numbers(cls, numbers: Mapping[str, int], padellm: PaDeLLM) -> GivenCounts:
        """Give the number of mentions of each label."""
        # Only the number of a label's mentions counts here.
        return cls({label: [[]] * n for label, n in numbers.items()}, [], 0, padellm.encoder)

    @cached_property
    def following(self) -> Trie[None]:
        """The trie of the counts."""
        counts = self.encoder.count_ids
        return Trie(
            ([*self.encoder.branches[label], *counts[len(mentions)]], None)
            for label, mentions in self.mentions.items()
        )


def decode(
    padellm: PaDeLLM, texts: Sequence[AnnotatedText], given: Sequence[GivenCounts] | None = None
) -> list[list[DecodedMention]]:
    """Write the mentions of texts.

    Args:
        padellm: The model.
        texts: The texts with their gold mentions.
        given: The counts of each text; `None` for those that the model finds.
    """
    options = DecodingOptions(tag_share=0.0, decode="all")
    decoder = ReplayingDecoder(padellm.lm, padellm.encoder, padellm.settings, options)
    encoded = [padellm.encoder.encode(text.source) for text in texts]
    if given is not None:
        encoded = [ReplayedText.of(*each) for each in zip(encoded, given, strict=True)]
    return decoder.decode(encoded)


def score(
    padellm: PaDeLLM,
    texts: Sequence[AnnotatedText],
    written: Sequence,
    options: DecodingOptions | None = None,
) -> MentionScores:
    """Score what was written.

    Args:
        padellm: The model.
        texts: The texts with their gold mentions.
        written: The mentions of each text.
        options: The weight of the tags; `None` for the model's own options.
    """
    scores = MentionScores()
    for text, mentions in zip(texts, written, strict=True):
        found = non_overlapping(resolve(text.source.text, mentions, options or padellm.options))
        scores.add_text(text, found, padellm.settings.labels)
    return scores


def find_causes(
    padellm: PaDeLLM, texts: Sequence[AnnotatedText], written: Sequence
) -> tuple[Counter[str], dict[int, Counter[str]]]:
    """Find out why mentions are missing.

    Returns:
        The number of missing mentions by cause. And for each number of gold mentions of a label,
        how many counts were right and wrong.
    """
    causes: Counter[str] = Counter()
    counted: dict[int, Counter[str]] = {number: Counter() for number in range(MOST + 1)}
    for text, mentions in zip(texts, written, strict=True):
        string = text.source.text
        found = non_overlapping(resolve(string, mentions, padellm.options))
        kept = {(e.label, string[e.start : e.end]) for e in found}
        wrote = {(m.label, string[slice(*place)]) for m in mentions for place in m.places}
        strings = {each for _, each in wrote}
        counts = Counter(mention.label for mention in mentions)
        gold = Counter(mention.label for mention in text.mentions)
        for label in padellm.settings.labels:
            way = "right" if counts[label] == gold[label] else "wrong"
            counted[min(gold[label], MOST)][way] += 1
        # A count that is too low by one loses one mention. What else is missing has other causes.
        short = gold - counts
        lost = {(m.label, string[m.start : m.end]) for m in text.mentions} - kept
        for label, missing in sorted(lost):
            if (label, missing) in wrote:
                cause = "written, but another label or place was more probable"
            elif short[label]:
                short[label] -= 1
                cause = "the count was too low"
            elif missing in strings:
                cause = "written for another label"
            else:
                cause = "something else was written"
            causes[cause] += 1
    return causes, counted


def find_order(padellm: PaDeLLM, texts: Sequence[AnnotatedText], written: Sequence) -> Counter[str]:
    """Count the gold mentions that are written under their own number, under another, or not.

    Args:
        padellm: The model.
        texts: The texts with their gold mentions.
        written: The mentions of each text, under the gold counts.
    """
    found: Counter[str] = Counter()
    for text, mentions in zip(texts, written, strict=True):
        string = text.source.text
        for label in padellm.settings.labels:
            gold = sorted((m.start, m.end) for m in text.mentions if m.label == label)
            expected = [string[slice(*place)] for place in gold]
            wrote = [string[slice(*m.places[0])] for m in mentions if m.label == label]
            same = sum(a == b for a, b in zip(expected, wrote, strict=False))
            # Each mention written stands for one gold mention at most.
            kept = sum((Counter(expected) & Counter(wrote)).values())
            found["under their own number"] += same
            found["under another number"] += kept - same
            found["not written"] += len(expected) - kept
            found["written once more than they are there"] += sum(
                number - max(Counter(expected)[each], 1)
                for each, number in Counter(wrote).items()
                if number > max(Counter(expected)[each], 1)
            )
    return found


def load(description: str | None) -> tuple[PaDeLLM, Sequence[AnnotatedText]]:
    """Load the model and the texts that the command line names."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("checkpoint")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    (dataset,) = load_datasets([arguments.corpus], limit=arguments.limit)
    padellm = PaDeLLM.from_pretrained(arguments.checkpoint, tag_share=0.0, dtype=arguments.dtype)
    return padellm, dataset.texts


def main() -> None:
    """Print scores with the model's counts, gold counts and the other softmax, and causes."""
    padellm, texts = load(__doc__)
    written = decode(padellm, texts)
    gold = [GivenCounts.of(text, padellm) for text in texts]
    under_gold = decode(padellm, texts, gold)
    softmax = "admissible" if padellm.settings.softmax == "vocabulary" else "vocabulary"
    other = padellm.with_settings(replace(padellm.settings, softmax=softmax))
    rows = {
        "its own counts": written,
        "gold counts": under_gold,
        f'softmax = "{softmax}"': decode(other, texts),
    }
    for name, each in rows.items():
        found = score(padellm, texts, each)
        print(
            f"with {name}: precision {found.precision:.4f}, recall {found.recall:.4f}, "
            f"mentions_f {found.fscore:.4f}"
        )
    order = find_order(padellm, texts, under_gold)
    print("with gold counts: " + ", ".join(f"{number} {name}" for name, number in order.items()))
    causes, counted = find_causes(padellm, texts, written)
    print(f"missing mentions: {sum(causes.values())}")
    for cause, number in causes.most_common():
        print(f"  {number}: {cause}")
    print("gold mentions of a label, and the share of wrong counts:")
    for number, ways in counted.items():
        total = sum(ways.values())
        more = " or more" if number == MOST else ""
        print(f"  {number}{more}: {ways['wrong'] / max(total, 1):.3f} of {total}")


if __name__ == "__main__":
    main()
