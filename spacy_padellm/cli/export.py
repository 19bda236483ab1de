"""`export`: the checkpoint of a trained pipeline as a folder of its own, in fewer bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .messages import shown_errors
from .options import DtypeOption


def export(
    source: Annotated[
        str, typer.Argument(metavar="PIPELINE", help="Trained pipeline, or checkpoint folder.")
    ],
    output_path: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    dtype: DtypeOption = "auto",
) -> None:
    """Write the checkpoint of a trained pipeline to a folder of its own, its weights in this type,
    or as they are: float16 takes half the space of float32.
    """
    with shown_errors():
        from ..core.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint

        lm, settings = load_checkpoint(find_checkpoint(source), dtype=dtype)
        save_checkpoint(output_path, lm, settings)
        size = sum(path.stat().st_size for path in output_path.rglob("*") if path.is_file())
        typer.echo(f"{output_path}: {size / 1e6:.1f} MB, labels {', '.join(settings.labels)}")
