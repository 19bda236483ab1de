"""A thinc shim that holds the model: loading, settings, gradients, optimizer steps, saving."""

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
import torch
from thinc.api import Model, Optimizer
from thinc.shims import Shim
from thinc.types import Floats1d

from ..calibration import Calibration
from ..checkpoints.files import SETTINGS_FILE, has_weights
from ..checkpoints.loading import load_causal_lm, read_settings
from ..checkpoints.options import has_fast_bfloat16
from ..checkpoints.saving import save_settings
from ..decode.replicas import Replicas
from ..errors import Errors, Warnings
from ..model import PaDeLLM
from ..settings import DecodingOptions, Overrides, Settings
from ..train.objective import Objective
from ..train.supervised import SupervisedTree, target_log_probs
from ..tree.causal_lm import CausalLM
from ..tree.forks import ForkLock, use_one_thread_in_forks
from .packing import pack_folder, unpack_folder
from .sources import LMSource
from .steps import HIGH_RATE, make_adamw

logger = logging.getLogger(__name__)


class PaDeLLMShim(Shim):
    """A thinc shim that holds the model and loads it on first use.

    The source's settings, too, are read only when they are needed, since the checkpoint that a
    saved pipeline was made from may be gone.

    Args:
        source: The source of the model, until a saved model is loaded.
        stated: Settings in the config that override the source's.
        mixed_precision: Whether to train under bfloat16 autocast, if the device has fast bfloat16.
        tag_text: Weight of text tags in training.
        devices: The devices to predict on; empty for the source's device alone.
    """

    _model: CausalLM | None

    def __init__(
        self,
        source: LMSource,
        stated: Overrides,
        *,
        mixed_precision: bool,
        tag_text: float,
        devices: Sequence[str] = (),
    ) -> None:
        super().__init__(None)
        # The model may be loaded only in the fork, but something else may have started threads.
        use_one_thread_in_forks()
        # The first texts may come from several threads at once.
        self._loading = ForkLock(rank=0)
        self.source = source
        self.stated = stated
        self.tag_text = tag_text
        self.options = DecodingOptions()
        self._replicas = Replicas(devices) if devices else None
        self._mixed_precision = mixed_precision
        self._settings: Settings | None = None
        self._padellm: PaDeLLM | None = None
        # Whether a saved model with its own weights was loaded, which replaces the source.
        self._is_saved = False
        self._is_trained = False
        # Whether it was said that the learning rate is too high.
        self._is_warned = False

    def configure(self, stated: Overrides, options: DecodingOptions) -> None:
        """Apply the settings in the component's config.

        Args:
            stated: Settings that override the source's. In a saved pipeline they only override
                limits.
            options: How the model decodes.

        Raises:
            ValueError: A value is not possible.
        """
        self.stated = self.stated.merged(stated)
        self.options = options
        if self._settings is not None:
            self._set(stated.limit(self._settings))

    @property
    def settings(self) -> Settings:
        """The settings that the model runs with."""
        with self._loading:
            if self._settings is None:
                self._settings = self.stated.resolve(self.source.load_settings(self.stated.preset))
            return self._settings

    @property
    def is_known(self) -> bool:
        """Whether the settings are known without reading the source."""
        return self._settings is not None

    @property
    def labels(self) -> Mapping[str, str]:
        """Label → its wording. The source is only read if the config lacks wordings."""
        if self._settings is None:
            if isinstance(self.stated.labels, Mapping):
                return self.stated.labels
            if self.stated.labels is None and self.stated.preset is not None:
                return self.stated.preset.labels
        return self.settings.labels

    @property
    def known_wordings(self) -> dict[str, str]:
        """Label → its wording, for the labels set now and all labels of the source."""
        known: dict[str, str] = {}
        if not self._is_saved:
            of_source = self.source.load_settings(self.stated.preset) or Settings()
            known = self.stated.known_wordings(of_source)
        return {**known, **self.settings.labels}

    def set_labels(self, labels: Mapping[str, str]) -> None:
        """Set the labels to find, each with its wording in the prompt."""
        self._set(replace(self.settings, labels=dict(labels)))
        self.stated = replace(self.stated, labels=dict(labels))

    def calibrate(self, calibration: Calibration) -> None:
        """Set the temperatures of the model's probabilities."""
        self._set(replace(self.settings, calibration=calibration))

    def set_tag_bias(self, bias: float, wordings: Iterable[str] = ()) -> None:
        """Set what is added to the log-odds of mentions by the text tags.

        Args:
            bias: What is added.
            wordings: The wordings of the labels that it is for; empty for all.
        """
        chosen = replace(self.settings, tag_bias=bias, usual=tuple(wordings), other_tag_bias=0.0)
        self._set(chosen)

    def _set(self, settings: Settings) -> None:
        self._settings = settings
        self._padellm = None

    @property
    def lm(self) -> CausalLM:
        """The language model, loaded on first use.

        Raises:
            ValueError: The model is created in training, and has not been trained yet.
        """
        with self._loading:
            if self._model is None:
                self._model = self.source.load(self.settings, self.stated.preset)
            return self._model

    @property
    def padellm(self) -> PaDeLLM:
        """The model that finds entities, with its current settings."""
        with self._loading:
            if self._padellm is None:
                build = self.source.builds
                self._padellm = build(self.lm, self.settings, self.options, self._replicas)
            return self._padellm

    def make_objective(self) -> Objective:
        """Create the training objective."""
        return self.padellm.make_objective(self.tag_text)

    def note_training(self, *, text_tags: bool, others: Iterable[str] = ()) -> None:
        """Record that the model is trained.

        Args:
            text_tags: Whether it is taught tags that can be read.
            others: Wordings of labels that it is trained on besides its own.
        """
        settings = self.settings.as_trained(text_tags=text_tags, others=others)
        if settings != self.settings:
            self._settings = settings
            self._padellm = self.padellm.with_settings(settings)

    @property
    def is_pretrained(self) -> bool:
        """Whether the model was trained before it got here."""
        return self._is_saved or self.source.is_trained

    def find_untrained(self, labels: Mapping[str, str]) -> list[str]:
        """Find the labels whose wording the model was never trained on."""
        encoder = self.padellm.encoder
        # Compared by ids, since a tokenizer that lower-cases reads "PERSON" as "person".
        trained = {tuple(encoder.encode_wording(each)) for each in self.settings.trained}
        return [
            label
            for label, wording in labels.items()
            if tuple(encoder.encode_wording(wording)) not in trained
        ]

    def create(self, texts: Iterable[str]) -> None:
        """Create the model to train, or prepare the loaded one for training.

        Args:
            texts: The training texts.
        """
        # A saved pipeline goes on with its own weights, as the source may be gone.
        made = self.source.create(self.settings, texts)
        if made is not None or not self._is_saved:
            # Without a new model, load the source's weights again, even if they have been trained.
            self._model = made
            known = self.source.load_settings(self.stated.preset)
            trained = () if known is None else known.trained
            self._set(replace(self.settings, trained=trained))
        self._padellm, self._optimizer = None, None

    def __call__(
        self, inputs: Sequence[SupervisedTree], is_train: bool, dropout: float = 0.0
    ) -> tuple[Floats1d, Callable[[Floats1d], list[Any]]]:
        """Run supervised trees.

        Args:
            inputs: The trees.
            is_train: Whether gradients are wanted.
            dropout: Rate of the model's dropout layers (`torch.nn.Dropout`) in training.

        Returns:
            Log-probabilities of the supervised tokens, shape `(n_supervised,)`, and the callback
            that takes their gradient.
        """
        model = self.lm.model
        model.train(is_train)
        for module in model.modules() if is_train else ():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
        try:
            with torch.set_grad_enabled(is_train), self._autocast(is_train):
                log_probs = target_log_probs(self.lm, inputs, self.padellm.encoder)
        finally:
            model.eval()

        def backprop(gradient: Floats1d) -> list[Any]:
            log_probs.backward(torch.from_numpy(np.asarray(gradient)).to(log_probs))
            return []

        return cast(Floats1d, log_probs.detach().cpu().numpy()), backprop

    def _autocast(self, is_train: bool) -> contextlib.AbstractContextManager[Any]:
        device = self.lm.model.device.type
        if not (is_train and self._mixed_precision):
            return contextlib.nullcontext()
        if not has_fast_bfloat16(device):
            logger.warning("%s has no fast bfloat16: training in full precision", device)
            self._mixed_precision = False
            return contextlib.nullcontext()
        return torch.autocast(device, torch.bfloat16)

    def finish_update(self, optimizer: Optimizer) -> None:
        """Update the weights with torch's AdamW and the config's settings.

        Args:
            optimizer: The config's optimizer, with the learning rate of this step.
        """
        if self._optimizer is None:
            self._optimizer = make_adamw(self.lm.model, optimizer)
        rate = float(optimizer.learn_rate)
        if rate > HIGH_RATE and self.is_pretrained and not self._is_warned:
            warnings.warn(Warnings.W208.format(rate=rate), stacklevel=2)
            self._is_warned = True
        parameters = []
        for group in self._optimizer.param_groups:
            group["lr"] = rate
            parameters += group["params"]
        if optimizer.grad_clip:
            torch.nn.utils.clip_grad_norm_(parameters, optimizer.grad_clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._is_trained = True
        if self._replicas is not None:
            self._replicas.outdate()

    @contextlib.contextmanager
    def use_params(self, params: dict[Any, Any] | None) -> Iterator[None]:
        """Do nothing, since this shim updates its weights itself and keeps no averages."""
        yield

    def to_device(self, device_type: str, device_id: int) -> None:
        """Move the model to a device, given by thinc's name for its type and its number."""
        name = {"gpu": "cuda"}.get(device_type, device_type)
        self.lm.to(f"{name}:{device_id}" if name == "cuda" else name)

    def save(self, folder: Path) -> None:
        """Save the checkpoint, or only its settings if `save_weights` is false.

        Raises:
            ValueError: There is no model yet, or trained weights would be lost without
                `save_weights`.
        """
        if self.source.saves_weights:
            PaDeLLM(self.lm, self.settings).save_pretrained(folder)
        elif self._is_trained or self._is_saved:
            raise ValueError(Errors.P209)
        else:
            save_settings(folder, self.settings)

    def load(self, folder: Path) -> None:
        """Load a checkpoint folder that `save` wrote.

        Its settings replace those of the source and the config, except for the config's limits. A
        warning names the other settings of the config that are ignored.

        Raises:
            ValueError: The folder is not complete.
        """
        saved = read_settings(folder / SETTINGS_FILE)
        if ignored := self.stated.find_ignored(saved):
            warnings.warn(Warnings.W202.format(ignored=", ".join(ignored)), stacklevel=2)
        stated = self.stated
        self._set(stated.limit(saved))
        # If not, the source still has the weights, and they are read at first use. Those of a
        # pipeline whose model is on a server now are not needed.
        source = self.source
        self._is_saved = source.runs_here and (source.saves_weights or has_weights(folder))
        # Saved settings replace the component's. The architecture's stay, to warn at a later load.
        preset = None if self._is_saved else stated.preset
        self.stated = replace(stated, preset=preset, template=None, labels=None, output_format=None)
        self._model, self._optimizer = None, None
        self._is_trained = False
        if self._is_saved:
            self._model = load_causal_lm(
                str(folder),
                bidirectional_prefix=saved.prefix_attention == "bidirectional",
                options=self.source.options.of_folder(),
            )

    def to_bytes(self) -> bytes:
        """Serialize the files of the checkpoint folder to bytes."""
        with TemporaryDirectory() as name:
            folder = Path(name)
            self.save(folder)
            return pack_folder(folder)

    def from_bytes(self, data: bytes) -> PaDeLLMShim:
        """Load the model from the bytes that `to_bytes` returned, and return this shim.

        Raises:
            ValueError: A file would be written outside the checkpoint folder, or the folder is not
                complete.
        """
        with TemporaryDirectory() as name:
            folder = Path(name)
            unpack_folder(data, folder)
            self.load(folder)
        return self


def build_model(
    source: LMSource,
    stated: Overrides,
    *,
    mixed_precision: bool,
    tag_text: float = 0.0,
    devices: Sequence[str] = (),
) -> Model[Sequence[SupervisedTree], Floats1d]:
    """Build the component's thinc model, which consists only of a shim.

    Args:
        source: The source of the language model.
        stated: Settings that override the source's.
        mixed_precision: Whether to train under bfloat16 autocast, if the device has fast bfloat16.
        tag_text: Weight of text tags in training.
        devices: The devices to predict on; empty for the source's device alone.

    Returns:
        A thinc model: supervised trees → log-probabilities of their supervised tokens.
    """
    shim = PaDeLLMShim(
        source, stated, mixed_precision=mixed_precision, tag_text=tag_text, devices=devices
    )
    return Model("padellm_causal_lm", _forward, shims=[shim], attrs={"dropout_rate": 0.0})


def _forward(
    model: Model[Any, Any], trees: Sequence[SupervisedTree], is_train: bool
) -> tuple[Floats1d, Callable[[Floats1d], list[Any]]]:
    shim = cast(PaDeLLMShim, model.shims[0])
    return shim(trees, is_train, model.attrs["dropout_rate"])


def get_shim(model: Model[Any, Any]) -> PaDeLLMShim:
    """Return the shim of a model that `build_model` built."""
    return cast(PaDeLLMShim, model.shims[0])
