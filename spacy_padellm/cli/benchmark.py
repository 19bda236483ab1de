"""`benchmark`: the cost and scores of decoders, on trained models or with replayed gold.

`chart` draws a picture of what it measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Errors
from .console import (
    DeviceOption,
    DtypeOption,
    FormatOption,
    check_picture,
    check_writable,
    shown_errors,
)

# What a shell has for Ctrl-C, so that a loop of commands stops as well.
_INTERRUPTED = 130

if TYPE_CHECKING:
    from ..benchmark.datasets import Dataset
    from ..benchmark.decoders import DecoderSpec
    from ..benchmark.rows import Row
    from ..benchmark.subjects import Subject


def benchmark(
    checkpoints: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CHECKPOINT]...",
            help="Checkpoint folders or trained pipelines, at most one for each output format.",
        ),
    ] = None,
    datasets: Annotated[
        list[Path] | None,
        typer.Option(help="A corpus file, a folder with a test file, or a folder of such folders."),
    ] = None,
    decoders: Annotated[
        str,
        typer.Option(
            metavar="A,B,...",
            help="Decoders to measure. `tree:0.1@16`: threshold 0.1, batch size 16.",
        ),
    ] = "tree,batch",
    replay: Annotated[
        bool,
        typer.Option(
            "--replay", help="Run a random model that writes the gold. Measures costs only."
        ),
    ] = False,
    shape: Annotated[
        str | None, typer.Option(help="For --replay: llama-160m, llama2-7b, tiny or a config.json.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="For --replay: the tokenizer's folder.")
    ] = None,
    n_labels: Annotated[
        int, typer.Option(help="For --replay: add invented labels up to this number.", min=0)
    ] = 0,
    limit: Annotated[
        int | None,
        typer.Option(help="Use only this many texts of each dataset, evenly spread.", min=1),
    ] = None,
    format: FormatOption = "auto",
    device: DeviceOption = "cpu",
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Devices for the decoder `replicas`, instead of --device. Others use the first.",
        ),
    ] = None,
    dtype: DtypeOption = "float32",
    threads: Annotated[
        int | None, typer.Option(help="Number of CPU threads for torch.", min=1)
    ] = None,
    bandwidth: Annotated[
        float | None,
        typer.Option(help="The device's memory bandwidth in GB/s. Prints the share that is used."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the results to this JSON file, for `chart`.")
    ] = None,
) -> None:
    """Measure decoders text by text: latency, passes, tokens and memory. With trained models, also
    measure scores. Ctrl-C stops and keeps the results so far.
    """
    with shown_errors():
        if output is not None:
            check_writable(output)
        import torch

        from ..benchmark.datasets import load_datasets
        from ..benchmark.decoders import parse_spec
        from ..benchmark.report import describe_environment, to_markdown, write_json
        from ..checkpoints.options import choose_device

        specs = [parse_spec(each) for each in dict.fromkeys(map(str.strip, decoders.split(",")))]
        places = [name.strip() for name in devices.split(",")] if devices else []
        if bool(places) != any(spec.runs_replicas for spec in specs):
            raise ValueError(Errors.P067)
        device = choose_device(device, places)
        if threads is not None:
            torch.set_num_threads(threads)
        subject: Subject
        if replay:
            subject = _random_model(checkpoints, shape, tokenizer, n_labels, device, dtype, places)
        else:
            _refuse({"--shape": shape, "--tokenizer": tokenizer, "--n-labels": n_labels})
            subject = _trained_models(checkpoints, device, dtype, places)
        if not datasets:
            raise ValueError(Errors.P415)
        loaded = load_datasets(datasets, format=format, limit=limit)
        environment = describe_environment(
            device,
            dtype,
            devices=devices,
            replay=replay,
            shape=shape,
            tokenizer=tokenizer,
            n_labels=n_labels or None,
            checkpoints=", ".join(checkpoints or []) or None,
            datasets=", ".join(str(path) for path in datasets),
            limit=limit,
            bandwidth=bandwidth,
        )
        rows: list[Row] = []
        for rows, interrupted in _measure(subject, specs, loaded, bandwidth):
            environment["interrupted"] = interrupted or None
            # After each dataset, so that nothing is lost if a later one fails.
            if output is not None and rows:
                write_json(output, rows, environment)
        if rows:
            typer.echo(to_markdown(rows, environment))
        if environment["interrupted"]:
            raise typer.Exit(_INTERRUPTED)


def _refuse(options: dict[str, object]) -> None:
    if given := [name for name, value in options.items() if value]:
        raise ValueError(Errors.P416.format(options=", ".join(given)))


def _random_model(
    checkpoints: list[str] | None,
    shape: str | None,
    tokenizer: str | None,
    n_labels: int,
    device: str,
    dtype: str,
    devices: list[str],
) -> Subject:
    if checkpoints or shape is None or tokenizer is None:
        raise ValueError(Errors.P411.format(options="--shape and --tokenizer"))
    from ..benchmark.subjects import ReplayingModel, build_random_lm
    from ..decode.replicas import Replicas

    lm = build_random_lm(shape, tokenizer, device=device, dtype=dtype)
    return ReplayingModel(lm, n_labels, Replicas(devices) if devices else None)


def _trained_models(
    checkpoints: list[str] | None, device: str, dtype: str, devices: list[str]
) -> Subject:
    if not checkpoints:
        raise ValueError(Errors.P410)
    from ..benchmark.subjects import TrainedModels

    return TrainedModels.load(checkpoints, device=device, dtype=dtype, devices=devices)


def _measure(
    subject: Subject,
    specs: list[DecoderSpec],
    datasets: list[Dataset],
    bandwidth: float | None,
) -> Iterator[tuple[list[Row], bool]]:
    """Measure dataset by dataset.

    Yields:
        What was measured so far, after each dataset, and whether it was interrupted.
    """
    from tqdm import tqdm

    from ..benchmark.run import BenchmarkRun

    n_texts = sum(len(dataset.texts) for dataset in datasets)
    with tqdm(total=n_texts, unit="texts", leave=False, disable=None) as progress:
        bytes_per_second = None if bandwidth is None else bandwidth * 1e9
        run = BenchmarkRun(subject, specs, progress.update, bytes_per_second)
        for dataset in datasets:
            progress.set_description(dataset.name)
            try:
                run.run(dataset)
            except KeyboardInterrupt:
                kept = "here is what was measured" if run.rows else "nothing was measured yet"
                typer.echo(f"Interrupted: {kept}.", err=True)
                yield run.rows, True
                return
            yield run.rows, False


def chart(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT...",
            help="JSON files that --output of `benchmark` or of `evaluate` wrote.",
            dir_okay=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option(help="Write the picture to this file: .png, .svg or .pdf.")
    ],
) -> None:
    """Draw what `benchmark` or `evaluate` measured, with the machine and the date below: the mean
    latency of each decoder on each dataset, or the F1 of each pipeline against its speed. Needs
    the extra `benchmark`.
    """
    with shown_errors():
        from ..benchmark.chart import draw_chart
        from ..benchmark.report import read_json

        check_picture(output)
        draw_chart(output, [read_json(path) for path in results])
