"""The training objective of an output format: all mentions of a text in one sequence."""

from __future__ import annotations

from collections.abc import Iterator

from ..model import PaDeLLM
from ..prompt.encoder import EncodedText
from ..texts import AnnotatedText, Mention, TokenizedText
from ..train.gold import LeftOut, TaughtMention, find_teachable
from ..train.objective import Objective, Taught
from ..train.supervised import SupervisedTree
from ..tree.token_tree import TokenTree
from .output_formats import get_output_format


class OutputObjective(Objective):
    """Teaches a text's output with its end token, in one sequence whose tokens count once.

    Gold mentions that are too long are left out. Their number is not limited.

    Args:
        padellm: The model, whose settings name the output format.
        tag_text: Weight of text tags; 0 for none.

    Raises:
        ValueError: The weight is negative, or text tags are not possible with the tokenizer.
    """

    def __init__(self, padellm: PaDeLLM, tag_text: float = 0.0) -> None:
        super().__init__(padellm.encoder, padellm.settings, tag_text)
        self.output_format = get_output_format(padellm.settings.output_format)

    def select(self, text: AnnotatedText) -> tuple[dict[str, list[TaughtMention]], LeftOut]:
        """Select the gold mentions that the output format can write.

        A text that is not annotated for all labels teaches nothing.
        """
        if text.labels is not None and not set(self.labels) <= set(text.labels):
            left_out = LeftOut()
            gold = sorted({mention for mention in text.mentions if mention.label in self.labels})
            left_out.add("partly_annotated", text.source.text, gold)
            return {}, left_out
        taught, left_out = find_teachable(text, self.labels, self.encoder)
        _, crossing = self._render(text.source, taught)
        left_out.add("crossing", text.source.text, crossing)
        written = {
            label: [each for each in mentions if each[0] not in crossing]
            for label, mentions in taught.items()
        }
        return written, left_out

    def teach(self, text: EncodedText, taught: Taught) -> SupervisedTree:
        """Build a tree that is a single chain: the text and its output."""
        tree = TokenTree(text.prefix)
        if not self._is_whole(taught):
            return SupervisedTree(tree, [], [], [], admissible=None)
        ids = self._write(text, taught)
        opened = tree.insert(self.encoder.count_end, tree.prefix_end)[-1]
        # The end token is only a target and has no node.
        nodes = [opened, *tree.insert(ids[:-1], opened)]
        return SupervisedTree(tree, nodes, ids, [1.0] * len(ids), admissible=None)

    def sequences(self, text: EncodedText, taught: Taught) -> Iterator[list[int]]:
        """List the ids of the output after the text; none if nothing is taught."""
        if self._is_whole(taught):
            yield self.encoder.count_end + self._write(text, taught)

    def _is_whole(self, taught: Taught) -> bool:
        """Tell whether all labels are taught: an output has those of all."""
        return bool(taught) and set(self.labels) <= taught.keys()

    def _write(self, text: TokenizedText, taught: Taught) -> list[int]:
        return self.encoder.encode_output(self._render(text, taught)[0])

    def _render(self, text: TokenizedText, taught: Taught) -> tuple[str, list[Mention]]:
        mentions = [mention for each in taught.values() for mention, _ in each]
        return self.output_format.render(text, mentions, self.encoder.labels)
