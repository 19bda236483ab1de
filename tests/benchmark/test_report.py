from __future__ import annotations

import json
import platform
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from spacy_padellm import __version__
from spacy_padellm.benchmark.report import describe_environment, to_markdown, write_json
from spacy_padellm.benchmark.rows import TextMeasurement, make_ratios, make_row
from tests.benchmark.sample_rows import row_of


def tables_of(markdown: str) -> list[list[list[str]]]:
    """The cells of each table, with the alignment row left out."""
    blocks = [block.splitlines() for block in markdown.split("\n\n") if block.startswith("|")]
    cells = [[line.strip("| ").split(" | ") for line in block] for block in blocks]
    assert all(set(table[1]) <= {"---", "---:"} for table in cells)
    assert all(len(line) == len(table[0]) for table in cells for line in table)
    return [[table[0], *table[2:]] for table in cells]


def test_all_columns():
    measured = TextMeasurement(1.5, 3, 1234, 617, 14000.4, 0.9)
    row = make_row(
        "weibo",
        "tree",
        [measured] * 4,
        mentions_f=0.91234,
        ents_f=0.5,
        malformed=1,
        ungrounded=2,
        left_out=3,
    )
    assert to_markdown([row], {"torch": "2.13.0", "cpu": None, "cpu_threads": 2}) == (
        "| dataset | decoder | texts | left out | passes | tokens | distinct tokens "
        "| tokens/distinct | mean ms | p50 ms | p95 ms | texts/s | peak MB | host % | mentions_f "
        "| ents_f | malformed | ungrounded |\n"
        f"| --- | --- |{' ---: |' * 16}\n"
        "| weibo | tree | 4 | 3 | 3.00 | 1,234.0 | 617.0 | 2.00 | 1,500.0 | 1,500.0 | 1,500.0 "
        "| 0.67 | 14,000 | 40.0% | 0.9123 | 0.5000 | 0.250 | 0.500 |\n"
        "\n"
        "Environment: torch 2.13.0; cpu_threads 2\n"
    )


def test_columns_without_values_are_left_out():
    rows = [row_of("a", "tree", 10, mentions_f=0.5), row_of("a", "batch", 20, ents_f=0.0)]
    header, tree, batch = tables_of(to_markdown(rows, {}))[0]
    assert header == (
        "dataset decoder texts passes tokens,mean ms,p50 ms,p95 ms,texts/s,mentions_f,ents_f"
    ).replace(" ", ",", 4).split(",")
    assert tree[-2:] == ["0.5000", "–"]
    assert batch[-2:] == ["–", "0.0000"]


def test_ratios_good_and_bad_alike():
    rows = [
        row_of("a", "tree", 100),
        row_of("a", "batch", 340),
        row_of("a", "plain", 50),
        row_of("b", "tree", 100),
        row_of("b", "batch", 1000),
    ]
    markdown = to_markdown(rows, {})
    assert "How many times slower than `tree`" in markdown
    assert tables_of(markdown)[1] == [
        ["decoder", "a", "b", "mean", "total"],
        ["batch", "3.4x", "10.0x", "6.7x", "6.7x"],
        ["plain", "0.50x", "–", "0.50x", "0.50x"],
    ]
    assert "by median latency" in markdown
    assert len(tables_of(markdown)) == 3


def test_no_ratios_without_the_tree():
    markdown = to_markdown([row_of("a", "batch", 10), row_of("a", "plain", 20)], {})
    assert len(tables_of(markdown)) == 1
    assert "slower" not in markdown


def test_names_do_not_break_tables():
    rows = [row_of("a|b", "tree", 10), row_of("a|b", "batch", 20)]
    markdown = to_markdown(rows, {})
    assert "| a\\|b | tree |" in markdown
    assert "| decoder | a\\|b | mean |" in markdown


@pytest.mark.parametrize("environment", [{"replay": False}, {"replay": None}, {}])
def test_quality_that_was_measured(environment: dict[str, Any]):
    assert "replayed" not in to_markdown([row_of("a", "tree", 10)], environment)


def test_replayed_output_has_no_quality():
    markdown = to_markdown([row_of("a", "tree", 10)], {"device": "cpu", "replay": True})
    assert markdown.endswith(
        "\n\nEnvironment: device cpu\n\nWhat the decoders wrote was replayed from the gold "
        "mentions: costs are measured here, quality is not.\n"
    )


def test_write_json(tmp_path: Path):
    path = tmp_path / "new" / "rows.json"
    rows = [row_of("微博", "tree", 10), row_of("微博", "batch", 20)]
    write_json(path, rows, {"device": "cpu", "checkpoint": Path("a") / "b"})
    text = path.read_text(encoding="utf8")
    assert json.loads(text) == {
        "rows": rows,
        "ratios": make_ratios(rows),
        "environment": {"device": "cpu", "checkpoint": str(Path("a") / "b")},
    }
    assert text.startswith('{\n  "rows": [\n    {\n      "dataset": "微博"')
    assert [each.name for each in path.parent.iterdir()] == ["rows.json"]


def test_a_file_that_cannot_be_written_in_full_is_not_there(tmp_path: Path):
    path = tmp_path / "rows.json"
    write_json(path, [], {})
    before = path.read_text(encoding="utf8")
    with pytest.raises(UnicodeEncodeError):
        write_json(path, [], {"name": "\ud800"})
    assert path.read_text(encoding="utf8") == before


def test_environment_of_a_cpu():
    found = describe_environment("cpu", "float32", checkpoint="a/b", replay=True)
    date = datetime.fromisoformat(found.pop("date"))
    assert date.utcoffset() == timedelta(0) and date.microsecond == 0
    cpu = found["cpu"]
    assert found == {
        "spacy_padellm": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "platform": platform.platform(),
        "cpu": cpu,
        "cpu_threads": torch.get_num_threads(),
        "device": "cpu",
        "device_name": cpu,
        "dtype": "float32",
        "checkpoint": "a/b",
        "replay": True,
    }
    assert json.loads(json.dumps(found)) == found


def test_environment_of_a_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    found = describe_environment("cuda:1", "bfloat16")
    assert found["device_name"] == "GPU of cuda:1"
    assert (found["device"], found["dtype"]) == ("cuda:1", "bfloat16")


@pytest.mark.parametrize(
    "content, name",
    [
        (
            "processor\t: 0\nmodel name\t: Fast CPU: 3 GHz\n\nmodel name\t: Other\n",
            "Fast CPU: 3 GHz",
        ),
        ("processor\t: 0\n", "by platform"),
        (None, "by platform"),
    ],
)
def test_cpu_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, name: str):
    cpuinfo = tmp_path / "cpuinfo"
    if content is not None:
        cpuinfo.write_text(content)
    monkeypatch.setattr(platform, "processor", lambda: "by platform")
    assert describe_environment("cpu", "float32", cpuinfo=cpuinfo)["cpu"] == name
