"""What every objective does: select what can be taught, make its tree, tag the text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..errors import Errors
from ..limits import MentionLimits
from ..prompt.encoder import PromptEncoder
from ..texts import AnnotatedText, TokenizedText
from .gold import LeftOut, TaughtMention
from .supervised_tree import SupervisedTree
from .text_tags import TextTagger


class Examination(NamedTuple):
    """What a text would be taught.

    left_out (LeftOut): The gold mentions that cannot be taught.
    depth (int): The depth of its tree.
    is_taught (bool): Whether it teaches anything.
    """

    left_out: LeftOut
    depth: int
    is_taught: bool


class Objective(ABC):
    """Builds supervised trees.

    encoder (PromptEncoder): The template's ids.
    limits (MentionLimits): Gold beyond them is left out.
    tag_text (float): Weight of what each token of the text is taught in addition (see
        `text_tags`), as a part of a sequence's; 0 for the paper's objective.
    RAISES (ValueError): A negative weight, or a tokenizer that text tags are not possible with.
    """

    def __init__(
        self, encoder: PromptEncoder, limits: MentionLimits, tag_text: float = 0.0
    ) -> None:
        if tag_text < 0:
            raise ValueError(Errors.P034.format(value=tag_text))
        self.encoder = encoder
        self.limits = limits
        self.tag_text = tag_text
        self._tagger = (
            TextTagger(encoder, encoder.wordings, limits.max_mentions) if tag_text else None
        )

    @property
    def teaches_tags(self) -> bool:
        """RETURNS (bool): Whether it teaches text tags that can be read in decoding."""
        return self._tagger is not None and self.encoder.has_offsets

    def build(self, text: AnnotatedText, labels: Sequence[str]) -> tuple[SupervisedTree, LeftOut]:
        """text (AnnotatedText): A text with its gold mentions.
        labels (Sequence[str]): The labels to teach; those the text is not annotated for are not
            taught as absent.
        RETURNS (Tuple[SupervisedTree, LeftOut]): The tree and the gold that is not in it.
        """
        taught, left_out = self._select(text, labels)
        built = self._teach(text.source, taught)
        self._add_tags(built, text.source.text, taught)
        return built, left_out

    def examine(self, text: AnnotatedText, labels: Sequence[str]) -> Examination:
        """What `build` would do, without building.

        text (AnnotatedText): A text with its gold mentions.
        labels (Sequence[str]): The labels to teach.
        RETURNS (Examination): What there is to know of it.
        """
        taught, left_out = self._select(text, labels)
        longest = max(self._lengths(text.source, taught), default=1)
        # A sequence's last token is a target only.
        depth = len(self.encoder.prefix(text.source.text)) + longest - 1
        return Examination(left_out, depth, bool(taught))

    @abstractmethod
    def _select(
        self, text: AnnotatedText, labels: Sequence[str]
    ) -> tuple[dict[str, list[TaughtMention]], LeftOut]:
        """RETURNS (Tuple[Dict[str, List[TaughtMention]], LeftOut]): For each label to teach its
        mentions in order of appearance, and the gold that is not among them.
        """

    @abstractmethod
    def _teach(
        self, source: TokenizedText, taught: Mapping[str, Sequence[TaughtMention]]
    ) -> SupervisedTree:
        """RETURNS (SupervisedTree): The tree, as yet without tags."""

    @abstractmethod
    def _lengths(
        self, source: TokenizedText, taught: Mapping[str, Sequence[TaughtMention]]
    ) -> list[int]:
        """RETURNS (List[int]): How many tokens each of its sequences has behind the text."""

    def _add_tags(
        self, built: SupervisedTree, text: str, taught: Mapping[str, Sequence[TaughtMention]]
    ) -> None:
        if self._tagger is None or not taught:
            return
        mentions = {label: [mention for mention, _ in each] for label, each in taught.items()}
        tags = self._tagger.tag(text, mentions)
        built.tags = len(tags)
        first = built.tree.prefix_length - len({tag.place for tag in tags})
        for tag in tags:
            built.nodes.append(first + tag.place)
            built.targets.append(tag.target)
            built.weights.append(self.tag_text * tag.share)
            if built.admissible is not None:
                built.admissible.append(tag.choices)
