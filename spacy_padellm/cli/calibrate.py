"""`calibrate`: make the scores of a pipeline mean what they say, and choose thresholds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import Errors, require
from .console import LimitOption, check_picture, check_writable, shown_errors, with_progress

if TYPE_CHECKING:
    from ..calibrate.measures import ReadText
    from ..calibrate.report import Report

# Fewer entities, or fewer that are right, say too little.
_FEWEST, _FEWEST_RIGHT = 50, 10


def calibrate(
    pipeline: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE",
            help="Trained pipeline, or a checkpoint. Settings of padellm_ner may follow a colon.",
        ),
    ],
    dev: Annotated[
        Path,
        typer.Argument(
            metavar="DEV",
            help="Annotated texts that it was not trained on: a .spacy file, or a folder of them.",
        ),
    ],
    test: Annotated[
        list[Path] | None,
        typer.Option(help="Other texts to measure on: a .spacy file, or a folder of them."),
    ] = None,
    precision: Annotated[float, typer.Option(help="Precision to choose thresholds for.")] = 0.9,
    recall: Annotated[float, typer.Option(help="Recall to choose thresholds for.")] = 0.7,
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="Also store the thresholds for this target in the pipeline's config: f, "
            "precision or recall.",
        ),
    ] = None,
    store: Annotated[
        bool, typer.Option(help="Store the temperatures in the pipeline's padellm.json.")
    ] = True,
    chart: Annotated[Path | None, typer.Option(help="Draw a picture (.png, .svg or .pdf).")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the results to this JSON file.")
    ] = None,
    limit: LimitOption = None,
    lang: Annotated[
        str, typer.Option(help="Language of a pipeline made from a checkpoint.")
    ] = "en",
) -> None:
    """Make scores mean what they say: of the entities with a score of 0.9, nine in ten are right.
    What is found stays the same. Then suggest thresholds for each label.
    """
    with shown_errors():
        require("spacy", "Calibrating")
        for share in (precision, recall):
            if not 0 <= share <= 1:
                raise ValueError(Errors.P431.format(value=share))
        if threshold is not None and not store:
            raise ValueError(Errors.P433)
        if chart is not None:
            require("matplotlib", "Drawing a chart", extra="benchmark")
            check_picture(chart)
        if output is not None:
            check_writable(output)
        from ..calibrate import pipelines
        from ..calibrate.measures import find_targets, judge
        from ..calibrate.picture import draw
        from ..calibrate.report import calibrate as calibrate_corpora
        from ..pipeline.evaluation import find_corpora, load_pipeline, split_settings
        from ..settings import SPANS_KEY

        targets = find_targets(precision, recall)
        keys = [each.key for each in targets]
        if threshold not in (None, *keys):
            raise ValueError(Errors.P432.format(target=threshold, targets=", ".join(keys)))
        nlp = load_pipeline(pipeline, lang)
        component = pipelines.find_component(nlp, pipeline)
        folder = pipelines.find_folder(pipeline, component.name) if store else None
        config = None if threshold is None else pipelines.find_config(pipeline)
        options = component.shim.options
        files = {str(dev): list(find_corpora([dev]).values())}
        for name, path in find_corpora(test or []).items():
            if name in files:
                raise ValueError(Errors.P419.format(name=name, paths=f"{dev}, {path}"))
            files[name] = [path]
        corpora: dict[str, list[ReadText]] = {name: [] for name in files}
        paths = [(name, path) for name, of_corpus in files.items() for path in of_corpus]
        for name, path in with_progress(paths, len(paths)):
            left = None if limit is None else limit - len(corpora[name])
            corpora[name] += pipelines.read_corpus(nlp, component, path, left)
        for name, of_corpus in files.items():
            if not corpora[name]:
                shown = ", ".join(map(str, of_corpus))
                raise ValueError(Errors.P435.format(path=shown, spans_key=SPANS_KEY))
        found = [is_right for _, is_right in judge(corpora[str(dev)], options.tag_share)]
        if len(found) < _FEWEST or sum(found) < _FEWEST_RIGHT:
            counts = {"count": len(found), "right": sum(found)}
            least = {"least": _FEWEST, "least_right": _FEWEST_RIGHT}
            raise ValueError(Errors.P430.format(path=dev, **counts, **least))
        report = calibrate_corpora(corpora, options.tag_share, component.labels, targets)
        before, after = report.reliability[str(dev)]
        if chart is not None:
            draw(chart, {"before": before.bins, "after": after.bins}, report.curve, targets)
        if output is not None:
            content = json.dumps(_to_json(pipeline, report), ensure_ascii=False, indent=2)
            output.write_text(f"{content}\n", encoding="utf8")
        typer.echo(to_markdown(report))
        if config is not None and threshold is not None:
            choice = next(each for each in report.choices if each.target.key == threshold)
            pipelines.store_thresholds(config, component.name, choice.thresholds)
            typer.echo(f"\nThe thresholds for {choice.target.name} are stored in {config}.")
            if others := ", ".join(choice.by_label.keys() - choice.thresholds.keys()):
                typer.echo(f"No threshold reaches it for {others}: of these, all is kept.")
        if folder is None:
            typer.echo("\nNothing is stored (--no-store). Thresholds are for calibrated scores.")
            return
        is_new = pipelines.store_calibration(folder, report.calibration)
        typer.echo(f"\nThe temperatures are stored in {folder}.")
        if stated := split_settings(pipeline)[1]:
            shown = ", ".join(f"{name} = {json.dumps(value)}" for name, value in stated.items())
            typer.echo(f"They hold for {shown}: use the pipeline with these settings.")
        if options.threshold and threshold is None and is_new:
            typer.echo(
                f"The pipeline's threshold ({options.threshold}) was chosen for other scores. "
                "Choose it again."
            )


def to_markdown(report: Report) -> str:
    """Write what a calibration found as tables."""
    temperatures = report.calibration
    parts = [
        f"Temperatures: written {temperatures.written:g}, tags {temperatures.tags:g}",
        "Entities by score, before and after, in the texts calibrated on:",
        _bins_table(report),
        "How far scores are from precision (ECE: the expected calibration error):",
        _reliability_table(report),
        "Thresholds, chosen in the texts calibrated on:",
        _thresholds_table(report),
        "As settings of the component:",
        "\n".join(
            f"{each.target.name}: threshold = {json.dumps(each.thresholds, ensure_ascii=False)}"
            for each in report.choices
        ),
    ]
    return "\n\n".join(parts)


def _bins_table(report: Report) -> str:
    from ..benchmark.report import to_table

    pair = next(iter(report.reliability.values()))
    by_score = [{(each.low, each.high): each for each in of_time.bins} for of_time in pair]
    cells = []
    for low, high in sorted({key for of_time in by_score for key in of_time}):
        found = [of_time.get((low, high)) for of_time in by_score]
        row = [f"{low:.1f}–{high:.1f}"]
        for each in found:
            row += ["–"] * 2 if each is None else [str(each.size), f"{each.precision:.3f}"]
        cells.append(row)
    header = ["score", "entities before", "precision", "entities after", "precision"]
    return to_table(header, cells, 1)


def _reliability_table(report: Report) -> str:
    from ..benchmark.report import to_table

    cells = [
        [
            name,
            str(after.count),
            f"{after.precision:.3f}",
            f"{before.score:.3f}",
            f"{after.score:.3f}",
            f"{before.error:.3f}",
            f"{after.error:.3f}",
        ]
        for name, (before, after) in report.reliability.items()
    ]
    others = [pair for pair in list(report.reliability.values())[1:] if pair[0].count]
    if len(others) > 1:
        means = [sum(pair[i].error for pair in others) / len(others) for i in (0, 1)]
        cells.append(["mean of the others", "", "", "", "", *(f"{each:.3f}" for each in means)])
    header = ["texts", "entities", "precision", "score before", "after", "ECE before", "after"]
    return to_table(header, cells, 1)


def _thresholds_table(report: Report) -> str:
    from ..benchmark.report import to_table

    cells = []
    for choice in report.choices:
        for label, setting in choice.by_label.items():
            row = [choice.target.name, label, str(report.gold[label])]
            if setting is None:
                row += ["not reached", "–", "–", "–"]
            else:
                row += [f"{setting.threshold:.4f}", *(f"{each:.3f}" for each in setting[1:])]
            cells.append(row)
        shown = (f"{each:.3f}" for each in choice.together[1:])
        cells.append([choice.target.name, "all", str(sum(report.gold.values())), "", *shown])
    header = ["for", "label", "gold", "threshold", "precision", "recall", "F1"]
    return to_table(header, cells, 2)


def _to_json(pipeline: str, report: Report) -> dict[str, Any]:
    return {
        "pipeline": pipeline,
        "temperatures": vars(report.calibration),
        "reliability": {
            name: {
                time: {**vars(each), "bins": [each._asdict() for each in each.bins]}
                for time, each in zip(("before", "after"), pair, strict=True)
            }
            for name, pair in report.reliability.items()
        },
        "gold": dict(report.gold),
        "thresholds": {
            each.target.key: {
                "target": each.target.name,
                "threshold": dict(each.thresholds),
                "labels": {
                    label: None if setting is None else setting._asdict()
                    for label, setting in each.by_label.items()
                },
                "together": each.together._asdict(),
            }
            for each in report.choices
        },
        "curve": [each._asdict() for each in report.curve],
    }
