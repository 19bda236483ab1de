"""The registered functions that configs can name. Packages and models are loaded on first use."""

# No `annotations` import, since spaCy reads the types of these signatures at run time.
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
    label_vectors: bool | None = None,
    devices: list[str] | None = None,
) -> Model[Any, Any]:
    """Create `spacy_padellm.CausalLM.v1`: a pretrained causal language model from Hugging Face.

    Args:
        name: Folder or hub id of a model, or of a PEFT adapter, which is loaded together with its
            base model. Or a `.gguf` file, whose weights become floating point. `null` for the
            preset's checkpoint, or the bundled one if there is none. The weights are loaded at
            first use.
        device: The device to run on, such as `"cpu"`, `"cuda"`, `"cuda:1"` or `"mps"`. `"auto"`
            means the first GPU, or the CPU if there is none.
        dtype: The dtype of the weights: `"float32"`, `"bfloat16"` or `"float16"`; `"stored"` for
            the stored one. `"auto"` means the stored one on a GPU. On a CPU it means `"float32"`,
            with linear layers that predict in bfloat16 if the processor can. If it can, weights
            that are stored as bfloat16 stay so. With a device map or quantization, `"auto"` is
            `"stored"`.
        device_map: Where to put the parts of a model that is too large for one device: `"auto"`, or
            a mapping from module names to devices. It replaces `device`.
        attn_implementation: `"sdpa"` or `"eager"`; `null` for what transformers chooses.
        quantization: `"4bit"` or `"8bit"` (with bitsandbytes); `null` for none.
        revision: Branch, tag or commit of a hub id; `null` for the default branch.
        local_files_only: Whether to look for a hub id on this machine only.
        trust_remote_code: Whether to run code that comes with a checkpoint.
        save_weights: Whether a saved pipeline contains the weights, not only the settings. If not,
            it reads them from `name` at first use.
        mixed_precision: Whether to train under bfloat16 autocast, if the device has fast bfloat16.
        prefix_attention: `"causal"`, or `"bidirectional"` if the tokens of a text attend in both
            directions. `null` for what the checkpoint's `padellm.json` says, or `"causal"`.
        softmax: `"vocabulary"`: probabilities are over the whole vocabulary, as in the paper.
            `"admissible"`: they are over the tokens that may come next. `null` for what
            `padellm.json` says, or `"vocabulary"`.
        tag_text: Weight of text tags in training, relative to a token of the paper's sequences. At
            each token of a text they teach the middle layer which label's mention the token is in,
            and the number of the mention that begins there. 0 for no tags, as in the paper.
        label_vectors: Whether text tags are compared with vectors that the model makes of the
            labels' wordings, so that they carry over to labels that were never trained on. `null`
            for what `padellm.json` says, or false.
        devices: Several devices instead of one, such as `["cuda:0", "cuda:1"]`. For prediction,
            each has a copy of the model and takes some of the texts, or some of the labels of a
            text if there are fewer texts than devices. Training runs on the first. A device may be
            named more than once. `null` for `device` alone.

    Returns:
        A thinc model: supervised trees → log-probabilities of their supervised tokens.

    Raises:
        ValueError: `quantization` is unknown, or more than one of `device`, `devices` and
            `device_map` is set.
    """
    from ..checkpoints.options import LoadOptions, choose_device
    from .shim import build_model
    from .sources import PretrainedSource

    options = LoadOptions(
        choose_device(device, devices, device_map),
        dtype,
        device_map,
        attn_implementation,
        cast(Any, quantization),  # `LoadOptions` checks it.
        revision,
        local_files_only,
        trust_remote_code,
    )
    return build_model(
        PretrainedSource(name, options, save_weights),
        _stated(prefix_attention, softmax, label_vectors),
        mixed_precision=mixed_precision,
        tag_text=tag_text,
        devices=devices or (),
    )


def build_served_lm_v1(
    name: str,
    url: str,
    served_name: str = "padellm",
    api_key_env: str | None = None,
    timeout: float = 600.0,
    retry_for: float = 120.0,
    concurrency: int = 8,
) -> Model[Any, Any]:
    """Create `spacy_padellm.ServedLM.v1`: a fine-tuned causal language model on a model server.

    The server has the completions API of vLLM. Nothing is sent to it before the first text.

    Args:
        name: Folder or hub id of the model's tokenizer and `padellm.json`. It needs no weights.
        url: The server's address, such as `"http://localhost:8000"`.
        served_name: The name under which the server has the model.
        api_key_env: The environment variable that has the server's key; `null` for no key.
        timeout: Seconds to wait for an answer.
        retry_for: Seconds in which a failure that may pass, such as a restart, is tried again.
        concurrency: Most requests at once.

    Returns:
        A thinc model, which cannot be trained.

    Raises:
        ValueError: A number is not above 0.
        ImportError: A package that asks the server is missing.
    """
    from ..errors import Errors, require

    for package in ("httpx", "tenacity"):
        require(package, "spacy_padellm.ServedLM.v1", extra="served")
    for key, value in (
        ("timeout", timeout),
        ("retry_for", retry_for),
        ("concurrency", concurrency),
    ):
        if not value > 0:
            raise ValueError(Errors.P097.format(key=key, value=value))
    from ..served.client import Server
    from ..served.source import ServedSource
    from .shim import build_model

    server = Server(url.rstrip("/"), served_name, api_key_env, timeout, retry_for)
    source = ServedSource(name, server, concurrency)
    return build_model(source, Overrides(), mixed_precision=False)


