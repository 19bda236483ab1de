"""`export`: write the checkpoint of a trained pipeline, or the average of several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..errors import Errors
from .console import shown_errors


def export(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="PIPELINE...",
            help="Trained pipeline or checkpoint folder. Several are averaged.",
        ),
    ],
    output_path: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    shares: Annotated[
        str | None,
        typer.Option(
            help="How much of each is in the average, e.g. 0.75,0.25. By default the same."
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16, or stored.")] = "stored",
    other_tag_bias: Annotated[
        float | None,
        typer.Option(
            help="Add this to the log-odds of mentions, by the text tags, of all labels but its "
            "own: above 0, more is found."
        ),
    ] = None,
) -> None:
    """Write the checkpoint of a trained pipeline to a folder of its own. --dtype float16 takes half
    the space of float32. Several pipelines trained from the same checkpoint are averaged, which is
    often better than each of them.
    """
    with shown_errors():
        from ..checkpoints.files import find_checkpoint
        from ..model import PaDeLLM

        # What `auto` means depends on the machine.
        dtype = "stored" if dtype == "auto" else dtype
        numbers = None if shares is None else parse_shares(shares, len(sources))
        folders = [find_checkpoint(each) for each in sources]
        model = PaDeLLM.from_average(folders, numbers, dtype=dtype)
        if other_tag_bias is not None:
            own = tuple(model.settings.labels.values())
            settings = replace(model.settings, usual=own, other_tag_bias=other_tag_bias)
            model = model.with_settings(settings)
        model.save_pretrained(output_path)
        size = sum(path.stat().st_size for path in output_path.rglob("*") if path.is_file())
        typer.echo(f"{output_path}: {size / 1e6:.1f} MB, labels {', '.join(model.settings.labels)}")


def parse_shares(value: str, count: int) -> list[float]:
    """Parse the shares of checkpoints in an average: `0.75,0.25`.

    Raises:
        ValueError: One is not a number.
    """
    try:
        return [float(share) for share in value.split(",")]
    except ValueError as error:
        raise ValueError(Errors.P015.format(shares=value, count=count)) from error
