"""`learn`: a pipeline for labels of one's own, from few annotated texts."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import Errors, require
from ..settings import BUNDLED_MODEL, SPANS_KEY
from .console import DeviceOption, FormatOption, check_writable, parse_label_map, shown_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spacy.language import Language
    from spacy.training import Example


def learn(
    examples: Annotated[
        Path,
        typer.Argument(
            metavar="EXAMPLES",
            help="Annotated texts, 10 to 100: a .spacy file, or a corpus file of another format.",
            exists=True,
        ),
    ],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the new pipeline.")],
    checkpoint: Annotated[str, typer.Option(help="Checkpoint to start from.")] = BUNDLED_MODEL,
    wording: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=WORDING",
            help="What a label is called, or a name and a description: "
            '--wording "LANG=programming language: a language programs are written in".',
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Find the labels of the checkpoint, too.")
    ] = False,
    rehearse: Annotated[
        Path | None,
        typer.Option(
            metavar="TEXTS",
            help="Texts on which the checkpoint rehearses its labels, one on each line. By "
            "default English ones of the package.",
            exists=True,
        ),
    ] = None,
    format: FormatOption = "auto",
    lang: Annotated[str, typer.Option(help="Language of the tokenizer, e.g. en or zh.")] = "en",
    device: DeviceOption = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of all that is random.")] = 0,
) -> None:
    """Learn the labels of a few annotated texts, in about two minutes, and score what was learnt by
    cross-validation. The checkpoint rehearses its own labels meanwhile, so that they are not
    forgotten.
    """
    with shown_errors():
        require("spacy", "Learning")
        check_writable(output / "config.cfg")
        import spacy
        from tqdm import tqdm

        from ..checkpoints.loading import load_settings
        from ..checkpoints.options import DEFAULT_OPTIONS
        from ..corpus.docs import gold_spans
        from ..learn.recipe import Recipe, word
        from ..learn.run import Learner, read_rehearsal

        start = time.perf_counter()
        stated = parse_label_map(wording or [])
        found = read_examples(examples, format, spacy.blank(lang))
        counts = Counter(
            span.label_ for eg in found for span in gold_spans(eg.reference, SPANS_KEY)
        )
        if not counts:
            raise ValueError(Errors.P443.format(path=examples, spans_key=SPANS_KEY))
        settings = load_settings(checkpoint, DEFAULT_OPTIONS)
        known = {} if settings is None else settings.labels
        labels = word(sorted(counts), stated, known)
        typer.echo(f"Texts: {len(found)}")
        for label, worded in labels.items():
            typer.echo(f'  {label} ("{worded}"): {counts[label]}')
        learner = Learner(
            checkpoint,
            labels,
            read_rehearsal(rehearse),
            lang=lang,
            device=device,
            keep=keep,
            seed=seed,
        )
        recipe = Recipe.choose(len(found), learner.n_weights, has_tags=learner.has_tags)
        total = recipe.rounds * recipe.steps
        with tqdm(total=total, unit="steps", leave=False, disable=None) as progress:
            learnt = learner.learn(found, recipe, progress.update)
        learnt.nlp.to_disk(output)
        typer.echo(to_table(learnt.scores, counts, recipe.rounds))
        took = time.perf_counter() - start
        typer.echo(f"\n{output}: a pipeline that finds {', '.join(labels)} ({took:.0f} s)")


def read_examples(path: Path, format: str, nlp: Language) -> list[Example]:
    """Read annotated texts: a .spacy file, or a file of another format.

    Raises:
        ValueError: The file cannot be read.
    """
    from spacy.training import Example

    from ..corpus.docs import has_gold, load_docs
    from ..corpus.reader import create_annotated_corpus_v1

    if path.suffix == ".spacy":
        docs = load_docs(path, nlp.vocab)
        examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
    else:
        examples = list(create_annotated_corpus_v1(path, format)(nlp))
    return [eg for eg in examples if has_gold(eg.reference, SPANS_KEY)]


def to_table(scores: Mapping[str, Any], counts: Mapping[str, int], rounds: int) -> str:
    """Write the scores of a cross-validation as a table."""
    from ..benchmark.report import to_table as write

    by_label = scores["ents_per_type"] or {}
    cells = []
    for label, count in counts.items():
        of_label = by_label.get(label, {"p": 0.0, "r": 0.0, "f": 0.0})
        cells.append([label, str(count), *(f"{of_label[key]:.3f}" for key in "prf")])
    overall = [f"{scores[f'ents_{key}'] or 0.0:.3f}" for key in "prf"]
    cells.append(["all", str(sum(counts.values())), *overall])
    table = write(["label", "gold", "precision", "recall", "F1"], cells, 1)
    title = f"Scores by cross-validation: each text was left out of one of {rounds} rounds."
    return f"\n{title}\n\n{table}"
