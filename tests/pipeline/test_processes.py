from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("spacy")

from tests.pipeline.toy_pipeline import checkpoint_nlp

TEXT = "Ada met Bob Hill in Rome ."

# Threads of torch's are there only after a first run, and in a process that has not forked yet.
SCRIPT = """
import sys, spacy, torch
nlp = spacy.load(sys.argv[1])
torch.set_num_threads(2)
torch.rand(600, 600) @ torch.rand(600, 600)
expected = [(e.text, e.label_) for e in nlp(sys.argv[2]).ents]
docs = list(nlp.pipe([sys.argv[2]] * 12, n_process=2, batch_size=3))
assert expected and [[(e.text, e.label_) for e in doc.ents] for doc in docs] == [expected] * 12
assert torch.get_num_threads() == 2
"""


@pytest.mark.parametrize("devices", [None, ["cpu", "cpu"]])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked on POSIX systems only")
def test_several_processes_do_not_wait_for_each_other(
    toy_checkpoint: Path, tmp_path: Path, devices: list[str] | None
):
    checkpoint_nlp(toy_checkpoint, model={"devices": devices}).to_disk(tmp_path / "pipeline")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "pipeline"), TEXT]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    environment.pop("OMP_NUM_THREADS", None)
    subprocess.run(command, check=True, timeout=300, env=environment)
