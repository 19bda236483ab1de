from __future__ import annotations

import json
import platform
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from spacy_padellm import __version__
from spacy_padellm.benchmark import environment
from spacy_padellm.benchmark.environment import describe_environment


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
    monkeypatch.setattr(environment, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(platform, "processor", lambda: "by platform")
    assert describe_environment("cpu", "float32")["cpu"] == name
