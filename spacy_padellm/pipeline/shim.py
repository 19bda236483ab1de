"""Thinc shim around the language model: loading, gradients, optimizer steps, serialisation."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
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

from ..checkpoints.files import SETTINGS_FILE, has_weights
from ..checkpoints.loading import check_trainable, load_causal_lm, read_settings
from ..checkpoints.saving import save_checkpoint, save_settings
from ..checkpoints.settings import CheckpointSettings
from ..decode.replicas import Replicas
from ..errors import Errors, Warnings
from ..train.supervised_tree import SupervisedTree, target_log_probs
from ..tree.causal_lm import CausalLM
from .configured import ConfiguredSettings
from .sources import LMSource

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
        self.configured = ConfiguredSettings(source)
        self._replicas = Replicas(devices)
        self._mixed_precision = mixed_precision
        self._is_saved = False
        self._is_trained = False

    @property
    def settings(self) -> CheckpointSettings:
        """RETURNS (CheckpointSettings): What the model is run with."""
        return self.configured.current

    @property
    def _source(self) -> LMSource:
        return self.configured.source

    def find_untrained(self) -> list[str]:
        """RETURNS (List[str]): Labels whose wording the model was never trained with."""
        return self.configured.find_untrained(self.lm.tokenizer)

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
            self.configured.note_new_weights()
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
            check_trainable(self.lm.model)
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
        self.configured.note_trained()

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
        elif self._is_trained or self._is_saved:
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
        # Otherwise they are where they were, and read at first use.
        self._is_saved = self._source.saves_weights or has_weights(folder)
        self.configured.restore(settings, with_weights=self._is_saved)
        self._model, self._optimizer = None, None
        self._is_trained = False
        if self._is_saved:
            self._model = load_causal_lm(
                str(folder),
                prefix_attention=settings.prefix_attention,
                options=self._source.options.of_folder(),
            )

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
