"""Shared parts of the commands: options, error messages, lists, progress bars."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from ..errors import Errors

Item = TypeVar("Item")

# The package's messages and spaCy's own start with a code. Other errors are defects and keep the
# traceback.
_CODE = re.compile(r"\[[A-Z]\d{3,4}\]")
_PICTURES = (".png", ".svg", ".pdf")

CheckpointArgument = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT",
        help="Checkpoint folder with a padellm.json (in a pipeline: padellm_ner/model).",
    ),
]
CorpusArgument = Annotated[
    Path, typer.Argument(metavar="CORPUS", help="Corpus file.", exists=True, dir_okay=False)
]
FormatOption = Annotated[
    str,
    typer.Option(
        help="Corpus format: auto, brat, conll, csv, doccano, gliner, huggingface, jsonl, "
        "label-studio, paper, prodigy, spacy-v2, spans, text or webanno."
    ),
]
LimitOption = Annotated[int | None, typer.Option(help="Read only this many texts.")]
DeviceOption = Annotated[str, typer.Option(help="Device to run on, e.g. cpu or cuda:0.")]
DevicesOption = Annotated[
    str,
    typer.Option(help="Device to run on, or several with commas: each runs a copy of the model."),
]
DtypeOption = Annotated[
    str,
    typer.Option(
        help="float32, bfloat16, float16, stored, or auto: on a CPU float32, with bfloat16 where "
        "that changes hardly any entity, and elsewhere as stored."
    ),
]
LabelMapOption = Annotated[
    list[str] | None, typer.Option("--map", metavar="OLD=NEW", help="Rename a label.")
]


@dataclass(frozen=True)
class ModelOptions:
    """The options with which a command loads a model: `vars(options)` are keyword arguments of
    `PaDeLLM.from_pretrained`, which explains them.
    """

    max_mentions: Annotated[
        int | None,
        typer.Option(help="Maximum mentions of a label in a text. Default: the checkpoint's."),
    ] = None
    max_mention_tokens: Annotated[
        int | None,
        typer.Option(help="Maximum length of a mention in tokens. Default: the checkpoint's."),
    ] = None
    device: DeviceOption = "cpu"
    dtype: DtypeOption = "float32"
    device_map: Annotated[
        str | None,
        typer.Option(
            help="auto: spread a model that is too large for one device over all devices."
        ),
    ] = None
    attn_implementation: Annotated[
        str | None, typer.Option(help="Attention implementation: sdpa or eager.")
    ] = None
    quantization: Annotated[str | None, typer.Option(help="4bit or 8bit, with bitsandbytes.")] = (
        None
    )
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")] = None
    local_files_only: Annotated[
        bool, typer.Option("--local-files-only", help="Never download; use local files only.")
    ] = False
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Allow code from the checkpoint to run.")
    ] = False


@dataclass(frozen=True)
class ReplicaOptions(ModelOptions):
    """The same for commands that can run on several devices."""

    device: DevicesOption = "cpu"

    @property
    def devices(self) -> list[str]:
        """The devices in `device`, which are separated by commas."""
        return [each.strip() for each in self.device.split(",")]


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take a dataclass of options, as `*, model: ModelOptions`. Typer shows the
    fields instead of the parameter, with their help and defaults.

    Args:
        command: A function of which one keyword-only parameter is annotated with a dataclass.

    Raises:
        ValueError: None is, or several are.
    """
    signature = inspect.signature(command, eval_str=True)
    own = list(signature.parameters.values())
    (taken,) = (each for each in own if is_dataclass(each.annotation))
    options = taken.annotation
    hints = get_type_hints(options, include_extras=True)
    added = [
        taken.replace(name=field.name, default=field.default, annotation=hints[field.name])
        for field in fields(options)
    ]
    place = own.index(taken)
    parameters = [*own[:place], *added, *own[place + 1 :]]

    @wraps(command)
    def run(**values: Any) -> None:
        stated = {field.name: values.pop(field.name) for field in fields(options)}
        command(**values, **{taken.name: options(**stated)})

    vars(run)["__signature__"] = signature.replace(parameters=parameters)
    return run


def parse_labels(value: str | None) -> list[str] | None:
    """Split labels that are separated by commas."""
    return None if value is None else [label.strip() for label in value.split(",")]


def parse_label_map(values: Sequence[str]) -> dict[str, str]:
    """Parse the values of `--map`.

    Raises:
        ValueError: A value is not OLD=NEW, or a label is mapped twice.
    """
    return parse_pairs(values, "--map", "OLD=NEW", "person=PER")


def parse_pairs(values: Sequence[str], option: str, form: str, example: str) -> dict[str, str]:
    """Parse the values of an option that says something of labels.

    Args:
        values: The values, each a label, an equals sign and something.
        option: The option.
        form: The form of a value.
        example: A value.

    Raises:
        ValueError: A value has another form, or a label comes twice.
    """
    pairs: dict[str, str] = {}
    for value in values:
        label, _, said = (each.strip() for each in value.partition("="))
        if not (label and said):
            named = {"option": option, "form": form, "example": example}
            raise ValueError(Errors.P303.format(value=value, **named))
        if label in pairs:
            raise ValueError(Errors.P304.format(label=label, option=option))
        pairs[label] = said
    return pairs


def parse_threshold(value: str) -> float | dict[str, float]:
    """Parse a threshold for all labels, or one for each: `0.5`, or `PER=0.8,LOC=0.6`.

    Raises:
        ValueError: It is neither.
    """
    try:
        if "=" not in value:
            return float(value)
        pairs = (each.rpartition("=") for each in value.split(","))
        return {label.strip(): float(number) for label, _, number in pairs}
    except ValueError as error:
        raise ValueError(Errors.P312.format(value=value)) from error


@contextmanager
def shown_errors() -> Iterator[None]:
    """Show errors that a user can fix as a message, and exit with status 1; show warnings without
    the place in the code.

    Raises:
        typer.Exit: The code within raises such an error.
    """
    write = warnings.formatwarning

    def write_message(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        if _CODE.match(str(message)):
            return f"Warning: {message}\n"
        return write(message, category, filename, lineno, line)

    warnings.formatwarning = write_message
    try:
        yield
    except (ValueError, ImportError, OSError) as error:
        if not _CODE.match(str(error)):
            raise
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    finally:
        warnings.formatwarning = write


def echo_list(items: Sequence[str], *, limit: int | None) -> None:
    """Print items on lines of their own, indented.

    Args:
        items: The items.
        limit: How many to print before "... and N more", `None` for all.
    """
    for item in items[:limit]:
        typer.echo(f"  {item}")
    if limit is not None and len(items) > limit:
        typer.echo(f"  ... and {len(items) - limit} more (--verbose lists all)")


def with_progress(items: Iterable[Item], total: int) -> Iterable[Item]:
    """Show a progress bar, one step for each text, if the output is a terminal."""
    from tqdm import tqdm

    progress: Iterable[Item] = tqdm(items, total=total, unit="texts", leave=False, disable=None)
    return progress


def check_picture(path: Path) -> None:
    """Check that a picture can be drawn to a path, before long work starts.

    Raises:
        ValueError: It has another suffix than those of pictures, or nothing can be written there.
    """
    check_writable(path)
    if path.suffix.lower() not in _PICTURES:
        raise ValueError(Errors.P436.format(path=path))


def check_writable(path: Path) -> None:
    """Check that a file can be written, before long work starts.

    Raises:
        ValueError: The path is a folder, or nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
    except OSError as error:
        raise ValueError(Errors.P417.format(path=path, error=error)) from error
