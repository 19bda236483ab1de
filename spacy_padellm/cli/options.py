"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CheckpointArgument = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT",
        help="Checkpoint folder with a padellm.json (in a trained pipeline: padellm_ner/model).",
    ),
]
CorpusArgument = Annotated[
    Path, typer.Argument(metavar="CORPUS", help="Corpus file.", exists=True, dir_okay=False)
]
FormatOption = Annotated[str, typer.Option(help="auto, paper, conll or jsonl.")]
DeviceOption = Annotated[str, typer.Option(help="Where to run, e.g. cpu or cuda:0.")]
DevicesOption = Annotated[
    str, typer.Option(help="Where to run; with commas between them several, with a replica each.")
]
DtypeOption = Annotated[str, typer.Option(help="float32, bfloat16, float16, or auto: as stored.")]
DeviceMapOption = Annotated[
    str | None,
    typer.Option(help="auto: spread a model that is too large for one device over all there are."),
]
AttentionOption = Annotated[str | None, typer.Option(help="sdpa or eager.")]
QuantizationOption = Annotated[str | None, typer.Option(help="4bit or 8bit, by bitsandbytes.")]
RevisionOption = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")]
LocalFilesOnlyOption = Annotated[
    bool, typer.Option("--local-files-only", help="Look for a hub id on this machine only.")
]
TrustRemoteCodeOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with a checkpoint.")
]
LimitOption = Annotated[int | None, typer.Option(help="Read only the first texts.")]
MaxMentionsOption = Annotated[
    int | None,
    typer.Option(help="Most mentions of a label in a text, if not the checkpoint's."),
]
MaxMentionTokensOption = Annotated[
    int | None,
    typer.Option(help="Longest mention, in tokens, if not the checkpoint's."),
]


def parse_labels(value: str | None) -> list[str] | None:
    """value (Optional[str]): Labels with commas between them.
    RETURNS (Optional[List[str]]): The labels.
    """
    return None if value is None else [label.strip() for label in value.split(",")]
