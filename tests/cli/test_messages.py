from __future__ import annotations

import pytest
import typer

from spacy_padellm.cli.messages import echo_list, shown_errors


@pytest.mark.parametrize("kind", [ValueError, ImportError, OSError])
def test_coded_errors_are_shown(kind: type[Exception], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(typer.Exit) as caught, shown_errors():
        raise kind("[P101] no such file")
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err == "Error: [P101] no such file\n"


def test_other_errors_are_defects():
    with pytest.raises(ValueError, match="surprise"), shown_errors():
        raise ValueError("surprise")


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
