"""`export`: write the checkpoint of a trained pipeline, or the average of several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

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
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16, or stored.")] = "stored",
    new_tag_bias: Annotated[
        float | None,
        typer.Option(
            help="Add this to the log-odds of mentions, by the text tags, of labels that it was "
            "not trained on: above 0, more is found."
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
        model = PaDeLLM.from_average([find_checkpoint(each) for each in sources], dtype=dtype)
        if new_tag_bias is not None:
            model = model.with_settings(replace(model.settings, new_tag_bias=new_tag_bias))
        model.save_pretrained(output_path)
        size = sum(path.stat().st_size for path in output_path.rglob("*") if path.is_file())
        typer.echo(f"{output_path}: {size / 1e6:.1f} MB, labels {', '.join(model.settings.labels)}")
