"""Annotate a corpus in several ways, kill processes meanwhile, and compare what comes out.

Runs `padellm annotate` with 1 and 2 workers on this machine, locally and on a Ray cluster of its
own. Then it runs it on Ray again, kills an actor, kills the driver, and lets the same command end
the work. Prints the speed, the driver's memory, and whether all outputs are the same bytes.

    python scripts/annotate_faults.py texts.jsonl /tmp/faults
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SHARD = 500


def main() -> None:
    """Run and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", help="JSON lines with a field `text`.")
    parser.add_argument("folder", type=Path, help="An empty folder for all outputs.")
    parser.add_argument("--model", default="padellm_en_small")
    args = parser.parse_args()
    with open(args.texts, encoding="utf8") as file:
        total = sum(1 for line in file if not line.isspace())
    print(f"{total} texts, shards of {SHARD}")
    print("| run | seconds | texts/s | driver, MB after a quarter | at the end |")
    print("|---|---|---|---|---|")

    def run(name: str, *options: str, threads: int = 1, watch: Watch | None = None) -> int:
        command = [sys.executable, "-m", "spacy_padellm", "annotate", args.texts]
        command += [str(args.folder / name), "--model", args.model, "--shard-size", str(SHARD)]
        # Local processes share the threads.
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "RAY_AUTH_MODE": "disabled"}
        # The cluster has to be its own, as actors are killed.
        environment.pop("RAY_ADDRESS", None)
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, *options],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        memory: list[int] = []
        while process.poll() is None:
            memory += [resident(process.pid)]
            if watch is not None:
                watch(process.pid, done(args.folder / name))
            time.sleep(0.5)
        seconds = time.perf_counter() - start
        memory = [each for each in memory if each]
        quarter = memory[len(memory) // 4] if memory else 0
        last = memory[-1] if memory else 0
        status = process.returncode
        ended = f"{total / seconds:.0f}" if status == 0 else f"ended with {status}"
        print(f"| {name} | {seconds:.0f} | {ended} | {quarter} | {last} |", flush=True)
        return status

    run("local-1")
    run("local-2", "--processes", "2", threads=2)
    run("ray-1", "--engine", "ray")
    run("ray-2", "--engine", "ray", "--num-actors", "2")
    kills = Kills(actor_at=total // SHARD // 4, driver_at=total // SHARD // 2)
    run("ray-killed", "--engine", "ray", "--num-actors", "2", watch=kills)
    print(f"killed: {', '.join(kills.killed)}; {done(args.folder / 'ray-killed')} shards were done")
    run("ray-killed", "--engine", "ray", "--num-actors", "2")
    whole = parts(args.folder / "local-1")
    for name in ("local-2", "ray-1", "ray-2", "ray-killed"):
        same = parts(args.folder / name) == whole
        failed = args.folder / name / "failed.jsonl"
        failures = failed.read_bytes().count(b"\n") if failed.exists() else 0
        written = [
            json.loads(line)["text"]
            for part in parts(args.folder / name).values()
            for line in part.splitlines()
        ]
        print(
            f"{name}: {len(written)} texts written, {failures} failed, of {total}; "
            f"the same bytes as local-1: {'yes' if same else 'NO'}"
        )


Watch = Callable[[int, int], None]


class Kills:
    """Kills an actor once some shards are done, and the driver once more are.

    Args:
        actor_at: Number of shards after which to kill an actor.
        driver_at: Number of shards after which to kill the driver.
    """

    def __init__(self, actor_at: int, driver_at: int) -> None:
        self.killed: list[str] = []
        self._at = {"actor": actor_at, "driver": driver_at}

    def __call__(self, driver: int, done: int) -> None:
        """Kill what is to be killed now."""
        if done >= self._at["actor"] and not self.killed:
            os.kill(next(actors()), signal.SIGKILL)
            self.killed.append(f"an actor after {done} shards")
        if done >= self._at["driver"] and len(self.killed) == 1:
            os.kill(driver, signal.SIGKILL)
            self.killed.append(f"the driver after {done}")


def actors() -> Iterator[int]:
    """Find the processes of Ray's actors."""
    for each in Path("/proc").iterdir():
        try:
            if each.name.isdigit() and b"ray::MapWorker" in (each / "cmdline").read_bytes():
                yield int(each.name)
        except OSError:  # It has ended meanwhile.
            continue


def resident(process: int) -> int:
    """Read a process's memory, in MB; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS")), 0)


def done(folder: Path) -> int:
    """Count the shards that are done."""
    manifest = folder / "manifest.jsonl"
    return manifest.read_bytes().count(b"\n") - 1 if manifest.exists() else 0


def parts(folder: Path) -> dict[str, bytes]:
    """Read the files of an output folder, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


if __name__ == "__main__":
    main()
