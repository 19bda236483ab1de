"""The texts to annotate: find files, cut them into shards, and read a shard as a record batch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import Errors, require

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
# The column that has a record of JSON lines as it is written there: its fields may have any types.
LINE = "__line__"
# The column with the tokens of a doc.
TOKENS = "tokens"
_TOKENS_TYPE = pa.list_(pa.list_(pa.int64()))
# What `save_to_disk` of Hugging Face's datasets writes beside the data.
_DATASET_STATE, _DATASET_PARTS = "state.json", "dataset_dict.json"
_BLOCK = 1 << 20


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


class Failure(NamedTuple):
    """A record that could not be annotated.

    row: Its number in the file, from 1; for lines, the number of the line.
    error: The reason.
    record: Its content, as far as it could be read.
    """

    row: int
    error: str
    record: Any


class Records(NamedTuple):
    """The records of a shard.

    batch: The records that could be read.
    rows: The number of each in its file, from 1.
    failures: The others.
    """

    batch: pa.RecordBatch
    rows: Sequence[int]
    failures: list[Failure]


def find_files(source: str) -> list[Path]:
    """Find the files to annotate, in a fixed order.

    Args:
        source: A file; a folder, whose files are taken with those of its subfolders; a glob such as
            `"logs/*.jsonl"`; or a folder that `save_to_disk` of Hugging Face's datasets wrote.

    Returns:
        The files. All are of the same kind. Hidden files and those with a leading `_` are left out.

    Raises:
        ValueError: There are none, a kind is unknown, or there are several kinds.
    """
    folder = Path(source).expanduser()
    if (folder / _DATASET_PARTS).is_file():
        parts = json.loads((folder / _DATASET_PARTS).read_text(encoding="utf8"))["splits"]
        names = ", ".join(str(folder / part) for part in parts)
        raise ValueError(Errors.P501.format(path=folder, names=names))
    if (folder / _DATASET_STATE).is_file():
        state = json.loads((folder / _DATASET_STATE).read_text(encoding="utf8"))
        return [folder / each["filename"] for each in state["_data_files"]]
    if folder.is_dir():
        found = [
            path
            for path in folder.rglob("*")
            if path.is_file()
            and not any(part[0] in "._" for part in path.relative_to(folder).parts)
        ]
    elif folder.is_file() or not has_magic(str(folder)):
        found = [folder] if folder.is_file() else []
    else:
        found = [path for path in map(Path, glob(str(folder), recursive=True)) if path.is_file()]
    if not found:
        raise ValueError(Errors.P502.format(source=source))
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
        try:
            if kind in ("jsonl", "text"):
                digest, pieces = _cut_lines(path, size, with_blank=kind == "text", tell=tell)
            else:
                digest = hash_file(path, tell)
                pieces = [
                    (first, min(size, end - first), 0, 0)
                    for start, end in pairwise(_boundaries(path, kind))
                    for first in range(start, end, size)
                ]
        except (OSError, pa.ArrowException) as error:
            raise ValueError(Errors.P505.format(path=path, error=error)) from error
        for piece in pieces:
            shards.append(Shard(len(shards), str(path), kind, *piece))
        records = sum(count for _, count, _, _ in pieces)
        inputs.append(InputFile(digest, records))
    return inputs, shards


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
            count += with_blank or not content.isspace()
            if count == size:
                pieces.append((first, count, start, end))
                first, start, count = line, end, 0
    tell(end - told)
    if count:
        pieces.append((first, count, start, end))
    return digest.hexdigest(), pieces


def _boundaries(path: Path, kind: Kind) -> list[int]:
    """Between which records a file may be cut, besides by number: those of Parquet's row groups."""
    if kind == "parquet":
        metadata = pq.read_metadata(path)
        counts = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
        return [sum(counts[:n]) for n in range(len(counts) + 1)]
    return [0, len(_load_docs(path).tokens) if kind == "spacy" else _open_arrow(path).num_rows]


