"""A real server: vLLM, in an environment of its own, whose Python `PADELLM_VLLM` names."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("httpx")
pytest.importorskip("tenacity")

from spacy_padellm.corpus.jsonl import write_jsonl
from tests.served.recorder import MAX_DEPTH, SCRIPT, save_random_checkpoint
from tests.trained import TEXTS


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--concurrency", "1,8"], ["--concurrency", "4", "--restart"]])
def test_a_server_finds_what_the_model_finds_here(tmp_path, options):
    python = os.environ.get("PADELLM_VLLM")
    if python is None:
        pytest.skip("set PADELLM_VLLM to the Python of an environment with vLLM")
    save_random_checkpoint(tmp_path / "checkpoint")
    write_jsonl(tmp_path / "corpus.jsonl", TEXTS)
    paths = [str(tmp_path / "checkpoint"), str(tmp_path / "corpus.jsonl")]
    command = [sys.executable, str(SCRIPT), *paths, "--python", python]
    command += ["--max-depth", str(MAX_DEPTH), *options]
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
