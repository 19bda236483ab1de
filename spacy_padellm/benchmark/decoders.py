"""The decoders a benchmark compares, under their names."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..checkpoints.settings import CheckpointSettings
from ..decode.cost import DecodingCost
from ..decode.drafts import DraftPolicy
from ..decode.mentions import DecodedMention
from ..decode.parallel import ParallelDecoder
from ..decode.spread import ParallelSpread
from ..errors import Errors
from ..prompt.encoder import PromptEncoder
from ..texts import AnnotatedText, Mention
from ..tree.causal_lm import CausalLM
from ..tree.support import Way
from .autoregressive import AutoregressiveDecoder
from .lookup import PromptLookup
from .output_formats.base import Grounding
from .output_formats.factory import get_output_format
from .replay import replay_mentions, replay_output
from .unconstrained import UnconstrainedDecoder

Gold = Mapping[str, list[Mention]]

# As many texts at once as a decoder's name says.
_NO_LIMIT = sys.maxsize


class BenchmarkDecoder(Protocol):
    """A decoder that can be measured.

    cost (DecodingCost): What it took so far.
    """

    @property
    def cost(self) -> DecodingCost: ...

    def prepare(self, text: AnnotatedText, gold: Gold) -> tuple[Any, int]:
        """text (AnnotatedText): A text.
        gold (Mapping[str, List[Mention]]): The mentions to write, of each label.
        RETURNS (Tuple[Any, int]): What `decode` takes to write them, and how many of them cannot be
            written so. This is not measured.
        """
        ...

    def decode(
        self, texts: Sequence[AnnotatedText], replays: Sequence[Any] | None
    ) -> list[list[DecodedMention]]:
        """texts (Sequence[AnnotatedText]): Texts that are decoded at once.
        replays (Optional[Sequence[Any]]): For each of them what `prepare` gave; `None` to let the
            model choose.
        RETURNS (List[List[DecodedMention]]): Their mentions.
        """
        ...


@dataclass(frozen=True)
class DecoderSpec:
    """A decoder's name taken apart: `tree`, `tree:0.05`, `tree@64`, `tree:0.05@64`.

    name (str): The whole name.
    kind (str): Which decoder.
    threshold (Optional[float]): Of its drafts, where it is not the default.
    batch_size (int): Texts decoded at once.
    """

    name: str
    kind: str
    threshold: float | None = None
    batch_size: int = 1


def parse_spec(name: str) -> DecoderSpec:
    """name (str): A decoder's name, with a threshold after a colon and a batch size after an `@`.
    RETURNS (DecoderSpec): Its parts.
    RAISES (ValueError): No decoder has this name, or it takes no such part.
    """
    match = re.fullmatch(r"([a-z-]+)(?::([0-9.]+))?(?:@([0-9]+))?", name)
    kind, threshold, batch_size = match.groups() if match else (name, None, None)
    known = _KINDS.get(kind)
    if known is None:
        raise ValueError(Errors.P408.format(name=name, names=", ".join(_KINDS)))
    for part, given, taken in (
        ("threshold", threshold, known.drafts),
        ("batch size", batch_size, known.batches),
    ):
        if given and not taken:
            raise ValueError(_refusal(name, kind, part))
    try:
        parsed = None if threshold is None else float(threshold)
    except ValueError:
        raise ValueError(Errors.P408.format(name=name, names=", ".join(_KINDS))) from None
    spec = DecoderSpec(name, kind, parsed, int(batch_size or 1))
    if spec.batch_size < 1:
        raise ValueError(Errors.P032.format(name="the batch size", value=batch_size))
    return spec


def _refusal(name: str, kind: str, part: str) -> str:
    thresholds = ", ".join(each for each, known in _KINDS.items() if known.drafts)
    batches = ", ".join(each for each, known in _KINDS.items() if known.batches)
    return Errors.P409.format(
        name=name, kind=kind, part=part, thresholds=thresholds, batches=batches
    )


def output_format_of(spec: DecoderSpec) -> str:
    """spec (DecoderSpec): A decoder.
    RETURNS (str): What a model has to be trained to write for it.
    """
    return _KINDS[spec.kind].output_format


def runs_replicas(spec: DecoderSpec) -> bool:
    """spec (DecoderSpec): A decoder.
    RETURNS (bool): Whether it runs several replicas of a model.
    """
    return _KINDS[spec.kind].replicas


def build_decoder(
    spec: DecoderSpec,
    lm: CausalLM,
    settings: CheckpointSettings,
    replicas: Sequence[CausalLM] = (),
) -> BenchmarkDecoder:
    """spec (DecoderSpec): Which decoder.
    lm (CausalLM): The model.
    settings (CheckpointSettings): What it is run with.
    replicas (Sequence[CausalLM]): The model's replicas, for a decoder that runs several.
    RETURNS (BenchmarkDecoder): The decoder.
    """
    encoder = PromptEncoder(settings.template, settings.labels, lm.tokenizer)
    lms = replicas if replicas and runs_replicas(spec) else [lm]
    return _KINDS[spec.kind].build(spec, lms, settings, encoder)


class _Batched:
    """What decodes several texts at once."""

    _decoder: ParallelDecoder | ParallelSpread | AutoregressiveDecoder
    _labels: list[str]

    @property
    def cost(self) -> DecodingCost:
        return self._decoder.cost

    def decode(
        self, texts: Sequence[AnnotatedText], replays: Sequence[Any] | None
    ) -> list[list[DecodedMention]]:
        return self._decoder.decode([text.source for text in texts], self._labels, replays)


class _Parallel(_Batched):
    """Tree and tries, on one model or its replicas."""

    def __init__(
        self,
        lms: Sequence[CausalLM],
        settings: CheckpointSettings,
        encoder: PromptEncoder,
        policy: DraftPolicy | None,
    ) -> None:
        self._labels = list(settings.labels)
        self._encoder = encoder
        decoders = [
            ParallelDecoder(
                lm, encoder, settings.limits, settings.softmax, policy, batch_tokens=_NO_LIMIT
            )
            for lm in lms
        ]
        self._decoder = decoders[0] if len(decoders) == 1 else ParallelSpread(decoders)

    def prepare(self, text: AnnotatedText, gold: Gold) -> tuple[Any, int]:
        return replay_mentions(text, gold, self._encoder), 0


class _Plain:
    """The paper's two steps, without tries."""

    def __init__(self, lm: CausalLM, settings: CheckpointSettings, encoder: PromptEncoder) -> None:
        self._labels = list(settings.labels)
        self._encoder = encoder
        self._decoder = UnconstrainedDecoder(lm, encoder, settings.limits)
        self.cost = self._decoder.cost

    def prepare(self, text: AnnotatedText, gold: Gold) -> tuple[Any, int]:
        return replay_mentions(text, gold, self._encoder), 0

    def decode(
        self, texts: Sequence[AnnotatedText], replays: Sequence[Any] | None
    ) -> list[list[DecodedMention]]:
        told = [None] * len(texts) if replays is None else replays
        return [self._decode(text, replay) for text, replay in zip(texts, told, strict=True)]

    def _decode(self, text: AnnotatedText, replay: Any) -> list[DecodedMention]:
        written = self._decoder.decode(text.source, self._labels, replay)
        self.cost.malformed += len(written.malformed_counts) + len(written.excessive_counts)
        self.cost.malformed += sum(not mention.ended for mention in written.mentions)
        ended = [mention for mention in written.mentions if mention.ended]
        grounding = Grounding(text.source, self._encoder.wordings)
        found = [
            DecodedMention(mention.label, places, mention.log_prob)
            for mention in ended
            if (places := grounding.places(mention.string))
        ]
        self.cost.ungrounded += len(ended) - len(found)
        return found


