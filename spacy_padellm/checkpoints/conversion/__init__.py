"""Checkpoints that are stored in another form than they are loaded in. All there is to know of
them outside is `find_conversion`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..files import CheckpointFiles
from .baichuan import load_baichuan
from .sentencepiece_tokenizer import is_bare_llama, load_sentencepiece_tokenizer


class Conversion(NamedTuple):
    """How a checkpoint is loaded that is stored in another form.

    Attributes:
        load_tokenizer: Makes a fast tokenizer of the SentencePiece model.
        load_model: Takes the arguments of `from_pretrained`, and makes a model of an architecture
            that transformers know; `None` where it is stored as one. An adapter of a model that
            was converted does not fit what is stored.
    """

    load_tokenizer: Callable[[], PreTrainedTokenizerBase]
    load_model: Callable[[Mapping[str, Any]], PreTrainedModel] | None = None


def find_conversion(files: CheckpointFiles) -> Conversion | None:
    """Find out how a checkpoint is loaded; `None` if transformers load it as it is.

    Raises:
        ValueError: Its configuration cannot be read.
    """
    load_tokenizer = partial(load_sentencepiece_tokenizer, files)
    if files.config.get("model_type") == "baichuan":
        return Conversion(load_tokenizer, partial(load_baichuan, files))
    return Conversion(load_tokenizer) if is_bare_llama(files) else None
