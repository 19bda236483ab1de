"""`finetune`: train a language model on corpora with Hugging Face's Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import shown_errors


def finetune(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG", help="YAML file with the configuration.", exists=True, dir_okay=False
        ),
    ],
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Take this value for an entry of CONFIG, such as output_format=augmented or "
            "training.max_steps=100. May be repeated.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue from the last save, in the folder steps of CONFIG's output."
        ),
    ] = False,
    sequences: Annotated[
        bool,
        typer.Option(
            "--sequences", help="Train on the paper's separate sequences, to compare the speed."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print statistics of the training data.")
    ] = False,
) -> None:
    """Fine-tune a language model or an adapter for it. On several GPUs, run `torchrun
    --nproc_per_node N -m spacy_padellm finetune CONFIG`.
    """
    with shown_errors():
        from ..corpus.formats import read_annotated_texts
        from ..finetune.config import read_config
        from ..finetune.run import prepare

        stated = read_config(config, changes or ())
        prepared = prepare(
            stated,
            read_annotated_texts(*stated.corpora("train")),
            read_annotated_texts(*stated.corpora("dev")),
            sequences=sequences,
        )
        if prepared.is_first:
            typer.echo(prepared.figures.describe())
        if dry_run:
            return
        if resume and prepared.is_first:
            last = prepared.last_step
            typer.echo(f"Continuing from {last}" if last else "No checkpoint yet: training starts")
        figures = prepared.train(resume=resume)
        if prepared.is_first:
            for name in sorted(figures):
                typer.echo(f"{name}: {figures[name]}")
            labels = ", ".join(prepared.padellm.settings.labels)
            typer.echo(f"{stated.output}: a checkpoint for the labels {labels}")
