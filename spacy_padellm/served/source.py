"""The source of a component's language model: a server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..checkpoints.loading import load_settings, load_tokenizer
from ..checkpoints.options import DEFAULT_OPTIONS, LoadOptions
from ..errors import Errors
from ..model import PaDeLLM
from ..prompt.template import Preset
from ..settings import Settings
from ..tree.causal_lm import CausalLM
from .client import Server
from .lm import ServedLM, ServedPaDeLLM


@dataclass(frozen=True)
class ServedSource:
    """A source whose model runs on a server.

    Args:
        name: Folder or hub id of its tokenizer and settings. It needs no weights.
        server: The server.
        concurrency: Most requests at once.
    """

    builds: ClassVar[type[PaDeLLM]] = ServedPaDeLLM
    runs_here: ClassVar[bool] = False
    is_trained: ClassVar[bool] = True
    saves_weights: ClassVar[bool] = False
    name: str
    server: Server
    concurrency: int

    @property
    def options(self) -> LoadOptions:
        """The default options, since no weights are loaded."""
        return DEFAULT_OPTIONS

    def load_settings(self, preset: Preset | None) -> Settings | None:
        """Read the settings in `padellm.json`, or take the preset's if there is no such file."""
        described = None if preset is None else Settings.of_preset(preset)
        return load_settings(self.name, with_weights=False) or described

    def load(self, settings: Settings, preset: Preset | None) -> Any:
        """Load the tokenizer. Nothing is asked of the server yet."""
        return ServedLM(self.name, load_tokenizer(self.name), self.server, self.concurrency)

    def create(self, settings: Settings, texts: Iterable[str]) -> CausalLM | None:
        """Raise a `ValueError`, since the weights are elsewhere."""
        name, url = self.server.served_name, self.server.url
        raise ValueError(Errors.P095.format(name=name, url=url))
