"""Autoregressive decoding: all mentions of a text in one sequence, token by token.

What the paper compares itself with. Drafts from the prompt make it as fast as it can be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from ..decode.batches import make_batches
from ..decode.cost import DecodingCost
from ..decode.guides import FreeGuide
from ..decode.mentions import DecodedMention
from ..decode.writing import Admissible, Branch, Choice, write_all
from ..settings import BATCH_TOKENS
from ..prompt.encoder import PromptEncoder
from ..texts import TokenizedText
from ..tree.causal_lm import CausalLM
from ..tree.token_tree import TokenTree
from .lookup import PromptLookup
from .output_formats.base import OutputFormat

# An output is cut off at this many tokens, and so many for each token of the text.
_LEAST_TOKENS, _TOKENS_PER_TOKEN = 64, 4


class AutoregressiveDecoder:
    """Greedy decoding of an output format over the whole vocabulary, and its reading.

    lm (CausalLM): The model.
    encoder (PromptEncoder): The template's ids.
    output_format (OutputFormat): What the model writes.
    lookup (Optional[PromptLookup]): Drafts; whatever they are, the same is written.
    batch_tokens (int): Most tokens of prompts run at once, padding included; a longer text is
        run alone.
    """

    def __init__(
        self,
        lm: CausalLM,
        encoder: PromptEncoder,
        output_format: OutputFormat,
        lookup: PromptLookup | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self.lm = lm
        self.encoder = encoder
        self.output_format = output_format
        self.lookup = lookup
        self.batch_tokens = batch_tokens
        self.cost = DecodingCost()

    @torch.inference_mode()
    def decode(
        self,
        texts: Sequence[TokenizedText],
        labels: Sequence[str],
        replays: Sequence[Sequence[int]] | None = None,
    ) -> list[list[DecodedMention]]:
        """texts (Sequence[TokenizedText]): The texts.
        labels (Sequence[str]): The labels to look for.
        replays (Optional[Sequence[Sequence[int]]]): For each text the ids that are written,
            whatever the model chooses.
        RETURNS (List[List[DecodedMention]]): For each text its mentions, in the order written.
        RAISES (ValueError): A text, with what is to be written, is longer than the model's
            positions.
        """
        if not texts or not labels:
            return [[] for _ in texts]
        prompts = [self.encoder.prefix(text.text) for text in texts]
        found: list[list[DecodedMention]] = [[] for _ in texts]
        wordings = {label: self.encoder.wordings[label] for label in labels}
        for batch in make_batches([len(prompt) for prompt in prompts], self.batch_tokens):
            told = [None if replays is None else replays[item] for item in batch]
            writings = [
                self._open(prompts[item], replay) for item, replay in zip(batch, told, strict=True)
            ]
            depth = max(len(writing.tree) + writing.room - 1 for writing in writings)
            run = self.lm.open([writing.tree for writing in writings], depth)
            write_all(run, writings, "vocabulary", self.cost)
            for item, writing in zip(batch, writings, strict=True):
                found[item] = self._read(texts[item], writing.guide, wordings)
        return found

    def _open(self, prefix: Sequence[int], replay: Sequence[int] | None) -> _OutputWriting:
        tree = TokenTree(prefix)
        start = tree.insert(self.encoder.output_opener, tree.prefix_end)[-1]
        room = _LEAST_TOKENS + _TOKENS_PER_TOKEN * len(tree)
        if replay is not None:
            room = max(room, len(replay))
            self.lm.check_depth(len(tree) + len(replay) - 1)
        if self.lm.max_depth is not None:
            room = min(room, self.lm.max_depth - len(tree) + 1)
        guide = FreeGuide([[self.encoder.end_id]], max(room, 1))
        return _OutputWriting(tree, Branch(start, guide, replay), max(room, 1), self.lookup)

    def _read(
        self, text: TokenizedText, guide: FreeGuide, wordings: Mapping[str, str]
    ) -> list[DecodedMention]:
        output = self.encoder.decode(guide.ids)
        parsed = self.output_format.parse(output, text, wordings)
        self.cost.malformed += parsed.malformed
        self.cost.ungrounded += parsed.ungrounded
        if not parsed.mentions:
            return []
        spans = _token_spans(guide.ids, output, self.encoder)
        return [
            DecodedMention(
                mention.label,
                mention.places,
                sum(
                    log_prob
                    for (start, end), log_prob in zip(spans, guide.log_probs, strict=True)
                    if start < mention.piece[1] and mention.piece[0] < end
                ),
            )
            for mention in parsed.mentions
        ]


def _token_spans(ids: Sequence[int], output: str, encoder: PromptEncoder) -> list[tuple[int, int]]:
    """RETURNS (List[Tuple[int, int]]): The characters of the output that each token spells; all of
    the tokens that spell a character together have it.
    """
    if not ids:
        return []
    # Where a character is not complete, decoding adds nothing, or something the output has not.
    ends: list[int | None] = []
    reached = 0
    for n in range(1, len(ids) + 1):
        decoded = encoder.decode(ids[:n])
        is_whole = len(decoded) > reached and output.startswith(decoded)
        reached = len(decoded) if is_whole else reached
        ends.append(reached if is_whole else None)
    ends[-1] = len(output)
    starts: list[int] = []
    for end in [0, *ends[:-1]]:
        starts.append(starts[-1] if end is None else end)
    whole: list[int] = []
    for end in reversed(ends):
        whole.append(whole[-1] if end is None else end)
    return list(zip(starts, reversed(whole), strict=True))


class _OutputWriting:
    """What a text's output has come to."""

    def __init__(
        self, tree: TokenTree, branch: Branch[FreeGuide], room: int, lookup: PromptLookup | None
    ) -> None:
        self.tree = tree
        self.room = room
        self._branch = branch
        self._lookup = lookup

    @property
    def guide(self) -> FreeGuide:
        return self._branch.guide

    def ask(self) -> dict[int, Admissible]:
        if self.guide.done:
            return {}
        node = self._branch.node
        asked = [node]
        if self._lookup is not None:
            left = self.room - len(self.guide.ids) - 1
            asked += self.tree.insert(self._lookup.draft(self.tree.sequence(node))[:left], node)
        return dict.fromkeys(asked)

    def take(self, choices: Mapping[int, Choice]) -> None:
        self._branch.follow(self.tree, choices)
        node = self._branch.node
        if self.guide.done or node in choices:
            return
        # The token chosen instead of a draft comes after it in the tree; the draft goes.
        token_id, parent = self.tree.ids[node], self.tree.parents[node]
        self.tree.cut(parent + 1)
        (self._branch.node,) = self.tree.insert([token_id], parent)

    def ends(self) -> Iterable[int]:
        return [self._branch.node]
