"""Compare three ways to decode: the tree, separate sequences with the same tries, no tries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..decode.decoder import ParallelDecoder
from ..decode.mentions import DecodedMention
from ..errors import Errors
from ..model import PaDeLLM
from ..prompt.encoder import EncodedText
from ..settings import PARALLEL, DecodingOptions
from ..texts import TokenizedText
from ..tree.run import TreeSupport
from .decoders import DRAFT_THRESHOLD
from .padded import PaddedLM
from .unconstrained import UnconstrainedDecoder, WrittenText

Walk = Literal["sequences", "batch"]

# Reasons why plain decoding may write something else, in the order in which they are checked.
MALFORMED_COUNT = "wrote something else than a count"
TOO_MANY = "counted more mentions of a label than are allowed"
NOT_IN_TEXT = "wrote a mention that is not in the text"
NOT_ADMISSIBLE = "wrote a stretch that is cut through a token, too long or not ended"
OTHER_CHOICE = "chose other counts or mentions, all of them possible"


@dataclass
class Agreement:
    """The agreement of the tree with separate sequences that use the same tries.

    The sequences are written one token a pass.

    Args:
        same: Number of texts with the same mentions.
        largest_difference: Largest difference between the two log-probabilities of a mention in
            these texts.
    """

    same: int = 0
    largest_difference: float = 0.0

    def add(self, found: Sequence[DecodedMention], expected: Sequence[DecodedMention]) -> None:
        """Add a text.

        Args:
            found: The mentions that the tree found.
            expected: The mentions that the sequences found.
        """
        if [(m.label, m.places) for m in found] == [(m.label, m.places) for m in expected]:
            self.same += 1
            pairs = zip(found, expected, strict=True)
            # Tags are off, so every mention was written and has a log-probability.
            differences = [abs((a.log_prob or 0.0) - (b.log_prob or 0.0)) for a, b in pairs]
            self.largest_difference = max([self.largest_difference, *differences])


@dataclass
class Comparison:
    """The results of a comparison.

    Args:
        texts: Number of texts.
        walks: Agreement with separate sequences. `"sequences"` are run whole in every pass.
            `"batch"` is the paper's way with a KV cache, and is left out if the model cannot run
            it.
        same_as_plain: Number of texts for which plain decoding found the same mentions as the tree.
        reasons: Reason → number of the other texts that differ for this reason.
    """

    texts: int = 0
    walks: dict[Walk, Agreement] = field(default_factory=dict)
    same_as_plain: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def compare_decoders(padellm: PaDeLLM, texts: Iterable[TokenizedText]) -> Comparison:
    """Decode texts in every way, and compare what is found.

    Args:
        padellm: A trained model.
        texts: The texts.

    Raises:
        ValueError: The model writes another output format than `"parallel"`.
    """
    lm, settings = padellm.lm, padellm.settings
    if settings.output_format != PARALLEL:
        raise ValueError(Errors.P038.format(output_format=settings.output_format))
    sequences = lm.run_as("sequences")
    options = DecodingOptions(tag_share=0.0, draft_threshold=DRAFT_THRESHOLD)
    stepwise = replace(options, draft_threshold=None)
    tree = ParallelDecoder(lm, padellm.encoder, settings, options)
    walkers: dict[Walk, ParallelDecoder] = {
        "sequences": ParallelDecoder(sequences, padellm.encoder, settings, stepwise)
    }
    if has_cache(lm.support):
        padded = PaddedLM(lm, "batch")
        walkers["batch"] = ParallelDecoder(padded, padellm.encoder, settings, stepwise)
    plain = UnconstrainedDecoder(PaDeLLM(sequences, settings))
    result = Comparison(walks={way: Agreement() for way in walkers})
    for text in texts:
        encoded = padellm.encode(text)
        (found,) = tree.decode([encoded])
        result.texts += 1
        for way, walker in walkers.items():
            result.walks[way].add(found, walker.decode([encoded])[0])
        reason = _why_different(encoded, found, plain.write(encoded))
        if reason is None:
            result.same_as_plain += 1
        else:
            result.reasons[reason] += 1
    return result


def has_cache(support: TreeSupport) -> bool:
    """Return whether separate sequences can keep a KV cache.

    They cannot if the model takes a 3d mask that does not work with a cache.
    """
    return support.way != "recomputed" or support.mask_form != "3d"


def _why_different(
    text: EncodedText, found: Sequence[DecodedMention], written: WrittenText
) -> str | None:
    """Return why plain decoding wrote something else; `None` if it wrote the same."""
    strings = Counter((m.label, text.text[slice(*m.places[0])]) for m in found)
    if written.malformed_counts:
        return MALFORMED_COUNT
    if written.excessive_counts:
        return TOO_MANY
    if strings == Counter((m.label, m.string) for m in written.mentions):
        return None
    if any(mention.string not in text.text for mention in written.mentions):
        return NOT_IN_TEXT
    possible = {text.text[start:end] for start, end in text.spans}
    if any(m.string not in possible or not m.is_ended for m in written.mentions):
        return NOT_ADMISSIBLE
    return OTHER_CHOICE
