"""The functions registered for configs. Heavy packages and models are loaded only on use."""

# No `annotations` import: spaCy reads the types of these signatures at run time.
import random
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from spacy.training.batchers import minibatch_by_padded_size
from spacy.util import minibatch
from thinc.api import Model

from ..prompt.template import PromptTemplate
from ..settings import Overrides

if TYPE_CHECKING:
    from ..train.augmentation import MentionSwap

Batcher = Callable[[Iterable[Any]], Iterator[list[Any]]]


def build_causal_lm_v1(
    name: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    device_map: str | dict[str, int | str] | None = None,
    attn_implementation: str | None = None,
    quantization: str | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    trust_remote_code: bool = False,
    save_weights: bool = True,
    mixed_precision: bool = False,
    prefix_attention: str | None = None,
    softmax: str | None = None,
    tag_text: float = 0.0,
    devices: list[str] | None = None,
) -> Model[Any, Any]:
    """Create `spacy_padellm.CausalLM.v1`: a pretrained Hugging Face causal language model.

    Args:
        name: Checkpoint folder or hub id, of a model or of a PEFT adapter, whose model is then
            loaded as well. `None` for the preset's, or the bundled one. Loaded at first use.
        device: Where to run: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`, or `"auto"` for the first GPU,
            or the CPU without one.
        dtype: What weights are kept in: `"float32"`, `"bfloat16"`, `"float16"`, or `"auto"` for
            what they are stored in.
        device_map: Where the parts of a model go that is too large for one device, in the place of
            `device`: `"auto"`, or devices by the names of modules.
        attn_implementation: `"sdpa"` or `"eager"`, by default what transformers choose.
        quantization: `"4bit"` or `"8bit"`, by bitsandbytes.
        revision: Branch, tag or commit of a hub id.
        local_files_only: Whether a hub id is looked for on this machine only.
        trust_remote_code: Whether code may be run that comes with a checkpoint.
        save_weights: Whether a saved pipeline has the weights in it, and never reads `name` again.
            Otherwise it has the settings only, and reads the weights from `name` at first use.
        mixed_precision: Whether to train under bfloat16 autocast, where the device has it.
        prefix_attention: `"causal"` or `"bidirectional"`; `None` for what the checkpoint's
            `padellm.json` says, or `"causal"`.
        softmax: `"vocabulary"` or `"admissible"`; `None` for what `padellm.json` says, or
            `"vocabulary"`.
        tag_text: Weight of what each token of a training text is taught in addition to the paper's
            sequences, at the middle layer: the label it is in and the number of the mention it
            begins. 0 for the paper's objective alone.
        devices: Several devices in the place of one: `["cuda:0", "cuda:1"]`. In prediction each has
            a copy of the model and takes some of the texts, or some of the labels of a single text;
            training is on the first. A device may be named more than once.

    Returns:
        Supervised trees → log-probabilities of their supervised tokens.

    Raises:
        ValueError: More than one of `device`, `devices` and `device_map` are given.
    """
    from ..checkpoints.options import LoadOptions, choose_device
    from .shim import build_model
    from .sources import PretrainedSource

    options = LoadOptions(
        choose_device(device, devices, device_map),
        dtype,
        device_map,
        attn_implementation,
        cast(Any, quantization),  # Checked there.
        revision,
        local_files_only,
        trust_remote_code,
    )
    return build_model(
        PretrainedSource(name, options, save_weights),
        _stated(prefix_attention, softmax),
        mixed_precision=mixed_precision,
        tag_text=tag_text,
        devices=devices or (),
    )


def build_encoder_lm_v1(
    name: str,
    device: str = "cpu",
    mixed_precision: bool = False,
    prefix_attention: str = "bidirectional",
    softmax: str = "admissible",
    tag_text: float = 0.0,
) -> Model[Any, Any]:
    """Create `spacy_padellm.EncoderLM.v1`: a pretrained encoder (like BERT), turned into a causal
    language model in `initialize`. It reads the text as before and learns to write the rest.

    Args:
        name: Folder or hub id of the encoder.
        device: Where to run.
        mixed_precision: Whether to train under bfloat16 autocast, where the device has it.
        prefix_attention: Whether the text attends in both directions: `"causal"` or
            `"bidirectional"`, as it did when the encoder was trained.
        softmax: What probabilities are taken over: `"vocabulary"` or `"admissible"`.
        tag_text: As of `spacy_padellm.CausalLM.v1`.

    Returns:
        Supervised trees → log-probabilities of their supervised tokens.
    """
    from .shim import build_model
    from .sources import FreshSource

    return build_model(
        FreshSource(device, encoder=name),
        _stated(prefix_attention, softmax),
        mixed_precision=mixed_precision,
        tag_text=tag_text,
    )


