"""`learn`: a pipeline for labels of one's own, from few annotated texts."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Errors, require
from ..settings import BUNDLED_MODEL, SPANS_KEY
from .console import DeviceOption, FormatOption, check_writable, parse_pairs, shown_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spacy.language import Language
    from spacy.training import Example

    from ..scoring import MentionScores


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
        from ..corpus.docs import gold_spans, has_gold, own_labels
        from ..learn.recipe import Recipe, check_count, word
        from ..learn.run import Learner, find_component, read_rehearsal

        start = time.perf_counter()
        stated = parse_pairs(wording or [], "--wording", "LABEL=WORDING", "JOB=job title")
        read = read_examples(examples, format, spacy.blank(lang))
        found = [eg for eg in read if has_gold(eg.reference, SPANS_KEY)]
        left_out = len(read) - len(found)
        counts = Counter(
            span.label_ for eg in found for span in gold_spans(eg.reference, SPANS_KEY)
        )
        if not counts:
            raise ValueError(Errors.P443.format(path=examples, spans_key=SPANS_KEY))
        settings = load_settings(checkpoint, DEFAULT_OPTIONS)
        if settings is None:
            raise ValueError(Errors.P447.format(name=checkpoint))
        # The texts may say what their labels are called.
        asked = [own for eg in found if isinstance(own := own_labels(eg.reference), dict)]
        known = {
            label: wording for own in (settings.labels, *asked) for label, wording in own.items()
        }
        labels = word(sorted(counts), stated, known)
        check_count(len({eg.text for eg in found}))
        typer.echo(f"Texts: {len(found)} ({left_out} without annotation left out)")
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
        recipe = Recipe.choose(learner.n_weights, has_tags=learner.has_tags)
        with tqdm(total=recipe.all_steps, unit="steps", leave=False, disable=None) as progress:
            learnt = learner.learn(found, recipe, progress.update)
        learnt.nlp.to_disk(output)
        typer.echo(to_table(learnt.scores, recipe.rounds))
        took, found_labels = time.perf_counter() - start, find_component(learnt.nlp).labels
        typer.echo(f"\nBias of text tags: {learnt.bias:g}")
        typer.echo(f"{output}: a pipeline that finds {', '.join(found_labels)} ({took:.0f} s)")


def read_examples(path: Path, format: str, nlp: Language) -> list[Example]:
    """Read annotated texts.

    Args:
        path: A .spacy file, or a file of another format.
        format: The other format.
        nlp: The pipeline that tokenizes them.

    Raises:
        ValueError: The file cannot be read.
    """
    from spacy.training import Example

    from ..corpus.docs import load_docs
    from ..corpus.reader import create_annotated_corpus_v1

    if path.suffix == ".spacy":
        docs = load_docs(path, nlp.vocab)
        return [Example(nlp.make_doc(doc.text), doc) for doc in docs]
    return list(create_annotated_corpus_v1(path, format)(nlp))


def to_table(scores: Mapping[str, MentionScores], rounds: int) -> str:
    """Write the scores of a cross-validation as a table.

    Args:
        scores: Label → its scores.
        rounds: Number of rounds.
    """
    from ..benchmark.report import to_table as write
    from ..learn.run import add_up

    rows = {**scores, "all": add_up(scores.values())}
    cells = []
    for label, each in rows.items():
        shares = (each.precision, each.recall, each.fscore)
        cells.append([label, str(each.gold), *(f"{share:.3f}" for share in shares)])
    table = write(["label", "gold", "precision", "recall", "F1"], cells, 1)
    title = f"Scores by cross-validation: each text was left out of one of {rounds} rounds."
    return f"\n{title}\n\n{table}"
