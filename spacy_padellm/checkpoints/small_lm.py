"""A small causal language model from scratch: a trained tokenizer and random weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from ..prompt.template import PromptTemplate
from ..tree.causal_lm import CausalLM

BOS, END, PAD = "<s>", "</s>", "<pad>"

# Each ideograph, kana, digit, space and mark is one piece, and other letters form words. So a
# mention has the same ids wherever it stands, which makes copying easy to learn.
_PIECES = r"[\p{Han}\p{Hiragana}\p{Katakana}]|[^\W\d\p{Han}\p{Hiragana}\p{Katakana}]+|\s|\S"


@dataclass(frozen=True)
class SmallModelShape:
    """The size of a Llama-shaped model.

    Args:
        width: Hidden size.
        depth: Number of layers.
        heads: Number of attention heads.
        feed_forward: Width of the feed-forward layers.
        vocab_size: Most entries of the tokenizer's vocabulary.
        max_positions: Longest sequence, in tokens.
    """

    width: int = 256
    depth: int = 4
    heads: int = 4
    feed_forward: int = 768
    vocab_size: int = 4000
    max_positions: int = 1024


def train_tokenizer(
    texts: Iterable[str],
    template: PromptTemplate,
    wordings: Iterable[str],
    max_mentions: int,
    vocab_size: int,
) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE tokenizer in which each piece of the template is one token.

    Args:
        texts: The training texts.
        template: The template. Its pieces become special tokens, which no text turns into.
        wordings: The labels' wordings, which become special tokens, too.
        max_mentions: Highest mention number.
        vocab_size: Most entries of the vocabulary; more if special tokens and bytes need more.

    Returns:
        The tokenizer. It decodes ids to exactly the text that was encoded.
    """
    pieces = [template.before_text, template.before_label, template.before_count]
    pieces += [template.count_end, *(template.opener(n) for n in range(1, max_mentions + 1))]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    # A piece that is a letter of the byte alphabet is already a token, and text may contain it.
    named = dict.fromkeys(p for p in (*pieces, *wordings) if p and p not in alphabet)
    special = [BOS, END, PAD, *named]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max(vocab_size, len(special) + 256),
        special_tokens=special,
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )
    return cast(PreTrainedTokenizerBase, wrapped)


def build_small_lm(
    tokenizer: PreTrainedTokenizerBase,
    shape: SmallModelShape,
    bidirectional_prefix: bool,
) -> CausalLM:
    """Build a Llama-shaped model with weights drawn from torch's random state.

    Args:
        tokenizer: The tokenizer.
        shape: The size of the model.
        bidirectional_prefix: Whether the tokens of a text will attend in both directions.
    """
    config = LlamaConfig(
        vocab_size=tokenizer.backend_tokenizer.get_vocab_size(),
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.max_positions,
        tie_word_embeddings=True,
        # Keeps the outputs of a layer at the same scale, whatever the width.
        initializer_range=shape.width**-0.5,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config).eval()
    _let_tokens_through(model)
    return CausalLM(model, tokenizer, bidirectional_prefix=bidirectional_prefix)


@torch.no_grad()
def _let_tokens_through(model: LlamaForCausalLM) -> None:
    """Scale the weights so that at first the layers add little to the embeddings.

    The output then recognises a token that it should copy.
    """
    width, depth = model.config.hidden_size, model.config.num_hidden_layers
    torch.nn.init.normal_(model.model.embed_tokens.weight)
    # The logits are products with the same embeddings. Keep their scale at 1.
    model.model.norm.weight.fill_(width**-0.5)
    for name, weight in model.model.layers.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.mul_((2 * depth) ** -0.5)
