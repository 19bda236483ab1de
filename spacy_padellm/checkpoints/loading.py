"""Load a checkpoint: model, tokenizer and settings, from a folder or the hub."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ..errors import Errors, Warnings, require
from ..settings import Settings
from ..tree.causal_lm import CausalLM
from ..tree.forks import ForkLock
from ..tree.memory import limit_kernels
from .adapters import apply_adapter, find_adapted
from .conversion import find_conversion
from .files import (
    SETTINGS_FILE,
    TOKENIZER_FILE,
    CheckpointFiles,
    check_complete,
    find_folder,
    loading_errors,
)
from .options import DEFAULT_OPTIONS, LoadOptions, find_device, has_fast_bfloat16
from .whole import finish_saving

logger = logging.getLogger(__name__)

# transformers changes torch's defaults for all threads while it loads a model.
_LOADING = ForkLock(rank=1)

# Dtypes in which weights lose small training steps to rounding.
_SHORT = (torch.bfloat16, torch.float16)


def load_causal_lm(
    name: str,
    *,
    bidirectional_prefix: bool = False,
    options: LoadOptions = DEFAULT_OPTIONS,
) -> CausalLM:
    """Load a model and its tokenizer, and find out how the model runs trees.

    For a PEFT adapter, the model that it was trained for is loaded, and the adapter is merged into
    it. Beside quantized weights the adapter stays separate, as merging would round it away.

    Args:
        name: A folder, a bundled checkpoint's name, a hub id or a `.gguf` file.
        bidirectional_prefix: Whether the tokens of a text attend to each other in both directions.
        options: Device, precision, revision and so on.

    Returns:
        The model, in evaluation mode.

    Raises:
        ValueError: The folder is missing or not complete, or there is no such device.
        ImportError: An option needs a package that isn't installed.
    """
    limit_kernels()
    with _LOADING:
        return _load(CheckpointFiles(find_folder(name), options), bidirectional_prefix)


def _load(files: CheckpointFiles, bidirectional_prefix: bool) -> CausalLM:
    options = files.options
    adapted = find_adapted(files)
    tokenizer = _load_tokenizer(files if adapted is None or files.find(TOKENIZER_FILE) else adapted)
    _check_tokenizer(files, tokenizer)
    model = load_model(adapted or files)
    rows = cast(torch.nn.Embedding, model.get_input_embeddings()).num_embeddings
    # Some models have no embedding for an added token that they never see.
    if tokenizer.vocab_size > rows:
        named = {"name": files.name, "size": tokenizer.vocab_size, "rows": rows}
        raise ValueError(Errors.P028.format(**named))
    if adapted is not None:
        if len(tokenizer) > rows:
            # Training added tokens. Their embeddings come with the adapter.
            model.resize_token_embeddings(len(tokenizer))
        model = apply_adapter(model, files, merge=not is_quantized(model))
    lm = CausalLM(model.eval(), tokenizer, bidirectional_prefix=bidirectional_prefix)
    # Quantized models, and models spread over devices, are already in place.
    is_placed = is_quantized(model) or options.device_map is not None
    if is_placed:
        return lm
    if options.dtype == "auto" and find_device(options.place).type == "cpu":
        _choose_precision(lm)
    return lm.to(options.place)


def _choose_precision(lm: CausalLM) -> None:
    """Choose the fastest precision on a CPU that leaves nearly all entities as they are."""
    is_fast = has_fast_bfloat16("cpu")
    chosen = "weights and layers in bfloat16, as stored"
    if not (is_fast and lm.model.dtype == torch.bfloat16):
        lm.model.float()
        chosen = "float32"
        if is_fast and lm.predict_in_bfloat16():
            chosen = "float32, with linear layers that predict in bfloat16"
    logger.info("%s: dtype 'auto' means %s here", type(lm.model).__name__, chosen)


def load_model(files: CheckpointFiles) -> PreTrainedModel:
    """Load a model, to the CPU unless an option spreads or quantizes it.

    Args:
        files: The files of the model, not of an adapter.

    Raises:
        ValueError: The model cannot be loaded, or lacks weights.
        ImportError: An option needs a package that isn't installed.
    """
    name, options = files.name, files.options
    arguments: dict[str, Any] = {
        "torch_dtype": options.torch_dtype,
        "trust_remote_code": options.trust_remote_code,
        **options.hub,
    }
    if options.attn_implementation is not None:
        arguments["attn_implementation"] = options.attn_implementation
    if options.quantization is not None:
        find_device(options.place)
        arguments["device_map"] = {"": options.place}
        for package in ("bitsandbytes", "accelerate"):
            require(package, f"Loading {name} with quantization", extra="quantization")
        # Weights that were saved quantized keep their own quantization.
        if not files.is_quantized:
            arguments["quantization_config"] = _quantization_config(options)
    if options.device_map is not None:
        require("accelerate", "A device_map", extra="llm")
        arguments["device_map"] = options.device_map
    conversion = find_conversion(files)
    if conversion is not None and conversion.load_model is not None:
        return conversion.load_model(arguments)
    with loading_errors(name):
        model: PreTrainedModel
        model, report = _find_class(files.config).from_pretrained(
            name, output_loading_info=True, **arguments
        )
    check_complete(name, report["missing_keys"])
    return model


def _find_class(config: Mapping[str, Any]) -> Any:
    """Find the class to load a model with.

    Args:
        config: The model's configuration.

    Returns:
        The class that the configuration names, if transformers has it and would choose it, too.
        Otherwise `AutoModelForCausalLM`, which chooses one.
    """
    kind = config.get("model_type", "")
    usual = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)
    if usual is None or config.get("architectures") != [usual] or "auto_map" in config:
        return AutoModelForCausalLM
    # Before transformers 5, `AutoModelForCausalLM` imports the configurations of all families.
    named = getattr(transformers, usual, None)
    taken = getattr(named, "config_class", None)
    return named if getattr(taken, "model_type", None) == kind else AutoModelForCausalLM


def _quantization_config(options: LoadOptions) -> BitsAndBytesConfig:
    if options.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    # The settings of QLoRA (Dettmers et al., 2023).
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=None if options.torch_dtype == "auto" else options.torch_dtype,
    )


def _load_tokenizer(files: CheckpointFiles) -> PreTrainedTokenizerBase:
    conversion = find_conversion(files)
    if conversion is not None:
        return conversion.load_tokenizer()
    with loading_errors(files.name):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            files.name, trust_remote_code=files.options.trust_remote_code, **files.options.hub
        )
    return tokenizer


def _check_tokenizer(files: CheckpointFiles, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that a checkpoint's tokenizer is the one that was saved with it, if that is known.

    Raises:
        ValueError: It has other tokens.
    """
    path = files.find(SETTINGS_FILE)
    saved = {} if path is None else read_settings(path).tokenizer
    for token_id, token in saved.items():
        is_there = int(token_id) < len(tokenizer)
        found = tokenizer.convert_ids_to_tokens(int(token_id)) if is_there else None
        if found != token:
            named = {"name": files.name, "id": token_id, "found": found, "token": token}
            raise ValueError(Errors.P027.format(**named))


