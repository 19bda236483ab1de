"""Loading a large model takes little more memory than its weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.sample_tokenizers import small_tokenizer

# Run in a process of its own, whose anonymous memory is looked at all the time.
CODE = """
import json, sys, threading, time, torch
from spacy_padellm.checkpoints.loading import load_causal_lm
from spacy_padellm.checkpoints.options import LoadOptions
import transformers.models.llama.modeling_llama

def anonymous():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("RssAnon"))
    return 1024 * int(line.split()[1])

before = peak = anonymous()
done = False
def watch():
    global peak
    while not done:
        peak = max(peak, anonymous())
        time.sleep(0.002)
thread = threading.Thread(target=watch)
thread.start()
lm = load_causal_lm(sys.argv[1], options=LoadOptions(dtype=sys.argv[2]))
with torch.inference_mode():
    lm.model(torch.tensor([[1, 2, 3, 4]]))
done = True
thread.join()
weights = sum(p.numel() * p.element_size() for p in lm.model.parameters())
print(json.dumps({"weights": weights, "added": peak - before}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("stored, wanted", [("bfloat16", "bfloat16"), ("float32", "bfloat16")])
def test_peak_memory_of_a_model_of_a_gigabyte(tmp_path: Path, stored: str, wanted: str):
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc to read memory from")
    shape = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 26}
    config = LlamaConfig(**shape, num_attention_heads=16, vocab_size=32000, eos_token_id=2)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model = model.to(getattr(torch, stored)).to_empty(device="cpu")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(tmp_path, max_shard_size="300MB")
    small_tokenizer("en").save_pretrained(tmp_path)
    del model
    run = [sys.executable, "-c", CODE, str(tmp_path), wanted]
    printed = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    found = json.loads(printed.splitlines()[-1])
    print(found, found["added"] / found["weights"])
    assert found["weights"] > 0.9e9
    assert found["added"] <= 1.2 * found["weights"]
