"""Annotate a shard: read it, find the entities, write a file that appears only when whole."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import Errors
from .annotator import Annotator
from .inputs import Shard
from .reading import LINE, TOKENS, WRITTEN_TOKENS, Failure, ShardReader, to_line, to_records

Form = Literal["jsonl", "parquet"]

# In the output folder: for each shard that runs, a file with the number of times it was begun. And
# one with how often the model was loaded for it, while that lasts.
RUNNING = "running"
# A shard that was begun so often and never ended killed its workers.
MOST_STARTS = 2
# How the name of a file begins that is not whole yet.
PARTIAL = ".partial-"
# The names of files that are.
PARTS = "part-*"


@dataclass(frozen=True)
class ShardResult:
    """What became of a shard.

    Args:
        shard: Its number.
        failures: Those that failed.
        given_up: Whether it killed its workers, so that nothing was written.
    """

    shard: int
    failures: list[Failure]
    given_up: bool = False


class ShardWorker:
    """Annotates shards, each to a file of its own. It can be pickled.

    Args:
        annotator: Finds the entities.
        folder: The output folder, which all workers can reach.
        form: Format of the files.
        schema: The types of the fields, if records of JSON lines are written as Parquet.
    """

    def __init__(
        self, annotator: Annotator, folder: Path, form: Form, schema: pa.Schema | None = None
    ) -> None:
        self.annotator = annotator
        self.folder = folder
        self.form = form
        self.schema = schema
        self._reader = ShardReader(annotator.text_field, annotator.entities_field)

    def __call__(self, shard: Shard) -> ShardResult:
        """Annotate a shard.

        Raises:
            OSError: The output cannot be written, the model cannot be asked, or kills its processes
                when it is loaded.
            ValueError: Its file cannot be read, or changed meanwhile.
        """
        running = self.folder / RUNNING
        if not self.annotator.is_loaded:
            # A model that cannot be loaded is not a shard's fault, so this is no start of it.
            with _counted(running / f"{shard.number}-loading") as loads:
                if loads > MOST_STARTS:
                    raise OSError(Errors.P511.format(code="unknown"))
                self.annotator.load()
        with _counted(running / f"{shard.number}") as starts:
            if starts >= MOST_STARTS:
                return ShardResult(shard.number, [], given_up=True)
            return self._annotate(shard)

    def _annotate(self, shard: Shard) -> ShardResult:
        records = self._reader.read(shard)
        annotated = self.annotator(records.batch)
        errors = annotated.column(self.annotator.error_field).to_pylist()
        is_whole = pa.array([error is None for error in errors], pa.bool_())
        failures = list(records.failures)
        if not all(error is None for error in errors):
            rows = to_records(_rename_tokens(records.batch))
            for row, error, record in zip(records.rows, errors, rows, strict=True):
                if error is not None:
                    content = json.loads(record[LINE]) if LINE in record else record
                    failures.append(Failure(row, error, content))
        annotated = annotated.filter(is_whole).drop_columns([self.annotator.error_field])
        found = _rename_tokens(annotated)
        with written_when_whole(self.folder / part_name(shard, self.form)) as path:
            (self._write_jsonl if self.form == "jsonl" else self._write_parquet)(path, found)
        return ShardResult(shard.number, sorted(failures, key=lambda each: each.row))

    def _write_jsonl(self, path: Path, found: pa.RecordBatch) -> None:
        field = self.annotator.entities_field
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for record in to_records(found):
                if LINE in record:
                    record = {**json.loads(record[LINE]), field: record[field]}
                file.write(to_line(record))

    def _write_parquet(self, path: Path, found: pa.RecordBatch) -> None:
        table = pa.Table.from_batches([found])
        if self.schema is not None:
            records = [json.loads(line) for line in found.column(LINE).to_pylist()]
            field = self.annotator.entities_field
            table = pa.Table.from_pylist(records, schema=self.schema)
            table = table.append_column(field, found.column(field))
        pq.write_table(table, path, compression="zstd")


def _rename_tokens(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Give the column of tokens, if there is one, the name that it has in the output."""
    if TOKENS not in batch.schema.names:
        return batch
    names = [WRITTEN_TOKENS if name == TOKENS else name for name in batch.schema.names]
    return pa.RecordBatch.from_arrays(batch.columns, names)


def part_name(shard: Shard, form: Form) -> str:
    """Return the name of a shard's file."""
    return f"part-{shard.number:05}.{form}"


@contextmanager
def written_when_whole(path: Path) -> Iterator[Path]:
    """Give another name to write a file under, and rename the file once it is on the disk."""
    # Not the same name twice: a worker taken for dead may still write.
    partial = path.with_name(f"{PARTIAL}{path.name}-{uuid.uuid4().hex}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _counted(mark: Path) -> Iterator[int]:
    """Count in a file how often something was begun that killed its process each time.

    Yields:
        How often before.
    """
    before = int(mark.read_text() or 0) if mark.exists() else 0
    mark.write_text(str(before + 1))
    # It stays behind only where the process is killed.
    try:
        yield before
    finally:
        mark.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder are on the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
