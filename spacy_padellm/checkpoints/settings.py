"""What a checkpoint was trained with and has to be run with: its `padellm.json`."""

from __future__ import annotations

from pathlib import Path

from ..errors import Errors
from ..settings import Settings
from .locations import SETTINGS_FILE, find_file, find_folder
from .options import DEFAULT_OPTIONS, LoadOptions


def load_settings(name: str, options: LoadOptions = DEFAULT_OPTIONS) -> Settings | None:
    """name (str): A folder or hub id.
    options (LoadOptions): Which revision of a hub id, and whether it may be fetched.
    RETURNS (Optional[Settings]): What its `padellm.json` says, `None` without one.
    RAISES (ValueError): A `padellm.json` that cannot be read.
    """
    name = find_folder(name)
    path = find_file(name, SETTINGS_FILE, options)
    return None if path is None else read_settings(Path(path))


def read_settings(path: Path) -> Settings:
    """path (Path): A `padellm.json`.
    RETURNS (Settings): What it says.
    RAISES (ValueError): It cannot be read, or saving it was interrupted.
    """
    try:
        content = path.read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(Errors.P040.format(path=path, error=error)) from error
    if not content:
        missing = f"what {SETTINGS_FILE} holds"
        raise ValueError(Errors.P041.format(name=path.parent, missing=missing))
    return Settings.from_json(content, str(path))
