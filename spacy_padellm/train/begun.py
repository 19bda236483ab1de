"""What a training was begun with, kept beside its steps: one that goes on has to be the same."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from ..checkpoints.settings import CheckpointSettings
from ..errors import Errors
from .config import FinetuneConfig

_FILE = "begun_with.json"
# May change on the way: a training may be made longer, or its corpora be found elsewhere.
_MAY_DIFFER = ("output", "train", "dev", "patience", "save", "training", "labels", "preset")


def begun_with(
    config: FinetuneConfig, settings: CheckpointSettings, *, go_on: bool, write: bool
) -> None:
    """config (FinetuneConfig): What is stated.
    settings (CheckpointSettings): What the model is trained with.
    go_on (bool): Whether a training goes on, or begins.
    write (bool): Whether to note what it begins with.
    RAISES (ValueError): The one that goes on was begun with something else.
    """
    stated = _describe(config, settings)
    path = config.steps / _FILE
    if go_on and path.is_file():
        noted = json.loads(path.read_text(encoding="utf8"))
        names = [name for name, value in stated.items() if noted.get(name) != value]
        if names:
            raise ValueError(Errors.P084.format(path=config.steps, names=", ".join(names)))
    elif write and not go_on:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(stated), encoding="utf8")


def _describe(config: FinetuneConfig, settings: CheckpointSettings) -> dict[str, Any]:
    entries = {name: value for name, value in asdict(config).items() if name not in _MAY_DIFFER}
    described = {**entries, "settings": json.loads(settings.to_json())}
    # As they are read again.
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain
