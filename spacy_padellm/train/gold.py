"""Gold that can be taught, and gold that cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..prompt.encoder import PromptEncoder
from ..texts import AnnotatedText, Mention, TokenizedText

# A mention and its ids, the end token included.
TaughtMention = tuple[Mention, list[int]]


@dataclass
class LeftOut:
    """Gold mentions that cannot be taught, by reason.

    unaligned (List[Tuple[str, Mention]]): Not on the text's token boundaries, or without ids.
    too_long (List[Tuple[str, Mention]]): Longer than the longest mention.
    too_many (List[Tuple[str, Mention]]): Beyond the most mentions of a label.
    not_annotated (List[Tuple[str, Mention]]): Of a label their text is not annotated for.
    partly_annotated (List[Tuple[str, Mention]]): In a text that is not annotated for all labels.
        All mentions of a text in one sequence would teach that those of the others are absent.
    crossing (List[Tuple[str, Mention]]): Begin in another mention and end behind it, where they
        would have to nest.
    across_windows (List[Tuple[str, Mention]]): In no window of their text.
    """

    unaligned: list[tuple[str, Mention]] = field(default_factory=list)
    too_long: list[tuple[str, Mention]] = field(default_factory=list)
    too_many: list[tuple[str, Mention]] = field(default_factory=list)
    not_annotated: list[tuple[str, Mention]] = field(default_factory=list)
    partly_annotated: list[tuple[str, Mention]] = field(default_factory=list)
    crossing: list[tuple[str, Mention]] = field(default_factory=list)
    across_windows: list[tuple[str, Mention]] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(mentions) for mentions in vars(self).values())

    def extend(self, other: LeftOut) -> None:
        """other (LeftOut): More of them."""
        for reason, mentions in vars(self).items():
            mentions += getattr(other, reason)

    def describe(self) -> str:
        """RETURNS (str): How many for each reason, each with an example."""
        return "; ".join(
            f"{len(mentions)} {reason.replace('_', ' ')} "
            f"(for example {mention.label} {text[mention.start : mention.end]!r})"
            for reason, mentions in vars(self).items()
            for text, mention in mentions[:1]
        )


def find_teachable(
    text: AnnotatedText,
    labels: Sequence[str],
    encoder: PromptEncoder,
    *,
    max_mention_tokens: int,
    max_mentions: int | None = None,
) -> tuple[dict[str, list[TaughtMention]], LeftOut]:
    """text (AnnotatedText): A text with its gold mentions.
    labels (Sequence[str]): The labels to teach; those the text is not annotated for are left out.
    encoder (PromptEncoder): The template's ids.
    max_mention_tokens (int): Longest mention, in tokens of the text.
    max_mentions (Optional[int]): Most mentions of a label, `None` for any number.
    RETURNS (Tuple[Dict[str, List[TaughtMention]], LeftOut]): For each label to teach its mentions
        in order of appearance, and the gold that is not among them.
    """
    annotated = set(labels if text.labels is None else text.labels)
    taught: dict[str, list[TaughtMention]] = {}
    taught.update((label, []) for label in labels if label in annotated)
    left_out = LeftOut()
    source = text.source
    first, last = _solid_tokens(source)
    left_out.not_annotated += [
        (source.text, mention)
        for mention in sorted(text.mentions)
        if mention.label in labels and mention.label not in annotated
    ]
    # A mention listed twice is one.
    ordered = sorted({m for m in text.mentions if m.label in taught})
    strings = [source.text[m.start : m.end] for m in ordered]
    for mention, ids in zip(ordered, encoder.mentions(strings), strict=True):
        if ids is None or mention.start not in first or mention.end not in last:
            left_out.unaligned.append((source.text, mention))
        elif last[mention.end] - first[mention.start] >= max_mention_tokens:
            left_out.too_long.append((source.text, mention))
        elif len(taught[mention.label]) == max_mentions:
            left_out.too_many.append((source.text, mention))
        else:
            taught[mention.label].append((mention, ids))
    return taught, left_out


def _solid_tokens(source: TokenizedText) -> tuple[dict[int, int], dict[int, int]]:
    """RETURNS (Tuple[Dict[int, int], Dict[int, int]]): For each place where a token starts that
    is not whitespace, and for each where one ends, the token's number.
    """
    solid = [
        (place, start, end)
        for place, (start, end) in enumerate(source.tokens)
        if not source.text[start:end].isspace()
    ]
    return {start: n for n, start, _ in solid}, {end: n for n, _, end in solid}
