from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from spacy_padellm.cli.console import (
    ModelOptions,
    ReplicaOptions,
    echo_list,
    parse_labels,
    shown_errors,
    with_options,
)


@pytest.mark.parametrize("kind", [ValueError, ImportError, OSError])
def test_coded_errors_are_shown(kind: type[Exception], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(typer.Exit) as caught, shown_errors():
        raise kind("[P101] no such file")
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err == "Error: [P101] no such file\n"


def test_other_errors_are_defects():
    with pytest.raises(ValueError, match="surprise"), shown_errors():
        raise ValueError("surprise")


def test_coded_warnings_are_shown_without_their_place(capsys: pytest.CaptureFixture[str]):
    write = warnings.formatwarning
    with shown_errors():
        # Pytest keeps warnings for its summary: this is how Python shows them.
        for message in ("[W070] 3 mentions are too long.", "surprise"):
            shown = warnings.formatwarning(UserWarning(message), UserWarning, "a.py", 7)
            print(shown, end="")
    coded, other, *_ = capsys.readouterr().out.splitlines()
    assert coded == "Warning: [W070] 3 mentions are too long."
    assert other == "a.py:7: UserWarning: surprise"
    assert warnings.formatwarning is write


def test_echo_list(capsys: pytest.CaptureFixture[str]):
    echo_list(["a", "b", "c"], limit=2)
    echo_list(["d", "e"], limit=2)
    echo_list(["f"], limit=None)
    assert capsys.readouterr().out.split("\n") == [
        "  a",
        "  b",
        "  ... and 1 more (--verbose lists all)",
        "  d",
        "  e",
        "  f",
        "",
    ]


@dataclass(frozen=True)
class Paint:
    color: Annotated[str, typer.Option(help="What color.")] = "red"
    coats: Annotated[int, typer.Option(help="How many coats.", min=1)] = 2


def invoke(command: Any, *arguments: str) -> str:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_a_dataclass_of_options():
    @with_options
    def paint(wall: str, limit: int = 3, *, paint: Paint, dry: bool = False) -> None:
        """Paint a wall."""
        typer.echo(f"{wall} {limit} {paint} {dry}")

    assert invoke(paint, "north") == f"north 3 {Paint()} False\n"
    stated = ["--coats", "1", "--dry", "--color", "blue", "--limit", "4"]
    assert invoke(paint, "north", *stated) == f"north 4 {Paint('blue', 1)} True\n"
    shown = invoke(paint, "--help")
    assert "Paint a wall." in shown and "How many coats." in shown
    places = [shown.index(name) for name in ("--limit", "--color", "--coats", "--dry")]
    assert places == sorted(places)


def test_one_dataclass_of_options_and_no_other():
    def none(wall: str) -> None: ...
    def two(*, inside: Paint, outside: Paint) -> None: ...

    for command in (none, two):
        with pytest.raises(ValueError):
            with_options(command)


def test_model_options():
    @with_options
    def load(*, model: ModelOptions) -> None:
        typer.echo(vars(model))

    @with_options
    def replicate(*, model: ReplicaOptions) -> None:
        typer.echo(model.devices)

    stated = ["--device", "cuda:0", "--max-mentions", "4", "--local-files-only"]
    expected = {**vars(ModelOptions()), "device": "cuda:0", "max_mentions": 4}
    assert invoke(load, *stated) == f"{ {**expected, 'local_files_only': True} }\n"
    assert invoke(replicate) == "['cpu']\n"
    assert invoke(replicate, "--device", "cuda:0, cuda:1") == "['cuda:0', 'cuda:1']\n"


def test_labels_with_commas():
    assert parse_labels("PER, ORG") == ["PER", "ORG"]
    assert parse_labels(None) is None
