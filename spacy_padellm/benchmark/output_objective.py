"""The objective of an output format: all mentions of a text in one sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..limits import MentionLimits
from ..prompt.encoder import PromptEncoder
from ..texts import AnnotatedText, Mention, TokenizedText
from ..train.gold import LeftOut, TaughtMention, find_teachable
from ..train.objective import Objective
from ..train.supervised_tree import SupervisedTree
from ..tree.token_tree import TokenTree
from .output_formats.base import OutputFormat


class OutputObjective(Objective):
    """Teaches a text's output, each of its tokens and the end token once.

    encoder (PromptEncoder): The template's ids.
    limits (MentionLimits): Gold beyond the longest mention is left out; there is no most.
    output_format (OutputFormat): What is written.
    tag_text (float): Weight of text tags.
    RAISES (ValueError): A negative weight, or a tokenizer that text tags are not possible with.
    """

    def __init__(
        self,
        encoder: PromptEncoder,
        limits: MentionLimits,
        output_format: OutputFormat,
        tag_text: float = 0.0,
    ) -> None:
        super().__init__(encoder, limits, tag_text)
        self.output_format = output_format

    def _select(
        self, text: AnnotatedText, labels: Sequence[str]
    ) -> tuple[dict[str, list[TaughtMention]], LeftOut]:
        if text.labels is not None and not set(labels) <= set(text.labels):
            gold = sorted({mention for mention in text.mentions if mention.label in labels})
            return {}, LeftOut(partly_annotated=[(text.source.text, each) for each in gold])
        taught, left_out = find_teachable(
            text, labels, self.encoder, max_mention_tokens=self.limits.max_mention_tokens
        )
        _, crossing = self._render(text.source, taught)
        left_out.crossing += [(text.source.text, mention) for mention in crossing]
        written = {
            label: [each for each in mentions if each[0] not in crossing]
            for label, mentions in taught.items()
        }
        return written, left_out

    def _teach(
        self, source: TokenizedText, taught: Mapping[str, Sequence[TaughtMention]]
    ) -> SupervisedTree:
        tree = TokenTree(self.encoder.prefix(source.text))
        if not taught:
            return SupervisedTree(tree, [], [], [], admissible=None)
        ids = self._output(source, taught)
        opened = tree.insert(self.encoder.output_opener, tree.prefix_end)[-1]
        # The end token is a target only.
        nodes = [opened, *tree.insert(ids[:-1], opened)]
        return SupervisedTree(tree, nodes, ids, [1.0] * len(ids), admissible=None)

    def _lengths(
        self, source: TokenizedText, taught: Mapping[str, Sequence[TaughtMention]]
    ) -> list[int]:
        if not taught:
            return []
        return [len(self.encoder.output_opener) + len(self._output(source, taught))]

    def _output(
        self, source: TokenizedText, taught: Mapping[str, Sequence[TaughtMention]]
    ) -> list[int]:
        return self.encoder.output(self._render(source, taught)[0])

    def _render(
        self, source: TokenizedText, taught: Mapping[str, Sequence[TaughtMention]]
    ) -> tuple[str, list[Mention]]:
        mentions = [mention for each in taught.values() for mention, _ in each]
        return self.output_format.render(source, mentions, self.encoder.wordings)