def is_quantized(model: PreTrainedModel) -> bool:
    """Tell whether a model's weights are quantized, by an option or because they were saved so."""
    return getattr(model, "is_quantized", False)


def check_trainable(model: PreTrainedModel) -> None:
    """Check that all weights of a model can be trained, and warn if their precision is too low.

    Raises:
        ValueError: The weights are quantized.
    """
    if is_quantized(model):
        raise ValueError(Errors.P074)
    short = {str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.dtype in _SHORT}
    if short:
        warnings.warn(Warnings.W075.format(dtype=", ".join(sorted(short))), stacklevel=3)


def load_tokenizer(name: str, options: LoadOptions = DEFAULT_OPTIONS) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checkpoint that needs no weights.

    Args:
        name: A folder, a bundled checkpoint's name or a hub id.
        options: The revision of a hub id, and whether its files may be downloaded.

    Raises:
        ValueError: The checkpoint cannot be found, or has no tokenizer.
    """
    files = CheckpointFiles(find_folder(name, with_weights=False), options)
    tokenizer = _load_tokenizer(files)
    _check_tokenizer(files, tokenizer)
    return tokenizer


def load_settings(
    name: str, options: LoadOptions = DEFAULT_OPTIONS, *, with_weights: bool = True
) -> Settings | None:
    """Load the settings in a checkpoint's `padellm.json`; `None` if there is no such file.

    Args:
        name: A folder, a bundled checkpoint's name or a hub id.
        options: The revision of a hub id, and whether its files may be downloaded.
        with_weights: Whether a folder needs weights to be complete.

    Raises:
        ValueError: The checkpoint cannot be found, or the file cannot be read.
    """
    folder = find_folder(name, with_weights=with_weights)
    path = CheckpointFiles(folder, options).find(SETTINGS_FILE)
    return None if path is None else read_settings(path)


def read_settings(path: Path) -> Settings:
    """Read settings from a `padellm.json`.

    Raises:
        ValueError: The file is missing or cannot be read.
    """
    finish_saving(path.parent)
    if not path.is_file():
        raise ValueError(Errors.P041.format(name=path.parent, missing=SETTINGS_FILE))
    try:
        content = path.read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(Errors.P040.format(path=path, error=error)) from error
    return Settings.from_json(content, str(path))
