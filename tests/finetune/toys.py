"""A tiny checkpoint, a toy corpus, and configurations that train in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spacy_padellm.finetune.config import FinetuneConfig, validate
from spacy_padellm.finetune.run import Finetuning, prepare
from spacy_padellm.texts import AnnotatedText
from tests.toy_corpus import SENTENCES, parse

TRAIN = [parse(sentence) for sentence in SENTENCES[:24]]
DEV = [parse(sentence) for sentence in SENTENCES[24:36]]
TRAINING: dict[str, Any] = {
    "use_cpu": True,
    "num_train_epochs": 2,
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 1,
    "disable_tqdm": True,
    "save_strategy": "no",
    "eval_strategy": "no",
    "seed": 3,
}


def entries(base: Path, folder: Path, training: dict[str, Any] | None = None, **changes) -> dict:
    """What a configuration file would hold."""
    return {
        "checkpoint": str(base),
        "output": str(folder / "out"),
        "train": "train.jsonl",
        "row_tokens": 200,
        **changes,
        "training": {**TRAINING, **(training or {})},
    }


def config(
    base: Path, folder: Path, training: dict[str, Any] | None = None, **changes
) -> FinetuneConfig:
    return validate(FinetuneConfig, entries(base, folder, training, **changes))


def toy(
    base: Path,
    folder: Path,
    training: dict[str, Any] | None = None,
    *,
    texts: list[AnnotatedText] | None = None,
    sequences: bool = False,
    **changes,
) -> Finetuning:
    """A fine-tuning that is ready to train."""
    stated = config(base, folder, training, **changes)
    dev = DEV if "dev" in changes else []
    return prepare(stated, TRAIN if texts is None else texts, dev, sequences=sequences)
