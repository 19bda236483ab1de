"""Run by `torchrun`: a model in shards (torch's FSDP 1 and 2) against the same model as a whole."""

from __future__ import annotations

import functools
import sys

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

from spacy_padellm.core.checkpoints.loading import load_checkpoint
from spacy_padellm.core.extraction import MentionExtractor
from spacy_padellm.core.objectives.factory import make_objective
from spacy_padellm.core.objectives.supervised_tree import target_log_probs
from spacy_padellm.core.prompt import PromptEncoder
from tests.core.finetuning.toys import DEV, TRAIN


def shard(model: torch.nn.Module, version: str) -> torch.nn.Module:
    layers = model.model.layers
    if version == "1":
        policy = functools.partial(
            transformer_auto_wrap_policy, transformer_layer_cls={type(layers[0])}
        )
        return FullyShardedDataParallel(
            model, auto_wrap_policy=policy, device_id=torch.device("cpu"), use_orig_params=True
        )
    mesh = init_device_mesh("cpu", (2,))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def gradient(model: torch.nn.Module, wrapped: torch.nn.Module, version: str) -> torch.Tensor:
    if version == "2":
        return model.model.layers[0].mlp.up_proj.weight.grad.full_tensor()
    with FullyShardedDataParallel.summon_full_params(wrapped, with_grads=True):
        return wrapped.module.model.layers[0].mlp.up_proj.weight.grad.clone()


def main(checkpoint: str, version: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    lm, settings = load_checkpoint(checkpoint)
    encoder = PromptEncoder(settings.template, settings.labels, lm.tokenizer)
    # With tags, which are read at a layer in the middle.
    objective = make_objective(encoder, settings, 0.5)
    trees = [objective.build(text, list(settings.labels))[0] for text in TRAIN[:4]]
    sources = [text.source for text in DEV]
    mentions = MentionExtractor(lm, settings).extract(sources)
    expected = target_log_probs(lm, trees)
    expected.sum().backward()
    whole = lm.model.model.layers[0].mlp.up_proj.weight.grad.clone()
    lm.model.zero_grad()

    wrapped = shard(lm.model, version)
    found = target_log_probs(lm.through(wrapped), trees)
    assert torch.allclose(found, expected, atol=1e-5)
    found.sum().backward()
    assert torch.allclose(gradient(lm.model, wrapped, version), whole, atol=1e-4)
    wrapped.eval()
    with torch.no_grad():
        again = MentionExtractor(lm.through(wrapped), settings).extract(sources)
    places = [[(m.start, m.end, m.label) for m in each] for each in again]
    assert places == [[(m.start, m.end, m.label) for m in each] for each in mentions]
    assert sum(map(len, places)) > 0
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
