"""`benchmark`: what decoders take and find, on trained models or with a replay of gold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Errors
from .messages import require, shown_errors
from .options import DeviceOption, DtypeOption, FormatOption

if TYPE_CHECKING:
    from ..benchmark.decoders import DecoderSpec
    from ..benchmark.rows import Row
    from ..benchmark.subjects import ReplayingModel, TrainedModels


def benchmark(
    checkpoints: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CHECKPOINT]...",
            help="Checkpoint folders or trained pipelines, one for each output format.",
        ),
    ] = None,
    datasets: Annotated[
        list[Path] | None,
        typer.Option(help="Corpus file, or folder with a test file or with such folders."),
    ] = None,
    decoders: Annotated[
        str, typer.Option(metavar="A,B,...", help="Decoders; `tree:0.1@16` sets threshold, batch.")
    ] = "tree,batch",
    replay: Annotated[
        bool, typer.Option("--replay", help="Write gold with random weights: costs only.")
    ] = False,
    shape: Annotated[
        str | None, typer.Option(help="--replay: llama-160m, llama2-7b, tiny or a config.json.")
    ] = None,
    tokenizer: Annotated[str | None, typer.Option(help="--replay: tokenizer's folder.")] = None,
    n_labels: Annotated[
        int, typer.Option(help="--replay: invent labels up to this many.", min=0)
    ] = 0,
    limit: Annotated[
        int | None, typer.Option(help="Texts of each dataset, evenly spread.", min=1)
    ] = None,
    format: FormatOption = "auto",
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "float32",
    threads: Annotated[int | None, typer.Option(help="CPU threads of torch.", min=1)] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
    chart: Annotated[Path | None, typer.Option(help="PNG file to draw.")] = None,
) -> None:
    """Measure decoders text by text: latency, passes, tokens, memory, and the scores of trained
    models. Ctrl-C keeps what was measured.
    """
    with shown_errors():
        if chart is not None:
            require("matplotlib", "Drawing a chart")
        import torch

        from ..benchmark.decoders import parse_spec
        from ..benchmark.environment import describe_environment
        from ..benchmark.report import to_markdown, write_json

        specs = [parse_spec(name.strip()) for name in decoders.split(",")]
        if threads is not None:
            torch.set_num_threads(threads)
        subject: ReplayingModel | TrainedModels
        if replay:
            subject = _random_model(checkpoints, shape, tokenizer, n_labels, device, dtype)
        else:
            subject = _trained_models(checkpoints, device, dtype)
        rows, interrupted = _measure(subject, specs, datasets, format, limit)
        environment = describe_environment(
            device,
            dtype,
            replay=replay,
            shape=shape,
            tokenizer=tokenizer,
            checkpoints=", ".join(checkpoints or []) or None,
            interrupted=interrupted or None,
        )
        if output is not None:
            write_json(output, rows, environment)
        typer.echo(to_markdown(rows, environment))
        if chart is not None and rows:
            from ..benchmark.chart import draw_chart

            draw_chart(chart, rows)


def _random_model(
    checkpoints: list[str] | None,
    shape: str | None,
    tokenizer: str | None,
    n_labels: int,
    device: str,
    dtype: str,
) -> ReplayingModel:
    if checkpoints or shape is None or tokenizer is None:
        raise ValueError(Errors.P411.format(options="--shape and --tokenizer"))
    from ..benchmark.shapes import build_random_lm
    from ..benchmark.subjects import ReplayingModel

    return ReplayingModel(build_random_lm(shape, tokenizer, device=device, dtype=dtype), n_labels)


def _trained_models(checkpoints: list[str] | None, device: str, dtype: str) -> TrainedModels:
    if not checkpoints:
        raise ValueError(Errors.P410)
    from ..benchmark.subjects import TrainedModel, TrainedModels
    from ..core.checkpoint import find_checkpoint, load_checkpoint

    models = []
    for name in checkpoints:
        lm, settings = load_checkpoint(find_checkpoint(name), device=device, dtype=dtype)
        models.append(TrainedModel(name, lm, settings))
    return TrainedModels(models)


def _measure(
    subject: ReplayingModel | TrainedModels,
    specs: list[DecoderSpec],
    paths: list[Path] | None,
    format: str,
    limit: int | None,
) -> tuple[list[Row], bool]:
    """RETURNS (Tuple[List[Row], bool]): What was measured, and whether it was interrupted."""
    from tqdm import tqdm

    from ..benchmark.datasets import load_datasets
    from ..benchmark.run import BenchmarkRun

    if not paths:
        raise ValueError(Errors.P415)
    datasets = load_datasets(paths, format=format, limit=limit)
    n_texts = sum(len(dataset.texts) for dataset in datasets)
    with tqdm(total=n_texts, unit="texts", leave=False, disable=None) as progress:
        run = BenchmarkRun(subject, specs, progress.update)
        for dataset in datasets:
            progress.set_description(dataset.name)
            try:
                run.run(dataset)
            except KeyboardInterrupt:
                typer.echo("Interrupted: here is what was measured.", err=True)
                return run.rows, True
    return run.rows, False