def build_small_causal_lm_v1(
    width: int = 256,
    depth: int = 4,
    heads: int = 4,
    feed_forward: int = 768,
    vocab_size: int = 4000,
    max_positions: int = 1024,
    device: str = "cpu",
    mixed_precision: bool = False,
    prefix_attention: str = "bidirectional",
    softmax: str = "admissible",
    tag_text: float = 0.0,
) -> Model[Any, Any]:
    """Create `spacy_padellm.SmallCausalLM.v1`: a Llama-shaped model from scratch, built in
    `initialize` with a tokenizer trained on the training texts. It is meant for demos, tests and
    cases without a pretrained model.

    Args:
        width: Hidden size.
        depth: Layers.
        heads: Attention heads.
        feed_forward: Width of the feed-forward layers.
        vocab_size: Most entries of the tokenizer's vocabulary.
        max_positions: Longest sequence, in tokens.
        device: Where to run.
        mixed_precision: Whether to train under bfloat16 autocast, where the device has it.
        prefix_attention: Whether the text attends in both directions: `"causal"` or
            `"bidirectional"`.
        softmax: What probabilities are taken over: `"vocabulary"` or `"admissible"`.
        tag_text: As of `spacy_padellm.CausalLM.v1`.

    Returns:
        Supervised trees → log-probabilities of their supervised tokens.
    """
    from ..checkpoints.small_lm import SmallModelShape
    from .shim import build_model
    from .sources import FreshSource

    shape = SmallModelShape(width, depth, heads, feed_forward, vocab_size, max_positions)
    return build_model(
        FreshSource(device, shape=shape),
        _stated(prefix_attention, softmax),
        mixed_precision=mixed_precision,
        tag_text=tag_text,
    )


def _stated(prefix_attention: Any, softmax: Any) -> Overrides:
    """Collect the settings of an architecture, to be checked against the checkpoint's."""
    return Overrides(prefix_attention=prefix_attention, softmax=softmax)


def create_prompt_template_v1(
    prompt: str,
    count_end: str = "\n",
    mention: str = "<mention {n}>",
    capitalized: str = "",
    all_capitals: str = "",
) -> PromptTemplate:
    """Create `spacy_padellm.PromptTemplate.v1`: a prompt template with a user's own wording.

    Args:
        prompt: Everything up to the count, with `{text}` and then `{label}` in it.
        count_end: What follows a count of one or more.
        mention: What opens mention number `{n}`.
        capitalized: What is put before each capitalised word of the text, for a tokenizer that
            lower-cases; nothing if empty.
        all_capitals: What is put before each word in capitals; `capitalized` if empty.

    Raises:
        ValueError: A placeholder is missing or out of order.
    """
    return PromptTemplate(prompt, count_end, mention, capitalized, all_capitals)


def create_swap_mentions_v1(
    rate: float, uses: int = 1, join: int = 1, capitals: float = 0.0
) -> "MentionSwap":
    """Create `spacy_padellm.swap_mentions.v1`: augment training texts with swapped mentions.

    Args:
        rate: Probability of a mention in a training text to be swapped for another of its label.
        uses: How often a version of a text is used before the next one is made.
        join: Most texts that are put one behind the other; 1 for none.
        capitals: Probability of a text to be put in capitals, as headlines are.

    Raises:
        ValueError: A rate is no probability, or there are no uses.
    """
    from ..train.augmentation import MentionSwap

    return MentionSwap(rate, uses, join, capitals)


def create_batch_by_padded_v1(size: int, buffer: int = 400) -> Batcher:
    """Create `spacy_padellm.batch_by_padded.v1`: batches of similar lengths, in random order.

    As `spacy.batch_by_padded.v1`, but the batches made from a buffer are shuffled. spaCy's come
    longest first, so that steps on long and on short texts take turns.

    Args:
        size: Most tokens of a batch, padding included. A longer text is a batch of its own.
        buffer: How many texts are sorted at once.
    """

    def batch_by_padded(items: Iterable[Any]) -> Iterator[list[Any]]:
        for buffered in minibatch(items, buffer):  # type: ignore[no-untyped-call]
            batches = list(minibatch_by_padded_size(buffered, size, buffer=len(buffered)))
            random.shuffle(batches)
            yield from batches

    return batch_by_padded


def make_mention_scorer() -> Callable[..., dict[str, Any]]:
    """Create `spacy_padellm.mention_scorer.v1`: spaCy's entity scores and the paper's scores."""
    from .scorer import score_mentions

    return score_mentions
