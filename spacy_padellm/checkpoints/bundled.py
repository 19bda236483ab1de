"""Checkpoints that come with the package."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "models"


def find_bundled(name: str) -> str:
    """name (str): A bundled checkpoint's name, or a folder or hub id. A folder of the same name is
        meant by a path to it, such as `./padellm_en_small`.
    RETURNS (str): The bundled checkpoint's folder, or the name as it is.
    """
    folder = FOLDER / name
    # A name and nothing else: no path leads out of there, and none into it.
    is_name = name.isidentifier() and (folder / "config.json").is_file()
    return str(folder) if is_name else name
