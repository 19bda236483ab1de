"""What README and docs tell a reader to type: it runs, it exists, and nothing is left out."""

from __future__ import annotations

import re
import shlex
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("spacy")

import srsly
import typer
from thinc.api import Config

from spacy_padellm.cli.app import create_app
from spacy_padellm.errors import Errors, Warnings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What stands above a block that is only compiled: `<!-- not run: why -->`.
_BLOCK = re.compile(
    r"(?:^ *<!-- not run: (?P<why>[^\n]+) -->\n)?^(?P<indent> *)```(?P<language>\w+)\n"
    r"(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
# `padellm`, `python -m spacy padellm` and `python -m spacy_padellm` alike.
_PROGRAM = "padellm "


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(language: str) -> list[tuple[Path, str, str | None]]:
    return [
        (page, textwrap.dedent(block["code"]), block["why"])
        for page in PAGES
        for block in _BLOCK.finditer(page.read_text(encoding="utf8"))
        if block["language"] == language
    ]


def stated_output(code: str) -> list[str]:
    """The comments that stand below a `print`."""
    found, below_print = [], False
    for line in code.splitlines():
        if not line.startswith("# "):
            below_print = "print(" in line
        elif below_print:
            found.append(line)
    return found


@pytest.mark.parametrize("page", dict.fromkeys(page for page, *_ in blocks("python")), ids=name)
def test_python_runs(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """The blocks of a page, one after the other, in one namespace and an empty folder. They print
    what the comments below a `print` say.
    """
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    left_out = []
    for found, code, why in blocks("python"):
        if found == page:
            compiled = compile(code, name(page), "exec")
            if why:
                left_out.append(why)
            else:
                capsys.readouterr()
                exec(compiled, namespace)
                if stated := "".join(f"{line[2:]}\n" for line in stated_output(code)):
                    assert capsys.readouterr().out == stated
    if not namespace:
        pytest.skip("; ".join(left_out))


@pytest.mark.parametrize("page", dict.fromkeys(page for page, *_ in blocks("bash")), ids=name)
def test_commands_exist(page: Path):
    """Each command and option of ours, and each file of ours that is named."""
    commands = typer.main.get_command(create_app()).commands
    for found, code, _ in blocks("bash"):
        if found != page:
            continue
        for line in code.replace("\\\n", " ").splitlines():
            for file in re.findall(r"(?:configs|assets/transit)/[\w.-]+", line):
                assert (ROOT / file).exists(), file
            if _PROGRAM not in line:
                continue
            words = shlex.split(line.partition(_PROGRAM)[2], comments=True)
            assert words[0] in commands, line
            options = {option for each in commands[words[0]].params for option in each.opts}
            for word in words[1:]:
                assert not word.startswith("--") or word in options, (line, word)


def test_configs_and_data_can_be_read():
    read = 0
    for _, code, _ in blocks("ini"):
        # They are parts of a component's config.
        whole = "[components]\n[components.padellm_ner]\n" + code
        assert Config().from_str(whole, interpolate=False)
        read += 1
    for _, code, _ in blocks("yaml"):
        assert srsly.yaml_loads(code)
        read += 1
    for _, code, _ in blocks("json"):
        assert srsly.json_loads(code)
        read += 1
    assert read >= 6


def test_links_of_the_readme_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf8")
    targets = [each for each in re.findall(r"\]\(([^)#]+)", text) if "://" not in each]
    assert len(targets) > 20
    assert [each for each in targets if not (ROOT / each).exists()] == []
    assert len(text.splitlines()) <= 180


def test_links_of_the_readme_can_be_made_absolute(monkeypatch: pytest.MonkeyPatch):
    """For a page without the repository around it."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from absolute_links import make_absolute

    text = (ROOT / "README.md").read_text(encoding="utf8")
    found = make_absolute(text, "https://host/name")
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", found)
    assert len(links) == len(re.findall(r"\[[^\]]*\]\([^)]+\)", text)) > 20
    assert all("://" in target for _, target in links)
    assert ("!", "https://host/name/assets/paragraph.png?raw=true") in links
    assert ("", "https://host/name/docs/how-to/formats.md") in links
    assert make_absolute(found, "https://elsewhere") == found


def test_the_reference_has_all(monkeypatch: pytest.MonkeyPatch):
    """A setting or an argument without a meaning is a KeyError there."""
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.delitem(sys.modules, "reference", raising=False)
    import reference

    configuration, architectures = reference.write_configuration(), reference.write_architectures()
    assert "| `tag_share` | `0.65` |" in configuration and "| `model` | `" in configuration
    assert "### spacy_padellm.SmallCausalLM.v1" in architectures
    commands = reference.write_commands()
    for command in typer.main.get_command(create_app()).commands:
        assert f"## {command}\n" in commands
    errors = reference.write_errors()
    for table in (Errors, Warnings):
        for code in vars(table):
            assert code.startswith("_") or f"### {code}\n" in errors
    assert r"'&lt;mention {n}\>'" in errors
    # Markdown shows a backslash that stands in code.
    assert not re.search(r"`[^`\n]*\\[_<|][^`\n]*`", errors + commands + configuration)
