"""`fetch`: copy or download the assets of a project."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from ..errors import Errors, require
from .console import shown_errors

DATA_VARIABLE = "PADELLM_DATA"
_ASSETS_FOLDER = "assets"


@dataclass(frozen=True)
class _Asset:
    """An asset as project.yml states it.

    Args:
        dest: Its place in the project.
        path: Its place on disk.
        checksum: Its MD5 checksum.
    """

    dest: str
    path: Path
    checksum: str | None

    def is_present(self) -> bool:
        return self.path.exists() and self.checksum in (None, _checksum(self.path))


def fetch(
    project_dir: Annotated[
        Path, typer.Argument(help="Folder of the project.", exists=True, file_okay=False)
    ] = Path(),
    extra: Annotated[
        bool, typer.Option("--extra", "-e", help="Also fetch assets marked extra.")
    ] = False,
) -> None:
    """Fetch the assets of a project and check them.

    Assets are copied from the folder in the environment variable PADELLM_DATA, or downloaded if it
    isn't set. Assets that already have the right checksum are kept.
    """
    with shown_errors():
        assets = _load_assets(project_dir, extra)
        missing = [asset for asset in assets if not asset.is_present()]
        for asset in assets:
            if asset not in missing:
                typer.echo(f"Already present: {asset.dest}")
        folder = os.environ.get(DATA_VARIABLE)
        if missing and folder:
            _copy(missing, Path(folder))
        elif missing:
            _download(missing, project_dir, extra)
        typer.echo(f"Assets: {len(assets)}, of them fetched: {len(missing)}")


def _load_assets(project_dir: Path, extra: bool) -> list[_Asset]:
    require("spacy", "Reading project.yml")
    from weasel.util import load_project_config

    if not (project_dir / "project.yml").is_file():
        raise ValueError(Errors.P305.format(path=project_dir.resolve()))
    stated = load_project_config(project_dir).get("assets", [])
    return [
        _Asset(each["dest"], project_dir / each["dest"], each.get("checksum"))
        for each in stated
        if extra or not each.get("extra", False)
    ]


def _copy(assets: Sequence[_Asset], folder: Path) -> None:
    """Copy assets from a folder. All are checked before the first is copied."""
    if not folder.is_dir():
        raise ValueError(Errors.P306.format(path=folder))
    sources = [_checked_source(asset, folder) for asset in assets]
    for asset, source in zip(assets, sources, strict=True):
        asset.path.parent.mkdir(parents=True, exist_ok=True)
        # Without the mode bits: the folder may be read-only.
        shutil.copyfile(source, asset.path)
        typer.echo(f"Copied: {asset.dest}")


def _checked_source(asset: _Asset, folder: Path) -> Path:
    dest = PurePosixPath(asset.dest)
    if dest.parts[:1] != (_ASSETS_FOLDER,):
        raise ValueError(Errors.P307.format(dest=asset.dest))
    source = folder.joinpath(*dest.parts[1:])
    if not source.is_file():
        raise ValueError(Errors.P308.format(path=source, dest=asset.dest))
    found = _checksum(source)
    if asset.checksum not in (None, found):
        raise ValueError(
            Errors.P309.format(path=source, found=found, checksum=asset.checksum, dest=asset.dest)
        )
    return source


def _download(assets: Sequence[_Asset], project_dir: Path, extra: bool) -> None:
    """Download assets with weasel, which reports a failure without failing: check afterwards."""
    from weasel.cli.assets import project_assets

    for asset in assets:
        if asset.path.is_file():
            # weasel doesn't download over a file that's there, even if its checksum is wrong.
            asset.path.unlink()
            typer.echo(f"Replacing, as its checksum is wrong: {asset.dest}")
    reason = "see the messages above"
    try:
        project_assets(project_dir, extra=extra)
    except OSError as error:
        reason = str(error)
    except SystemExit:
        # weasel's way out when there's no file to take the checksum of; it said so before.
        pass
    absent = [asset.dest for asset in assets if not asset.is_present()]
    if absent:
        raise ValueError(Errors.P310.format(dests=", ".join(absent), reason=reason))


def _checksum(path: Path) -> str:
    from weasel.util import get_checksum

    return str(get_checksum(path))
