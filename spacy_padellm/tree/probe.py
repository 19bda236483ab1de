"""Load-time probe: try the ways to run trees on a small random copy of a model."""

from __future__ import annotations

import copy
import logging
import time
from dataclasses import replace
from typing import NamedTuple

import torch
from transformers import PretrainedConfig, PreTrainedModel

from ..errors import Errors
from .model_call import ModelCall
from .readout import Readout
from .run import TreeSupport
from .runs import open_run
from .token_tree import TokenTree

logger = logging.getLogger(__name__)

# Configuration entries that limit how far back attention looks.
_WINDOW_ATTRIBUTES = ("sliding_window", "attention_chunk_size", "window_size", "local_window")
_PROBE_WINDOW = 4
_PROBE_VOCABULARY = 64
# Configuration entries for the width of feed-forward layers.
_FEED_FORWARD = ("intermediate_size", "ffn_dim", "n_inner")
_PROBE_FEED_FORWARD = 64
_WAYS = (
    TreeSupport("cached", "4d"),
    TreeSupport("cached", "3d"),
    TreeSupport("recomputed", "4d"),
    TreeSupport("recomputed", "3d"),
)
_SEQUENCES = TreeSupport("sequences", None)
# Lengths of the sequences that are timed, in tokens.
_FEW, _MANY = 8, 72


class PassCost(NamedTuple):
    """What a forward pass takes on the device that a model is on, in seconds.

    Args:
        run: A pass of hardly any tokens.
        token: Each token more.
    """

    run: float
    token: float


def probe_tree_support(model: PreTrainedModel) -> TreeSupport:
    """Find the best way of running trees that gives the right logits.

    A small random copy of the model's architecture runs a small tree in each way. Its logits are
    compared with those of separate sequences. If attention has a window, the copy gets a smaller
    one, and a tree deeper than this window is tried as well.

    Args:
        model: The model.

    Returns:
        The way, the form of the mask, and the depth up to which the logits are right.

    Raises:
        ValueError: The attention implementation takes no mask, or the language model is part of a
            larger model.
    """
    implementation = getattr(model.config, "_attn_implementation", None)
    if implementation is not None and implementation.startswith("flash_attention"):
        raise ValueError(Errors.P020.format(implementation=implementation))
    if model.config.get_text_config() is not model.config:
        raise ValueError(Errors.P046.format(model=type(model).__name__))
    window = _window(model.config)
    support = _SEQUENCES
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        call = ModelCall(_small_copy(model, window))
        for candidate in _WAYS:
            if _is_exact(call, candidate, depth=_PROBE_WINDOW):
                halves = replace(candidate, in_halves=True)
                if candidate.way == "cached" and _is_exact(call, halves, depth=_PROBE_WINDOW):
                    candidate = halves
                beyond = window is None or _is_exact(call, candidate, depth=3 * _PROBE_WINDOW)
                support = candidate if beyond else replace(candidate, max_depth=window)
                break
    logger.info(
        "%s: trees run as %s (mask: %s, up to depth: %s)",
        type(model).__name__,
        support.way,
        support.mask_form or "none",
        support.max_depth or "any",
    )
    return support


def measure_cost(call: ModelCall, support: TreeSupport, *, longest: int | None = None) -> PassCost:
    """Measure what a pass and a token take.

    Args:
        call: The model's forward pass.
        support: How it runs trees.
        longest: Length of the longest sequence that can be run, in tokens; `None` if there is no
            limit.
    """
    many = _MANY if longest is None else max(2, min(_MANY, longest))
    few = min(_FEW, many - 1)
    seconds: dict[int, list[float]] = {few: [], many: []}
    with torch.inference_mode():
        for size in (few, few, many, few, many):
            # Some id: only the time counts.
            run = open_run(call, [TokenTree([1] * size)], replace(support, in_halves=False))
            begun = time.perf_counter()
            # A transfer waits for the device.
            run.logits([[size - 1]], Readout(torch.tensor([1]))).cpu()
            seconds[size].append(time.perf_counter() - begun)
    least, most = min(seconds[few]), min(seconds[many])
    token = max((most - least) / (many - few), 1e-7)
    cost = PassCost(max(least - few * token, 0.0), token)
    logger.info(
        "%s: a pass takes %.2f ms, and each token %.3f ms more",
        type(call.model).__name__,
        1e3 * cost.run,
        1e3 * cost.token,
    )
    return cost


def _window(config: PretrainedConfig) -> int | None:
    """Return the smallest attention window in a configuration, `None` if there is none."""
    values = [getattr(config, name, None) for name in _WINDOW_ATTRIBUTES]
    windows = [value for value in values if isinstance(value, int) and value > 0]
    if getattr(config, "use_sliding_window", True) is False:
        return None
    return min(windows, default=None)


def _small_copy(model: PreTrainedModel, window: int | None) -> PreTrainedModel:
    """Build a small model of the same architecture, with random weights."""
    config = copy.deepcopy(model.config)
    layers = config.num_hidden_layers
    layer_types = getattr(config, "layer_types", None)
    config.num_hidden_layers = min(2, layers)
    if layer_types is not None:
        # Every kind of layer has to be tried.
        kinds = list(dict.fromkeys(layer_types))
        config.num_hidden_layers = max(len(kinds), config.num_hidden_layers)
        config.layer_types = (kinds + layer_types)[: config.num_hidden_layers]
    config.vocab_size = _PROBE_VOCABULARY
    for name in _FEED_FORWARD:
        # These are most of a layer's weights, and trees do not depend on them.
        if isinstance(getattr(config, name, None), int):
            setattr(config, name, min(_PROBE_FEED_FORWARD, getattr(config, name)))
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(config, name, None)
    if getattr(config, "quantization_config", None) is not None:
        del config.quantization_config
    if window is not None:
        for name in _WINDOW_ATTRIBUTES:
            if isinstance(getattr(config, name, None), int):
                setattr(config, name, _PROBE_WINDOW)
    small = type(model)(config)
    # With weights as small as at initialisation, a wrong mask would hardly show.
    for parameter in small.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter.data, std=parameter.shape[-1] ** -0.5)
    small.float().eval()
    return small


def _is_exact(call: ModelCall, support: TreeSupport, depth: int) -> bool:
    """Return whether a tree of this depth gives the same logits as its separate sequences.

    The tree is run in two passes, beside a shorter tree. They share a row in the first pass. In the
    second one, both have so many new nodes that each moves to a row of its own, with padding.
    """
    trunk = depth // 2
    tree, other = TokenTree(range(1, trunk + 1)), TokenTree([1])
    starts = (20, 40)
    inner = [
        tree.insert(range(start, start + depth - trunk - 1), tree.prefix_end)[-1]
        for start in starts
    ]
    try:
        with torch.no_grad():
            run = open_run(call, [tree, other], support)
            found = [run.logits([inner, [0]])[:-1]]
            leaves = [
                tree.insert([start], node)[0] for start, node in zip(starts, inner, strict=True)
            ]
            for each, node, more in ((tree, inner[0], 38), (other, 0, 39)):
                for token_id in range(21, 21 + more):
                    each.insert([token_id], node)
            last = len(other) - 1
            found.append(run.logits([leaves, [last]]))
            asked = [*((tree, node) for node in inner + leaves), (other, last)]
            expected = [open_run(call, [each], _SEQUENCES).logits([[node]]) for each, node in asked]
    except (ValueError, RuntimeError, TypeError, LookupError, AttributeError) as error:
        logger.debug("%s cannot run: %s", support, error)
        return False
    return torch.allclose(torch.cat(found), torch.cat(expected), rtol=1e-3, atol=1e-3)