def build_encoder_lm_v1(
    name: str,
    device: str = "cpu",
    mixed_precision: bool = False,
    prefix_attention: str = "bidirectional",
    softmax: str = "admissible",
    tag_text: float = 0.0,
    label_vectors: bool = False,
) -> Model[Any, Any]:
    """Create `spacy_padellm.EncoderLM.v1`: a causal language model made from a pretrained encoder.

    `nlp.initialize()` makes the model from the encoder, for example BERT. The model reads the text
    as the encoder did, and learns to write the rest of the sequences.

    Args:
        name: Folder or hub id of the encoder.
        device: The device to run on.
        mixed_precision: Whether to train under bfloat16 autocast.
        prefix_attention: `"bidirectional"` if the tokens of a text attend in both directions, as in
            the encoder's own training; otherwise `"causal"`.
        softmax: `"vocabulary"` or `"admissible"`, see `spacy_padellm.CausalLM.v1`.
        tag_text: Weight of text tags, see `spacy_padellm.CausalLM.v1`.
        label_vectors: Whether labels have vectors, see `spacy_padellm.CausalLM.v1`.

    Returns:
        A thinc model: supervised trees → log-probabilities of their supervised tokens.
    """
    from .shim import build_model
    from .sources import FreshSource

    return build_model(
        FreshSource(device, encoder=name),
        _stated(prefix_attention, softmax, label_vectors),
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
    label_vectors: bool = False,
) -> Model[Any, Any]:
    """Create `spacy_padellm.SmallCausalLM.v1`: a small Llama-shaped model to train from scratch.

    `nlp.initialize()` builds the model, with a tokenizer that it trains on the training texts. The
    model is meant for demos and tests, and for cases without a pretrained model.

    Args:
        width: Hidden size.
        depth: Number of layers.
        heads: Number of attention heads.
        feed_forward: Width of the feed-forward layers.
        vocab_size: Most entries in the tokenizer's vocabulary.
        max_positions: Longest sequence, in tokens.
        device: The device to run on.
        mixed_precision: Whether to train under bfloat16 autocast.
        prefix_attention: `"bidirectional"` if the tokens of a text attend in both directions;
            otherwise `"causal"`.
        softmax: `"vocabulary"` or `"admissible"`, see `spacy_padellm.CausalLM.v1`.
        tag_text: Weight of text tags, see `spacy_padellm.CausalLM.v1`.
        label_vectors: Whether labels have vectors, see `spacy_padellm.CausalLM.v1`.

    Returns:
        A thinc model: supervised trees → log-probabilities of their supervised tokens.
    """
    from ..checkpoints.small_lm import SmallModelShape
    from .shim import build_model
    from .sources import FreshSource

    shape = SmallModelShape(width, depth, heads, feed_forward, vocab_size, max_positions)
    return build_model(
        FreshSource(device, shape=shape),
        _stated(prefix_attention, softmax, label_vectors),
        mixed_precision=mixed_precision,
        tag_text=tag_text,
    )


def _stated(prefix_attention: Any, softmax: Any, label_vectors: bool | None) -> Overrides:
    """Collect the settings that an architecture states, to override the checkpoint's."""
    return Overrides(
        prefix_attention=prefix_attention, softmax=softmax, label_vectors=label_vectors
    )


def create_prompt_template_v1(
    prompt: str,
    count_end: str = "\n",
    mention: str = "<mention {n}>",
    capitalized: str = "",
    all_capitals: str = "",
) -> PromptTemplate:
    """Create `spacy_padellm.PromptTemplate.v1`: a prompt template with your own wording.

    Args:
        prompt: Everything up to the count. It contains `{text}` and, after it, `{label}`.
        count_end: The string after a count of one or more.
        mention: The string that opens mention number `{n}`.
        capitalized: The mark before each capitalised word of the text, for a tokenizer that
            lower-cases; empty for none.
        all_capitals: The mark before each word in capitals; if empty, `capitalized`.

    Raises:
        ValueError: A placeholder is missing, repeated or out of order, or a number is followed by
            nothing or by a digit.
    """
    return PromptTemplate(prompt, count_end, mention, capitalized, all_capitals)


def create_swap_mentions_v1(
    rate: float, uses: int = 1, join: int = 1, capitals: float = 0.0
) -> "MentionSwap":
    """Create `spacy_padellm.swap_mentions.v1`: training texts with swapped mentions.

    Args:
        rate: Probability that a mention of a training text is swapped for another one of its label.
        uses: How often each version of a text is used before the next one is made.
        join: Most texts that are joined into one; 1 to join none.
        capitals: Probability that a text is put in capitals, like a headline.

    Raises:
        ValueError: `rate` or `capitals` is not from 0 to 1, or `uses` or `join` is below 1.
    """
    from ..train.augmentation import MentionSwap

    return MentionSwap(rate, uses, join, capitals)


def create_batch_by_padded_v1(size: int, buffer: int = 400) -> Batcher:
    """Create `spacy_padellm.batch_by_padded.v1`: batches of similar lengths in random order.

    It works like `spacy.batch_by_padded.v1`, but shuffles the batches made from a buffer. spaCy
    yields them longest first, so that many steps on long texts alternate with many on short ones.

    Args:
        size: Most spaCy tokens in a batch, padding included. A longer text is a batch of its own.
        buffer: Number of texts that are sorted by length at once.
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
