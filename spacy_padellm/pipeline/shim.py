"""Thinc shim around the language model: loading, gradients, optimizer steps, serialisation."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import srsly
import torch
from thinc.api import Optimizer
from thinc.shims import Shim
from thinc.types import Floats1d

from ..core.causal_lm import CausalLM
from ..core.checkpoints.loading import load_causal_lm
from ..core.checkpoints.locations import SETTINGS_FILE, has_weights
from ..core.checkpoints.saving import save_checkpoint, save_settings
from ..core.checkpoints.settings import CheckpointSettings, read_settings
from ..core.objectives.supervised_tree import SupervisedTree, target_log_probs
from ..core.presets import Preset
from ..core.replicas import Replicas
from ..core.tokenization import TextEncoder
from ..errors import Errors, Warnings
from .labels import Labels, check_labels, make_wordings
from .sources import LMSource, PretrainedSource

logger = logging.getLogger(__name__)


class CausalLMShim(Shim):
    """Holds the language model and its settings; both are loaded when first asked for.

    source (LMSource): Where they come from, until something saved is loaded.
    mixed_precision (bool): Whether to train under bfloat16 autocast, where the device has it.
    tag_text (float): Weight of what the tokens of training texts are taught in addition.
    devices (Sequence[str]): Where replicas predict; none for the source's device alone.
    """

    def __init__(
        self,
        source: LMSource,
        *,
        mixed_precision: bool,
        tag_text: float,
        devices: Sequence[str] = (),
    ) -> None:
        super().__init__(None)
        self.tag_text = tag_text
        self._replicas = Replicas(devices)
        self._source = source
        self._mixed_precision = mixed_precision
        self._settings: CheckpointSettings | None = None
        self._overrides: dict[str, Any] = {}
        self._labels: Labels | None = None
        self._trained_wordings: set[str] | None = None
        self._limits: dict[str, int | None] = {}
        self._is_saved = False
        self._is_trained = False

    @property
    def has_settings(self) -> bool:
        """RETURNS (bool): Whether `settings` is known without reading the source."""
        return self._settings is not None

    @property
    def settings(self) -> CheckpointSettings:
        """RETURNS (CheckpointSettings): What the model is run with."""
        if self._settings is None:
            changes = dict(self._overrides)
            if self._labels is not None:
                changes["labels"] = make_wordings(self._labels, self._source_labels())
            settings = self._source.settings(**changes)
            self._settings = settings.override_limits(**self._limits)
        return self._settings

    @property
    def labels(self) -> Mapping[str, str]:
        """RETURNS (Mapping[str, str]): Label → its wording; nothing is read for it where the config
        states them all.
        """
        if self._settings is None:
            if isinstance(self._labels, Mapping):
                return self._labels
            if self._labels is None and "labels" in self._overrides:
                stated: Mapping[str, str] = self._overrides["labels"]
                return stated
        return self.settings.labels

    def use_preset(self, preset: Preset) -> None:
        """preset (Preset): What to prompt with, and the checkpoint where the config names none.
        Template and labels count as the config's own, which override them.
        """
        if isinstance(self._source, PretrainedSource):
            self._source = replace(self._source, preset=preset)
        self.override_settings(template=preset.template, labels=dict(preset.labels))

    def override_settings(self, **changes: Any) -> None:
        """changes (Any): Fields of `CheckpointSettings` to replace, until something saved is
        loaded. Nothing is read for it: what a saved pipeline was once made from may be gone.
        """
        self._overrides.update(changes)
        if self._settings is not None:
            self._settings = replace(self._settings, **changes)

    def note_text_tags(self, taught: bool) -> None:
        """taught (bool): Whether the model is taught text tags that can be read."""
        self._settings = replace(self.settings, text_tags=taught)

    def override_labels(self, labels: Labels) -> None:
        """labels (Union[Sequence[str], Mapping[str, str]]): Labels, or labels and their wording, in
        the place of a checkpoint's, whose wordings they have where none is given. Nothing is
        read for it, either.
        """
        check_labels(labels)
        self._labels = labels
        self._overrides.pop("labels", None)

    @property
    def known_wordings(self) -> dict[str, str]:
        """RETURNS (Dict[str, str]): Label → its wording, of all labels the model comes with."""
        own = {} if self._is_saved else self._source_labels()
        return {**own, **self.settings.labels}

    def _source_labels(self) -> Mapping[str, str]:
        return self._source_settings().labels

    def _source_settings(self) -> CheckpointSettings:
        # What else the config overrides may not go with what the checkpoint says.
        others = {name: value for name, value in self._overrides.items() if name != "labels"}
        return self._source.settings(**others)

    def find_untrained(self) -> list[str]:
        """RETURNS (List[str]): Labels whose wording the model was never trained with."""
        encoder = TextEncoder(self.lm.tokenizer)
        # By ids: to a model that lower-cases, "PERSON" is "person".
        trained = [encoder.encode_wording(each) for each in self._find_trained_wordings()]
        return [
            label
            for label, wording in self.settings.labels.items()
            if encoder.encode_wording(wording) not in trained
        ]

    def _find_trained_wordings(self) -> set[str]:
        if self._trained_wordings is None:
            self._trained_wordings = _trained_wordings(self._source_settings())
        return self._trained_wordings

    def override_limits(self, max_mentions: int | None, max_mention_tokens: int | None) -> None:
        """max_mentions (Optional[int]): Most mentions of a label, whatever a checkpoint says.
        max_mention_tokens (Optional[int]): Longest mention, likewise.
        RAISES (ValueError): One of them is below 1.
        """
        self._limits = {"max_mentions": max_mentions, "max_mention_tokens": max_mention_tokens}
        settings = (self._settings or CheckpointSettings()).override_limits(**self._limits)
        if self._settings is not None:
            self._settings = settings

    @property
    def lm(self) -> CausalLM:
        """RETURNS (CausalLM): The model.
        RAISES (ValueError): It is made in training, and has not been.
        """
        if self._model is None:
            self._model = self._source.load(self.settings)
        return self._model

    @property
    def replicas(self) -> list[CausalLM]:
        """RETURNS (List[CausalLM]): What predicts: the model, or a replica on each of its devices.
        RAISES (ValueError): The model has not been made, or there is no such device.
        """
        return self._replicas.of(self.lm)

    def renew_replicas(self) -> None:
        """Give replicas, if there are any, the weights that training has changed."""
        self._replicas.renew()

    def create(self, texts: Iterable[str]) -> None:
        """Make the model to train.

        texts (Iterable[str]): Training texts.
        """
        saved = self._model if self._is_saved else None
        self._model = self._source.create(self.settings, texts, saved)
        if self._model is not saved:
            self._trained_wordings = None
        self._optimizer = None

    def __call__(
        self, inputs: Sequence[SupervisedTree], is_train: bool, dropout: float = 0.0
    ) -> tuple[Floats1d, Callable[[Floats1d], list[Any]]]:
        """inputs (Sequence[SupervisedTree]): The trees.
        is_train (bool): Whether gradients are wanted.
        dropout (float): Rate of the model's dropout layers (`torch.nn.Dropout`), if so.
        RETURNS (Tuple[Floats1d, Callable]): Log-probabilities of the supervised tokens, shape
            `(n,)`, and the callback that takes their gradient.
        """
        self.lm.model.train(is_train)
        if is_train:
            _set_dropout(self.lm.model, dropout)
        try:
            with torch.set_grad_enabled(is_train), self._autocast(is_train):
                log_probs = target_log_probs(self.lm, inputs)
        finally:
            self.lm.model.eval()

        def backprop(gradient: Floats1d) -> list[Any]:
            log_probs.backward(torch.from_numpy(np.asarray(gradient)).to(log_probs))
            return []

        return cast(Floats1d, log_probs.detach().cpu().numpy()), backprop

    def _autocast(self, is_train: bool) -> contextlib.AbstractContextManager:
        device = self.lm.model.device.type
        if not (is_train and self._mixed_precision):
            return contextlib.nullcontext()
        if not has_fast_bfloat16(device):
            logger.warning("%s has no fast bfloat16: training in full precision", device)
            self._mixed_precision = False
            return contextlib.nullcontext()
        return torch.autocast(device, torch.bfloat16)

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step a torch AdamW with the config's settings; thinc's own optimizer takes no bfloat16
        and, on a GPU, needs cupy.

        optimizer (Optimizer): Gives the learning rate of this step and the other settings.
        """
        parameters = [p for p in self.lm.model.parameters() if p.requires_grad]
        if self._optimizer is None:
            _warn_of_ignored_settings(optimizer)
            self._optimizer = torch.optim.AdamW(
                parameters,
                betas=(optimizer.b1, optimizer.b2),
                eps=optimizer.eps,
                weight_decay=optimizer.L2,
                # On a CPU many times as fast as one operation after the other.
                fused=True,
            )
        for group in self._optimizer.param_groups:
            group["lr"] = optimizer.learn_rate
        if optimizer.grad_clip:
            torch.nn.utils.clip_grad_norm_(parameters, optimizer.grad_clip)
        self._optimizer.step()
        self._is_trained = True
        self._optimizer.zero_grad()
        self._replicas.outdate()
        self._find_trained_wordings().update(self.settings.labels.values())

    @contextlib.contextmanager
    def use_params(self, params: dict | None) -> Iterator[None]:
        """params (Optional[dict]): Not used: weights are stepped here and have no averages."""
        yield

    def to_device(self, device_type: str, device_id: int) -> None:
        """device_type (str): Thinc's name of a device.
        device_id (int): Its number.
        """
        name = {"gpu": "cuda"}.get(device_type, device_type)
        self.lm.to(f"{name}:{device_id}" if name == "cuda" else name)

    def save(self, folder: Path) -> None:
        """folder (Path): Where the checkpoint goes: its settings only, where weights stay where
            they are.
        RAISES (ValueError): There is no model yet, or it was trained and is not to be saved.
        """
        if self._source.saves_weights:
            untrained = tuple(self.find_untrained())
            save_checkpoint(folder, self.lm, replace(self.settings, untrained=untrained))
        elif self._is_trained:
            raise ValueError(Errors.P209)
        else:
            save_settings(folder, self.settings)

    def load(self, folder: Path) -> None:
        """folder (Path): A checkpoint folder that `save` wrote.
        RAISES (ValueError): It is not complete.
        """
        path = folder / SETTINGS_FILE
        if not path.is_file():
            raise ValueError(Errors.P041.format(name=folder, missing=SETTINGS_FILE))
        settings = read_settings(path)
        self._warn_of_ignored(settings)
        self._settings, self._overrides = settings.override_limits(**self._limits), {}
        self._labels = None
        self._model, self._optimizer = None, None
        self._is_trained = False
        # Otherwise they are where they were, and read at first use.
        self._is_saved = self._source.saves_weights or has_weights(folder)
        self._trained_wordings = _trained_wordings(settings) if self._is_saved else None
        if self._is_saved:
            self._model = load_causal_lm(
                str(folder),
                prefix_attention=settings.prefix_attention,
                options=self._source.options.of_folder(),
            )

    def _warn_of_ignored(self, saved: CheckpointSettings) -> None:
        """Warn of what the config states and a saved pipeline, trained otherwise, does not do."""
        stated = {**self._source.stated(), **self._overrides}
        labels = make_wordings(self._labels or (), saved.labels)
        # Labels are added in training, so those of the config need only be among the saved ones.
        missing = {**labels, **stated.pop("labels", {})}.items() - saved.labels.items()
        ignored = [name for name, value in stated.items() if value != getattr(saved, name)]
        if missing:
            ignored.append(f"labels ({', '.join(sorted(label for label, _ in missing))})")
        if ignored:
            warnings.warn(Warnings.W202.format(ignored=", ".join(ignored)), stacklevel=2)

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): The files of the checkpoint folder."""
        with TemporaryDirectory() as name:
            folder = Path(name)
            self.save(folder)
            files = {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file()
            }
        packed: bytes = srsly.msgpack_dumps(files)
        return packed

    def from_bytes(self, data: bytes) -> CausalLMShim:
        """data (bytes): What `to_bytes` gave.
        RETURNS (CausalLMShim): Itself, with the model loaded.
        """
        with TemporaryDirectory() as name:
            for file, content in srsly.msgpack_loads(data).items():
                path = Path(name) / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.load(Path(name))
        return self


def _trained_wordings(settings: CheckpointSettings) -> set[str]:
    labels = settings.labels.items()
    return {wording for label, wording in labels if label not in settings.untrained}


def _set_dropout(model: torch.nn.Module, rate: float) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = rate


def _warn_of_ignored_settings(optimizer: Optimizer) -> None:
    remedies = {
        '@optimizers = "Adam.v1"': optimizer.use_radam or not (optimizer.b1 or optimizer.b2),
        "use_averages = false": optimizer.averages is not None,
        "L2_is_weight_decay = true": optimizer.L2 and not optimizer.L2_is_weight_decay,
    }
    if wanted := [remedy for remedy, needed in remedies.items() if needed]:
        warnings.warn(Warnings.W203.format(remedies=", ".join(wanted)), stacklevel=2)


def has_fast_bfloat16(device: str) -> bool:
    """device (str): A torch device type.
    RETURNS (bool): Whether it computes in bfloat16 without emulating it.
    """
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False
