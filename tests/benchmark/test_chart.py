from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest

from spacy_padellm.benchmark import chart
from spacy_padellm.benchmark.chart import draw_chart, make_figure, make_scatter
from spacy_padellm.benchmark.rows import make_row
from tests.benchmark.sample_rows import row_of

DATASETS = ["conll03", "genia", "weibo", "msra", "resume", "youku", "ecommerce"]
DECODERS = ["augmented", "structured", "batch", "sequences", "no-drafts", "tree"]
ENVIRONMENT = {
    "device": "cpu",
    "device_name": "A CPU",
    "cpu_threads": 2,
    "dtype": "float32",
    "torch": "2.13.0",
    "date": "2026-11-29T03:14:27+00:00",
}
PNG = b"\x89PNG\r\n\x1a\n"


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        ImportError, match=r"\[P301\] Drawing a chart.*`pip install matplotlib`.*\[benchmark\]"
    ):
        draw_chart(tmp_path / "chart.png", [([row_of("a", "tree", 10)], ENVIRONMENT)])


@pytest.mark.parametrize("datasets, decoders", [(DATASETS, DECODERS), (["a"], ["b", "tree"])])
def test_a_picture_is_written(tmp_path: Path, datasets: list[str], decoders: list[str]):
    pytest.importorskip("matplotlib")
    path = tmp_path / "new" / "chart.png"
    draw_chart(path, [([row_of(d, each, 10) for d in datasets for each in decoders], ENVIRONMENT)])
    content = path.read_bytes()
    assert content.startswith(PNG)
    assert int.from_bytes(content[16:20], "big") > 1500  # sharp at a README's width


def test_bars_labels_and_legend():
    pytest.importorskip("matplotlib")
    rows = [
        row_of("a", "batch", 95.4),
        row_of("a", "tree", 9.44),
        row_of("b", "batch", 120),
        make_row("b", "tree", []),
    ]
    figure = make_figure(rows)
    (axes,) = figure.axes
    batch, tree = axes.containers
    assert [bar.get_height() for bar in batch] == pytest.approx([95.4, 120])
    assert [bar.get_height() for bar in tree] == pytest.approx([9.44])
    assert [text.get_text() for text in axes.texts] == ["95", "120", "9.4"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["batch", "tree"]
    centers = [bar.get_x() + bar.get_width() / 2 for bar in (*batch, *tree)]
    assert [round(center) for center in centers] == [0, 1, 0]


@pytest.mark.parametrize("least, scale", [(5, "linear"), (4.9, "log"), (0, "linear")])
def test_a_wide_range_is_drawn_on_a_log_scale(least: float, scale: str):
    pytest.importorskip("matplotlib")
    (axes,) = make_figure([row_of("a", "batch", 100), row_of("a", "tree", least)]).axes
    assert axes.get_yscale() == scale
    assert ("log scale" in axes.get_ylabel()) == (scale == "log")
    bottom, top = axes.get_ylim()
    assert bottom <= least and top > 100


def test_colors_tell_decoders_apart():
    pytest.importorskip("matplotlib")
    (axes,) = make_figure([row_of("a", decoder, 10) for decoder in DECODERS]).axes
    colors = {bars.get_label(): bars[0].get_facecolor()[:3] for bars in axes.containers}
    lightness = sorted(sum(colors[name]) for name in DECODERS if name != "tree")
    assert all(b - a > 0.3 for a, b in pairwise(lightness))
    warm = [name for name, (red, _, blue) in colors.items() if red > blue]
    assert warm == ["tree"]


def test_nothing_global_is_left():
    pytest.importorskip("matplotlib")
    make_figure([row_of("a", "tree", 10)])
    assert "matplotlib.pyplot" not in sys.modules


def test_nothing_to_draw(tmp_path: Path):
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match=r"\[P404\]"):
        draw_chart(tmp_path / "chart.png", [([make_row("a", "tree", [])], ENVIRONMENT)])
    assert not list(tmp_path.iterdir())


def test_nothing_is_drawn_over(tmp_path: Path):
    pytest.importorskip("matplotlib")
    runs = [([row_of("a", "tree", latency)], ENVIRONMENT) for latency in (10, 20)]
    with pytest.raises(ValueError, match=r"\[P422\].*decoder tree on the dataset a.*only one"):
        draw_chart(tmp_path / "chart.png", runs)
    assert not list(tmp_path.iterdir())


def test_the_caption_names_machine_and_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each once, if several runs are drawn together."""
    pytest.importorskip("matplotlib")
    captions = []
    make = chart.make_figure

    def recording(rows, caption=""):
        captions.append(caption)
        return make(rows, caption)

    monkeypatch.setattr(chart, "make_figure", recording)
    gpu = {**ENVIRONMENT, "device": "cuda:0", "device_name": "A GPU", "date": "2026-12-01"}
    environments = {"a": ENVIRONMENT, "b": ENVIRONMENT, "c": gpu}
    runs = [([row_of(dataset, "tree", 10)], each) for dataset, each in environments.items()]
    draw_chart(tmp_path / "chart.png", runs)
    assert captions == [
        "A CPU, 2 threads, float32, torch 2.13.0, 2026-11-29; "
        "A GPU, float32, torch 2.13.0, 2026-12-01"
    ]


def evaluation(pipeline: str, corpus: str, speed: float, score: float | None) -> dict:
    ours = "padellm" in pipeline
    row = {"pipeline": pipeline, "ours": ours, "corpus": corpus}
    return {**row, "texts_per_s": speed, "ents_f": score}


EVALUATIONS = [
    evaluation("padellm_en_small:decode=tags", "a", 100, 0.5),
    evaluation("padellm_en_small:decode=tags", "b", 300, 0.7),
    evaluation("training/names-cnn/model-best", "a", 1000, 0.4),
    evaluation("training/names-cnn/model-best", "b", 3000, 0.2),
]


def test_a_point_for_each_pipeline():
    pytest.importorskip("matplotlib")
    (axes,) = make_scatter(EVALUATIONS).axes
    ranges, points = axes.lines[::2], axes.lines[1::2]
    assert [list(line.get_xdata()) for line in ranges] == [[100, 300], [1000, 3000]]
    places = [(line.get_xdata()[0], line.get_ydata()[0]) for line in points]
    assert places == [(200, pytest.approx(0.6)), (2000, pytest.approx(0.3))]
    assert [text.get_text() for text in axes.texts] == [
        "padellm_en_small: decode=tags",
        "names-cnn",
    ]
    assert axes.get_xscale() == "log"
    ours, theirs = (line.get_color() for line in points)
    assert ours != theirs


def test_pipelines_are_drawn_or_decoders(tmp_path: Path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "chart.png"
    draw_chart(path, [(EVALUATIONS, ENVIRONMENT)])
    assert path.read_bytes().startswith(PNG)
    both = [(EVALUATIONS, ENVIRONMENT), ([row_of("a", "tree", 10)], ENVIRONMENT)]
    with pytest.raises(ValueError, match=r"\[P424\]"):
        draw_chart(path, both)
    # No score, one on another corpus only, or two.
    for more in (evaluation("x", "a", 1, None), evaluation("x", "a", 1, 1), EVALUATIONS[0]):
        with pytest.raises(ValueError, match=r"\[P425\].*: a, b\."):
            draw_chart(path, [([*EVALUATIONS, more], ENVIRONMENT)])
