"""Texts → mentions, the whole way: tries, trees, decoding, resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import Errors
from .causal_lm import CausalLM
from .checkpoint import CheckpointSettings
from .decoding.cost import DecodingCost
from .decoding.parallel import ParallelDecoder
from .mentions import Resolution, ScoredMention
from .prompt import PromptEncoder
from .texts import TokenizedText


class MentionExtractor:
    """Finds the mentions of a batch of texts.

    lm (CausalLM): The model.
    settings (CheckpointSettings): What it is to be run with.
    resolution (Resolution): How what it writes becomes mentions.
    RAISES (ValueError): There are no labels.
    """

    def __init__(
        self,
        lm: CausalLM,
        settings: CheckpointSettings,
        resolution: Resolution | None = None,
    ) -> None:
        if not settings.labels:
            raise ValueError(Errors.P033)
        self.labels = tuple(settings.labels)
        self.resolution = resolution or Resolution()
        encoder = PromptEncoder(settings.template, settings.labels, lm.tokenizer)
        self._decoder = ParallelDecoder(lm, encoder, settings.limits, softmax=settings.softmax)

    @property
    def cost(self) -> DecodingCost:
        """RETURNS (DecodingCost): What decoding took so far."""
        return replace(self._decoder.cost)

    def extract(self, texts: Sequence[TokenizedText]) -> list[list[ScoredMention]]:
        """texts (Sequence[TokenizedText]): The texts.
        RETURNS (List[List[ScoredMention]]): The mentions of each, in order of appearance.
        RAISES (ValueError): A text is longer than the model's positions.
        """
        decoded = self._decoder.decode(texts, self.labels)
        return [
            self.resolution.resolve(text.text, mentions)
            for text, mentions in zip(texts, decoded, strict=True)
        ]
