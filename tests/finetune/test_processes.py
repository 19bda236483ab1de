"""Trainings in processes of their own: killed and resumed, and several at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from spacy_padellm.checkpoints.files import has_weights
from spacy_padellm.checkpoints.loading import load_settings
from spacy_padellm.corpus.jsonl import write_jsonl
from tests.finetune.toys import DEV, TRAIN, entries, toy

ROOT = Path(__file__).parents[2]
KILLED = 9

# Ends the process as a machine that fails would: nothing is cleaned up.
KILL = """
import os, sys
from pathlib import Path
from transformers.trainer_callback import TrainerCallback
from spacy_padellm.finetune.config import read_config
from spacy_padellm.finetune.run import prepare
from spacy_padellm.corpus.formats import read_annotated_texts

class Kill(TrainerCallback):
    def on_step_begin(self, args, state, control, **_):
        if state.global_step == int(sys.argv[2]):
            os._exit(9)

stated = read_config(Path(sys.argv[1]))
prepare(stated, read_annotated_texts(*stated.corpora("train"))).train(callbacks=[Kill()])
"""


def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=300
    )


def torchrun(processes: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return python("-m", *launch, "-m", *arguments)


def finetune(*arguments: str | Path, processes: int = 1) -> str:
    command = ["spacy_padellm", "finetune", *arguments]
    result = python("-m", *command) if processes == 1 else torchrun(processes, *command)
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


def write(base: Path, folder: Path, name: str, training: dict, **changes) -> tuple[Path, Path]:
    """A configuration file, and the folder of its result."""
    corpora = {"train": str(folder / "train.jsonl")}
    write_jsonl(folder / "train.jsonl", TRAIN)
    if "dev" in changes:
        corpora["dev"] = str(folder / "dev.jsonl")
        write_jsonl(folder / "dev.jsonl", DEV)
    stated = entries(base, folder / name, training, **{**changes, **corpora})
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(stated))
    return path, folder / name / "out"


def weights(folder: Path, file: str = "model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(folder / file)


def equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    assert found.keys() == expected.keys() and expected
    return all(torch.equal(found[name], expected[name]) for name in expected)


def figures(printed: str) -> dict[str, float]:
    """What was printed of evaluation and loss, by the first process alone."""
    wanted = ("eval_loss", "eval_mentions_p", "eval_mentions_r", "eval_mentions_f", "train_loss")
    lines = [line.partition(": ") for line in printed.splitlines()]
    found = [(name, float(value)) for name, _, value in lines if name in wanted]
    assert len(found) == len(wanted)
    return dict(found)


def close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    assert found.keys() == expected.keys() and expected
    return all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"r": 4, "target_modules": "all-linear"}])
def test_a_killed_training_goes_on_as_if_it_had_not_been(
    base: Path, tmp_path: Path, lora: dict | None
):
    training = {"num_train_epochs": 4, "save_strategy": "steps"}
    # The rows of an epoch are no multiple of those of a step.
    training |= {"gradient_accumulation_steps": 3, "save_steps": 1}
    changes = {"augment": {"rate": 0.5, "uses": 1, "join": 2, "capitals": 0.2}}
    if lora is not None:
        pytest.importorskip("peft")
        changes |= {"lora": {**lora, "lora_dropout": 0.1}, "save": "adapter"}
    file = "model.safetensors" if lora is None else "adapter_model.safetensors"
    whole, expected = write(base, tmp_path, "whole", training, **changes)
    finetune(whole)
    killed, result = write(base, tmp_path, "killed", training, **changes)
    stopped = python("-c", KILL, killed, 8)
    assert stopped.returncode == KILLED, stopped.stderr[-2000:]
    assert not (result / file).exists()
    steps = {path.name for path in (result / "steps").iterdir()}
    assert "checkpoint-8" in steps and "checkpoint-9" not in steps
    again = python("-m", "spacy_padellm", "finetune", killed)
    assert again.returncode == 1 and "P077" in again.stderr and "--resume" in again.stderr
    finetune(killed, "--resume")
    assert equal(weights(result, file), weights(expected, file))


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"r": 4, "target_modules": "all-linear"}])
def test_two_processes_train_what_one_does(base: Path, tmp_path: Path, lora: dict | None):
    training = {
        "num_train_epochs": 3,
        "ddp_backend": "gloo",
        "eval_strategy": "epoch",
        "logging_steps": 1,
    }
    changes: dict = {"dev": "dev.jsonl", "augment": {"rate": 0.5}, "row_tokens": 140}
    # An odd number of rows.
    assert len(toy(base, tmp_path, augment={"rate": 0.5}, row_tokens=140).rows.rows) == 7
    if lora is not None:
        pytest.importorskip("peft")
        changes["lora"] = lora
    one = {**training, "per_device_train_batch_size": 2}
    alone, expected = write(base, tmp_path, "alone", one, **changes)
    scores = figures(finetune(alone))
    both, result = write(base, tmp_path, "both", training, **changes)
    found = figures(finetune(both, processes=2))
    assert {name: found[name] for name in scores} == pytest.approx(scores, abs=1e-4)
    assert close(weights(result), weights(expected))
    assert not close(weights(result), weights(base))


def in_shards(version: int) -> dict:
    return {
        "ddp_backend": "gloo",
        "fsdp": "full_shard auto_wrap",
        "fsdp_config": {
            "version": version,
            "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
            "sync_module_states": False,  # it wants an accelerator
        },
    }


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"r": 4, "target_modules": "all-linear"}])
@pytest.mark.parametrize("version", [1, 2])
def test_a_model_in_shards_is_trained_read_and_saved_like_a_whole_one(
    base: Path, tmp_path: Path, version: int, lora: dict | None
):
    training = {
        "num_train_epochs": 3,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "logging_steps": 1,
    }
    changes: dict = {"dev": "dev.jsonl", "row_tokens": 130, "patience": 2, "tag_text": 0.5}
    if lora is not None:
        pytest.importorskip("peft")
        changes |= {"lora": lora, "save": "adapter"}
    one = {**training, "per_device_train_batch_size": 2}
    alone, expected = write(base, tmp_path, "alone", one, **changes)
    scores = figures(finetune(alone))
    both, result = write(base, tmp_path, "both", {**training, **in_shards(version)}, **changes)
    done = torchrun(2, "tests.finetune.sharded", "finetune", both)
    if lora is not None and version == 1:
        assert "P087" in done.stderr and not (result / "adapter_config.json").exists()
        return
    assert done.returncode == 0, done.stderr[-4000:]
    found = figures(done.stdout)
    assert {name: found[name] for name in scores} == pytest.approx(scores, abs=1e-4)
    file = "model.safetensors" if lora is None else "adapter_model.safetensors"
    # A head that is tied to the embeddings is written beside them.
    trained = {n: w for n, w in weights(result, file).items() if n != "lm_head.weight"}
    assert close(trained, weights(expected, file))
    assert load_settings(str(result)) == load_settings(str(expected))
    for step in (result / "steps").glob("checkpoint-*"):
        # Shards can be gone on from, and are not taken for a checkpoint.
        assert (step / "padellm.json").exists() == has_weights(step)


@pytest.mark.slow
@pytest.mark.parametrize(
    "version, lora", [(1, None), (2, None), (2, {"r": 4, "target_modules": "all-linear"})]
)
def test_a_training_in_shards_goes_on(base: Path, tmp_path: Path, version: int, lora: dict | None):
    changes: dict = {"row_tokens": 130}
    if lora is not None:
        pytest.importorskip("peft")
        changes |= {"lora": lora, "save": "adapter"}
    steady = {"save_strategy": "epoch", "lr_scheduler_type": "constant", **in_shards(version)}

    def train(name: str, epochs: int, *options: str) -> Path:
        path, result = write(
            base, tmp_path, name, {**steady, "num_train_epochs": epochs}, **changes
        )
        done = torchrun(2, "tests.finetune.sharded", "finetune", path, *options)
        assert done.returncode == 0, done.stderr[-4000:]
        return result

    expected = train("whole", 3)
    train("parts", 2)
    result = train("parts", 3, "--resume")
    file = "model.safetensors" if lora is None else "adapter_model.safetensors"
    assert equal(weights(result, file), weights(expected, file))
