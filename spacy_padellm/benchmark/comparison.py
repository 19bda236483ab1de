"""Ways to decode, compared: the tree, separate sequences on the same tries, no tries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..checkpoints.settings import CheckpointSettings
from ..decode.mentions import DecodedMention
from ..decode.parallel import ParallelDecoder
from ..errors import Errors
from ..limits import MentionLimits
from ..prompt.encoder import PromptEncoder
from ..texts import TokenizedText
from ..tree.causal_lm import CausalLM
from ..tree.support import Way
from ..tree.trie import admissible_spans
from .unconstrained import UnconstrainedDecoder, WrittenText

# Why plain decoding may write something else, in the order a reason is looked for.
MALFORMED_COUNT = "wrote something else than a count"
TOO_MANY = "counted more mentions of a label than are allowed"
NOT_IN_TEXT = "wrote a mention that is not in the text"
NOT_ADMISSIBLE = "wrote a stretch that is cut through a token, too long or not ended"
OTHER_CHOICE = "chose other counts or mentions, all of them possible"


@dataclass
class Agreement:
    """How the tree agrees with separate sequences that walk the same tries, a token a pass.

    same (int): Texts with the same mentions.
    largest_difference (float): Largest difference of a mention's log-probability in these.
    """

    same: int = 0
    largest_difference: float = 0.0

    def add(self, found: Sequence[DecodedMention], expected: Sequence[DecodedMention]) -> None:
        """found (Sequence[DecodedMention]): What the tree found in a text.
        expected (Sequence[DecodedMention]): What the sequences did.
        """
        if [(m.label, m.places) for m in found] == [(m.label, m.places) for m in expected]:
            self.same += 1
            pairs = zip(found, expected, strict=True)
            differences = [abs(a.log_prob - b.log_prob) for a, b in pairs]
            self.largest_difference = max([self.largest_difference, *differences])


@dataclass
class Comparison:
    """What was compared so far.

    texts (int): Texts.
    walks (Dict[Way, Agreement]): Agreement with `"sequences"` run whole at each pass, and with the
        paper's `"batch"` with a KV cache, where the model can run it.
    same_as_plain (int): Texts with the same mentions from tree and plain decoding.
    reasons (Counter[str]): For the others, how many for each reason.
    """

    texts: int = 0
    walks: dict[Way, Agreement] = field(default_factory=dict)
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
    ways: list[Way] = ["sequences"]
    if lm.support.has_cache:
        ways.append("batch")
    walkers = {
        way: ParallelDecoder(lm.forced(way), encoder, limits, settings.softmax, policy=None)
        for way in ways
    }
    plain = UnconstrainedDecoder(lm.forced("sequences"), encoder, limits)
    result = Comparison(walks={way: Agreement() for way in ways})
    for text in texts:
        (found,) = tree.decode([text], labels)
        result.texts += 1
        for way, walker in walkers.items():
            result.walks[way].add(found, walker.decode([text], labels)[0])
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
