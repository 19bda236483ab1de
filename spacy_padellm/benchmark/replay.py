"""Gold mentions → what each way of decoding writes for them, ids and all."""

from __future__ import annotations

from collections.abc import Mapping

from ..decode.writing import Replay
from ..limits import MentionLimits
from ..prompt.encoder import PromptEncoder
from ..texts import AnnotatedText, Mention
from ..tree.trie import admissible_spans
from .output_formats.base import OutputFormat


def replayable(
    text: AnnotatedText, labels: Mapping[str, str], limits: MentionLimits, encoder: PromptEncoder
) -> dict[str, list[Mention]]:
    """text (AnnotatedText): A text with its gold mentions.
    labels (Mapping[str, str]): The labels that are looked for.
    limits (MentionLimits): How much may be written.
    encoder (PromptEncoder): Says what a mention's ids are.
    RETURNS (Dict[str, List[Mention]]): For each label the mentions that can be written, in order
        of appearance.
    """
    possible = set(admissible_spans(text.source, limits.max_mention_tokens))
    found: dict[str, list[Mention]] = {label: [] for label in labels}
    for mention in sorted(text.mentions):
        of_label = found.get(mention.label)
        string = text.source.text[mention.start : mention.end]
        if (
            of_label is not None
            and (mention.start, mention.end) in possible
            and len(of_label) < limits.max_mentions
            and encoder.mentions([string]) != [None]
        ):
            of_label.append(mention)
    return found


def replay_mentions(
    text: AnnotatedText, mentions: Mapping[str, list[Mention]], encoder: PromptEncoder
) -> Replay:
    """text (AnnotatedText): The text.
    mentions (Mapping[str, List[Mention]]): Of each label, those to write.
    encoder (PromptEncoder): Says what a mention's ids are.
    RETURNS (Mapping[str, List[List[int]]]): The ids of each label's mentions.
    """
    return {
        label: [
            ids
            for ids in encoder.mentions([text.source.text[m.start : m.end] for m in of_label])
            if ids is not None
        ]
        for label, of_label in mentions.items()
    }


def replay_output(
    text: AnnotatedText,
    mentions: Mapping[str, list[Mention]],
    encoder: PromptEncoder,
    output_format: OutputFormat,
) -> tuple[list[int], int]:
    """text (AnnotatedText): The text.
    mentions (Mapping[str, List[Mention]]): Of each label, those to write.
    encoder (PromptEncoder): Says what an output's ids are.
    output_format (OutputFormat): How they are written.
    RETURNS (Tuple[List[int], int]): The ids of the output, and how many mentions are not in it: of
        those that cross, augmented text has one.
    """
    listed = [mention for of_label in mentions.values() for mention in of_label]
    output, left_out = output_format.render(text.source, listed, encoder.wordings)
    return encoder.output(output), len(left_out)
