"""Annotate a corpus. A manifest lists the shards that are done, so a killed run can go on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from spacy.util import get_package_path, is_package
from tqdm import tqdm

from .. import __version__
from ..checkpoints.files import find_bundled
from ..errors import Errors
from ..pipeline.evaluation import split_settings
from .annotator import Annotator
from .engines import Engine
from .inputs import KINDS, Shard, cut, find_files, hash_file, open_arrow
from .reading import Failure, ShardReader, check_parquet, infer_schema, to_line
from .shards import (
    PARTIAL,
    PARTS,
    RUNNING,
    Form,
    ShardResult,
    ShardWorker,
    part_name,
    written_when_whole,
)

MANIFEST = "manifest.jsonl"
FAILED = "failed.jsonl"
# Locked while a run writes to the folder.
LOCK = ".lock"
# What is known of the model and the input is their hash.
_HASHES = ("model", "input")


@dataclass(frozen=True)
class Job:
    """What to annotate, where to, and how. The output depends on nothing else.

    Args:
        source: A file, folder or glob, see `find_files`.
        output: The folder to write to.
        annotator: Finds the entities.
        form: Format of the output; `None` for Parquet if the input has typed columns, else JSON
            lines.
        shard_size: Most records in a shard.
    """

    source: str
    output: Path
    annotator: Annotator
    form: Form | None = None
    shard_size: int = 1000


@dataclass
class Outcome:
    """What became of a job.

    Args:
        texts: Number of records in the input.
        failed: Number of those that are not in the output, but in `failed.jsonl`.
        given_up: The shards that killed their workers, described. All their records failed.
    """

    texts: int
    failed: int = 0
    given_up: list[str] = field(default_factory=list)

    @property
    def written(self) -> int:
        """Number of records in the output."""
        return self.texts - self.failed


class Manifest:
    """The list of the shards that are done, in a file of the output folder.

    Its first line says what the folder is made from. A line is added for each shard once its file
    is there. So a shard without a line is annotated again, and its file replaced.

    Args:
        path: The file.
        head: What the folder is made from.

    Attributes:
        failed: The number of failed records in each shard that is done.

    Raises:
        ValueError: The folder was begun with something else, or has files of others.
    """

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self._path = path
        self._places: dict[int, int] = {}
        self.failed: dict[int, int] = {}
        if path.exists():
            self._read(head)
        else:
            others = (each.name for each in path.parent.iterdir() if each.name != LOCK)
            if any(not name.startswith(PARTIAL) for name in others):
                raise ValueError(Errors.P513.format(path=path.parent))
            self._begin(head)

    def _begin(self, head: dict[str, Any]) -> None:
        with written_when_whole(self._path) as partial:
            partial.write_text(to_line(head), encoding="utf8")

    def _read(self, head: dict[str, Any]) -> None:
        with self._path.open("rb") as file:
            begun = json.loads(file.readline())["made_from"]
            place = file.tell()
            for line in file:
                if not line.endswith(b"\n"):
                    # It was not written to its end.
                    os.truncate(self._path, place)
                    break
                entry = json.loads(line)
                self._places[entry["shard"]] = place
                self.failed[entry["shard"]] = len(entry["failures"])
                place += len(line)
        changed = _find_changes(begun, head["made_from"])
        if changed and self.failed:
            folder = self._path.parent
            raise ValueError(Errors.P512.format(path=folder, changed="; ".join(changed)))
        if changed:
            # Nothing is done yet, so the folder may as well be of this.
            for part in self._path.parent.glob(PARTS):
                part.unlink()
            self._begin(head)

    def add(self, shard: Shard, result: ShardResult, file: str) -> None:
        """Add a shard that is done, with the name of its file."""
        entry = {
            "shard": shard.number,
            "file": file,
            "input": shard.path,
            "row": shard.first + 1,
            "texts": shard.count,
            "failures": [each._asdict() for each in result.failures],
        }
        with self._path.open("ab") as manifest:
            self._places[shard.number] = manifest.tell()
            manifest.write(to_line(entry).encode("utf8"))
            manifest.flush()
            os.fsync(manifest.fileno())
        self.failed[shard.number] = len(result.failures)

    def failures(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Read all failures, in the order of the input, each with the number of its shard."""
        with self._path.open("rb") as manifest:
            for shard in sorted(number for number, count in self.failed.items() if count):
                manifest.seek(self._places[shard])
                for failure in json.loads(manifest.readline())["failures"]:
                    yield shard, failure


