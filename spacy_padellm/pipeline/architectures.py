"""Architectures of the component's model; building one loads nothing yet."""

# No `annotations` import: spaCy reads the types of these signatures at run time.
from typing import Any

from thinc.api import Model

from ..errors import Errors


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
    """`spacy_padellm.CausalLM.v1`: a pretrained Hugging Face causal language model.

    name (Optional[str]): Checkpoint folder or hub id, of a model or of a PEFT adapter, whose model
        is then loaded as well. `None` for the preset's, or the bundled one. Loaded at first use.
    device (str): Where to run: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`, or `"auto"` for the first
        GPU, or the CPU without one.
    dtype (str): What weights are kept in: `"float32"`, `"bfloat16"`, `"float16"`, or `"auto"` for
        what they are stored in.
    device_map (Optional[Union[str, Dict[str, Union[int, str]]]]): Where the parts of a model go
        that is too large for one device, in the place of `device`: `"auto"`, or devices by the
        names of modules.
    attn_implementation (Optional[str]): `"sdpa"` or `"eager"`, by default what transformers choose.
    quantization (Optional[str]): `"4bit"` or `"8bit"`, by bitsandbytes.
    revision (Optional[str]): Branch, tag or commit of a hub id.
    local_files_only (bool): Whether a hub id is looked for on this machine only.
    trust_remote_code (bool): Whether code may be run that comes with a checkpoint.
    save_weights (bool): Whether a saved pipeline has the weights in it, and never reads `name`
        again. Otherwise it has the settings only, and reads the weights from `name` at first use.
    mixed_precision (bool): Whether to train under bfloat16 autocast, where the device has it.
    prefix_attention (Optional[str]): `"causal"` or `"bidirectional"`; `None` for what the
        checkpoint's `padellm.json` says, or `"causal"`.
    softmax (Optional[str]): `"vocabulary"` or `"admissible"`; `None` for what `padellm.json`
        says, or `"vocabulary"`.
    tag_text (float): Weight of what each token of a training text is taught in addition to the
        paper's sequences, at the middle layer: the label it is in and the number of the mention it
        begins. 0 for the paper's objective alone.
    devices (Optional[List[str]]): Several devices in the place of one: `["cuda:0", "cuda:1"]`. In
        prediction each has a copy of the model and takes some of the texts, or some of the labels
        of a single text; training is on the first. A device may be named more than once.
    RETURNS (Model): Supervised trees → log-probabilities of their supervised tokens.
    RAISES (ValueError): More than one of `device`, `devices` and `device_map` are given.
    """
    from ..checkpoints.options import LoadOptions, choose_device
    from .model import build_model
    from .sources import PretrainedSource

    if devices and device_map is not None:
        raise ValueError(Errors.P068.format(device=", ".join(devices)))
    options = LoadOptions(
        choose_device(device, devices),
        dtype,
        device_map,
        attn_implementation,
        quantization,  # type: ignore[arg-type]
        revision,
        local_files_only,
        trust_remote_code,
    )
    source = PretrainedSource(name, options, prefix_attention, softmax, save_weights)
    return build_model(
        source, mixed_precision=mixed_precision, tag_text=tag_text, devices=devices or ()
    )


def build_encoder_lm_v1(
    name: str,
    device: str = "cpu",
    mixed_precision: bool = False,
    prefix_attention: str = "bidirectional",
    softmax: str = "admissible",
    tag_text: float = 0.0,
) -> Model[Any, Any]:
    """`spacy_padellm.EncoderLM.v1`: a pretrained encoder (BERT and its like) that is made a causal
    language model in `initialize`: it reads the text as ever and learns to write what follows.

    name (str): Folder or hub id of the encoder.
    device (str): Where to run.
    mixed_precision (bool): Whether to train under bfloat16 autocast, where the device has it.
    prefix_attention (str): Whether the text attends in both directions: `"causal"` or
        `"bidirectional"`, as it did when the encoder was trained.
    softmax (str): What probabilities are taken over: `"vocabulary"` or `"admissible"`.
    tag_text (float): As of `spacy_padellm.CausalLM.v1`.
    RETURNS (Model): Supervised trees → log-probabilities of their supervised tokens.
    """
    from .model import build_model
    from .sources import EncoderSource

    source = EncoderSource(device, prefix_attention, softmax, name)
    return build_model(source, mixed_precision=mixed_precision, tag_text=tag_text)


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
    """`spacy_padellm.SmallCausalLM.v1`: a Llama-shaped model from scratch, made in `initialize`
    with a tokenizer trained on the training texts. For demos and tests, and where there is
    nothing pretrained.

    width (int): Hidden size.
    depth (int): Layers.
    heads (int): Attention heads.
    feed_forward (int): Width of the feed-forward layers.
    vocab_size (int): Most entries of the tokenizer's vocabulary.
    max_positions (int): Longest sequence, in tokens.
    device (str): Where to run.
    mixed_precision (bool): Whether to train under bfloat16 autocast, where the device has it.
    prefix_attention (str): Whether the text attends in both directions: `"causal"` or
        `"bidirectional"`.
    softmax (str): What probabilities are taken over: `"vocabulary"` or `"admissible"`.
    tag_text (float): As of `spacy_padellm.CausalLM.v1`.
    RETURNS (Model): Supervised trees → log-probabilities of their supervised tokens.
    """
    from ..checkpoints.small_lm import SmallModelShape
    from .model import build_model
    from .sources import SmallSource

    shape = SmallModelShape(width, depth, heads, feed_forward, vocab_size, max_positions)
    source = SmallSource(device, prefix_attention, softmax, shape)
    return build_model(source, mixed_precision=mixed_precision, tag_text=tag_text)