class _Output(_Batched):
    """All mentions in one sequence."""

    def __init__(
        self,
        lm: CausalLM,
        settings: CheckpointSettings,
        encoder: PromptEncoder,
        name: str,
        lookup: PromptLookup | None,
    ) -> None:
        self._labels = list(settings.labels)
        self._encoder = encoder
        self._output_format = get_output_format(name)
        self._decoder = AutoregressiveDecoder(
            lm, encoder, self._output_format, lookup, batch_tokens=_NO_LIMIT
        )

    def prepare(self, text: AnnotatedText, gold: Gold) -> tuple[Any, int]:
        return replay_output(text, gold, self._encoder, self._output_format)


Build = Callable[
    [DecoderSpec, Sequence[CausalLM], CheckpointSettings, PromptEncoder], BenchmarkDecoder
]


@dataclass(frozen=True)
class _Kind:
    """A kind of decoder.

    build (Build): Makes one.
    output_format (str): What a model is trained to write for it.
    drafts (bool): Whether its drafts have a threshold.
    batches (bool): Whether it decodes several texts at once.
    replicas (bool): Whether it runs several replicas of a model.
    """

    build: Build
    output_format: str = "parallel"
    drafts: bool = False
    batches: bool = False
    replicas: bool = False


def _tree(policy: DraftPolicy | None) -> Build:
    def build(
        spec: DecoderSpec,
        lms: Sequence[CausalLM],
        settings: CheckpointSettings,
        encoder: PromptEncoder,
    ) -> BenchmarkDecoder:
        chosen = policy
        if policy is not None and spec.threshold is not None:
            chosen = replace(policy, threshold=spec.threshold)
        return _Parallel(lms, settings, encoder, chosen)

    return build


def _walking(way: Way) -> Build:
    return lambda spec, lms, settings, encoder: _Parallel(
        [lm.forced(way) for lm in lms], settings, encoder, None
    )


def _plain(way: Way) -> Build:
    return lambda spec, lms, settings, encoder: _Plain(lms[0].forced(way), settings, encoder)


def _output(name: str, lookup: PromptLookup | None) -> Build:
    return lambda spec, lms, settings, encoder: _Output(lms[0], settings, encoder, name, lookup)


_KINDS: Mapping[str, _Kind] = {
    "tree": _Kind(_tree(DraftPolicy()), drafts=True, batches=True),
    # Mentions opened while they are counted, as if every label had one.
    "tree-early": _Kind(_tree(DraftPolicy(open_counts=(1,))), drafts=True, batches=True),
    "tree-plain": _Kind(_tree(None), batches=True),
    # The same as the tree, each text's labels or a batch's texts divided between devices.
    "replicas": _Kind(_tree(DraftPolicy()), drafts=True, batches=True, replicas=True),
    "batch": _Kind(_plain("batch")),
    "batch-shared": _Kind(_plain("batch_shared")),
    "batch-tries": _Kind(_walking("batch")),
    "multi": _Kind(_plain("one_by_one")),
    "structured": _Kind(_output("structured", None), "structured", batches=True),
    "structured-lookup": _Kind(_output("structured", PromptLookup()), "structured", batches=True),
    "augmented": _Kind(_output("augmented", None), "augmented", batches=True),
    "augmented-lookup": _Kind(_output("augmented", PromptLookup()), "augmented", batches=True),
}
DECODERS = tuple(_KINDS)
