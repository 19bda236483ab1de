"""Three ways to decode, compared: the tree, separate sequences on the same tries, no tries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..errors import Errors
from .causal_lm import CausalLM
from .checkpoint import CheckpointSettings
from .decoding.parallel import ParallelDecoder
from .decoding.unconstrained import UnconstrainedDecoder, WrittenText
from .limits import MentionLimits
from .mentions import DecodedMention
from .prompt import PromptEncoder
from .texts import TokenizedText
from .trie import admissible_spans

# Why plain decoding may write something else, in the order a reason is looked for.
MALFORMED_COUNT = "wrote something else than a count"
TOO_MANY = "counted more mentions of a label than are allowed"
NOT_IN_TEXT = "wrote a mention that is not in the text"
NOT_ADMISSIBLE = "wrote a stretch that is cut through a token, too long or not ended"
OTHER_CHOICE = "chose other counts or mentions, all of them possible"


@dataclass
class Comparison:
    """What was compared so far.

    texts (int): Texts.
    same_as_sequences (int): Those with the same mentions from tree and separate sequences.
    largest_difference (float): Largest difference of a mention's log-probability between them.
    same_as_plain (int): Texts with the same mentions from tree and plain decoding.
    reasons (Counter[str]): For the others, how many for each reason.
    """

    texts: int = 0
    same_as_sequences: int = 0
    largest_difference: float = 0.0
    same_as_plain: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def compare_decoders(
    lm: CausalLM,
    settings: CheckpointSettings,
    texts: Iterable[TokenizedText],
) -> Comparison:
    """lm (CausalLM): A trained model.
    settings (CheckpointSettings): What it is to be run with.
    texts (Iterable[TokenizedText]): The texts.
    RETURNS (Comparison): How the decoders agree.
    RAISES (ValueError): The model writes an output format.
    """
    if settings.output_format != "parallel":
        raise ValueError(Errors.P038.format(output_format=settings.output_format))
    encoder = PromptEncoder(settings.template, settings.labels, lm.tokenizer)
    labels, limits = tuple(settings.labels), settings.limits
    tree = ParallelDecoder(lm, encoder, limits, settings.softmax)
    sequences = ParallelDecoder(lm.forced("sequences"), encoder, limits, settings.softmax)
    plain = UnconstrainedDecoder(lm.forced("sequences"), encoder, limits)
    result = Comparison()
    for text in texts:
        ((found,), (expected,)) = (d.decode([text], labels) for d in (tree, sequences))
        result.texts += 1
        if [(m.label, m.places) for m in found] == [(m.label, m.places) for m in expected]:
            result.same_as_sequences += 1
            for a, b in zip(found, expected, strict=True):
                difference = abs(a.log_prob - b.log_prob)
                result.largest_difference = max(result.largest_difference, difference)
        written = plain.decode(text, labels)
        reason = _why_different(text, found, written, limits)
        if reason is None:
            result.same_as_plain += 1
        else:
            result.reasons[reason] += 1
    return result


def _why_different(
    text: TokenizedText,
    found: Sequence[DecodedMention],
    written: WrittenText,
    limits: MentionLimits,
) -> str | None:
    strings = Counter((m.label, text.text[slice(*m.places[0])]) for m in found)
    if written.malformed_counts:
        return MALFORMED_COUNT
    if written.excessive_counts:
        return TOO_MANY
    if strings == Counter((m.label, m.string) for m in written.mentions):
        return None
    if any(mention.string not in text.text for mention in written.mentions):
        return NOT_IN_TEXT
    spans = admissible_spans(text, limits.max_mention_tokens)
    possible = {text.text[start:end] for start, end in spans}
    if any(m.string not in possible or not m.ended for m in written.mentions):
        return NOT_ADMISSIBLE
    return OTHER_CHOICE
