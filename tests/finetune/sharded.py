"""Run by `torchrun`: `padellm finetune` in shards (FSDP) on a CPU, which accelerate refuses."""

from __future__ import annotations

import sys
from typing import Any

import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.distributed.fsdp import FullOptimStateDictConfig, FullStateDictConfig

from spacy_padellm.__main__ import main


def allow_cpus() -> None:
    initialize = AcceleratorState.__init__

    def with_shards(self: AcceleratorState, *args: Any, **kwargs: Any) -> None:
        initialize(self, *args, **kwargs)
        plugin = kwargs.get("fsdp_plugin")
        if plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.FSDP
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            self.fsdp_plugin = plugin
            # FSDP compares it with torch's, which has no number.
            self.device = torch.device("cpu")

    AcceleratorState.__init__ = with_shards
    # What is moved from a CPU to a CPU is not copied, and freed with the shards.
    never = property(lambda self: False, lambda self, value: None)
    for kind in (FullStateDictConfig, FullOptimStateDictConfig):
        kind.offload_to_cpu = never


if __name__ == "__main__":
    allow_cpus()
    sys.argv[0] = "padellm"
    main()
