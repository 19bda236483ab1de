"""The decoders that a benchmark can compare, by name."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..decode.decoder import Decoder, ParallelDecoder, Written
from ..decode.replicas import SharedDecoder
from ..errors import Errors
from ..model import PaDeLLM
from ..prompt.encoder import EncodedText
from ..settings import PARALLEL, DecodingOptions
from ..tree.causal_lm import CausalLM
from ..tree.packing import batch_by_padded
from ..tree.readout import Readout
from ..tree.token_tree import TokenTree
from .autoregressive import AutoregressiveDecoder
from .padded import PaddedLM, PaddedWay
from .replay import ReplayingDecoder
from .unconstrained import UnconstrainedDecoder

# Fixed, so that passes and tokens are the same on every device.
DRAFT_THRESHOLD = 0.07
# Tokens are not limited, since a decoder's name says how many texts are run at once. Tags are off
# where the name does not say so, since other formats have none.
_OPTIONS = DecodingOptions(tag_share=0.0, draft_threshold=DRAFT_THRESHOLD, batch_tokens=sys.maxsize)


@dataclass(frozen=True)
class DecoderSpec:
    """The parts of a decoder's name, such as `tree`, `tree:0.05`, `tree@64` or `tree:0.05@64`.

    Args:
        name: The whole name.
        kind: The name of the decoder alone.
        threshold: Its draft threshold; `None` for the default.
        batch_size: Number of texts decoded at once.
    """

    name: str
    kind: str
    threshold: float | None = None
    batch_size: int = 1

    @property
    def output_format(self) -> str:
        """The output format that its model has to be trained for."""
        return _KINDS[self.kind].output_format

    @property
    def runs_replicas(self) -> bool:
        """Whether it runs several replicas of a model."""
        return _KINDS[self.kind].replicas


def parse_spec(name: str) -> DecoderSpec:
    """Parse a decoder's name, with its threshold after a colon and its batch size after an `@`.

    Raises:
        ValueError: No decoder has this name, it takes no threshold or no batch size, or the batch
            size is below 1.
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


def adapt(padellm: PaDeLLM, spec: DecoderSpec) -> PaDeLLM:
    """Return a model with the output format of a decoder, whatever it was trained to write."""
    return padellm.with_settings(replace(padellm.settings, output_format=spec.output_format))


def build_decoder(spec: DecoderSpec, padellm: PaDeLLM) -> Decoder:
    """Build a decoder.

    Args:
        spec: The parsed name.
        padellm: The model, with replicas for a decoder that runs several.
    """
    return _KINDS[spec.kind].build(spec, padellm, lms_of(spec, padellm))


def lms_of(spec: DecoderSpec, padellm: PaDeLLM) -> list[CausalLM]:
    """Return the models that a decoder runs: the model itself, or all of its replicas."""
    if padellm.replicas is None or not spec.runs_replicas:
        return [padellm.lm]
    return padellm.replicas.of(padellm.lm)


Build = Callable[[DecoderSpec, PaDeLLM, Sequence[CausalLM]], Decoder]


def _parallel(way: PaddedWay | None = None, **changes: Any) -> Build:
    """Return a builder of decoders with tries, which run a tree or (with `way`) sequences."""

    def build(spec: DecoderSpec, padellm: PaDeLLM, lms: Sequence[CausalLM]) -> Decoder:
        options = replace(_OPTIONS, **changes)
        if spec.threshold is not None:
            options = replace(options, draft_threshold=spec.threshold)
        decoders = [
            ReplayingDecoder(
                lm if way is None else PaddedLM(lm, way), padellm.encoder, padellm.settings, options
            )
            for lm in lms
        ]
        return decoders[0] if len(decoders) == 1 else SharedDecoder(decoders)

    return build


class _TextReader(ParallelDecoder):
    """A decoder that runs the texts alone, through all layers, and writes nothing.

    Its time is what it takes to read them.
    """

    @torch.inference_mode()
    def write(
        self, texts: Sequence[EncodedText], labels: Sequence[str] | None = None
    ) -> list[Written]:
        """Run the texts."""
        sizes = [len(text.prefix) for text in texts]
        for batch in batch_by_padded(sizes, self.options.batch_tokens):
            trees = [TokenTree(texts[item].prefix) for item in batch]
            # As in training: one pass, without a KV cache.
            run = self.lm.open(trees, max(map(len, trees)), for_training=True)
            run.logits([[tree.prefix_end] for tree in trees], Readout(torch.tensor([0])))
            self.cost.add(run, sum(map(len, trees)))
        return [Written([]) for _ in texts]


def _read(spec: DecoderSpec, padellm: PaDeLLM, lms: Sequence[CausalLM]) -> Decoder:
    """Build a decoder that only runs the texts."""
    return _TextReader(lms[0], padellm.encoder, padellm.settings, _OPTIONS)


def _plain(way: PaddedWay) -> Build:
    """Return a builder of decoders for the paper's two steps, without tries."""
    return lambda spec, padellm, lms: UnconstrainedDecoder(
        PaDeLLM(PaddedLM(lms[0], way), padellm.settings)
    )


def _output(draft_threshold: float | None) -> Build:
    """Return a builder of decoders that write all mentions in one sequence."""
    options = replace(_OPTIONS, draft_threshold=draft_threshold)
    return lambda spec, padellm, lms: AutoregressiveDecoder(
        PaDeLLM(lms[0], padellm.settings, options)
    )


@dataclass(frozen=True)
class _Kind:
    """A kind of decoder.

    Args:
        build: Builds the decoder.
        output_format: The output format that its model has to be trained for.
        drafts: Whether its drafts have a threshold.
        batches: Whether it can decode several texts at once.
        replicas: Whether it runs several replicas of a model.
    """

    build: Build
    output_format: str = PARALLEL
    drafts: bool = False
    batches: bool = False
    replicas: bool = False


_KINDS: Mapping[str, _Kind] = {
    "tree": _Kind(_parallel(), drafts=True, batches=True),
    # Opens a mention of every label while mentions are still counted.
    "tree-early": _Kind(_parallel(open_counts=(1,)), drafts=True, batches=True),
    "tree-plain": _Kind(_parallel(draft_threshold=None), batches=True),
    # With text tags: first their pass, then the labels that they leave in doubt, or nothing.
    "tree-tags": _Kind(_parallel(tag_share=DecodingOptions.tag_share), drafts=True, batches=True),
    "tags": _Kind(_parallel(tag_share=DecodingOptions.tag_share, decode="tags"), batches=True),
    # What the others can be compared with: the texts alone, all layers, nothing is written.
    "text": _Kind(_read, batches=True),
    # The tree on several devices, which divide the texts of a batch or the labels of a text.
    "replicas": _Kind(_parallel(), drafts=True, batches=True, replicas=True),
    "batch": _Kind(_plain("batch")),
    "batch-shared": _Kind(_plain("batch_shared")),
    "batch-tries": _Kind(_parallel("batch", draft_threshold=None)),
    "multi": _Kind(_plain("one_by_one")),
    "structured": _Kind(_output(None), "structured", batches=True),
    "structured-lookup": _Kind(_output(0.0), "structured", batches=True),
    "augmented": _Kind(_output(None), "augmented", batches=True),
    "augmented-lookup": _Kind(_output(0.0), "augmented", batches=True),
}
DECODERS = tuple(_KINDS)
