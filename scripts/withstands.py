"""What a pipeline withstands: many texts, long ones, little memory, processes, other labels.

    python scripts/withstands.py memory corpus/names/test
    python scripts/withstands.py length corpus/names/test
    python scripts/withstands.py limit corpus/names/test
    python scripts/withstands.py processes corpus/names/test
    python scripts/withstands.py labels corpus/names/test/wikigold.spacy

Each prints a table. The texts are those of a .spacy file, or of all in a folder.
"""

from __future__ import annotations

import argparse
import logging
import math
import multiprocessing
import os
import resource
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin

from spacy_padellm import PaDeLLM
from spacy_padellm.decode.decoder import ParallelDecoder
from spacy_padellm.texts import TokenizedText

MODEL = "padellm_en_small"
MB = 1 << 20
Found = list[tuple[int, int, str, float]]


def main() -> None:
    """Run one of the checks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("check", choices=sorted(CHECKS))
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--texts", type=int, help="How many texts to read.")
    parser.add_argument("--model", default=MODEL, help="Checkpoint.")
    args = parser.parse_args()
    check, most = CHECKS[args.check]
    check(load_texts(args.corpus), args.texts or most, args.model)


def load_texts(path: Path) -> list[str]:
    """Read the texts of a .spacy file, or of those in a folder."""
    vocab = spacy.blank("en").vocab
    files = sorted(path.glob("*.spacy")) if path.is_dir() else [path]
    return [doc.text for file in files for doc in DocBin().from_disk(file).get_docs(vocab)]


def load(model: str, **config: object) -> Language:
    """Build a pipeline with a checkpoint."""
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner", config={"model": {"name": model}, **config})
    return nlp


def entities(doc: Doc) -> Found:
    """List the entities of a doc with their scores."""
    return [(e.start_char, e.end_char, e.label_, e._.score) for e in doc.ents]


def table(header: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    """Print a table, row by row."""
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |", flush=True)


def resident() -> float:
    """Return the memory of this process, in MB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB


def memory(texts: list[str], most: int, model: str) -> None:
    """Does memory grow with the number of texts?"""
    nlp = load(model)

    def rows() -> Iterator[Sequence[object]]:
        base, found, peak = 0.0, 0, 0.0
        for number, doc in enumerate(nlp.pipe(islice(cycle(texts), most), batch_size=64), start=1):
            found += len(doc.ents)
            if number % 100 == 0:
                peak = max(peak, resident())
            if number == 1000:
                base = peak = resident()
            if number == 1000 or (number > 1000 and number % (most // 10) == 0):
                now = resident()
                yield number, found, f"{now:.0f}", f"{now - base:+.1f}", f"{peak - base:+.1f}"

    header = ("texts", "entities", "MB", "since the first 1,000", "at most since then")
    table(header, rows())


def length(texts: list[str], most: int, model: str) -> None:
    """Does a long text take as much time a character as a short one?"""
    nlp = load(model)
    sizes = (25_000, 50_000, 100_000, 200_000)
    joined = " ".join(texts[:most])
    while len(joined) < sizes[-1]:
        joined += f" {joined}"
    nlp(joined[:1000])

    def rows() -> Iterator[Sequence[object]]:
        for size in sizes:
            start = time.perf_counter()
            doc = nlp(joined[:size])
            took = time.perf_counter() - start
            yield f"{size:,}", len(doc.ents), f"{took:.1f}", f"{1000 * took / size * 1000:.0f}"

    table(("characters", "entities", "seconds", "ms per 1,000 characters"), rows())


def limit(texts: list[str], most: int, model: str) -> None:
    """Are all texts read where memory is short?"""
    logging.basicConfig(format="%(message).60s...")
    texts = sorted(texts, key=len)[-most:]
    free = [entities(doc) for doc in load(model).pipe(texts)]

    def rows() -> Iterator[Sequence[object]]:
        # A batch of any size, which takes too much by far.
        config = {"batch_tokens": 1_000_000}
        for spare in (None, 1500, 800, 400):
            context = multiprocessing.get_context("spawn")
            with context.Pool(1) as pool:
                found, failed, took = pool.apply(_read_limited, (texts, model, config, spare))
            same = sum(_is_same(a, b) for a, b in zip(found, free, strict=True))
            yield spare or "no limit", len(texts) - failed, same, failed, f"{took:.1f}"

    header = ("MB to spare", "texts read", "as without a limit", "to the error handler", "seconds")
    table(header, rows())


def _read_limited(
    texts: list[str], model: str, config: dict[str, object], spare: int | None
) -> tuple[list[Found], int, float]:
    logging.basicConfig(format="%(message).80s...")
    nlp = load(model, **config)
    list(nlp.pipe(texts[:2]))
    failed: list[Doc] = []
    nlp.set_error_handler(lambda name, pipe, docs, error: failed.extend(docs))
    if spare is not None:
        # As `ulimit -v` does.
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + spare * MB, resource.RLIM_INFINITY))
    start = time.perf_counter()
    of_text = {doc.text: entities(doc) for doc in nlp.pipe(texts, batch_size=len(texts))}
    took = time.perf_counter() - start
    return [of_text.get(text, []) for text in texts], len(failed), took


