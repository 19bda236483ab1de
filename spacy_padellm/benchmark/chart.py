"""Charts: mean latencies as bars, like the paper's Figure 3, and F1 against speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Errors, require
from .report import is_evaluation
from .rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Only our decoder has a warm colour. The others go from dark to light, so that they differ in black
# and white, too.
_OURS, _OURS_COLOR = "tree", "#d55e00"
_DARKEST, _LIGHTEST = (0.10, 0.22, 0.40), (0.76, 0.86, 0.94)

# The scale is logarithmic if the longest bar is more than this many times the shortest.
_LINEAR_RANGE = 20
_GROUP_WIDTH = 0.84
# Room is left for at least the first number of bars. Above the second, labels are upright.
_FEWEST_BARS, _MOST_LEVEL_LABELS = 8, 18

# In inches. A README shows 10 inches at about half their size.
_WIDTH, _HEIGHT, _BAR, _LETTER, _LEGEND_PATCH = 10.0, 4.6, 0.22, 0.1, 0.65


@dataclass(frozen=True)
class _Bars:
    """The contents of the chart.

    Args:
        datasets: The datasets, each with a group of bars.
        decoders: The decoders, each with a bar in every group.
        latencies: Mean latency in milliseconds, by dataset and decoder.
    """

    datasets: Sequence[str]
    decoders: Sequence[str]
    latencies: Mapping[tuple[str, str], float]


def draw_chart(path: Path, results: Sequence[tuple[Sequence[Any], Mapping[str, Any]]]) -> None:
    """Draw a chart of the latency of decoders, or of the F1 and speed of pipelines.

    Args:
        path: File to write: .png, .svg or .pdf.
        results: The rows and the environment of each run of `benchmark` or of `evaluate`, as from
            `read_json`.

    Raises:
        ImportError: matplotlib isn't installed.
        ValueError: Rows lack what is drawn, two are of the same decoder and dataset, or there are
            rows of both commands.
    """
    rows = [row for of_run, _ in results for row in of_run]
    kinds = {is_evaluation(row) for row in rows}
    if len(kinds) > 1:
        raise ValueError(Errors.P424)
    captions = dict.fromkeys(_describe(environment) for _, environment in results)
    make = make_scatter if kinds == {True} else make_figure
    figure = make(rows, "; ".join(captions))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", pad_inches=0.1)


def make_figure(rows: Sequence[Row], caption: str = "") -> Figure:
    """Make the chart, with a group of bars for each dataset and a bar for each decoder.

    Args:
        rows: Rows from `make_row`.
        caption: A line below the chart.

    Raises:
        ImportError: matplotlib isn't installed.
        ValueError: No row has a latency, or two are of the same decoder and dataset.
    """
    bars = _collect(rows)
    figure = _make_canvas(_choose_width(bars), caption)
    _draw(figure, bars)
    return figure


def make_scatter(rows: Sequence[Mapping[str, Any]], caption: str = "") -> Figure:
    """Make a chart with a point for each pipeline: its mean F1 and its mean speed.

    A line through the point leads from its slowest to its fastest corpus.

    Args:
        rows: The results of `evaluate`.
        caption: A line below the chart.

    Raises:
        ImportError: matplotlib isn't installed.
        ValueError: The pipelines do not have one score each on the same corpora.
    """
    of_pipeline: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of_pipeline.setdefault(row["pipeline"], []).append(row)
    corpora = sorted({row["corpus"] for row in rows})
    for name, own in of_pipeline.items():
        if sorted(row["corpus"] for row in own if row["ents_f"] is not None) != corpora:
            raise ValueError(Errors.P425.format(name=name, corpora=", ".join(corpora)))
    speeds = {name: [row["texts_per_s"] for row in own] for name, own in of_pipeline.items()}
    figure = _make_canvas(_WIDTH, caption)
    axes = figure.add_subplot()
    # Above and below in turn, as pipelines of similar speed may have similar scores.
    for number, pipeline in enumerate(sorted(speeds, key=lambda name: sum(speeds[name]))):
        measured = speeds[pipeline]
        own = of_pipeline[pipeline]
        place = (sum(measured) / len(own), sum(row["ents_f"] for row in own) / len(own))
        color = _OURS_COLOR if own[0]["ours"] else _DARKEST
        axes.plot([min(measured), max(measured)], [place[1]] * 2, color=color, alpha=0.3, lw=3)
        axes.plot(*place, "o", color=color, ms=8)
        above = number % 2 == 0
        axes.annotate(
            _title(pipeline),
            place,
            xytext=(0, 9 if above else -9),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_xlabel("texts per second (log scale): mean, slowest and fastest corpus", fontsize=11)
    axes.set_ylabel("mean F1 of entities (ents_f)", fontsize=11)
    axes.margins(x=0.12, y=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    return figure


def _make_canvas(width: float, caption: str) -> Figure:
    require("matplotlib", "Drawing a chart", extra="benchmark")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, _HEIGHT), dpi=180, layout="constrained")
    FigureCanvasAgg(figure)
    if caption:
        figure.supxlabel(caption, fontsize=9, color="0.4")
    return figure


def _title(pipeline: str) -> str:
    """Shorten a pipeline's name: of a path, the last folder that is not `model-best`."""
    path, colon, stated = pipeline.partition(":")
    parts = [part for part in path.split("/") if part not in ("", "model-best", "model-last")]
    return f"{(parts or [path])[-1]}{colon} {stated}".strip()


