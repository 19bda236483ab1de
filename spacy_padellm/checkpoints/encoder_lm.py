"""A causal language model from a pretrained encoder, with tokens for the template's wording."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, cast

import torch
from tokenizers import AddedToken, Tokenizer
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from ..errors import Errors
from ..prompt.template import PromptTemplate
from ..tree.causal_lm import CausalLM
from .files import check_complete, loading_errors

END = "</s>"

# BERT's vocabularies have some hundred unused entries for new tokens.
_UNUSED = re.compile(r"\[unused\d+\]")
_NAMED = ("unk_token", "cls_token", "sep_token", "pad_token", "mask_token")


def build_encoder_lm(
    name: str,
    template: PromptTemplate,
    max_mentions: int,
    bidirectional_prefix: bool,
) -> CausalLM:
    """Build a causal language model from an encoder that was trained by masking tokens.

    The output layer is tied to the embeddings. If the encoder comes without the layer before it,
    that layer starts as the identity. So what the encoder knows is there from the start.

    Args:
        name: Folder or hub id of the encoder.
        template: The template. Each piece of its wording becomes a token.
        max_mentions: Highest mention number.
        bidirectional_prefix: Whether the tokens of a text will attend in both directions.

    Raises:
        ValueError: The encoder cannot be loaded or cannot be a decoder, or its tokenizer is not a
            fast one.
    """
    with loading_errors(name):
        tokenizer = AutoTokenizer.from_pretrained(name)
        model, report = AutoModelForCausalLM.from_pretrained(
            name,
            is_decoder=True,
            torch_dtype=torch.float32,
            output_loading_info=True,
            # No dropout: on a CPU, drawing it takes a third of a training step.
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    encoder = f"{model.base_model_prefix}."
    check_complete(name, [key for key in report["missing_keys"] if key.startswith(encoder)])
    positions = getattr(model.base_model.embeddings, "position_embeddings", None)
    if getattr(positions, "padding_idx", None) is not None:
        raise ValueError(Errors.P048.format(name=name, model=type(model).__name__))
    known = set(tokenizer.get_added_vocab())
    tokenizer = add_wording(tokenizer, template, max_mentions)
    if len(tokenizer) > model.config.vocab_size:
        model.resize_token_embeddings(len(tokenizer))
    with torch.no_grad():
        _begin_as_identity(model, report["missing_keys"])
        new = [piece for piece in tokenizer.get_added_vocab() if piece not in known]
        openers = {template.opener(n): str(n) for n in range(1, max_mentions + 1)}
        _embed(model, tokenizer, {piece: openers.get(piece) for piece in new})
    model.config.eos_token_id = tokenizer.eos_token_id
    return CausalLM(model.eval(), tokenizer, bidirectional_prefix=bidirectional_prefix)


def _begin_as_identity(model: PreTrainedModel, new: Collection[str]) -> None:
    for name, weight in model.named_parameters():
        if name in new and weight.dim() == 2 and weight.shape[0] == weight.shape[1]:
            torch.nn.init.eye_(weight)


def _embed(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, new: Mapping[str, str | None]
) -> None:
    """Give each new token the embedding of a similar one, or a random one like the rest.

    Unused entries of a vocabulary have embeddings that can hardly be told apart.

    Args:
        new: New token → the similar one; `None` for a random embedding.
    """
    embeddings = cast(Tensor, model.get_input_embeddings().weight)
    mean, deviation = embeddings.mean(dim=0), embeddings.std(dim=0)
    vocab = tokenizer.get_vocab()
    for token, like in new.items():
        drawn = mean + deviation * torch.randn_like(mean)
        embeddings[vocab[token]] = embeddings[vocab[like]] if like in vocab else drawn


def add_wording(
    tokenizer: PreTrainedTokenizerBase, template: PromptTemplate, max_mentions: int
) -> PreTrainedTokenizerBase:
    """Add the end token and each piece of a template's wording to a tokenizer, as special tokens.

    Args:
        tokenizer: An encoder's fast tokenizer.
        template: The template.
        max_mentions: Highest mention number.

    Returns:
        A new tokenizer. Pieces that are not tokens yet take unused entries of the vocabulary while
        there are any.

    Raises:
        ValueError: The tokenizer is not a fast one.
    """
    if not tokenizer.is_fast:
        raise ValueError(Errors.P014.format(name=tokenizer.name_or_path))
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    known = set(tokenizer.get_vocab())
    wanted = [piece for piece in _wording(template, max_mentions) if piece not in known]
    vocab = content["model"]["vocab"]
    # Only BERT's vocabulary, a mapping, has unused entries. Unigram's is a list.
    unused = [token for token in vocab if isinstance(vocab, dict) and _UNUSED.fullmatch(token)]
    for piece, token in zip(wanted, unused, strict=False):
        vocab[piece] = vocab.pop(token)
    named = {name: getattr(tokenizer, name) for name in _NAMED if getattr(tokenizer, name)}
    wrapped: Any = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        clean_up_tokenization_spaces=False,
        eos_token=END,
        **named,
    )
    wrapped.add_tokens([AddedToken(piece, special=True) for piece in wanted])
    return cast(PreTrainedTokenizerBase, wrapped)


def _wording(template: PromptTemplate, max_mentions: int) -> list[str]:
    pieces = [template.before_text, template.before_label, template.before_count]
    pieces += [template.count_end, template.capitalized, template.all_capitals, END]
    pieces += [template.opener(n) for n in range(1, max_mentions + 1)]
    return list(dict.fromkeys(filter(None, pieces)))
