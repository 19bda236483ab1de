"""Engines: they only decide which worker annotates which shard, and when."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from ..errors import Errors, require
from .inputs import Shard
from .shards import MOST_STARTS, ShardResult, ShardWorker


class Engine(Protocol):
    """Runs a worker on shards, in several processes, and starts those anew that die."""

    def run(self, worker: ShardWorker, shards: Sequence[Shard]) -> Iterator[ShardResult]:
        """Annotate shards, in any order.

        Args:
            worker: Annotates a shard. Each process gets a copy.
            shards: The shards.

        Yields:
            What became of each of them.

        Raises:
            OSError: A file cannot be read or written, or the model cannot be asked.
            ValueError: The model cannot be loaded, or an input file changed.
        """
        ...


@dataclass(frozen=True)
class LocalEngine:
    """Processes on this machine.

    Args:
        processes: Their number; each loads the model.
    """

    processes: int = 1

    def run(self, worker: ShardWorker, shards: Sequence[Shard]) -> Iterator[ShardResult]:
        """Annotate shards, see `Engine`."""
        waiting = deque(shards)
        running: dict[Connection, tuple[Any, Shard]] = {}
        deaths: Counter[int] = Counter()

        def start(shard: Shard) -> None:
            """Start a process with its first shard."""
            # Not a fork: torch's threads would be missing in it.
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(worker, theirs, self.processes), daemon=True
            )
            process.start()
            # Only the process has its end now, so that its death can be noticed.
            theirs.close()
            running[ours] = process, shard
            send(ours, shard)

        def send(connection: Connection, shard: Shard) -> None:
            # If the process was just killed, the next `recv` says so.
            with suppress(OSError):
                connection.send(shard)

        try:
            while waiting and len(running) < self.processes:
                start(waiting.popleft())
            while running:
                for connection in wait(list(running)):
                    assert isinstance(connection, Connection)
                    process, shard = running.pop(connection)
                    try:
                        result = connection.recv()
                    except (EOFError, OSError):
                        # It was killed, maybe amid its answer. A shard counts its starts, and is
                        # given up by the worker.
                        connection.close()
                        process.join()
                        deaths[shard.number] += 1
                        if deaths[shard.number] > MOST_STARTS:
                            code = process.exitcode
                            raise OSError(Errors.P511.format(code=code)) from None
                        start(shard)
                        continue
                    if isinstance(result, Exception):
                        raise result
                    if waiting:
                        running[connection] = process, waiting.popleft()
                        send(connection, running[connection][1])
                    else:
                        connection.close()
                    yield result
        finally:
            for connection, (process, _) in running.items():
                process.terminate()
                process.join()
                connection.close()


def _serve(worker: ShardWorker, connection: Connection, processes: int) -> None:
    """Annotate the shards that come through a connection, until it is closed."""
    import torch

    # The parent handles an interrupt, and then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    # The parent's end is closed when it needs this process no more, or is gone.
    with suppress(EOFError, BrokenPipeError):
        while True:
            connection.send(_try(worker, connection.recv()))


def _end_with_parent() -> None:
    """End this process at once when its parent is gone: another run may write to the folder."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@dataclass(frozen=True)
class RayEngine:
    """Actors on a Ray cluster, or on this machine, scheduled by Ray Data.

    Args:
        actors: Their number; each loads the model.
        address: The cluster's address, such as `"auto"`; `None` for the one in `RAY_ADDRESS`, or
            one that runs on this machine, or else a new one.
        gpus_per_actor: GPUs that each needs; a fraction lets several share one.
        cpus_per_actor: CPUs that each needs, and threads that it computes with.
    """

    actors: int = 1
    address: str | None = None
    gpus_per_actor: float = 0
    cpus_per_actor: int = 1

    def __post_init__(self) -> None:
        # Before the corpus is read.
        require("ray", "The engine ray", extra="ray")

    def run(self, worker: ShardWorker, shards: Sequence[Shard]) -> Iterator[ShardResult]:
        """Annotate shards, see `Engine`."""
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        is_own = not ray.is_initialized()
        if is_own:
            try:
                ray.init(
                    address=self.address, logging_level=logging.WARNING, include_dashboard=False
                )
            except Exception as error:  # whatever a wrong address leads to
                raise OSError(Errors.P520.format(error=error)) from error
        try:
            DataContext.get_current().enable_progress_bars = False
            # Rows are shards, a block each, so no text passes through the driver, and a result
            # comes as soon as its shard is done.
            rows = ray.data.from_items(
                [{"shard": pickle.dumps(shard)} for shard in shards],
                override_num_blocks=len(shards),
            )
            results = rows.map_batches(
                _Actor,
                fn_constructor_args=(worker, self.cpus_per_actor),
                batch_size=1,
                compute=ActorPoolStrategy(size=min(self.actors, len(shards))),
                num_cpus=self.cpus_per_actor,
                num_gpus=self.gpus_per_actor,
            )
            # Ray starts an actor anew that died, and begins its shard again.
            for row in results.iter_rows():
                result: ShardResult | Exception = pickle.loads(row["result"])
                if isinstance(result, Exception):
                    raise result
                yield result
        finally:
            if is_own:
                ray.shutdown()


class _Actor:
    """A worker in the form that Ray Data calls."""

    def __init__(self, worker: ShardWorker, threads: int) -> None:
        self._work = worker
        import torch

        torch.set_num_threads(threads)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        (shard,) = batch["shard"]
        return {"result": [pickle.dumps(_try(self._work, pickle.loads(shard)))]}


def _try(worker: ShardWorker, shard: Shard) -> ShardResult | Exception:
    """Annotate a shard; return an error, with its message and kind, in a form to be sent."""
    try:
        return worker(shard)
    except Exception as error:
        # Others may need more than a message to be made again.
        kinds = (OSError, ImportError, ValueError)
        kind = next((each for each in kinds if isinstance(error, each)), RuntimeError)
        message = str(error) if kind is not RuntimeError else f"{type(error).__name__}: {error}"
        return kind(message)
