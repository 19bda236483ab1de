"""Low-rank adapters (Hu et al., 2022) of PEFT, on plain or quantized weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..checkpoints.adapters import find_adapted
from ..checkpoints.files import CheckpointFiles, find_folder
from ..checkpoints.loading import is_quantized
from ..checkpoints.options import LoadOptions
from ..errors import Errors
from ..optional import require
from .checking import check_entries

_OF_PEFT = {
    "base_model_name_or_path": "it is `checkpoint`",
    "revision": "set load.revision",
    "task_type": "it is a causal language model",
    "peft_type": "it is LoRA",
    "inference_mode": "it is trained",
}


def check_lora(fields: dict[str, Any], checkpoint: str, options: LoadOptions) -> None:
    """fields (Dict[str, Any]): Fields of `LoraConfig`.
    checkpoint (str): The model's folder or hub id.
    options (LoadOptions): How it is to be loaded.
    RAISES (ValueError): A field is unknown or of the wrong type, or the checkpoint is an adapter
        itself, whose model a second one cannot name.
    RAISES (ImportError): PEFT isn't installed.
    """
    require("peft", "Training an adapter (lora)", extra="llm")
    from peft import LoraConfig

    check_entries(LoraConfig, fields, "lora", left_out=_OF_PEFT)
    if find_adapted(CheckpointFiles(find_folder(checkpoint), options)) is not None:
        raise ValueError(Errors.P079.format(name=checkpoint))


def add_lora(
    model: PreTrainedModel,
    fields: dict[str, Any],
    checkpoint: str,
    options: LoadOptions,
    *,
    gradient_checkpointing: bool,
) -> Any:
    """model (PreTrainedModel): The model; its weights are trained no more.
    fields (Dict[str, Any]): Fields of `LoraConfig`.
    checkpoint (str): Its folder or hub id.
    options (LoadOptions): How it was loaded.
    gradient_checkpointing (bool): Whether activations are computed again in the backward pass.
    RETURNS (PeftModel): The model with an adapter in it, whose weights are float32.
    RAISES (ValueError): The fields do not go together, or not with the model.
    """
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if is_quantized(model):
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    elif gradient_checkpointing:
        # Layers whose weights are all frozen would have nothing to pass gradients back to.
        model.enable_input_require_grads()
    try:
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **fields))
    except (ValueError, TypeError, ImportError) as error:
        raise ValueError(Errors.P083.format(key="lora", error=error)) from error
    name = find_folder(checkpoint)
    config = adapted.peft_config["default"]
    # From wherever the adapter is loaded.
    config.base_model_name_or_path = str(Path(name).resolve()) if Path(name).is_dir() else name
    config.revision = options.revision
    return adapted