class ShardReader:
    """Reads the records of shards. It keeps the last table it read, for the shard that follows.

    Args:
        text_field: The field with the text.
        entities_field: The field that will have the entities.
    """

    def __init__(self, text_field: str, entities_field: str) -> None:
        self.text_field = text_field
        self.entities_field = entities_field
        self._last: tuple[object, Any] = (None, None)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the table."""
        return {**vars(self), "_last": (None, None)}

    def read(self, shard: Shard) -> Records:
        """Read the records of a shard.

        Returns:
            The records. Those of JSON lines have only the columns `text_field` and `LINE`, and
            docs only `text_field` and `TOKENS`.

        Raises:
            ValueError: The file changed meanwhile.
        """
        if shard.kind in ("jsonl", "text"):
            return self._read_lines(shard)
        end = shard.first + shard.count
        rows = range(shard.first + 1, end + 1)
        if shard.kind == "spacy":
            return Records(self._read_docs(shard), rows, [])
        path = Path(shard.path)
        if shard.kind == "parquet":
            table, first = self._read_group(path, shard.first)
        else:
            table, first = self._keep(path, lambda: _open_arrow(path)), 0
        (batch,) = table.slice(shard.first - first, shard.count).combine_chunks().to_batches()
        return Records(batch, rows, [])

    def check(self, path: Path) -> None:
        """Check that a file has the field of the text, and none of the name of the entities'.

        Of JSON lines, only the first is checked.

        Raises:
            ValueError: It is not so, or the file is not JSON lines.
        """
        kind = KINDS[path.suffix]
        if kind == "jsonl":
            names = _names_in_first_line(path)
        elif kind == "parquet":
            names = pq.read_schema(path).names
        elif kind == "arrow":
            names = _open_arrow(path).schema.names
        else:
            return
        if self.text_field not in names:
            shown = ", ".join(names)
            raise ValueError(Errors.P507.format(path=path, field=self.text_field, names=shown))
        if self.entities_field in names:
            raise ValueError(Errors.P508.format(path=path, field=self.entities_field))

    def _keep(self, key: object, load: Callable[[], Any]) -> Any:
        if self._last[0] != key:
            self._last = (key, load())
        return self._last[1]

    def _read_group(self, path: Path, row: int) -> tuple[Any, int]:
        """Read the row group of Parquet that has a row, and say how many rows are ahead of it."""
        boundaries = _boundaries(path, "parquet")
        group = max(n for n, first in enumerate(boundaries[:-1]) if first <= row)
        table = self._keep((path, group), lambda: pq.ParquetFile(path).read_row_group(group))
        return table, boundaries[group]

    def _read_docs(self, shard: Shard) -> pa.RecordBatch:
        from spacy.vocab import Vocab

        path = Path(shard.path)
        docs = self._keep(path, lambda: list(_load_docs(path).get_docs(Vocab())))
        chosen = docs[shard.first : shard.first + shard.count]
        tokens = [[[token.idx, token.idx + len(token)] for token in doc] for doc in chosen]
        columns = {
            self.text_field: pa.array([doc.text for doc in chosen], pa.string()),
            TOKENS: pa.array(tokens, _TOKENS_TYPE),
        }
        return pa.RecordBatch.from_pydict(columns)

    def _read_lines(self, shard: Shard) -> Records:
        texts: list[str] = []
        lines: list[str] = []
        rows: list[int] = []
        failures: list[Failure] = []
        for row, content in _lines_of(shard):
            try:
                text = content.decode("utf-8")
                if shard.kind == "jsonl":
                    text = self._get_text(text)
            except ValueError as error:
                shown = content.decode("utf-8", "backslashreplace")
                failures.append(Failure(row, str(error), shown))
                continue
            texts.append(text)
            lines.append(content.decode("utf-8"))
            rows.append(row)
        columns = {self.text_field: pa.array(texts, pa.string())}
        if shard.kind == "jsonl":
            columns[LINE] = pa.array(lines, pa.string())
        return Records(pa.RecordBatch.from_pydict(columns), rows, failures)

    def _get_text(self, line: str) -> str:
        """Get the text of a record of JSON lines.

        Raises:
            ValueError: There is none.
        """
        record = json.loads(line)
        if not isinstance(record, dict):
            raise ValueError(f"the line is not a JSON object but {type(record).__name__}")
        if self.entities_field in record:
            raise ValueError(f"the record has a field {self.entities_field!r} already")
        text = record.get(self.text_field)
        if not isinstance(text, str):
            state = "missing" if text is None else f"not a string but {type(text).__name__}"
            raise ValueError(f"the field {self.text_field!r} is {state}")
        # Half a surrogate pair, from a JSON escape, cannot be written as UTF-8.
        text.encode("utf-8")
        return text


def infer_schema(shards: Sequence[Shard], reader: ShardReader) -> pa.Schema:
    """Find the types of all fields of JSON lines, for an output with types.

    Args:
        shards: All shards.
        reader: Reads them.

    Raises:
        ValueError: A field has values of types that do not go together.
    """
    schema = pa.schema([])
    for shard in shards:
        records = [json.loads(line) for line in reader.read(shard).batch.column(LINE).to_pylist()]
        names = dict.fromkeys(name for record in records for name in record)
        try:
            table = pa.table({name: [record.get(name) for record in records] for name in names})
            schema = pa.unify_schemas([schema, table.schema], promote_options="permissive")
        except (pa.ArrowException, OverflowError) as error:
            place = shard.describe()
            raise ValueError(Errors.P509.format(place=place, error=error)) from error
    return schema


def _lines_of(shard: Shard) -> Iterator[tuple[int, bytes]]:
    """Read the lines of a shard, without line ends, each with its number from 1."""
    with open(shard.path, "rb") as file:
        if os.fstat(file.fileno()).st_size < shard.end:
            raise ValueError(Errors.P505.format(path=shard.path, error="it is shorter than before"))
        file.seek(shard.start)
        content = file.read(shard.end - shard.start)
    if shard.start == 0:
        content = content.removeprefix(b"\xef\xbb\xbf")
    for row, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=shard.first + 1):
        if shard.kind == "text" or not (not line or line.isspace()):
            yield row, line.removesuffix(b"\r")


def _names_in_first_line(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = next((line for line in file if not line.isspace()), "{}")
    try:
        return list(dict(json.loads(first)))
    except (ValueError, TypeError) as error:
        raise ValueError(Errors.P510.format(path=path, begin=first[:60].rstrip())) from error


def _open_arrow(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        try:
            return pa.ipc.open_stream(source).read_all()
        except pa.ArrowInvalid:
            return pa.ipc.open_file(source).read_all()


def _load_docs(path: Path) -> Any:
    require("spacy", f"Reading {path}")
    from spacy.tokens import DocBin

    try:
        return DocBin().from_disk(path)
    except Exception as error:  # from zlib, msgpack or the file system
        raise ValueError(Errors.P123.format(path=path, error=error)) from error
