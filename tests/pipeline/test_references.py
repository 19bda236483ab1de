"""Pipelines that are saved without their weights."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("spacy")

import spacy
from spacy.language import Language
from spacy.util import load_model_from_config
from transformers import PreTrainedModel

from tests.pipeline.toy_pipeline import component, make_example, mentions

TEXT = "The University of Oslo hired Dan ."


def referring_nlp(checkpoint: Path) -> Language:
    nlp = spacy.blank("en")
    model = {"name": str(checkpoint), "save_weights": False}
    nlp.add_pipe("padellm_ner", config={"model": model})
    return nlp


def test_only_settings_are_saved(
    toy_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def load(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("weights were read")

    # Neither saving nor loading reads weights.
    monkeypatch.setattr(PreTrainedModel, "from_pretrained", load)
    nlp = referring_nlp(toy_checkpoint)
    nlp.to_disk(tmp_path / "pipeline")
    folder = tmp_path / "pipeline" / "padellm_ner" / "model"
    assert [path.name for path in folder.iterdir()] == ["padellm.json"]
    again = spacy.load(tmp_path / "pipeline")
    assert again.get_pipe("padellm_ner").labels == ("LOC", "ORG", "PER")
    with pytest.raises(ValueError, match="weights were read"):
        again(TEXT)
    monkeypatch.undo()
    assert mentions(again(TEXT)) == mentions(spacy.load(toy_checkpoint.parents[1])(TEXT))
    # Once they are read it is the same.
    again.to_disk(tmp_path / "again")
    assert len(list((tmp_path / "again" / "padellm_ner" / "model").iterdir())) == 1


def test_through_bytes(toy_checkpoint: Path):
    nlp = referring_nlp(toy_checkpoint)
    assert len(component(nlp).to_bytes()) < 2_000
    again = load_model_from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert mentions(again(TEXT)) == mentions(nlp(TEXT))


def test_the_folder_may_be_another_one(toy_checkpoint: Path, tmp_path: Path):
    moved = Path(shutil.copytree(toy_checkpoint, tmp_path / "moved"))
    referring_nlp(moved).to_disk(tmp_path / "pipeline")
    shutil.rmtree(moved)
    with pytest.raises(ValueError, match=r"P041.*moved"):
        spacy.load(tmp_path / "pipeline")(TEXT)
    name = {"components.padellm_ner.model.name": str(toy_checkpoint)}
    nlp = spacy.load(tmp_path / "pipeline", config=name)
    assert mentions(nlp(TEXT)) == mentions(referring_nlp(toy_checkpoint)(TEXT))


def test_weights_that_were_trained_are_not_lost(toy_checkpoint: Path, tmp_path: Path):
    nlp = referring_nlp(toy_checkpoint)
    sgd = nlp.initialize(lambda: [make_example(nlp, "[Dan|PER] left .")])
    nlp.update([make_example(nlp, "[Dan|PER] left .")], sgd=sgd)
    with pytest.raises(ValueError, match=r"P209.*save_weights = true"):
        nlp.to_disk(tmp_path / "pipeline")


def test_weights_that_were_saved_once_are_read_from_there(toy_folder: Path, tmp_path: Path):
    nlp = spacy.load(toy_folder)
    config = nlp.config.copy()
    own = {"@architectures": "spacy_padellm.CausalLM.v1", "name": "/gone", "save_weights": False}
    config["components"]["padellm_ner"]["model"] = own
    again = load_model_from_config(config).from_disk(toy_folder)
    assert mentions(again(TEXT)) == mentions(nlp(TEXT))
    # They are nowhere else.
    with pytest.raises(ValueError, match="P209"):
        again.to_disk(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("is_reference", [False, True])
def test_a_wheel_in_an_environment_of_its_own(
    toy_checkpoint: Path, tmp_path: Path, is_reference: bool
):
    """`spacy package`, pip, and a run without a network and from another folder."""
    nlp = referring_nlp(toy_checkpoint)
    if not is_reference:
        nlp = spacy.load(toy_checkpoint.parents[1])
    expected = mentions(nlp(TEXT))
    nlp.to_disk(tmp_path / "pipeline")
    package = [sys.executable, "-m", "spacy", "package", "pipeline", "out", "--build", "wheel"]
    subprocess.run(
        [*package, "--name", "toy", "--version", "1.2.3"], check=True, cwd=_make(tmp_path, "out")
    )
    (wheel,) = tmp_path.glob("out/*/dist/*.whl")
    assert (wheel.stat().st_size > 300_000) is not is_reference
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    # What it needs is here already; only the wheel is new.
    (site,) = tmp_path.glob("env/lib/*/site-packages")
    here = Path(spacy.__file__).parents[1]
    (site / "here.pth").write_text(f"{here}\n{Path(__file__).parents[2]}\n")
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True)
    code = (
        "import socket\n"
        "def refuse(*args): raise AssertionError(args)\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import spacy\n"
        f"doc = spacy.load('en_toy')({TEXT!r})\n"
        "print([(span.text, span.label_) for span in doc.spans['padellm']])\n"
    )
    ran = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=tmp_path / "env")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == str(expected)


def _make(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder
