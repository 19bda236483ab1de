"""Convert checkpoints while loading them, if transformers does not load them correctly.

Other modules need only `find_conversion`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..files import CheckpointFiles
from .sentencepiece_tokenizer import is_bare_llama, load_sentencepiece_tokenizer


class Conversion(NamedTuple):
    """The functions that load a checkpoint and convert it.

    Args:
        load_tokenizer: Builds a fast tokenizer.
        load_model: Builds a model of an architecture that transformers knows, from the keyword
            arguments of `from_pretrained`; `None` if the model needs no conversion. An adapter
            trained on a converted model does not fit the stored one.
    """

    load_tokenizer: Callable[[], PreTrainedTokenizerBase]
    load_model: Callable[[Mapping[str, Any]], PreTrainedModel] | None = None


def find_conversion(files: CheckpointFiles) -> Conversion | None:
    """Find the conversion that a checkpoint needs; `None` if transformers loads it as it is.

    Raises:
        ValueError: The checkpoint's configuration cannot be read.
    """
    if files.is_gguf:
        # It needs the package gguf, which other checkpoints do without.
        from .gguf import load_gguf_model, load_gguf_tokenizer

        return Conversion(partial(load_gguf_tokenizer, files), partial(load_gguf_model, files))
    load_tokenizer = partial(load_sentencepiece_tokenizer, files)
    if files.config.get("model_type") == "baichuan":
        # It imports Llama's code, which other families do without.
        from .baichuan import load_baichuan

        return Conversion(load_tokenizer, partial(load_baichuan, files))
    return Conversion(load_tokenizer) if is_bare_llama(files) else None
