"""The texts to annotate: find the files, and cut them into shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob, has_magic
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from spacy.vocab import Vocab

from ..corpus.docs import load_docs
from ..errors import Errors

Kind = Literal["jsonl", "text", "parquet", "arrow", "spacy"]

KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".txt": "text",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".spacy": "spacy",
}
# What `save_to_disk` of Hugging Face's datasets writes beside the data.
_DATASET_STATE, _DATASET_PARTS = "state.json", "dataset_dict.json"
_BLOCK = 1 << 20
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class InputFile:
    """What is in a file.

    Args:
        sha256: The hash of its content.
        records: Number of its records.
    """

    sha256: str
    records: int


@dataclass(frozen=True)
class Shard:
    """Some successive records of a file. They are annotated together, and written to a file.

    Args:
        number: Number of the shard, from 0.
        path: The file.
        kind: What kind of file it is.
        first: Number of records, or lines, ahead of it in the file.
        count: Number of its records.
        start: The byte at which its first line starts, in a file of lines.
        end: The byte behind its last line.
    """

    number: int
    path: str
    kind: Kind
    first: int
    count: int
    start: int = 0
    end: int = 0

    def describe(self) -> str:
        """Say which records it has, for messages."""
        last = self.first + self.count
        unit = "lines" if self.kind in ("jsonl", "text") else "records"
        # Lines of JSON may have blank ones between them.
        return f"{self.path}, {self.count} {unit} from {self.first + 1} on (to about {last})"


def find_files(source: str, output: Path | None = None) -> list[Path]:
    """Find the files to annotate, in a fixed order.

    Args:
        source: A file; a folder, whose files are taken with those of its subfolders; a glob such as
            `"logs/*.jsonl"`; or a folder that `save_to_disk` of Hugging Face's datasets wrote.
        output: The folder to write to. What is in it is left out.

    Returns:
        The files. All are of the same kind. Of a folder, hidden files and those with a leading `_`
        are left out.

    Raises:
        ValueError: There are none, all are in `output`, a kind is unknown, or there are several.
    """
    # Other processes may run in other folders.
    folder = Path(source).expanduser().absolute()
    if (folder / _DATASET_PARTS).is_file():
        parts = json.loads((folder / _DATASET_PARTS).read_text(encoding="utf8"))["splits"]
        names = ", ".join(str(folder / part) for part in parts)
        raise ValueError(Errors.P501.format(path=folder, names=names))
    if (folder / _DATASET_STATE).is_file():
        state = json.loads((folder / _DATASET_STATE).read_text(encoding="utf8"))
        found = [folder / each["filename"] for each in state["_data_files"]]
    elif folder.is_dir():
        found = [
            path
            for path in folder.rglob("*")
            if path.is_file()
            and not any(part[0] in "._" for part in path.relative_to(folder).parts)
        ]
    elif folder.is_file() or not has_magic(source):
        found = [folder] if folder.is_file() else []
    else:
        # The working folder is no part of the pattern: its name may have brackets.
        paths = glob(str(Path(source).expanduser()), recursive=True)
        found = [path.absolute() for path in map(Path, paths) if path.is_file()]
    if not found:
        raise ValueError(Errors.P502.format(source=source))
    if output is not None:
        # An earlier run may have written there already.
        written_to = output.resolve()
        found = [path for path in found if not path.resolve().is_relative_to(written_to)]
        if not found:
            raise ValueError(Errors.P514.format(path=output))
    kinds: dict[str, Path] = {}
    for path in sorted(found):
        if path.suffix not in KINDS:
            raise ValueError(Errors.P503.format(path=path, suffixes=", ".join(KINDS)))
        kinds.setdefault(KINDS[path.suffix], path)
    if len(kinds) > 1:
        raise ValueError(Errors.P504.format(paths=", ".join(map(str, kinds.values()))))
    return sorted(found)


def cut(
    files: Sequence[Path], size: int, tell: Callable[[int], object] = lambda size: None
) -> tuple[list[InputFile], list[Shard]]:
    """Cut files into shards, by their content and nothing else.

    Args:
        files: The files.
        size: Most records in a shard.
        tell: Called with the number of bytes that were read since the last call.

    Returns:
        What was found in each file, and the shards of all.

    Raises:
        ValueError: A file cannot be read.
    """
    inputs: list[InputFile] = []
    shards: list[Shard] = []
    for path in files:
        kind = KINDS[path.suffix]
        with reading(path):
            if kind in ("jsonl", "text"):
                digest, pieces = _cut_lines(path, size, with_blank=kind == "text", tell=tell)
            else:
                digest = hash_file(path, tell)
                pieces = [
                    (first, min(size, end - first), 0, 0)
                    for start, end in pairwise(find_boundaries(path, kind))
                    for first in range(start, end, size)
                ]
        for piece in pieces:
            shards.append(Shard(len(shards), str(path), kind, *piece))
        records = sum(count for _, count, _, _ in pieces)
        inputs.append(InputFile(digest, records))
    return inputs, shards


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Name the file in errors of the system and of Arrow.

    Raises:
        ValueError: The file cannot be read.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise ValueError(Errors.P505.format(path=path, error=error)) from error


def hash_file(path: Path, tell: Callable[[int], object] = lambda size: None) -> str:
    """Compute the SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            tell(len(block))
    return digest.hexdigest()


def _cut_lines(
    path: Path, size: int, *, with_blank: bool, tell: Callable[[int], object]
) -> tuple[str, list[tuple[int, int, int, int]]]:
    """Hash a file of lines and cut it: lines before, records, first byte, byte behind the last."""
    digest = hashlib.sha256()
    pieces = []
    first = start = end = count = told = 0
    with path.open("rb") as file:
        for line, content in enumerate(file, start=1):
            digest.update(content)
            end += len(content)
            if end - told >= _BLOCK:
                tell(end - told)
                told = end
            if b"\r" in content.rstrip(b"\r\n"):
                raise ValueError(Errors.P506.format(path=path, line=line))
            # A byte order mark alone is no record.
            content = content.removeprefix(BOM) if line == 1 else content
            count += with_blank or bool(content.strip())
            if count == size:
                pieces.append((first, count, start, end))
                first, start, count = line, end, 0
    tell(end - told)
    if count:
        pieces.append((first, count, start, end))
    return digest.hexdigest(), pieces


def find_boundaries(path: Path, kind: Kind) -> list[int]:
    """Return between which records a file has to be cut: Parquet between its row groups.

    Args:
        path: The file.
        kind: What kind of file it is.

    Returns:
        Numbers of records, from 0 to that of all.
    """
    if kind == "parquet":
        metadata = pq.read_metadata(path)
        counts = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
        return [sum(counts[:n]) for n in range(len(counts) + 1)]
    return [0, len(load_docs(path, Vocab())) if kind == "spacy" else open_arrow(path).num_rows]


def open_arrow(path: Path) -> pa.Table:
    """Open a file of Arrow's, in either of its formats, without reading it whole."""
    with pa.memory_map(str(path)) as source:
        try:
            return pa.ipc.open_stream(source).read_all()
        except pa.ArrowInvalid:
            return pa.ipc.open_file(source).read_all()
