"""`evaluate`: scores and speed of whole pipelines, ours and others, side by side. `scores`: those
that `spacy evaluate` wrote to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import require
from .console import LabelMapOption, LimitOption, parse_label_map, parse_labels, shown_errors

if TYPE_CHECKING:
    from ..pipeline.evaluation import Evaluation

_Column = Literal["ents_f", "mentions_f", "texts_per_s"]
# What is shown, with its heading; the file has the rest.
TABLES: dict[_Column, str] = {
    "ents_f": "F1 of entities by their places (`ents_f`):",
    "mentions_f": "F1 of each text's set of mention strings (`mentions_f`):",
    "texts_per_s": "Texts a second (`nlp.pipe`):",
}
# What `scores` prints.
SCORES = ("mentions_p", "mentions_r", "mentions_f", "ents_p", "ents_r", "ents_f")


def evaluate(
    pipelines: Annotated[
        list[str],
        typer.Argument(
            metavar="PIPELINE...",
            help="Trained pipelines, or checkpoints, each run as a pipeline of its own. Settings "
            "of padellm_ner may follow a colon, as in padellm_en_small:decode=tags.",
        ),
    ],
    corpora: Annotated[
        list[Path], typer.Option(help="A .spacy file, or a folder of .spacy files.")
    ],
    labels: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Count only these labels.")
    ] = None,
    label_map: LabelMapOption = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(help="A .spacy file, or a folder of them. Skip the texts in it."),
    ] = None,
    limit: LimitOption = None,
    repeat: Annotated[
        int, typer.Option(help="Number of timed runs. The median counts.", min=1)
    ] = 1,
    lang: Annotated[str, typer.Option(help="Language of pipelines made from checkpoints.")] = "en",
    output: Annotated[
        Path | None, typer.Option(help="Write the results to this JSON file.")
    ] = None,
) -> None:
    """Score and time pipelines that set entities, on the same texts. --map renames labels of
    predicted entities. With --labels, entities with other labels do not count.
    """
    with shown_errors():
        require("spacy", "Evaluating")
        from tqdm import tqdm

        from ..benchmark.report import describe_environment
        from ..pipeline.evaluation import (
            device_of,
            evaluate_pipelines,
            find_corpora,
            find_texts,
            load_pipeline,
        )

        found = find_corpora(corpora)
        loaded = {name: load_pipeline(name, lang) for name in pipelines}
        results: list[Evaluation] = []
        total = len(found) * len(loaded)
        with tqdm(total=total, unit="runs", leave=False, disable=None) as progress:
            for each in evaluate_pipelines(
                loaded,
                found,
                limit=limit,
                labels=parse_labels(labels),
                label_map=parse_label_map(label_map or []),
                exclude=find_texts(exclude or []),
                repeat=repeat,
                tell=progress.set_description,
            ):
                results.append(each)
                progress.update()
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            # Each pipeline has a dtype of its own.
            environment = describe_environment(device_of(loaded.values()), "")
            results_and_machine = {"rows": results, "environment": environment}
            content = json.dumps(results_and_machine, ensure_ascii=False, indent=2)
            output.write_text(f"{content}\n", encoding="utf8")
        typer.echo(to_tables(results))
        for corpus, left_out in {each["corpus"]: each["left_out"] for each in results}.items():
            if left_out:
                typer.echo(f"{corpus}: {left_out} texts left out, as they are also in --exclude")


def to_tables(results: list[Evaluation]) -> str:
    """Write what pipelines did on corpora as Markdown: a table for each of the scores and for the
    speed.
    """
    return "\n\n".join(f"{title}\n\n{_table(results, name)}" for name, title in TABLES.items())


def _table(results: list[Evaluation], name: _Column) -> str:
    from ..benchmark.report import to_table

    corpora = list(dict.fromkeys(each["corpus"] for each in results))
    pipelines = dict.fromkeys(each["pipeline"] for each in results)
    values = {(each["pipeline"], each["corpus"]): each[name] for each in results}
    form = ".1f" if name == "texts_per_s" else ".4f"
    cells = []
    for pipeline in pipelines:
        row = [values[pipeline, corpus] for corpus in corpora]
        scored = [value for value in row if value is not None]
        mean = sum(scored) / len(scored) if scored else None
        shown = ["–" if value is None else format(value, form) for value in (*row, mean)]
        cells.append([pipeline, *shown])
    return to_table(["pipeline", *corpora, "mean"], cells, 1)


def scores(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="METRICS", help="JSON file from `spacy evaluate`.", exists=True, dir_okay=False
        ),
    ],
) -> None:
    """Print the mention and entity scores that `spacy evaluate` wrote to a file."""
    with shown_errors():
        metrics = json.loads(path.read_text(encoding="utf8"))
    for name in SCORES:
        value = metrics.get(name)
        typer.echo(f"{name:<10}  {'-' if value is None else format(value, '.4f')}")
