"""The datasets of a benchmark: find corpora, read them, and give each a template and labels."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..corpus.formats import FORMATS, read_annotated_texts
from ..corpus.options import ReadingOptions
from ..errors import Errors
from ..prompt.template import Preset, PromptTemplate, find_preset, get_template
from ..texts import AnnotatedText

_PARTS = ("train", "dev", "test")
_DOCBIN_SUFFIX = ".spacy"
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")


@dataclass(frozen=True)
class Dataset:
    """Texts, and the template and labels that decoders use for them.

    Args:
        name: Its name in the report.
        texts: The texts with their gold mentions.
        template: The wording around text and label.
        labels: Label → its wording in the prompt.
    """

    name: str
    texts: list[AnnotatedText]
    template: PromptTemplate
    labels: Mapping[str, str]


def find_corpora(path: Path) -> list[tuple[str, Path]]:
    """Find the corpus files to measure on.

    Args:
        path: A corpus file, a folder with a test file (test.jsonl, test.conll, ...), or a folder of
            such folders.

    Returns:
        Name and file of each corpus. The name is that of the file without suffix, or of the folder
        if the file is called train, dev or test.

    Raises:
        ValueError: There is no corpus, or a folder has several test files.
    """
    # Not `resolve`, since a linked folder keeps the name of the link.
    path = Path(os.path.abspath(path))
    if path.is_file():
        return [(path.parent.name if path.stem in _PARTS else path.stem, path)]
    if own := _find_test_file(path):
        return [(path.name, own)]
    folders = sorted(each for each in path.glob("*") if each.is_dir())
    found = [(folder.name, file) for folder in folders if (file := _find_test_file(folder))]
    if not found:
        raise ValueError(Errors.P401.format(path=path))
    return found


def load_datasets(
    paths: Sequence[Path],
    *,
    format: str = "auto",
    limit: int | None = None,
) -> list[Dataset]:
    """Read corpora, and choose a template and labels for each.

    If a corpus has the name of one of the paper's datasets, and no labels other than that
    dataset's, it gets the paper's template and labels. Otherwise its own labels are used, each with
    its name as the wording. The template is then "zh" if most texts have Chinese characters, or
    else "en".

    Args:
        paths: Files and folders, see `find_corpora`.
        format: Format of the files, see `read_annotated_texts`.
        limit: Most texts of a corpus, evenly spread over it; `None` for all.

    Returns:
        The datasets, no two with the same name.

    Raises:
        ValueError: `limit` is below 1, a path has no corpus, or a corpus cannot be read.
    """
    if limit is not None and limit < 1:
        raise ValueError(Errors.P032.format(name="limit", value=limit))
    datasets: list[Dataset] = []
    for name, file in (found for path in paths for found in find_corpora(path)):
        texts = _read(file, format)
        gold_labels = _gold_labels(texts)
        preset = _fitting_preset(name, gold_labels)
        datasets.append(
            Dataset(
                _free_name(name, datasets),
                _spread(texts, limit),
                _guess_template(texts) if preset is None else preset.template,
                {label: label for label in gold_labels} if preset is None else preset.labels,
            )
        )
    return datasets


def _find_test_file(folder: Path) -> Path | None:
    found = sorted(each for each in folder.glob("test.*") if each.stem == "test" and each.is_file())
    # Prefer the original corpus to a .spacy file that was made from it.
    files = [each for each in found if each.suffix != _DOCBIN_SUFFIX] or found
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise ValueError(Errors.P402.format(path=folder, names=names))
    return files[0] if files else None


def _read(file: Path, format: str) -> list[AnnotatedText]:
    if file.suffix == _DOCBIN_SUFFIX:
        raise ValueError(Errors.P403.format(path=file, formats=", ".join(FORMATS[1:])))
    return read_annotated_texts(file, options=ReadingOptions(format=format))


def _gold_labels(texts: Sequence[AnnotatedText]) -> list[str]:
    mentioned = {mention.label for text in texts for mention in text.mentions}
    stated = {label for text in texts for label in text.labels or ()}
    return sorted(mentioned | stated)


def _fitting_preset(name: str, gold_labels: Sequence[str]) -> Preset | None:
    preset = find_preset(name)
    return preset if preset and set(gold_labels) <= set(preset.labels) else None


def _guess_template(texts: Sequence[AnnotatedText]) -> PromptTemplate:
    chinese = sum(bool(_HAN.search(text.source.text)) for text in texts)
    return get_template("zh" if 2 * chinese > len(texts) else "en")


def _spread(texts: list[AnnotatedText], limit: int | None) -> list[AnnotatedText]:
    if limit is None or limit >= len(texts):
        return texts
    return [texts[place * len(texts) // limit] for place in range(limit)]


def _free_name(name: str, datasets: Sequence[Dataset]) -> str:
    taken = {dataset.name for dataset in datasets}
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
