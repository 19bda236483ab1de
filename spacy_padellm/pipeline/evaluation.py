"""Evaluate spaCy pipelines on corpora, with or without our component: scores and speed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

import spacy
import srsly
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import (
    dot_to_dict,
    get_package_path,
    is_package,
    load_config,
    load_model_from_config,
)
from spacy.vocab import Vocab
from thinc.api import ConfigValidationError

from ..checkpoints.files import is_checkpoint
from ..checkpoints.options import DEFAULT_DEVICE
from ..corpus.docs import ask_labels, keep_labels, load_docs, own_labels
from ..errors import Errors
from ..settings import SPANS_KEY
from .component import PaDeLLMNER
from .scorer import score_mentions
from .shim import get_shim

# The settings that follow a pipeline's name. A value may have a colon, as in cuda:0.
_SETTINGS = re.compile(r"(.+):(\w[\w.]*=.*)")


class Evaluation(TypedDict):
    """The results of a pipeline on a corpus.

    `ours` says whether the pipeline has our component. `seconds` is the median time of a run. The
    scores are those of `score_mentions`.
    """

    pipeline: str
    ours: bool
    corpus: str
    texts: int
    left_out: int
    seconds: float
    texts_per_s: float
    mentions_p: float | None
    mentions_r: float | None
    mentions_f: float | None
    ents_p: float | None
    ents_r: float | None
    ents_f: float | None


def find_texts(paths: Sequence[Path]) -> set[str]:
    """Read the texts of corpora, in lower case and with single spaces.

    Args:
        paths: .spacy files, or folders of them.

    Raises:
        ValueError: A path does not exist, or is a folder without .spacy files.
    """
    vocab = Vocab()
    docs = (doc for file in _find_files(paths) for doc in load_docs(file, vocab))
    return {_normalize(doc.text) for doc in docs}


def find_corpora(paths: Sequence[Path]) -> dict[str, Path]:
    """Find the .spacy files of corpora.

    Args:
        paths: .spacy files, or folders of them.

    Returns:
        Name → file. The name is that of the file, without folder and suffix.

    Raises:
        ValueError: A path does not exist or is a folder without .spacy files, or two files have the
            same name.
    """
    corpora: dict[str, Path] = {}
    for file in _find_files(paths):
        if file.stem in corpora:
            both = f"{corpora[file.stem]}, {file}"
            raise ValueError(Errors.P419.format(name=file.stem, paths=both))
        corpora[file.stem] = file
    return corpora


def load_pipeline(
    name: str,
    lang: str,
    settings: Mapping[str, Any] | None = None,
    *,
    with_weights: bool = True,
) -> Language:
    """Load a trained pipeline, or build one from a checkpoint.

    Args:
        name: A trained pipeline, or a checkpoint, which becomes the only component of a new one.
            Settings of the component may follow, as in `"padellm_en_small:decode=tags"` or
            `"training/model-best:tag_share=0.8,model.dtype=float32"`.
        lang: Language of the new pipeline.
        settings: Further settings of the component; those in the name come first.
        with_weights: Whether to read what is saved in a trained pipeline, or only its config.

    Raises:
        ValueError: A setting has no value, or there is no such setting.
    """
    name, stated = split_settings(name)
    settings = {**(settings or {}), **stated}
    try:
        if not is_checkpoint(name):
            config = {f"components.padellm_ner.{key}": value for key, value in settings.items()}
            path = None if with_weights else _find_config(name)
            if path is None:
                return spacy.load(name, config=config)
            return load_model_from_config(load_config(path, config), auto_fill=True)
        nlp = spacy.blank(lang)
        nlp.add_pipe("padellm_ner", config=dot_to_dict({"model.name": name, **settings}))
        return nlp
    except ConfigValidationError as error:
        wrong = [f"{' -> '.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors]
        raise ValueError(Errors.P426.format(name=name, wrong="; ".join(wrong))) from error


def _find_config(name: str) -> Path | None:
    """Find the config of a trained pipeline; `None` if there is none."""
    folder = get_package_path(name) if is_package(name) else Path(name)
    # In a package, it lies in the folder of the version.
    paths = [folder / "config.cfg", *sorted(folder.glob("*/config.cfg"))]
    return next((path for path in paths if path.is_file()), None)


def split_settings(name: str) -> tuple[str, dict[str, Any]]:
    """Split the name of a pipeline from the settings that follow it.

    Raises:
        ValueError: A setting has no value.
    """
    found = _SETTINGS.fullmatch(name)
    # A path may have a colon and an equals sign, too.
    if found is None or Path(name).exists():
        return name, {}
    settings = {}
    for setting in found[2].split(","):
        key, is_set, value = setting.partition("=")
        if not is_set:
            raise ValueError(Errors.P423.format(setting=setting))
        settings[key] = _read_value(value)
    return found[1], settings


def device_of(pipelines: Iterable[Language]) -> str:
    """Return the device of the first of our components in some pipelines, else the CPU.

    Args:
        pipelines: Pipelines that were run, so that their models are loaded.
    """
    found = [pipe for nlp in pipelines for _, pipe in nlp.pipeline if isinstance(pipe, PaDeLLMNER)]
    return get_shim(found[0].model).lm.device if found else DEFAULT_DEVICE


def _read_value(value: str) -> Any:
    """Read a number or another value of JSON; what is none is a string."""
    try:
        return srsly.json_loads(value)
    except ValueError:
        return value


def evaluate_pipelines(
    pipelines: Mapping[str, Language],
    corpora: Mapping[str, Path],
    *,
    limit: int | None = None,
    labels: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    exclude: Set[str] = frozenset(),
    repeat: int = 1,
    tell: Callable[[str], object] = lambda name: None,
) -> Iterator[Evaluation]:
    """Run each pipeline on each corpus, and score all in the same way.

    A doc with labels of its own is asked for these.

    Args:
        pipelines: Pipelines by name.
        corpora: .spacy files by name.
        limit: How many docs of each corpus to take, from its beginning; `None` for all.
        labels: The labels that count; `None` for all.
        label_map: Labels of predicted entities → the labels they become.
        exclude: Texts to leave out, from `find_texts`.
        repeat: Number of runs. The median time counts. Loading is not timed.
        tell: Called with the name of each corpus before it is run.

    Yields:
        The results of each pipeline on each corpus.

    Raises:
        ValueError: All texts of a corpus are left out.
    """
    for corpus, path in corpora.items():
        tell(corpus)
        whole = {name: load_docs(path, nlp.vocab)[:limit] for name, nlp in pipelines.items()}
        gold = {
            name: [doc for doc in docs if _normalize(doc.text) not in exclude]
            for name, docs in whole.items()
        }
        if not all(gold.values()):
            raise ValueError(Errors.P420.format(path=path))
        for name, nlp in pipelines.items():
            # Run one text first, so that loading at first use is not timed.
            list(nlp.pipe(_unread(nlp, doc) for doc in gold[name][:1]))
        seconds: dict[str, list[float]] = {name: [] for name in pipelines}
        found: dict[str, list[Doc]] = {}
        for _ in range(repeat):
            for name, nlp in pipelines.items():
                texts = [_unread(nlp, doc) for doc in gold[name]]
                start = time.perf_counter()
                found[name] = list(nlp.pipe(texts))
                seconds[name].append(time.perf_counter() - start)
        for name in pipelines:
            for doc in found[name]:
                _rename_labels(doc, label_map or {})
            if labels is not None:
                for doc in gold[name]:
                    keep_labels(doc, labels, SPANS_KEY)
            pairs = zip(found[name], gold[name], strict=True)
            scores = score_mentions([Example(*pair) for pair in pairs], spans_key=SPANS_KEY)
            took = median(seconds[name])
            yield Evaluation(
                pipeline=name,
                ours=any(isinstance(pipe, PaDeLLMNER) for _, pipe in pipelines[name].pipeline),
                corpus=corpus,
                texts=len(gold[name]),
                left_out=len(whole[name]) - len(gold[name]),
                seconds=took,
                texts_per_s=len(gold[name]) / took,
                mentions_p=scores["mentions_p"],
                mentions_r=scores["mentions_r"],
                mentions_f=scores["mentions_f"],
                ents_p=scores["ents_p"],
                ents_r=scores["ents_r"],
                ents_f=scores["ents_f"],
            )


def _unread(nlp: Language, gold: Doc) -> str | Doc:
    """Return the text of a gold doc. If it has labels of its own, it is a doc that has them too."""
    labels = own_labels(gold)
    if labels is None:
        return gold.text
    doc = nlp.make_doc(gold.text)
    ask_labels(doc, labels)
    return doc


def _rename_labels(doc: Doc, label_map: Mapping[str, str]) -> None:
    """Rename the labels of a doc's entities, and of the spans in our span group."""
    if not label_map:
        return
    if SPANS_KEY in doc.spans:
        doc.spans[SPANS_KEY] = [_rename(span, label_map) for span in doc.spans[SPANS_KEY]]
    doc.set_ents([_rename(ent, label_map) for ent in doc.ents])


def _rename(span: Span, label_map: Mapping[str, str]) -> Span:
    label = label_map.get(span.label_, span.label_)
    return Span(span.doc, span.start, span.end, label=label)


def _find_files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        files = sorted(path.glob("*.spacy")) if path.is_dir() else [path]
        if not files or not path.exists():
            raise ValueError(Errors.P418.format(path=path))
        yield from files


def _normalize(text: str) -> str:
    return " ".join(text.lower().split())
