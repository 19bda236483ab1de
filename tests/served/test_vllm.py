"""A real server: vLLM, in an environment of its own, whose Python `PADELLM_VLLM` names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("httpx")
pytest.importorskip("tenacity")

import torch

from spacy_padellm.checkpoints.saving import save_checkpoint
from spacy_padellm.checkpoints.small_lm import SmallModelShape, build_small_lm
from spacy_padellm.corpus.jsonl import write_jsonl
from tests.trained import TEXTS, trained_lm

SCRIPT = Path(__file__).parents[2] / "scripts" / "served.py"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A model with random weights, which leaves the trie often. vLLM takes no smaller heads."""
    lm, settings = trained_lm()
    torch.manual_seed(0)
    shape = SmallModelShape(width=128, depth=2, heads=2, feed_forward=128, max_positions=256)
    wide = build_small_lm(lm.tokenizer, shape, False)
    for weight in wide.model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.15)
    save_checkpoint(tmp_path / "checkpoint", wide, replace(settings, softmax="vocabulary"))
    return tmp_path / "checkpoint"


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--concurrency", "1,8"], ["--concurrency", "4", "--restart"]])
def test_a_server_finds_what_the_model_finds_here(checkpoint, tmp_path, options):
    python = os.environ.get("PADELLM_VLLM")
    if python is None:
        pytest.skip("set PADELLM_VLLM to the Python of an environment with vLLM")
    write_jsonl(tmp_path / "corpus.jsonl", TEXTS)
    command = [sys.executable, str(SCRIPT), str(checkpoint), str(tmp_path / "corpus.jsonl")]
    command += ["--python", python, "--max-depth", "256", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    if "--restart" in options:
        (failed,) = re.findall(r"restarted, (\d+) requests failed", done.stdout)
        assert int(failed) > 0
    found = re.findall(
        r"the same entities on (\d+) of (\d+) texts, scores within (\S+);", done.stdout
    )
    assert len(found) == options[1].count(",") + 1, done.stdout
    for same, of, difference in found:
        assert int(same) == int(of) == len(TEXTS)
        assert float(difference) < 1e-3
