"""The model that finds entities: a language model, its settings and its prompt encoder."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from importlib.metadata import entry_points
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from .checkpoints.loading import load_causal_lm, load_settings
from .checkpoints.options import DEFAULT_DEVICE, LoadOptions, choose_device
from .checkpoints.saving import save_checkpoint
from .decode.decoder import Decoder, DecodingCost, ParallelDecoder
from .decode.mentions import keep_most_probable, non_overlapping, rate, resolve
from .decode.replicas import Replicas, SharedDecoder
from .decode.windows import Window, cut_windows, merge_windows
from .errors import Errors, Warnings, check_choice
from .prompt.encoder import EncodedText, PromptEncoder
from .prompt.template import Labels, check_wording, word_labels
from .settings import (
    BUNDLED_MODEL,
    DECODERS,
    OBJECTIVES,
    PARALLEL,
    DecodingOptions,
    Overrides,
    Settings,
)
from .texts import Entity, TokenizedText
from .train.objective import Objective, ParallelObjective
from .tree.causal_lm import CausalLM

# Sets of labels whose encoders are kept, for texts with labels of their own.
_MOST_ENCODERS = 128

# What an output format is plugged in with.
MakeObjective = Callable[["PaDeLLM", float], Objective]
MakeDecoder = Callable[["PaDeLLM", Sequence[CausalLM]], Decoder]


class PaDeLLM:
    """Finds entities with a language model that decodes all labels and mentions at once.

    `PaDeLLM.from_pretrained("padellm_en_small").predict(["Ada met Bob."])` is all it takes.

    Args:
        lm: The language model.
        settings: What it was trained with.
        options: How it decodes.
        replicas: Its copies on several devices, between which texts or labels are divided; `None`
            to run the model itself.
    """

    def __init__(
        self,
        lm: CausalLM,
        settings: Settings,
        options: DecodingOptions | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        self.lm = lm
        self.settings = settings
        self.options = options or DecodingOptions()
        self.replicas = replicas
        self._encoders: dict[tuple[tuple[str, str], ...], PromptEncoder] = {}
        if isinstance(self.options.threshold, Mapping):
            labels = settings.labels
            if others := [each for each in self.options.threshold if each not in labels]:
                named = {"others": ", ".join(others), "labels": ", ".join(labels)}
                warnings.warn(Warnings.W093.format(**named), stacklevel=3)

    @classmethod
    def from_pretrained(
        cls, name: str = BUNDLED_MODEL, *, devices: Sequence[str] = (), **options: Any
    ) -> PaDeLLM:
        """Load a checkpoint with the settings it was trained with.

        Args:
            name: A folder, bundled checkpoint or hub id with a `padellm.json`; one without it, or a
                `.gguf` file, needs `preset`, or `template` and `labels`.
            devices: Several devices in the place of one: each gets a replica of the model.
            **options: Fields of `LoadOptions` (`device`, `dtype`, ...), `DecodingOptions`
                (`threshold`, `tag_share`, ...) and `Overrides` (`labels`, `max_mentions`, ...).

        Raises:
            ValueError: The folder is missing or not complete, or an option is not possible, alone
                or beside another one.
            TypeError: There is no such option.
            ImportError: An option needs a package that isn't installed.
        """
        load, decoding, overrides = _divide(options, LoadOptions, DecodingOptions, Overrides)
        device = load.get("device", DEFAULT_DEVICE)
        load["device"] = choose_device(device, devices, load.get("device_map"))
        load_options = LoadOptions(**load)
        stated = Overrides.state(**overrides)
        # Before anything is read that takes long.
        decoding_options = DecodingOptions(**decoding)
        found = load_settings(name, load_options)
        if found is None and stated.labels is None and stated.preset is None:
            raise ValueError(Errors.P041.format(name=name, missing="padellm.json"))
        settings = stated.resolve(found)
        if found is None:
            # It does not say what it knows, and is taken to know what it is asked for.
            settings = replace(settings, trained=tuple(settings.labels.values()))
        if decoding_options.decode == "tags" and not settings.reads_tags:
            raise ValueError(Errors.P039)
        bidirectional = settings.prefix_attention == "bidirectional"
        lm = load_causal_lm(name, bidirectional_prefix=bidirectional, options=load_options)
        replicas = Replicas(devices) if devices else None
        return cls(lm, settings, decoding_options, replicas)

    @classmethod
    def from_average(
        cls, names: Sequence[str], shares: Sequence[float] | None = None, **options: Any
    ) -> PaDeLLM:
        """Load checkpoints that were trained from the same weights, and average them. The average
        often beats each of them and has the same size (Wortsman et al., 2022, "Model soups").

        Args:
            names: Checkpoints, one or more.
            shares: How much of each is in the average, relative to the others; `None` for the same
                of each.
            **options: As of `from_pretrained`.

        Raises:
            ValueError: A checkpoint is not complete, they differ in more than their weights, or the
                shares do not fit.
        """
        first, *others = names
        shares = [1.0] * len(names) if shares is None else shares
        if len(shares) != len(names) or any(not 0 < share < math.inf for share in shares):
            raise ValueError(Errors.P015.format(shares=[*shares], count=len(names)))
        model = cls.from_pretrained(first, **options)
        if others:
            # How sure the average is, nobody has measured.
            model = model.with_settings(model.settings.uncalibrated())
        weights = model.lm.model.state_dict()
        vocabulary = model.lm.tokenizer.get_vocab()
        # In double precision, so that the order does not matter.
        sums = {key: weight.double() * shares[0] for key, weight in weights.items()}
        for name, share in zip(others, shares[1:], strict=True):
            other = cls.from_pretrained(name, **{**options, "dtype": "float32"})
            added = other.lm.model.state_dict()
            if (
                replace(other.settings.uncalibrated(), trained=model.settings.trained)
                != model.settings
                or other.lm.tokenizer.get_vocab() != vocabulary
                or {key: weight.shape for key, weight in added.items()}
                != {key: weight.shape for key, weight in weights.items()}
            ):
                raise ValueError(Errors.P049.format(first=first, name=name))
            for key, weight in added.items():
                sums[key] += weight.double() * share
            trained = dict.fromkeys([*model.settings.trained, *other.settings.trained])
            model = model.with_settings(replace(model.settings, trained=tuple(trained)))
        with torch.no_grad():
            for key, weight in weights.items():
                weight.copy_(sums[key] / sum(shares))
        return model

    def with_settings(self, settings: Settings) -> PaDeLLM:
        """Create a copy with other settings, such as labels, that shares the language model."""
        other = type(self)(self.lm, settings, self.options, self.replicas)
        names = ("text_tags", "calibration", "trained", "tag_bias", "usual", "other_tag_bias")
        not_of_prompts = {name: getattr(settings, name) for name in names}
        if replace(self.settings, **not_of_prompts) == settings:
            other.encoder = self.encoder
        return other

    def save_pretrained(self, folder: str | Path) -> None:
        """Save a checkpoint folder, which transformers can also load alone.

        Raises:
            ValueError: The model has an adapter beside quantized weights.
        """
        save_checkpoint(Path(folder), self.lm, self.settings)

    @cached_property
    def encoder(self) -> PromptEncoder:
        """The prompt encoder, which gives the ids of each part of a sequence."""
        return PromptEncoder(
            self.settings.template,
            self.settings.labels,
            self.lm.tokenizer,
            max_mentions=self.settings.max_mentions,
            max_mention_tokens=self.settings.max_mention_tokens,
        )

    @cached_property
    def decoder(self) -> Decoder:
        """The decoder for the output format that the model was trained with."""
        if self.replicas is None:
            return self._single
        return self._make_decoder(self.replicas.of(self.lm))

    @cached_property
    def _single(self) -> Decoder:
        """The decoder without replicas. It is enough to check which texts fit."""
        return self._make_decoder([self.lm])

    def _make_decoder(self, lms: Sequence[CausalLM]) -> Decoder:
        if self.settings.output_format != PARALLEL:
            make: MakeDecoder = find_plugin(DECODERS, self.settings.output_format)
            return make(self, lms)
        decoders = [ParallelDecoder(lm, self.encoder, self.settings, self.options) for lm in lms]
        return decoders[0] if len(decoders) == 1 else SharedDecoder(decoders)

    @property
    def cost(self) -> DecodingCost:
        """The cost of decoding so far."""
        return replace(self.decoder.cost)

    def make_objective(self, tag_text: float = 0.0) -> Objective:
        """Create the training objective.

        Args:
            tag_text: Weight of what each token of the text is taught in addition.

        Raises:
            ValueError: The weight is negative, or the tokenizer is one that text tags are not
                possible with.
        """
        if self.settings.output_format != PARALLEL:
            make: MakeObjective = find_plugin(OBJECTIVES, self.settings.output_format)
            return make(self, tag_text)
        return ParallelObjective(self.encoder, self.settings, tag_text)

    def encode(self, text: str | TokenizedText, labels: Labels | None = None) -> EncodedText:
        """Encode a text. The result can be reused.

        Args:
            text: The text. A string is split into words, marks and ideographs.
            labels: The labels to look for in it; `None` for those of the settings.

        Raises:
            ValueError: The labels are a single string, or one is empty.
        """
        encoder = self.encoder if labels is None else self._find_encoder(labels)
        return encoder.encode(TokenizedText.split(text) if isinstance(text, str) else text)

    def _find_encoder(self, labels: Labels) -> PromptEncoder:
        """Find the encoder for labels that differ from those of the settings."""
        wordings = word_labels(labels, self.settings.labels)
        key = tuple(wordings.items())
        if key == tuple(self.settings.labels.items()):
            return self.encoder
        # Texts with the same labels are run together, so they need the same encoder.
        found = self._encoders.get(key)
        if found is None:
            for label, wording in key:
                check_wording(label, wording)
            if len(self._encoders) >= _MOST_ENCODERS:
                self._encoders.clear()
            found = self._encoders[key] = self.encoder.with_labels(wordings)
        return found

    def cut(self, text: str | TokenizedText, labels: Labels | None = None) -> list[Window]:
        """Split a text into windows that fit the model: the whole text, or overlapping parts.

        Args:
            text: The text.
            labels: The labels to look for in it; `None` for those of the settings.

        Returns:
            The windows, encoded; none for a text without tokens.

        Raises:
            ValueError: The labels are a single string, or one is empty.
        """
        tokenized = TokenizedText.split(text) if isinstance(text, str) else text
        if not tokenized.tokens:
            return []
        start, end = tokenized.tokens[0][0], tokenized.tokens[-1][1]
        if end - start < len(tokenized.text):
            tokenized = tokenized.stretch(start, end)
        whole = self.encode(tokenized, labels)
        if self._single.fits(whole):
            return [Window(start, whole)]
        windows = cut_windows(tokenized, whole.encoder.encode, self._single.fits)
        return [Window(start + window.start, window.text) for window in windows]

    def predict(
        self,
        texts: Sequence[str | TokenizedText],
        *,
        nested: bool = False,
        labels: Labels | None = None,
    ) -> list[list[Entity]]:
        """Find the entities of texts of any length.

        Args:
            texts: The texts. Strings are split into words, marks and ideographs.
            nested: Whether entities may overlap; if not, of those that do the most probable stay.
            labels: The labels to look for; `None` for those of the settings.

        Returns:
            The entities of each text, in order of appearance.

        Raises:
            ValueError: There are no labels to look for, or texts or labels are a single string.
        """
        if isinstance(texts, str):
            raise ValueError(Errors.P035.format(name="texts", value=texts[:60]))
        strings = [text if isinstance(text, str) else text.text for text in texts]
        found = self.predict_windows(strings, [self.cut(text, labels) for text in texts])
        return found if nested else [non_overlapping(each) for each in found]

    def predict_windows(
        self, texts: Sequence[str], windows: Sequence[Sequence[Window]]
    ) -> list[list[Entity]]:
        """Find the entities of texts in windows.

        Args:
            texts: The texts.
            windows: The windows that each is read in. Each is asked for the labels that it was
                encoded with.

        Returns:
            The entities of each text, in order of appearance; they may overlap.

        Raises:
            ValueError: There are no labels to look for.
            TextTooLongError: A window is longer than the model's positions.
        """
        encoded = [window.text for of_text in windows for window in of_text]
        if not self.settings.labels and all(text.encoder is self.encoder for text in encoded):
            raise ValueError(Errors.P033)
        if self.replicas is not None:
            self.replicas.renew()
        decoded = self.decoder.decode(encoded)
        options = self.options
        pairs = zip(encoded, decoded, strict=True)
        found = iter([resolve(text.text, mentions, options) for text, mentions in pairs])
        entities = []
        for text, of_text in zip(texts, windows, strict=True):
            if len(of_text) == 1 and of_text[0].start == 0:
                entities.append(next(found))
                continue
            merged = merge_windows(of_text, list(islice(found, len(of_text))))
            # Windows deduplicate on their own; what two of them found may still differ in label.
            entities.append(keep_most_probable(text, merged, options))
        return [rate(each, self.settings.calibration, options) for each in entities]


def _divide(options: dict[str, Any], *kinds: type) -> list[dict[str, Any]]:
    """Divide keyword arguments among the dataclasses that have fields of these names."""
    divided: list[dict[str, Any]] = [{} for _ in kinds]
    for name, value in options.items():
        for kind, part in zip(kinds, divided, strict=True):
            if name in {each.name for each in fields(kind)}:
                part[name] = value
                break
        else:
            known = sorted({each.name for kind in kinds for each in fields(kind)})
            raise TypeError(Errors.P036.format(name=name, known=", ".join(known)))
    return divided


def find_plugin(group: str, output_format: str) -> Any:
    """Load the plugin of an output format other than `"parallel"`.

    Args:
        group: `OBJECTIVES` or `DECODERS`.
        output_format: The format's name.

    Returns:
        A function that makes an objective, or a decoder, of a `PaDeLLM`.

    Raises:
        ValueError: There is none for the format.
    """
    plugins = {each.name: each for each in entry_points(group=group)}
    check_choice("output_format", output_format, tuple(plugins))
    return plugins[output_format].load()
