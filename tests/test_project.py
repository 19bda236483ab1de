"""project.yml: valid, and what it runs is there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("spacy")

import typer.main
from spacy.cli import app
from weasel.cli.document import project_document
from weasel.cli.run import project_run
from weasel.util import load_project_config

import spacy_padellm.cli.spacy_app  # noqa: F401
from spacy_padellm import __version__

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "project.yml", folder)
    # Checks it by weasel's schema, and makes its directories.
    return load_project_config(folder)


@pytest.fixture
def project(config: dict[str, Any], tmp_path: Path) -> Path:
    """A folder with the project and something empty for all that its commands need or make."""
    shutil.copy(ROOT / "project.yml", tmp_path)
    load_project_config(tmp_path)
    shutil.copytree(ROOT / "configs", tmp_path / "configs", dirs_exist_ok=True)
    for command in config["commands"]:
        made = re.findall(r"training/\S+\.cfg", " ".join(command["script"]))
        for name in [*command.get("deps", []), *command.get("outputs", []), *made]:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch() if path.suffix else path.mkdir(exist_ok=True)
    return tmp_path


def test_workflows_are_of_commands(config: dict[str, Any]):
    names = [command["name"] for command in config["commands"]]
    assert len(set(names)) == len(names)
    for steps in config["workflows"].values():
        assert set(steps) <= set(names)
    required = ["corpus", "train", "evaluate", "visualize"]
    assert config["workflows"]["finetune"] == required
    assert config["workflows"]["all"] == [*required, "annotate"]
    assert {*required, "fetch", "package", "clean"} <= set(names)


def test_every_step_has_what_it_needs(config: dict[str, Any]):
    """Each dependency is a file of the project or made by a command before it."""
    made_by = {
        output: command["name"]
        for command in config["commands"]
        for output in command.get("outputs", [])
    }
    for command in config["commands"]:
        for name in command.get("deps", []):
            assert name in made_by or (ROOT / name).is_file(), (command["name"], name)
    commands = {command["name"]: command for command in config["commands"]}
    for steps in config["workflows"].values():
        for place, step in enumerate(steps):
            for name in commands[step].get("deps", []):
                assert made_by.get(name, step) in steps[: place + 1], (step, name)


def test_configs_and_outputs_are_named_as_dependencies(config: dict[str, Any]):
    for command in config["commands"]:
        script = "\n".join(command["script"])
        for name in re.findall(r"configs/\S+\.cfg", script):
            assert (ROOT / name).is_file() and name in command["deps"]
        for name in command.get("outputs", []):
            stem = name.removesuffix("/model-best")
            is_fetched = command["name"] in ("fetch", "fetch-all", "base")
            assert is_fetched or stem in script, (command["name"], name)


def test_every_config_is_trained(config: dict[str, Any]):
    scripts = "\n".join(line for command in config["commands"] for line in command["script"])
    trained = {path.name for path in (ROOT / "configs").glob("*.cfg") if str(path.name) in scripts}
    assert trained == {path.name for path in (ROOT / "configs").glob("*.cfg")}


def test_assets_are_public_and_checked(config: dict[str, Any]):
    outputs = {command["name"]: command.get("outputs", []) for command in config["commands"]}
    for name, extra in (("fetch", False), ("fetch-all", True)):
        wanted = [a["dest"] for a in config["assets"] if a.get("extra", False) == extra]
        assert wanted == outputs[name]
    for asset in config["assets"]:
        assert asset["url"].startswith("https://")
        assert re.fullmatch(r"[0-9a-f]{32}", asset["checksum"])
        assert asset["description"]


def test_checksums_are_those_of_the_shared_files(config: dict[str, Any], shared_data: Path):
    from weasel.util import get_checksum

    for asset in config["assets"]:
        path = shared_data / Path(asset["dest"]).relative_to("assets")
        assert get_checksum(path) == asset["checksum"], asset["dest"]


def test_versions_agree(config: dict[str, Any]):
    assert config["vars"]["package_version"] == __version__
    # Stated once, in the package.
    assert "version = attr: spacy_padellm.__version__\n" in (ROOT / "setup.cfg").read_text()
    assert "\nversion:" not in (ROOT / "CITATION.cff").read_text(encoding="utf8")
    # What a version has is told before it is tagged.
    assert f"\n## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf8")


def spacy_commands(config: dict[str, Any]) -> list[list[str]]:
    lines = [line for command in config["commands"] for line in command["script"]]
    split = [shlex.split(line) for line in lines]
    return [words[3:] for words in split if words[:3] == ["python", "-m", "spacy"]]


def test_command_lines_are_understood(
    config: dict[str, Any], project: Path, monkeypatch: pytest.MonkeyPatch
):
    """Every command exists and has the arguments and options that it is called with."""
    monkeypatch.chdir(project)
    checked = []
    for words in spacy_commands(config):
        command, arguments = typer.main.get_command(app), list(words)
        while commands := getattr(command, "commands", None):
            name = arguments.pop(0)
            checked.append(name)
            assert name in commands, words
            command = commands[name]
        context = command.make_context(words[0], arguments)
        # What `spacy train` takes for the config comes in pairs.
        extra = context.args
        assert len(extra) % 2 == 0 and all(word.startswith("--") for word in extra[::2]), words
        assert not extra or words[0] == "train"
    assert {"train", "evaluate", "package", "convert", "fetch", "visualize"} <= set(checked)


def test_it_is_documented(project: Path):
    project_document(project, project / "README.md")
    text = (project / "README.md").read_text(encoding="utf8")
    assert "| `visualize` |" in text and "assets/paper/resume/train.jsonl" in text


def test_a_dry_run_shows_the_commands(project: Path, capsys: pytest.CaptureFixture[str]):
    project_run(project, "all", dry=True)
    output = capsys.readouterr().out
    # Without a download.
    assert "configs/finetune.cfg" in output and "fetch" not in output
    # In order, and nothing was run.
    steps = re.findall(r"=+ (\S+) =+", output)
    assert steps == ["corpus", "train", "evaluate", "visualize", "annotate"]
    assert list((project / "training" / "transit" / "model-best").iterdir()) == []


def test_clean_removes_what_was_made_but_not_the_corpora(project: Path):
    project_run(project, "clean")
    made = ["corpus/resume/train.spacy", "training/resume/model-best", "visuals/resume.html"]
    assert not any((project / name).exists() for name in made)
    assert (project / "assets/paper/resume/train.jsonl").exists()
    assert (project / "configs/resume.cfg").exists()
