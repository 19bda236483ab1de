"""`annotate`: find the entities of a corpus, on one machine or many."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import Errors, require
from .console import shown_errors

# The exit status if some texts failed. That of an error is 1.
SOME_FAILED = 3


class Engine(str, Enum):
    """What schedules the work."""

    local = "local"
    ray = "ray"


class Form(str, Enum):
    """The format of the output."""

    jsonl = "jsonl"
    parquet = "parquet"


def annotate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="Texts: a file, a folder or a glob in quotes, of JSON lines (.jsonl, .ndjson, "
            ".json), plain text with a text on each line (.txt), .parquet, .spacy or .arrow; or a "
            "Hugging Face dataset on disk.",
        ),
    ],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write to.")],
    model: Annotated[
        str,
        typer.Option(
            help="Trained pipeline or checkpoint. Settings of padellm_ner may follow a colon, as "
            "in padellm_en_small:decode=tags."
        ),
    ] = "padellm_en_small",
    text_field: Annotated[str, typer.Option(help="Field with the text.")] = "text",
    entities_field: Annotated[
        str, typer.Option(help="Field to write the entities to.")
    ] = "entities",
    to: Annotated[
        Form | None,
        typer.Option(
            help="Format to write: jsonl or parquet. Default: parquet for .parquet and .arrow, "
            "else jsonl."
        ),
    ] = None,
    shard_size: Annotated[
        int, typer.Option(help="Number of texts that are written to a file.", min=1)
    ] = 1000,
    batch_size: Annotated[
        int | None, typer.Option(help="Number of texts that the pipeline reads at once.", min=1)
    ] = None,
    lang: Annotated[
        str, typer.Option(help="Language of a pipeline made from a checkpoint.")
    ] = "en",
    device: Annotated[
        str | None, typer.Option(help="Device to run on, e.g. cuda. Default: the pipeline's.")
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="What schedules the work: local or ray.")
    ] = Engine.local,
    processes: Annotated[
        int | None, typer.Option(help="For local: number of processes. Default: 1.", min=1)
    ] = None,
    num_actors: Annotated[
        int | None, typer.Option(help="For ray: number of actors. Default: 1.", min=1)
    ] = None,
    gpus_per_actor: Annotated[
        float | None, typer.Option(help="For ray: GPUs of each actor. Default: 0.", min=0)
    ] = None,
    cpus_per_actor: Annotated[
        int | None, typer.Option(help="For ray: CPUs of each actor. Default: 1.", min=1)
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="For ray: address of the cluster. Default: RAY_ADDRESS, else this machine."
        ),
    ] = None,
) -> None:
    """Find the entities of a corpus and write them beside all fields of the input.

    A run that was killed goes on where it was if the same command runs again. Texts that fail are
    listed in OUT/failed.jsonl, and the exit status is then 3.
    """
    of_ray = {
        "--num-actors": num_actors,
        "--gpus-per-actor": gpus_per_actor,
        "--cpus-per-actor": cpus_per_actor,
        "--address": address,
    }
    with shown_errors():
        unused = of_ray if engine is Engine.local else {"--processes": processes}
        for option, value in unused.items():
            if value is not None:
                other = Engine.ray if engine is Engine.local else Engine.local
                raise ValueError(Errors.P517.format(option=option, engine=other.value))
        require("spacy", "Annotating")
        require("pyarrow", "Annotating", extra="annotate")
        from ..annotate.annotator import Annotator
        from ..annotate.engines import LocalEngine, RayEngine
        from ..annotate.inputs import KINDS
        from ..annotate.reading import ERROR, TOKENS
        from ..annotate.run import FAILED, Job, annotate_corpus

        if output.suffix in KINDS and not output.is_dir():
            raise ValueError(Errors.P518.format(path=output))
        if gpus_per_actor and device is None:
            device = "cuda"
        annotator = Annotator(
            model,
            text_field=text_field,
            entities_field=entities_field,
            error_field=ERROR,
            tokens_field=TOKENS,
            batch_size=batch_size,
            lang=lang,
            device=device,
        )
        form: Literal["jsonl", "parquet"] | None = None
        if to is not None:
            form = "parquet" if to is Form.parquet else "jsonl"
        job = Job(source, output, annotator, form, shard_size)
        scheduler = (
            LocalEngine(processes or 1)
            if engine is Engine.local
            else RayEngine(num_actors or 1, address, gpus_per_actor or 0, cpus_per_actor or 1)
        )
        outcome = annotate_corpus(job, scheduler)
    typer.echo(f"{outcome.texts} texts: {outcome.written} in {output}, {outcome.failed} failed")
    for shard in outcome.given_up:
        typer.echo(f"Given up, as it killed its worker twice: {shard}", err=True)
    if outcome.failed:
        typer.echo(f"Why they failed is in {output / FAILED}", err=True)
        raise typer.Exit(SOME_FAILED)
