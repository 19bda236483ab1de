"""Read a shard as a record batch."""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime, time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from spacy.vocab import Vocab

from ..corpus.docs import load_docs
from ..errors import Errors
from .inputs import BOM, KINDS, Shard, find_boundaries, open_arrow, reading

# The column that has a record of JSON lines as it is written there: its fields may have any types.
LINE = "__line__"
# The columns with the tokens of a doc, and with the reason why a text failed. No column of an input
# has these names. In the output, the first has another one.
TOKENS, ERROR = "__tokens__", "__error__"
WRITTEN_TOKENS = "tokens"
_TOKENS_TYPE = pa.list_(pa.list_(pa.int64()))


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
            ValueError: The file cannot be read, or changed meanwhile.
        """
        with reading(shard.path):
            if shard.kind in ("jsonl", "text"):
                records = self._read_lines(shard)
            else:
                records = self._read_rows(shard)
        if records.batch.num_rows + len(records.failures) != shard.count:
            raise ValueError(Errors.P505.format(path=shard.path, error="it has other records now"))
        return records

    def _read_rows(self, shard: Shard) -> Records:
        rows = range(shard.first + 1, shard.first + shard.count + 1)
        if shard.kind == "spacy":
            return Records(self._read_docs(shard), rows, [])
        path = Path(shard.path)
        if shard.kind == "parquet":
            table, first = self._read_group(path, shard.first)
        else:
            table, first = self._keep(path, lambda: open_arrow(path)), 0
        chosen = table.slice(shard.first - first, shard.count).combine_chunks()
        # There is none if the file has fewer rows now.
        batches = chosen.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
        return Records(batches[0], rows, [])

    def check(self, path: Path) -> None:
        """Check that a file has the field of the text, and none of the name of the entities'.

        Of JSON lines, only the first is checked.

        Raises:
            ValueError: It is not so, or the file is not JSON lines, or cannot be read.
        """
        kind = KINDS[path.suffix]
        names: Sequence[str] | None = None
        with reading(path):
            if kind == "jsonl":
                names = _names_in_first_line(path)
            elif kind == "parquet":
                names = pq.read_schema(path).names
            elif kind == "arrow":
                names = open_arrow(path).schema.names
            elif kind == "spacy":
                names = (self.text_field, WRITTEN_TOKENS)
        if names is None:
            return
        if self.text_field not in names:
            shown = ", ".join(names)
            raise ValueError(Errors.P507.format(path=path, field=self.text_field, names=shown))
        if self.entities_field in names:
            raise ValueError(Errors.P508.format(path=path, field=self.entities_field))
        if kind == "spacy" and self.text_field == WRITTEN_TOKENS:
            raise ValueError(Errors.P522.format(path=path, field=WRITTEN_TOKENS))

    def _keep(self, key: object, load: Callable[[], Any]) -> Any:
        if self._last[0] != key:
            self._last = (key, load())
        return self._last[1]

    def _read_group(self, path: Path, row: int) -> tuple[Any, int]:
        """Read the row group of Parquet that has a row, and say how many rows are ahead of it."""
        boundaries = find_boundaries(path, "parquet")
        group = max((n for n, first in enumerate(boundaries[:-1]) if first <= row), default=0)
        table = self._keep((path, group), lambda: pq.ParquetFile(path).read_row_group(group))
        return table, boundaries[group]

    def _read_docs(self, shard: Shard) -> pa.RecordBatch:
        path = Path(shard.path)
        docs = self._keep(path, lambda: load_docs(path, Vocab()))
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
            except (ValueError, RecursionError) as error:
                failures.append(Failure(row, str(error), _as_far_as_readable(content)))
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
            state = (
                f"not a string but {type(text).__name__}"
                if self.text_field in record
                else "missing"
            )
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
    own: dict[Shard, pa.Schema] = {}
    for shard in shards:
        records = _read_objects(shard, reader)
        names = dict.fromkeys(name for record in records for name in record)
        with _as_columns(shard.describe()):
            table = pa.table({name: [record.get(name) for record in records] for name in names})
            own[shard] = table.schema
            schema = pa.unify_schemas([schema, table.schema], promote_options="permissive")
        check_parquet(schema, shard.describe())
    for shard, found in own.items():
        # Not every value fits the common type: a large number among those with fractions.
        if any(field.type not in (schema.field(field.name).type, pa.null()) for field in found):
            with _as_columns(shard.describe()):
                pa.Table.from_pylist(_read_objects(shard, reader), schema=schema)
    return schema


def check_parquet(schema: pa.Schema, place: str) -> None:
    """Check that Parquet has all types of a schema. It lacks that of an object without fields.

    Args:
        schema: The schema.
        place: What has it, for messages.

    Raises:
        ValueError: It lacks one.
    """
    with _as_columns(place):
        pq.write_table(schema.empty_table(), pa.BufferOutputStream())


@contextmanager
def _as_columns(place: str) -> Iterator[None]:
    try:
        yield
    # Half a surrogate pair cannot be encoded.
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        raise ValueError(Errors.P509.format(place=place, error=error)) from error


def _read_objects(shard: Shard, reader: ShardReader) -> list[dict[str, Any]]:
    lines = reader.read(shard).batch.column(LINE).to_pylist()
    return [json.loads(line) for line in lines]


def to_records(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Convert the rows of a batch to dicts, see `to_python`."""
    columns = [[to_python(value) for value in column] for column in batch.columns]
    return [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def to_python(value: pa.Scalar) -> Any:
    """Convert a value of Arrow's. One that Python has no type for becomes a string.

    Such are times with nanoseconds, dates after the year 9999, and strings that are not UTF-8. What
    comes out does not depend on whether pandas is installed.
    """
    if not value.is_valid:
        return None
    nanoseconds = _has_nanoseconds(value.type)
    if not nanoseconds:
        with suppress(ValueError, OverflowError):
            return value.as_py()
    if isinstance(value, pa.DictionaryScalar):
        return to_python(value.value)
    if isinstance(value, pa.StructScalar):
        return {name: to_python(each) for name, each in value.items()}
    if isinstance(value, pa.ListScalar | pa.LargeListScalar | pa.FixedSizeListScalar):
        return [to_python(each) for each in value.values]
    if nanoseconds:
        with suppress(ValueError, OverflowError):
            return value.cast(_to_microseconds(value.type)).as_py()
    if isinstance(value, pa.StringScalar | pa.LargeStringScalar):
        return value.as_buffer().to_pybytes().decode("utf-8", "backslashreplace")
    if isinstance(value, pa.DurationScalar):
        return f"{value.value} {value.type.unit}"
    return value.cast(pa.string()).as_py().replace(" ", "T", 1)


@cache
def _has_nanoseconds(kind: pa.DataType) -> bool:
    """Return whether a type has times with nanoseconds in it, which pandas has types for."""
    if pa.types.is_dictionary(kind):
        return _has_nanoseconds(kind.value_type)
    inner = [kind.field(n).type for n in range(kind.num_fields)]
    return any(map(_has_nanoseconds, inner)) or getattr(kind, "unit", None) == "ns"


def _to_microseconds(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us")


def to_line(record: Any) -> str:
    """Write a record as a line of JSON.

    What JSON has no type for, such as durations and decimal numbers, becomes a string, and a number
    that is not finite becomes null.
    """
    try:
        line = json.dumps(record, ensure_ascii=False, allow_nan=False, default=_to_json)
        line.encode("utf-8")
    except UnicodeEncodeError:
        # Half a surrogate pair can only be written as an escape.
        line = json.dumps(record, default=_to_json)
    except ValueError:
        return to_line(_to_finite(record))
    return line + "\n"


def _to_json(value: Any) -> str:
    """Convert a value that JSON has no type for."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else str(value)


def _to_finite(value: Any) -> Any:
    """Replace numbers that are not finite by null."""
    if isinstance(value, dict):
        return {name: _to_finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines_of(shard: Shard) -> Iterator[tuple[int, bytes]]:
    """Read the lines of a shard, without line ends, each with its number from 1."""
    with open(shard.path, "rb") as file:
        if os.fstat(file.fileno()).st_size < shard.end:
            raise ValueError(Errors.P505.format(path=shard.path, error="it is shorter than before"))
        file.seek(shard.start)
        content = file.read(shard.end - shard.start)
    if shard.start == 0:
        content = content.removeprefix(BOM)
    for row, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=shard.first + 1):
        if shard.kind == "text" or not (not line or line.isspace()):
            yield row, line.removesuffix(b"\r")


def _as_far_as_readable(line: bytes) -> Any:
    """Return the JSON of a line, or else its text."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return line.decode("utf-8", "backslashreplace")


def _names_in_first_line(path: Path) -> list[str] | None:
    """Read the names of the fields in the first line that is not blank; `None` if all are."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = next((line for line in file if not line.isspace()), None)
    if first is None:
        return None
    try:
        return list(dict(json.loads(first)))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(Errors.P510.format(path=path, begin=first[:60].rstrip())) from error
