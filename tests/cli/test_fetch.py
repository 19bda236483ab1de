from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

pytest.importorskip("spacy")

import weasel.cli.assets

Run = Callable[..., Result]

CONTENT = b"some corpus\n"
CHECKSUM = hashlib.md5(CONTENT).hexdigest()
DEST = "assets/paper/resume/train.jsonl"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the asset, as PADELLM_DATA names one. Read-only, as such folders may be."""
    path = tmp_path / "data" / "paper" / "resume" / "train.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    path.chmod(0o444)
    return tmp_path / "data"


def write_project(tmp_path: Path, *assets: dict[str, str]) -> Path:
    project = tmp_path / "project"
    project.mkdir()
    lines = ["assets:"] if assets else ["title: none"]
    for asset in assets:
        items = [f"{key}: {value}" for key, value in asset.items()]
        lines.extend([f"  - {items[0]}", *(f"    {item}" for item in items[1:])])
    (project / "project.yml").write_text("\n".join(lines) + "\n")
    return project


def asset(**changes: str) -> dict[str, str]:
    return {"dest": DEST, "url": "http://127.0.0.1:9/x", "checksum": f'"{CHECKSUM}"', **changes}


def test_copies_from_the_folder_then_skips(run: Run, tmp_path: Path, folder: Path):
    project = write_project(tmp_path, asset())
    env = {"PADELLM_DATA": str(folder)}
    result = run("fetch", project, env=env)
    assert result.exit_code == 0, result.output
    assert f"Copied: {DEST}" in result.stdout
    assert (project / DEST).read_bytes() == CONTENT
    result = run("fetch", project, env=env)
    assert f"Already present: {DEST}" in result.stdout and "Copied" not in result.stdout
    assert "of them fetched: 0" in result.stdout


def test_replaces_an_asset_with_another_checksum(run: Run, tmp_path: Path, folder: Path):
    project = write_project(tmp_path, asset())
    (project / DEST).parent.mkdir(parents=True)
    (project / DEST).write_bytes(b"cut off")
    assert run("fetch", project, env={"PADELLM_DATA": str(folder)}).exit_code == 0
    assert (project / DEST).read_bytes() == CONTENT


def test_project_defaults_to_the_current_folder(
    run: Run, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(write_project(tmp_path, asset()))
    assert run("fetch", env={"PADELLM_DATA": str(folder)}).exit_code == 0
    assert Path(DEST).read_bytes() == CONTENT


def test_extra_assets_are_left_out_unless_asked_for(run: Run, tmp_path: Path, folder: Path):
    project = write_project(tmp_path, asset(extra="true"))
    env = {"PADELLM_DATA": str(folder)}
    assert "Assets: 0" in run("fetch", project, env=env).stdout
    assert "Assets: 1" in run("fetch", project, "--extra", env=env).stdout
    assert (project / DEST).is_file()


@pytest.mark.parametrize(
    "changes, code, named",
    [
        ({"checksum": f'"{"0" * 32}"'}, "P309", CHECKSUM),
        ({"dest": "assets/paper/resume/dev.jsonl"}, "P308", "resume/dev.jsonl"),
        ({"dest": "corpus/train.jsonl"}, "P307", "corpus/train.jsonl"),
    ],
)
def test_copy_errors(
    run: Run, tmp_path: Path, folder: Path, changes: dict[str, str], code: str, named: str
):
    project = write_project(tmp_path, asset(**changes))
    result = run("fetch", project, env={"PADELLM_DATA": str(folder)})
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: [{code}]") and named in result.stderr
    assert not (project / "assets").exists()


def test_wrong_folders(run: Run, tmp_path: Path):
    result = run("fetch", tmp_path)
    assert result.exit_code == 1 and "[P305]" in result.stderr
    project = write_project(tmp_path, asset())
    result = run("fetch", project, env={"PADELLM_DATA": str(tmp_path / "absent")})
    assert result.exit_code == 1 and "[P306]" in result.stderr


def test_project_without_assets(run: Run, tmp_path: Path):
    result = run("fetch", write_project(tmp_path), env={"PADELLM_DATA": None})
    assert result.exit_code == 0 and "Assets: 0" in result.stdout


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What weasel's downloads yield, by address; others fail as downloads without network do."""
    files: dict[str, bytes] = {}

    def download_file(url: str, dest: Path, *, force: bool = False) -> None:
        if dest.exists() and not force:
            return
        if url not in files:
            raise weasel.cli.assets.httpx.ConnectError("no network")
        dest.write_bytes(files[url])

    monkeypatch.setattr(weasel.cli.assets, "download_file", download_file)
    return files


def test_downloads_without_a_folder(run: Run, tmp_path: Path, served: dict[str, bytes]):
    served["http://127.0.0.1:9/x"] = CONTENT
    project = write_project(tmp_path, asset())
    result = run("fetch", project, env={"PADELLM_DATA": None})
    assert result.exit_code == 0, result.output
    assert (project / DEST).read_bytes() == CONTENT
    assert "of them fetched: 1" in result.stdout


def test_downloads_again_what_is_damaged(run: Run, tmp_path: Path, served: dict[str, bytes]):
    served["http://127.0.0.1:9/x"] = CONTENT
    project = write_project(tmp_path, asset())
    (project / DEST).parent.mkdir(parents=True)
    (project / DEST).write_bytes(b"cut off")
    result = run("fetch", project, env={"PADELLM_DATA": None})
    assert result.exit_code == 0, result.output
    assert f"Replacing, as its checksum is wrong: {DEST}" in result.stdout
    assert (project / DEST).read_bytes() == CONTENT


def test_a_refused_connection_is_the_reason_given(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def download_file(url: str, dest: Path) -> None:
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(weasel.cli.assets, "download_file", download_file)
    result = run("fetch", write_project(tmp_path, asset()), env={"PADELLM_DATA": None})
    assert result.exit_code == 1
    assert "[P310]" in result.stderr and "(refused)" in result.stderr


@pytest.mark.parametrize("content", [None, b"another corpus"])
def test_failed_downloads_fail(
    run: Run, tmp_path: Path, served: dict[str, bytes], content: bytes | None
):
    served.update({} if content is None else {"http://127.0.0.1:9/x": content})
    result = run("fetch", write_project(tmp_path, asset()), env={"PADELLM_DATA": None})
    assert result.exit_code == 1
    assert "[P310]" in result.stderr and DEST in result.stderr


def test_weasel_itself_fetches_an_address(run: Run, tmp_path: Path, folder: Path):
    # A path is an address to weasel, too: the whole way without network.
    source = folder / "paper" / "resume" / "train.jsonl"
    project = write_project(tmp_path, asset(url=str(source)))
    result = run("fetch", project, env={"PADELLM_DATA": None})
    assert result.exit_code == 0, result.output
    assert (project / DEST).read_bytes() == CONTENT
