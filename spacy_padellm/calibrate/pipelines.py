"""Read corpora with a pipeline to calibrate it, and store what was found."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from spacy.language import Language
from spacy.util import is_package, minibatch
from thinc.api import Config

from ..calibration import UNCALIBRATED, Calibration
from ..checkpoints.files import SETTINGS_FILE, find_bundled, is_checkpoint
from ..checkpoints.loading import read_settings
from ..checkpoints.saving import save_settings
from ..corpus.docs import annotated_text, has_gold, load_docs
from ..errors import Errors
from ..pipeline.component import PaDeLLMNER
from ..pipeline.evaluation import split_settings
from ..settings import SPANS_KEY, Overrides
from .measures import ReadText

_BATCH = 128


def find_component(nlp: Language, name: str) -> PaDeLLMNER:
    """Find our component in a pipeline.

    Raises:
        ValueError: There is none, or there are several.
    """
    found = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, PaDeLLMNER)]
    if len(found) != 1:
        raise ValueError(Errors.P427.format(name=name, count=len(found)))
    return found[0]


def read_corpus(
    nlp: Language, component: PaDeLLMNER, path: Path, limit: int | None = None
) -> Iterator[ReadText]:
    """Read a corpus with a pipeline's components up to ours.

    Args:
        nlp: The pipeline.
        component: Our component, changed so that it leaves out nothing.
        path: A .spacy file.
        limit: Read only so many docs.

    Yields:
        The texts that are annotated, with what was found in them.
    """
    shim = component.shim
    shim.configure(Overrides(), replace(shim.options, threshold=0.0))
    shim.calibrate(UNCALIBRATED)
    earlier = [name for name, _ in takewhile(lambda each: each[1] is not component, nlp.pipeline)]
    gold = [doc for doc in load_docs(path, nlp.vocab)[:limit] if has_gold(doc, SPANS_KEY)]
    for docs in minibatch(gold, _BATCH):  # type: ignore[no-untyped-call]
        with nlp.select_pipes(enable=earlier):
            read = list(nlp.pipe([doc.text for doc in docs]))
        for doc, entities in zip(docs, component.predict(read), strict=True):
            yield ReadText(annotated_text(doc, SPANS_KEY), entities)


def find_folder(name: str, component: str) -> Path:
    """Find the folder with the `padellm.json` that a pipeline's temperatures are stored in.

    Args:
        name: A trained pipeline or a checkpoint, maybe with settings.
        component: The component's name.

    Raises:
        ValueError: It is not a folder of the user's own.
    """
    name, _ = split_settings(name)
    expanded = os.path.expanduser(name)
    folder = Path(expanded)
    if find_bundled(expanded) != expanded or is_package(name):
        raise ValueError(Errors.P428.format(name=name))
    if not is_checkpoint(name):
        folder = folder / component / "model"
    if not (folder / SETTINGS_FILE).is_file():
        raise ValueError(Errors.P428.format(name=name))
    return folder


def store_calibration(folder: Path, calibration: Calibration) -> bool:
    """Write temperatures to the `padellm.json` in a folder.

    Returns:
        Whether there were other ones before.
    """
    settings = read_settings(folder / SETTINGS_FILE)
    save_settings(folder, replace(settings, calibration=calibration))
    return settings.calibration != calibration


def find_config(name: str) -> Path:
    """Find the config of a trained pipeline.

    Raises:
        ValueError: There is none, as with a checkpoint alone.
    """
    path = Path(os.path.expanduser(split_settings(name)[0])) / "config.cfg"
    if not path.is_file():
        raise ValueError(Errors.P429.format(name=name))
    return path


def store_thresholds(path: Path, component: str, thresholds: Mapping[str, float]) -> None:
    """Write the thresholds of labels to the config of a trained pipeline.

    Args:
        path: The config.
        component: The component's name.
        thresholds: Label → threshold.

    Raises:
        ValueError: A config cannot hold one of the labels.
    """
    config = Config().from_disk(path, interpolate=False)
    config["components"][component]["threshold"] = dict(thresholds)
    part = path.with_name(f"{path.name}.part")
    config.to_disk(part)
    try:
        kept = Config().from_disk(part, interpolate=False)["components"][component]["threshold"]
    except ValueError:
        kept = {}
    if kept != dict(thresholds):
        part.unlink()
        raise ValueError(Errors.P434.format(labels=", ".join(thresholds)))
    os.replace(part, path)
