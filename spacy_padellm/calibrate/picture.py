"""A picture of how reliable scores are, and of precision and recall at every threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import require
from .measures import Bin, Setting, Target

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BEFORE, _AFTER = "#9db8d2", "#d55e00"
_TARGETS = ("o", "s", "^")


def draw(
    path: Path,
    bins: Mapping[str, Sequence[Bin]],
    curve: Sequence[Setting],
    targets: Sequence[Target],
) -> None:
    """Draw predicted against observed precision, and the precision-recall curve.

    Args:
        path: File to write: .png, .svg or .pdf.
        bins: The bins before and after calibration, by their names.
        curve: What is found with each threshold.
        targets: What thresholds are chosen for, which are marked on the curve.

    Raises:
        ImportError: matplotlib isn't installed.
    """
    require("matplotlib", "Drawing a chart", extra="benchmark")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), dpi=180, layout="constrained")
    FigureCanvasAgg(figure)
    reliability, tradeoff = figure.subplots(1, 2)
    _draw_reliability(reliability, bins)
    _draw_curve(tradeoff, curve, targets)
    for axes in (reliability, tradeoff):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _draw_reliability(axes: Axes, bins: Mapping[str, Sequence[Bin]]) -> None:
    axes.plot([0, 1], [0, 1], color="0.6", ls=":", label="as it should be")
    for (name, of_kind), color in zip(bins.items(), (_BEFORE, _AFTER), strict=True):
        most = max(each.size for each in of_kind)
        scores, shares = zip(*((each.score, each.precision) for each in of_kind), strict=True)
        axes.plot(scores, shares, color=color, label=name)
        # The area of a point is the number of entities.
        sizes = [20 + 180 * each.size / most for each in of_kind]
        axes.scatter(scores, shares, s=sizes, color=color)
    axes.set_xlabel("score (predicted precision)")
    axes.set_ylabel("observed precision")
    axes.legend(frameon=False)


def _draw_curve(axes: Axes, curve: Sequence[Setting], targets: Sequence[Target]) -> None:
    axes.plot([each.recall for each in curve], [each.precision for each in curve], color=_AFTER)
    for target, marker in zip(targets, _TARGETS, strict=True):
        if (best := target.choose(curve)) is not None:
            label = f"{target.name}: threshold {best.threshold:.2f}"
            axes.plot(best.recall, best.precision, marker, color="0.2", label=label)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.legend(frameon=False)
