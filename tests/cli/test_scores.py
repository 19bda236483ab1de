from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

Run = Callable[..., Result]


def test_scores(run: Run, tmp_path: Path):
    path = tmp_path / "metrics.json"
    metrics = {"mentions_f": 0.75, "mentions_p": 0.7, "ents_f": None, "ents_per_type": {}}
    path.write_text(json.dumps(metrics))
    result = run("scores", path)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "mentions_p  0.7000",
        "mentions_r  -",
        "mentions_f  0.7500",
        "ents_p      -",
        "ents_r      -",
        "ents_f      -",
    ]


def test_no_file(run: Run, tmp_path: Path):
    result = run("scores", tmp_path / "absent.json")
    assert result.exit_code == 2 and "absent.json" in result.output
