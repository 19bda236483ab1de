"""`chart`: a picture of what `benchmark` measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import check_writable, shown_errors


def chart(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT...", help="JSON files that `benchmark --output` wrote.", dir_okay=False
        ),
    ],
    output: Annotated[Path, typer.Option(help="Write the picture to this PNG file.")],
) -> None:
    """Draw the mean latency of each decoder on each dataset, with the machine and the date below.
    Needs the extra `benchmark`.
    """
    with shown_errors():
        from ..benchmark.chart import draw_chart
        from ..benchmark.report import read_json

        check_writable(output)
        draw_chart(output, [read_json(path) for path in results])
