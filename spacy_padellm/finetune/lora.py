"""PEFT's low-rank adapters (Hu et al., 2022), on plain or quantized weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checkpoints.adapters import find_adapted
from ..checkpoints.files import CheckpointFiles, find_folder
from ..checkpoints.loading import is_quantized
from ..errors import Errors, require
from .config import FinetuneConfig, check_fields

if TYPE_CHECKING:
    from peft import LoraConfig

_OF_PEFT = {
    "base_model_name_or_path": "it is always `checkpoint`",
    "revision": "set load.revision instead",
    "task_type": "it is always a causal language model",
    "peft_type": "it is always LoRA",
    "inference_mode": "the adapter is always trained",
}


def make_lora(config: FinetuneConfig) -> LoraConfig:
    """Build PEFT's configuration from the entry `lora`.

    Raises:
        ValueError: A field is unknown, of the wrong type or not possible. Or the checkpoint is an
            adapter itself, so that a second one could not name its model.
        ImportError: PEFT isn't installed.
    """
    require("peft", "Training an adapter (lora)", extra="llm")
    from peft import LoraConfig

    fields = check_fields(LoraConfig, config.lora, "lora", _OF_PEFT)
    if find_adapted(CheckpointFiles(find_folder(config.checkpoint), config.load)) is not None:
        raise ValueError(Errors.P079.format(name=config.checkpoint))
    try:
        return LoraConfig(task_type="CAUSAL_LM", **fields)
    except (ValueError, TypeError, ImportError) as error:
        raise ValueError(Errors.P083.format(key="lora", error=str(error).rstrip("."))) from error


def add_lora(model: Any, config: FinetuneConfig, *, gradient_checkpointing: bool) -> Any:
    """Add a new adapter to a model, and freeze the model's own weights.

    Args:
        model: The model, loaded as `config` says.
        config: The configuration of the fine-tuning, with `lora`.
        gradient_checkpointing: Whether activations are computed again in the backward pass.

    Returns:
        PEFT's model around it. The adapter's weights are float32.

    Raises:
        ValueError: The fields of `lora` do not fit the model.
    """
    from peft import get_peft_model, prepare_model_for_kbit_training

    if is_quantized(model):
        model = prepare_model_for_kbit_training(  # type: ignore[no-untyped-call]
            model,
            use_gradient_checkpointing=gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    elif gradient_checkpointing:
        # Otherwise a checkpointed layer with frozen weights would pass no gradients back.
        model.enable_input_require_grads()
    lora = make_lora(config)
    try:
        adapted = get_peft_model(model, lora)
    except (ValueError, TypeError, ImportError) as error:
        raise ValueError(Errors.P083.format(key="lora", error=str(error).rstrip("."))) from error
    name = find_folder(config.checkpoint)
    # An absolute path, so that the adapter can be loaded from any directory.
    lora.base_model_name_or_path = str(Path(name).resolve()) if Path(name).exists() else name
    lora.revision = config.load.revision
    return adapted
