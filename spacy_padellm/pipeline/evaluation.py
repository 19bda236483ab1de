"""Whole pipelines, ours or any others that set entities: their scores and speed on corpora."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypedDict

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab

from ..checkpoints.files import is_checkpoint
from ..corpus.docs import keep_labels, load_docs
from ..errors import Errors
from ..settings import SPANS_KEY
from .scorer import score_mentions

SCORES = ("mentions_p", "mentions_r", "mentions_f", "ents_p", "ents_r", "ents_f")


class Evaluation(TypedDict):
    """What a pipeline did on a corpus."""

    pipeline: str
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


@dataclass(frozen=True)
class Corpus:
    """Docs of a file.

    name (str): What it is called.
    path (Path): A .spacy file.
    """

    name: str
    path: Path

    def load(self, nlp: Language, limit: int | None, labels: Sequence[str] | None) -> list[Doc]:
        """nlp (Language): Whose vocabulary the docs share.
        limit (Optional[int]): Only the first docs.
        labels (Optional[Sequence[str]]): Only these labels count.
        RETURNS (List[Doc]): The docs.
        """
        docs = load_docs(self.path, nlp.vocab)[:limit]
        for doc in docs if labels is not None else ():
            keep_labels(doc, labels or (), SPANS_KEY)
        return docs


def find_texts(paths: Sequence[Path]) -> set[str]:
    """paths (Sequence[Path]): .spacy files, or folders of them.
    RETURNS (Set[str]): Their texts, without case and spacing.
    RAISES (ValueError): There is none in one of them.
    """
    vocab = Vocab()
    files = (file for path in paths for file in _files(path))
    return {_normalize(doc.text) for file in files for doc in load_docs(file, vocab)}


def _normalize(text: str) -> str:
    return " ".join(text.lower().split())


def find_corpora(paths: Sequence[Path]) -> list[Corpus]:
    """paths (Sequence[Path]): .spacy files, or folders of them.
    RETURNS (List[Corpus]): The corpora, named by their files.
    RAISES (ValueError): There is none in one of them, or two have the same name.
    """
    corpora: dict[str, Corpus] = {}
    for file in (file for path in paths for file in _files(path)):
        if file.stem in corpora:
            both = f"{corpora[file.stem].path}, {file}"
            raise ValueError(Errors.P419.format(name=file.stem, paths=both))
        corpora[file.stem] = Corpus(file.stem, file)
    return list(corpora.values())


def _files(path: Path) -> list[Path]:
    files = sorted(path.glob("*.spacy")) if path.is_dir() else [path]
    if not files or not path.exists():
        raise ValueError(Errors.P418.format(path=path))
    return files


def load_pipeline(name: str, lang: str) -> Language:
    """name (str): A trained pipeline, or a checkpoint, which becomes the only component of one.
    lang (str): That one's language.
    RETURNS (Language): The pipeline.
    """
    if not is_checkpoint(name):
        return spacy.load(name)
    nlp = spacy.blank(lang)
    nlp.add_pipe("padellm_ner", config={"model": {"name": name}})
    return nlp


def evaluate_pipelines(
    pipelines: Mapping[str, Language],
    corpora: Sequence[Corpus],
    *,
    limit: int | None = None,
    labels: Sequence[str] | None = None,
    exclude: Set[str] = frozenset(),
    repeat: int = 1,
    tell: Callable[[str], object] = lambda name: None,
) -> Iterator[Evaluation]:
    """Run pipelines one after the other on each corpus, that often, and score what they find by the
    same measure.

    pipelines (Mapping[str, Language]): Pipelines by name.
    corpora (Sequence[Corpus]): The corpora.
    limit (Optional[int]): Only the first docs of each.
    labels (Optional[Sequence[str]]): Only these labels count.
    exclude (Set[str]): Texts that are left out, of `find_texts`.
    repeat (int): How often each is run; the median time counts, without that of loading.
    tell (Callable[[str], Any]): Called with a corpus' name before it is run.
    YIELDS (Evaluation): What each pipeline did on each corpus.
    """
    for corpus in corpora:
        tell(corpus.name)
        whole = {name: corpus.load(nlp, limit, labels) for name, nlp in pipelines.items()}
        gold = {
            name: [doc for doc in docs if _normalize(doc.text) not in exclude]
            for name, docs in whole.items()
        }
        if not all(gold.values()):
            raise ValueError(Errors.P420.format(path=corpus.path))
        for name, nlp in pipelines.items():
            # What is loaded at first use, is now.
            list(nlp.pipe([doc.text for doc in gold[name][:1]]))
        seconds: dict[str, list[float]] = {name: [] for name in pipelines}
        found: dict[str, list[Doc]] = {}
        for _ in range(repeat):
            for name, nlp in pipelines.items():
                start = time.perf_counter()
                found[name] = list(nlp.pipe([doc.text for doc in gold[name]]))
                seconds[name].append(time.perf_counter() - start)
        for name in pipelines:
            pairs = zip(found[name], gold[name], strict=True)
            scores = score_mentions([Example(*pair) for pair in pairs], spans_key=SPANS_KEY)
            took = median(seconds[name])
            yield Evaluation(
                pipeline=name,
                corpus=corpus.name,
                texts=len(gold[name]),
                left_out=len(whole[name]) - len(gold[name]),
                seconds=took,
                texts_per_s=len(gold[name]) / took,
                **{score: scores[score] for score in SCORES},  # type: ignore[typeddict-item]
            )
