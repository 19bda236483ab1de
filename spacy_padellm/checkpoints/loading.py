"""Loading a checkpoint: model and tokenizer, from a folder or hub id."""

from __future__ import annotations

from typing import Any, cast

from torch.nn import Embedding
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..errors import Errors
from ..optional import require
from ..tree.causal_lm import CausalLM
from .adapters import Adapter, apply_adapter, find_adapter
from .baichuan import is_baichuan, load_baichuan
from .locations import TOKENIZER_FILE, cannot_load, find_file, find_folder
from .options import DEFAULT_OPTIONS, LoadOptions, find_device
from .quantization import is_quantized, quantization_config
from .sentencepiece_tokenizer import is_bare_llama, load_sentencepiece_tokenizer


def load_causal_lm(
    name: str,
    *,
    bidirectional_prefix: bool = False,
    options: LoadOptions = DEFAULT_OPTIONS,
) -> CausalLM:
    """Load model and tokenizer, and find out how the model runs trees. Of an adapter (PEFT), the
    model it was trained for is loaded, and the adapter merged into it.

    name (str): A folder or hub id.
    bidirectional_prefix (bool): Whether the text attends in both directions.
    options (LoadOptions): Where to, in which precision, from where.
    RETURNS (CausalLM): The model, in evaluation mode.
    RAISES (ValueError): The folder is missing or not complete, or there is no such device.
    RAISES (ImportError): An option needs a package that isn't installed.
    """
    name = find_folder(name)
    adapter = find_adapter(name, options)
    tokenizer = _load_tokenizer(name, adapter, options)
    if adapter is None:
        model = load_model(name, options)
    else:
        model = load_model(adapter.base, adapter.base_options)
        if len(tokenizer) > cast(Embedding, model.get_input_embeddings()).num_embeddings:
            # Tokens that were added in training; their embeddings are the adapter's.
            model.resize_token_embeddings(len(tokenizer))
        model = apply_adapter(model, adapter, options)
    lm = CausalLM(model.eval(), tokenizer, bidirectional_prefix=bidirectional_prefix)
    # What is quantized or spread over devices is where it belongs.
    is_placed = is_quantized(model) or options.device_map is not None
    return lm if is_placed else lm.to(options.place)


def load_model(name: str, options: LoadOptions) -> PreTrainedModel:
    """name (str): A folder or hub id, no adapter's.
    options (LoadOptions): Where to, in which precision, from where.
    RETURNS (PreTrainedModel): The model, on the CPU unless an option spreads or quantizes it.
    RAISES (ValueError): It cannot be loaded, or its weights are not complete.
    RAISES (ImportError): An option needs a package that isn't installed.
    """
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
        if (config := quantization_config(name, options)) is not None:
            arguments["quantization_config"] = config
    if options.device_map is not None:
        require("accelerate", "A device_map", extra="llm")
        arguments["device_map"] = options.device_map
    if is_baichuan(name, options):
        return load_baichuan(name, options, arguments)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            name, output_loading_info=True, **arguments
        )
    except Exception as error:  # transformers, safetensors and tokenizers each have their own
        raise cannot_load(name, error) from error
    if missing := sorted(report["missing_keys"]):
        raise ValueError(Errors.P044.format(name=name, count=len(missing), first=missing[0]))
    return model


def _load_tokenizer(
    name: str, adapter: Adapter | None, options: LoadOptions
) -> PreTrainedTokenizerBase:
    if adapter is not None and find_file(name, TOKENIZER_FILE, options) is None:
        name, options = adapter.base, adapter.base_options
    if is_baichuan(name, options) or is_bare_llama(name, options):
        return load_sentencepiece_tokenizer(name, options)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            name, trust_remote_code=options.trust_remote_code, **options.hub
        )
    except Exception as error:
        raise cannot_load(name, error) from error
    return tokenizer