def _describe(environment: Mapping[str, Any]) -> str:
    """Name the machine and the date in a line."""
    threads = f"{environment['cpu_threads']} threads" if environment["device"] == "cpu" else None
    parts = (
        environment["device_name"],
        threads,
        environment["dtype"],
        f"torch {environment['torch']}",
        environment["date"][:10],
    )
    return ", ".join(part for part in parts if part)


def _collect(rows: Sequence[Row]) -> _Bars:
    measured = [row for row in rows if row["latency_ms"]["mean"] is not None]
    if not measured:
        raise ValueError(Errors.P404)
    latencies: dict[tuple[str, str], float] = {}
    for row in measured:
        dataset, decoder = key = row["dataset"], row["decoder"]
        if key in latencies:
            raise ValueError(Errors.P422.format(decoder=decoder, dataset=dataset))
        latencies[key] = row["latency_ms"]["mean"]
    return _Bars(
        list(dict.fromkeys(row["dataset"] for row in measured)),
        list(dict.fromkeys(row["decoder"] for row in measured)),
        latencies,
    )


def _choose_width(bars: _Bars) -> float:
    names = _LETTER * max(map(len, bars.datasets)) * len(bars.datasets)
    return max(_WIDTH, _BAR * len(bars.datasets) * len(bars.decoders), names)


def _draw(figure: Figure, bars: _Bars) -> None:
    axes = figure.add_subplot()
    level = len(bars.datasets) * len(bars.decoders) <= _MOST_LEVEL_LABELS
    _set_scale(axes, list(bars.latencies.values()), headroom=0.08 if level else 0.16)
    colors = _choose_colors(bars.decoders)
    width = _GROUP_WIDTH / len(bars.decoders)
    for place, decoder in enumerate(bars.decoders):
        offset = (place - (len(bars.decoders) - 1) / 2) * width
        groups = [g for g, name in enumerate(bars.datasets) if (name, decoder) in bars.latencies]
        heights = [bars.latencies[bars.datasets[group], decoder] for group in groups]
        drawn = axes.bar(
            [group + offset for group in groups],
            heights,
            width * 0.94,
            color=colors[decoder],
            label=decoder,
        )
        axes.bar_label(
            drawn,
            [_format_ms(height) for height in heights],
            padding=3,
            fontsize=10 if level else 9,
            rotation=0 if level else 90,
            fontweight="bold" if decoder == _OURS else "normal",
        )
    _set_frame(axes, bars)
    length = sum(map(len, bars.decoders)) / len(bars.decoders)
    columns = int(figure.get_figwidth() / (_LEGEND_PATCH + _LETTER * length))
    figure.legend(loc="outside upper center", ncols=max(1, columns), frameon=False)


def _set_scale(axes: Axes, latencies: Sequence[float], headroom: float) -> None:
    """Choose the scale of the latencies, with room for labels above the longest bar."""
    from matplotlib.ticker import NullFormatter

    least, most = min(latencies), max(latencies)
    if 0 < least * _LINEAR_RANGE < most:
        bottom = least / 2
        axes.set_yscale("log")
        axes.set_ylim(bottom, most * (most / bottom) ** headroom)
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel("mean latency, ms per text (log scale)", fontsize=11)
    else:
        axes.set_ylim(0, most * (1 + headroom))
        axes.set_ylabel("mean latency, ms per text", fontsize=11)
    axes.yaxis.set_major_formatter("{x:,g}")


def _set_frame(axes: Axes, bars: _Bars) -> None:
    axes.set_xticks(range(len(bars.datasets)), bars.datasets, fontsize=11)
    slots = max(len(bars.datasets), _FEWEST_BARS * _GROUP_WIDTH / len(bars.decoders))
    middle = (len(bars.datasets) - 1) / 2
    axes.set_xlim(middle - slots / 2, middle + slots / 2)
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)


def _choose_colors(decoders: Sequence[str]) -> dict[str, tuple[float, ...] | str]:
    others = [decoder for decoder in decoders if decoder != _OURS]
    colors: dict[str, tuple[float, ...] | str] = {_OURS: _OURS_COLOR}
    for place, decoder in enumerate(others):
        share = place / max(1, len(others) - 1)
        colors[decoder] = tuple(
            (1 - share) * dark + share * light
            for dark, light in zip(_DARKEST, _LIGHTEST, strict=True)
        )
    return colors


def _format_ms(milliseconds: float) -> str:
    if milliseconds >= 10:
        return f"{milliseconds:,.0f}"
    return f"{milliseconds:.1f}" if milliseconds >= 1 else f"{milliseconds:.2g}"
