"""Texts → mentions, the whole way: decoding, resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import Protocol

from ..benchmark.autoregressive import AutoregressiveDecoder
from ..benchmark.lookup import PromptLookup
from ..benchmark.output_formats.factory import get_output_format
from ..checkpoints.settings import CheckpointSettings
from ..defaults import BATCH_TOKENS
from ..errors import Errors
from ..prompt.encoder import PromptEncoder
from ..texts import TokenizedText
from ..tree.causal_lm import CausalLM
from .cost import DecodingCost
from .drafts import DraftPolicy
from .mentions import DecodedMention, Resolution, ScoredMention
from .parallel import DEFAULT_POLICY, ParallelDecoder
from .spread import ParallelSpread, TextSpread
from .windows import Fit, Window, cut_windows, merge_windows


class Decoder(Protocol):
    """Texts → what a model writes.

    cost (DecodingCost): What it took so far.
    """

    @property
    def cost(self) -> DecodingCost: ...

    def decode(
        self, texts: Sequence[TokenizedText], labels: Sequence[str]
    ) -> list[list[DecodedMention]]:
        """texts (Sequence[TokenizedText]): The texts.
        labels (Sequence[str]): The labels to look for.
        RETURNS (List[List[DecodedMention]]): For each text its mentions, in the order written.
        RAISES (ValueError): A text is longer than the model's positions.
        """
        ...


class MentionExtractor:
    """Finds the mentions of a batch of texts.

    lm (CausalLM): The model.
    settings (CheckpointSettings): What it is to be run with.
    resolution (Resolution): How what it writes becomes mentions.
    policy (Optional[DraftPolicy]): How much is drafted; `None` for a token a pass.
    batch_tokens (int): Most tokens run at once, padding included; of each replica, where there are
        several.
    replicas (Sequence[CausalLM]): The model's replicas (`replicate`), between which texts or labels
        are divided; none to run the model itself.
    RAISES (ValueError): There are no labels.
    """

    def __init__(
        self,
        lm: CausalLM,
        settings: CheckpointSettings,
        resolution: Resolution | None = None,
        policy: DraftPolicy | None = DEFAULT_POLICY,
        batch_tokens: int = BATCH_TOKENS,
        replicas: Sequence[CausalLM] = (),
    ) -> None:
        if not settings.labels:
            raise ValueError(Errors.P033)
        self.labels = tuple(settings.labels)
        self.resolution = resolution or Resolution()
        self._lm = lm
        self._settings = settings
        self._decoder = _make_decoder(
            replicas or [lm],
            settings,
            policy,
            batch_tokens,
            reads_tags=self.resolution.tag_share > 0,
        )

    @property
    def cost(self) -> DecodingCost:
        """RETURNS (DecodingCost): What decoding took so far, and what could not be read of an
        output format.
        """
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

    def extract_long(self, texts: Sequence[TokenizedText]) -> list[list[ScoredMention]]:
        """texts (Sequence[TokenizedText]): The texts, of any length: those that the model has no
            positions for are read in overlapping windows.
        RETURNS (List[List[ScoredMention]]): The mentions of each, in order of appearance.
        """
        windows = [cut_windows(text, self._fit) for text in texts]
        return self.extract_windows([text.text for text in texts], windows)

    @cached_property
    def _fit(self) -> Fit:
        encoder = PromptEncoder(self._settings.template, self._settings.labels, self._lm.tokenizer)
        return Fit(self._lm, encoder, self._settings)

    def extract_windows(
        self, texts: Sequence[str], windows: Sequence[Sequence[Window]]
    ) -> list[list[ScoredMention]]:
        """texts (Sequence[str]): The texts.
        windows (Sequence[Sequence[Window]]): The windows that each is read in.
        RETURNS (List[List[ScoredMention]]): The mentions of each text, in order of appearance.
        RAISES (ValueError): A window is longer than the model's positions.
        """
        found = iter(self.extract([window.source for of_text in windows for window in of_text]))
        merged = [merge_windows(of_text, list(islice(found, len(of_text)))) for of_text in windows]
        # Windows deduplicate on their own; what two of them found may still differ in label.
        return [
            self.resolution.keep_most_probable(text, mentions)
            for text, mentions in zip(texts, merged, strict=True)
        ]


def _make_decoder(
    lms: Sequence[CausalLM],
    settings: CheckpointSettings,
    policy: DraftPolicy | None,
    batch_tokens: int,
    *,
    reads_tags: bool,
) -> Decoder:
    # Threads may share it: what it keeps is the same whoever keeps it.
    encoder = PromptEncoder(settings.template, settings.labels, lms[0].tokenizer)
    if settings.output_format == "parallel":
        read_tags = reads_tags and settings.text_tags and settings.softmax == "admissible"
        decoders = [
            ParallelDecoder(
                lm,
                encoder,
                settings.limits,
                settings.softmax,
                policy,
                batch_tokens,
                read_tags=read_tags,
            )
            for lm in lms
        ]
        return decoders[0] if len(decoders) == 1 else ParallelSpread(decoders)
    output_format = get_output_format(settings.output_format)
    lookup = None if policy is None else PromptLookup()
    writers = [
        AutoregressiveDecoder(lm, encoder, output_format, lookup, batch_tokens) for lm in lms
    ]
    return writers[0] if len(writers) == 1 else TextSpread(writers)