def annotate_corpus(job: Job, engine: Engine) -> Outcome:
    """Annotate a corpus, or what an earlier run has left of it.

    If the output is a terminal, progress bars show how fast it goes and how long it will take.

    Args:
        job: What to do.
        engine: Schedules the work.

    Returns:
        What became of all records, those of earlier runs included.

    Raises:
        ValueError: The input, the model or the output folder is not usable.
        OSError: A file cannot be read or written, or the model cannot be asked.
    """
    files = find_files(job.source, job.output)
    output = job.output.resolve()
    annotator = job.annotator
    reader = ShardReader(annotator.text_field, annotator.entities_field)
    for path in files:
        reader.check(path)
    kind = KINDS[files[0].suffix]
    form = job.form or ("parquet" if kind in ("parquet", "arrow") else "jsonl")
    if kind == "arrow" and form == "parquet":
        for path in files:
            check_parquet(open_arrow(path).schema, str(path))
    total = sum(path.stat().st_size for path in files)
    with tqdm(total=total, unit="B", unit_scale=True, leave=False, disable=None) as bar:
        inputs, shards = cut(files, job.shard_size, bar.update)
    name, stated = split_settings(annotator.model)
    weights = [find_pipeline(name), *annotator.find_weights()]
    head = {
        # Where the files and the model lie may change.
        "made_from": {
            "model": hash_weights(weights),
            "input": sha256("".join(each.sha256 for each in inputs).encode()).hexdigest(),
            "model settings": stated,
            "text field": annotator.text_field,
            "entities field": annotator.entities_field,
            "format": form,
            "shard size": job.shard_size,
            "batch size": annotator.batch_size,
            "language": annotator.lang,
        },
        "with": {"spacy_padellm": __version__, "model": name, "input": job.source},
    }
    is_untyped = kind == "jsonl" and form == "parquet"
    schema = infer_schema(shards, reader) if is_untyped else None
    worker = ShardWorker(annotator, output, form, schema)
    with _locked(output):
        manifest = Manifest(output / MANIFEST, head)
        _clear(output)
        left = [
            shard
            for shard in shards
            if shard.number not in manifest.failed or not (output / part_name(shard, form)).exists()
        ]
        outcome = Outcome(sum(each.records for each in inputs))
        before = outcome.texts - sum(shard.count for shard in left)
        given_up: list[Shard] = []
        try:
            with tqdm(total=outcome.texts, initial=before, unit="texts", disable=None) as bar:
                for result in engine.run(worker, left) if left else ():
                    shard = shards[result.shard]
                    if result.given_up:
                        given_up.append(shard)
                    else:
                        manifest.add(shard, result, part_name(shard, form))
                    bar.update(shard.count)
        finally:
            outcome.failed = _write_failed(output / FAILED, manifest, shards, given_up)
            outcome.given_up = [shard.describe() for shard in given_up]
            _clear(output)
            (output / RUNNING).rmdir()
    return outcome


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Create the output folder, and keep other runs away from it."""
    lock = FileLock(output / LOCK)
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(Errors.P519.format(path=output)) from None
    except OSError as error:
        raise ValueError(Errors.P417.format(path=output, error=error)) from error
    try:
        yield
    finally:
        # While it is still held, or the file could be that of the next run. Where open files cannot
        # be removed, it stays. The system releases the lock of a process that is killed.
        with suppress(PermissionError):
            (output / LOCK).unlink()
        lock.release()


def _find_changes(begun: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Describe what differs from what a folder was begun with."""
    changed = [name for name in now if begun.get(name) != now[name]]
    return [
        f"another {name}" if name in _HASHES else f"{name} {now[name]!r}, not {begun.get(name)!r}"
        for name in changed
    ]


def find_pipeline(name: str) -> Path:
    """Find the folder of a pipeline or checkpoint.

    Args:
        name: Its name, as `load_pipeline` takes it, without settings.

    Raises:
        ValueError: There is none of this name.
    """
    folder = get_package_path(name) if is_package(name) else Path(find_bundled(name)).expanduser()
    if not folder.is_dir():
        raise ValueError(Errors.P515.format(name=name))
    return folder


def hash_weights(paths: Sequence[Path]) -> str:
    """Compute the hash of some files, and of all files in some folders, with their names."""
    digest = sha256()
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                name = file.relative_to(path).as_posix()
                digest.update(f"{name} {hash_file(file)}\n".encode())
    return digest.hexdigest()


def _clear(output: Path) -> None:
    """Remove what a killed run left: marks of shards that ran, and files that are not whole."""
    (output / RUNNING).mkdir(exist_ok=True)
    for path in (*(output / RUNNING).iterdir(), *output.glob(f"{PARTIAL}*")):
        path.unlink(missing_ok=True)


def _write_failed(
    path: Path, manifest: Manifest, shards: Sequence[Shard], given_up: Sequence[Shard]
) -> int:
    """Write the failures of all shards that are done, and return their number."""
    count = 0
    with written_when_whole(path) as partial, partial.open("w", encoding="utf8") as file:
        for number, failure in manifest.failures():
            file.write(to_line({"file": shards[number].path, **failure}))
            count += 1
        for shard in given_up:
            reason = Errors.P516.format(shard=shard.describe())
            lost = Failure(shard.first + 1, reason, None)._asdict()
            file.write(to_line({"file": shard.path, **lost, "records": shard.count}))
            count += shard.count
    if not count:
        path.unlink()
    return count
