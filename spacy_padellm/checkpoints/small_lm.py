"""A small causal language model from scratch: tokenizer from the training texts, fresh weights."""

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

# Each ideograph and kana, digit, space and punctuation mark is a piece of its own, other letters
# form words: so a mention has the same ids wherever it stands, and copying it is easy to learn.
_PIECES = r"[\p{Han}\p{Hiragana}\p{Katakana}]|[^\W\d\p{Han}\p{Hiragana}\p{Katakana}]+|\s|\S"


@dataclass(frozen=True)
class SmallModelShape:
    """Size of a Llama-shaped model.

    Args:
        width: Hidden size.
        depth: Layers.
        heads: Attention heads.
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
        template: Its wording becomes special tokens, which text never turns into.
        wordings: The labels' wordings, likewise.
        max_mentions: Highest mention number.
        vocab_size: Most entries.

    Returns:
        The tokenizer; it decodes to exactly the text encoded.
    """
    pieces = [template.before_text, template.before_label, template.before_count]
    pieces += [template.count_end, *(template.opener(n) for n in range(1, max_mentions + 1))]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    # A piece that is a letter of the alphabet is a token already, and one of ordinary text.
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
    """Make a Llama-shaped model with fresh weights, from torch's random state.

    Args:
        tokenizer: The tokenizer.
        shape: The model's size.
        bidirectional_prefix: Whether the text will attend in both directions.
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
        # Keeps what a layer gives at one size, whatever the width.
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
    """Start from layers that add little to the embeddings, so that a token is recognised at the
    output it is to be copied to.
    """
    width, depth = model.config.hidden_size, model.config.num_hidden_layers
    torch.nn.init.normal_(model.model.embed_tokens.weight)
    # Output logits are products with the same embeddings: keep them at the size of one.
    model.model.norm.weight.fill_(width**-0.5)
    for name, weight in model.model.layers.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.mul_((2 * depth) ** -0.5)