def processes(texts: list[str], most: int, model: str) -> None:
    """Do threads and processes find what one process finds?"""
    texts = list(islice(cycle(texts), most))
    nlp = load(model)
    expected = [entities(doc) for doc in nlp.pipe(texts)]

    def rows() -> Iterator[Sequence[object]]:
        for name, run in (
            ("one by one", lambda: [entities(nlp(text)) for text in texts]),
            (
                "in reverse",
                lambda: [entities(d) for d in nlp.pipe(texts[::-1], batch_size=7)][::-1],
            ),
            ("8 threads, first call", lambda: _in_threads(load(model), texts)),
            ("8 forks", lambda: _in_processes("fork", nlp, texts)),
            ("2 spawned", lambda: _in_processes("spawn", nlp, texts)),
        ):
            found = run()
            same = sum(map(_is_same, found, expected))
            scores = [
                (of_found[place], of_expected[place])
                for of_found, of_expected in zip(
                    map(_by_place, found), map(_by_place, expected), strict=True
                )
                for place in of_found.keys() & of_expected.keys()
            ]
            yield name, len(found), same, f"{max(abs(a - b) for a, b in scores):.1e}"

    table(("run", "texts", "the same entities", "largest difference of a score"), rows())


def _in_threads(nlp: Language, texts: list[str]) -> list[Found]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda text: entities(nlp(text)), texts))


def _in_processes(method: str, nlp: Language, texts: list[str]) -> list[Found]:
    global _nlp
    _nlp = nlp
    data = None if method == "fork" else nlp.to_bytes()
    context = multiprocessing.get_context(method)
    with context.Pool(8 if method == "fork" else 2, _start, (data,)) as pool:
        return pool.map(_work, texts)


_nlp: Language | None = None


def _start(data: bytes | None) -> None:
    global _nlp
    if data is not None:
        _nlp = spacy.blank("en")
        _nlp.add_pipe("padellm_ner")
        _nlp.from_bytes(data)


def _work(text: str) -> Found:
    assert _nlp is not None
    return entities(_nlp(text))


def _by_place(found: Found) -> dict[tuple[object, ...], float]:
    return {tuple(each[:3]): each[3] for each in found}


def _is_same(found: Found, expected: Found) -> bool:
    return [each[:3] for each in found] == [each[:3] for each in expected]


def labels(texts: list[str], most: int, model: str) -> None:
    """How much do scores move when other labels are asked, or the same in another order?"""
    warnings.simplefilter("ignore")
    texts = texts[:most]
    padellm = PaDeLLM.from_pretrained(model)
    own = dict(padellm.settings.labels)
    first = next(iter(own))
    others = {each: each for each in ("food", "animal", "disease", "vehicle")}
    changes = {
        "in reverse order": dict(reversed(own.items())),
        f"{first} alone": {first: own[first]},
        f"with {', '.join(others)}": {**own, **others},
    }

    def rows() -> Iterator[Sequence[object]]:
        for activation in ("softmax", "sigmoid"):
            options = replace(padellm.options, tag_activation=activation)
            usual = PaDeLLM(padellm.lm, padellm.settings, options)
            expected = _find_scores(usual, own, texts)
            parts = _find_parts(padellm, activation, own, texts)
            for name, asked in changes.items():
                moved = _find_parts(padellm, activation, asked, texts)
                written, tags = (
                    [
                        abs(parts[key][i] - moved[key][i])
                        for key in parts.keys() & moved.keys()
                        if parts[key][i] is not None and moved[key][i] is not None
                    ]
                    for i in (0, 1)
                )
                scores = _find_scores(usual, asked, texts)
                both = scores.keys() & expected.keys()
                # Those of labels that are asked in both.
                either = {key for key in scores.keys() | expected.keys() if key[3] in asked}
                either = {key for key in either if key[3] in own}
                yield (
                    activation,
                    name,
                    f"{max(written):.1e}",
                    f"{sum(tags) / len(tags):.4f}",
                    f"{max(tags):.1e}",
                    f"{len(both)} of {len(either)}",
                    f"{sum(abs(scores[key] - expected[key]) for key in both) / len(both):.4f}",
                )

    header = (
        "tags",
        "asked",
        "written: at most",
        "tags: mean",
        "at most",
        "same entities",
        "their scores: mean",
    )
    table(header, rows())


def _find_scores(
    padellm: PaDeLLM, asked: dict[str, str], texts: list[str]
) -> dict[tuple[int, int, int, str], float]:
    """Find the scores of all entities, as a pipeline would."""
    return {
        (number, each.start, each.end, each.label): each.score
        for number, found in enumerate(padellm.predict(texts, labels=asked))
        for each in found
    }


def _find_parts(
    padellm: PaDeLLM, activation: str, asked: dict[str, str], texts: list[str]
) -> dict[tuple[int, object, str], tuple[float | None, float]]:
    """Find the two probabilities of all mentions that are written, whatever they are."""
    options = replace(padellm.options, decode="all", tag_activation=activation)
    decoder = ParallelDecoder(padellm.lm, padellm.encoder, padellm.settings, options)
    encoded = [padellm.encode(TokenizedText.split(text), asked) for text in texts]
    return {
        (number, mention.places, mention.label): (
            None if mention.log_prob is None else math.exp(mention.log_prob),
            mention.tagged[0],
        )
        for number, found in enumerate(decoder.decode(encoded))
        for mention in found
        if mention.tagged is not None and len(mention.places) == 1
    }


# The checks, and how many texts each reads.
CHECKS: dict[str, tuple[Callable[[list[str], int, str], None], int]] = {
    "memory": (memory, 20_000),
    "length": (length, 5_000),
    "limit": (limit, 200),
    "processes": (processes, 200),
    "labels": (labels, 500),
}

if __name__ == "__main__":
    main()
