"""Serialize the files of a folder to bytes."""

from __future__ import annotations

from pathlib import Path

import srsly

from ..checkpoints.whole import SAVING_FOLDER
from ..errors import Errors


def pack_folder(folder: Path) -> bytes:
    """Serialize the files of a folder to bytes."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and SAVING_FOLDER not in path.parts
    }
    packed: bytes = srsly.msgpack_dumps(files)
    return packed


def unpack_folder(data: bytes, folder: Path) -> None:
    """Write the files that `pack_folder` serialized to a folder.

    Raises:
        ValueError: A file would be written outside the folder.
    """
    inside = folder.resolve()
    for file, content in srsly.msgpack_loads(data).items():
        path = (inside / file).resolve()
        # Do not trust the bytes: an absolute name or ".." would write outside the folder.
        if inside not in path.parents or SAVING_FOLDER in path.parts:
            raise ValueError(Errors.P211.format(file=file))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
