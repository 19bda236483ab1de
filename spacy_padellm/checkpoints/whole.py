"""A checkpoint takes the place of another one in a folder as a whole, or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from ..errors import Errors

ADAPTER_FILE = "adapter_config.json"
# The subfolder in which a checkpoint is saved before it takes the place of the one in the folder,
# and the list of its files, which is written last.
SAVING_FOLDER = ".saving"
_SAVED = "saved.json"


def list_saved(folder: Path) -> None:
    """Note that the checkpoint in a folder's `SAVING_FOLDER` is whole."""
    aside = folder / SAVING_FOLDER
    names = [path.name for path in aside.iterdir()]
    part = aside / f"{_SAVED}.part"
    part.write_text(json.dumps(names), encoding="utf8")
    os.replace(part, aside / _SAVED)


@contextmanager
def saving_alone(folder: Path) -> Iterator[None]:
    """Keep other processes from saving to a folder, or from finishing to, for a while."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems have no locks.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def finish_saving(folder: Path) -> None:
    """Let a checkpoint that was saved whole take the place of the one in the folder.

    Loading does this, too, if saving was interrupted. So a folder has the old checkpoint or the new
    one.

    Raises:
        ValueError: Saving was interrupted, and the folder may only be read.
    """
    if not (folder / SAVING_FOLDER / _SAVED).is_file():
        return
    try:
        with saving_alone(folder):
            replace_saved(folder)
    except OSError as error:
        raise ValueError(Errors.P059.format(folder=folder, error=error)) from error


def replace_saved(folder: Path) -> None:
    """Do what `finish_saving` does, for one who saves alone already."""
    aside = folder / SAVING_FOLDER
    if not (aside / _SAVED).is_file():
        return
    names = json.loads((aside / _SAVED).read_text(encoding="utf8"))
    # Do not trust the list: a path would lead out of the folder.
    names = [name for name in names if Path(name).name == name != ".."]
    for name in names:
        if (aside / name).exists():
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
            os.replace(aside / name, folder / name)
    remove_weights(folder, names)
    # The list goes first: without it, what is left counts for nothing.
    (aside / _SAVED).unlink()
    shutil.rmtree(aside)


def remove_weights(folder: Path, kept: Collection[str] = ()) -> None:
    """Remove the weights of an earlier model or adapter from a folder.

    Otherwise they would be loaded together with those that are saved, or instead of them.

    Args:
        folder: The folder.
        kept: The names of files that stay.
    """
    for pattern in ("model*.safetensors*", ADAPTER_FILE, "adapter_model.*"):
        for path in folder.glob(pattern):
            if path.name not in kept:
                path.unlink(missing_ok=True)
