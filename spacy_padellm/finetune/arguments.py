"""Build Trainer's arguments from the configuration."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.training_args import TrainingArguments

from ..errors import Errors
from .config import FinetuneConfig, check_fields
from .evaluation import SCORES

_SET_OTHERWISE = {
    "output_dir": "it is always the folder `steps` in `output`",
    "remove_unused_columns": "training rows have no columns",
    "label_names": "training rows contain their own labels",
    "overwrite_output_dir": "pass --resume, or set another `output`",
    "group_by_length": "texts are packed into rows of `row_tokens` instead",
    "train_sampling_strategy": "training chooses the order of rows itself",
    "resume_from_checkpoint": "pass --resume instead",
    "label_smoothing_factor": "the loss is fixed (that of the paper)",
    "data_seed": "set training.seed instead",
    "do_train": "the command always trains",
    "do_eval": "set `dev` instead",
    "do_predict": "run `padellm predict` instead",
    "bf16_full_eval": "set training.bf16 instead",
    "fp16_full_eval": "set training.fp16 instead",
    "use_liger_kernel": "its loss is not that of the paper",
    "dataloader_drop_last": "empty rows fill up the last step instead",
    "dataloader_persistent_workers": "each epoch needs new workers for its texts",
}


def make_arguments(config: FinetuneConfig) -> TrainingArguments:
    """Build Trainer's arguments from the configuration, and fill in defaults.

    If there are evaluation texts, by default they are scored once an epoch, and weights are saved.

    Raises:
        ValueError: An argument is unknown, of the wrong type or not possible, or needs `dev`.
    """
    # YAML reads `no` as false.
    stated: dict[str, Any] = {
        key: "no" if value is False and key.endswith("_strategy") else value
        for key, value in config.training.items()
    }
    check_fields(TrainingArguments, stated, "training", _SET_OTHERWISE)
    _check_values(config, stated)
    arguments: dict[str, Any] = {
        "report_to": "none",
        "dataloader_pin_memory": False,
        **_rhythm(config, stated),
        **_choice_of_best(config, stated),
        **stated,
    }
    if os.environ.get("WORLD_SIZE", "1") == "1":
        # So that a configuration for several processes also runs in a single one.
        arguments.pop("ddp_backend", None)
    # transformers 5.24 introduced the second name.
    for name in ("gradient_checkpointing", "activation_checkpointing"):
        if stated.get(name):
            # Reentrant checkpointing passes no gradients to an adapter's first layer.
            own = stated.get(f"{name}_kwargs") or {}
            arguments[f"{name}_kwargs"] = {"use_reentrant": False, **own}
    if stated.get("fsdp"):
        # The default of transformers 5. With earlier versions, accelerate reads only this variable.
        os.environ.setdefault("FSDP_VERSION", str(_fsdp_version(stated.get("fsdp_config"))))
    try:
        made = TrainingArguments(
            output_dir=str(config.steps), remove_unused_columns=False, label_names=[], **arguments
        )
    except (ValueError, TypeError, ImportError) as error:
        reason = str(error).rstrip(".")
        raise ValueError(Errors.P083.format(key="training", error=reason)) from error
    if made.eval_strategy != "no" and config.dev is None:
        raise ValueError(Errors.P073.format(key="training.eval_strategy"))
    if config.patience is not None and made.eval_strategy == "no":
        counted = "`patience` counts evaluations"
        raise ValueError(Errors.P072.format(key="training.eval_strategy: no", instead=counted))
    # Without torchrun, several GPUs would get replicas of the model, which hooks do not reach.
    made._n_gpu = min(1, made.n_gpu)
    return made


def _check_values(config: FinetuneConfig, stated: Mapping[str, Any]) -> None:
    """Reject values that transformers would ignore, or would reject too late."""
    for name in ("per_device_train_batch_size", "per_device_eval_batch_size"):
        if stated.get(name, 1) < 1:
            raise ValueError(Errors.P032.format(name=f"training.{name}", value=stated[name]))
    best = stated.get("metric_for_best_model")
    if best is not None and best.removeprefix("eval_") not in SCORES:
        key = "training.metric_for_best_model"
        raise ValueError(Errors.P086.format(key=key, value=best, names=SCORES))
    if config.dev is None and "eval_steps" in stated:
        raise ValueError(Errors.P073.format(key="training.eval_steps"))


def _fsdp_version(stated: Any) -> Any:
    """Look up `version` in a mapping, with or without the prefix `fsdp_`, or in a JSON file."""
    entries = stated if isinstance(stated, Mapping) else {}
    if isinstance(stated, str):
        entries = json.loads(Path(stated).read_text(encoding="utf8"))
    return entries.get("version", entries.get("fsdp_version", 2))


def _rhythm(config: FinetuneConfig, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Choose how often to evaluate and to save, where the configuration does not say."""
    if config.dev is None:
        return {}
    # transformers ignores a number of steps unless the strategy is "steps".
    evaluate = "steps" if "eval_steps" in stated else "epoch"
    save = "steps" if "save_steps" in stated else "epoch"
    return {"eval_strategy": evaluate, "save_strategy": stated.get("eval_strategy", save)}


def _choice_of_best(config: FinetuneConfig, stated: Mapping[str, Any]) -> dict[str, Any]:
    if config.patience is None and not stated.get("load_best_model_at_end"):
        return {}
    metric = stated.get("metric_for_best_model", "mentions_f")
    return {
        "load_best_model_at_end": True,
        "metric_for_best_model": metric,
        "greater_is_better": not metric.endswith("loss"),
    }
