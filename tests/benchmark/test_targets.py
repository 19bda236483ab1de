"""What the README states of passes and tokens, on a part of the paper's corpora."""

from __future__ import annotations

from pathlib import Path

import pytest

from spacy_padellm.benchmark.datasets import load_datasets
from spacy_padellm.benchmark.decoders import parse_spec
from spacy_padellm.benchmark.run import BenchmarkRun
from spacy_padellm.benchmark.subjects import ReplayingModel, build_random_lm

DECODERS = ["tree", "tree-early", "tree-plain"]


@pytest.mark.parametrize("name", ["conll03", "genia", "weibo", "youku"])
def test_about_three_passes_and_few_tokens_more(name: str, shared_data: Path, shared_tokenizers):
    lm = build_random_lm("tiny", str(shared_tokenizers / "llama2"), device="cpu", dtype="float32")
    (dataset,) = load_datasets([shared_data / "paper" / name], limit=40)
    specs = [parse_spec(decoder) for decoder in DECODERS]
    benchmark = BenchmarkRun(ReplayingModel(lm), specs, lambda count: None)
    benchmark.run(dataset)
    tree, early, plain = benchmark.rows
    assert tree["left_out"] == 0 and tree["texts"] == 40
    assert tree["passes"] <= 3.3 and tree["tokens"] <= 1.6 * tree["distinct_tokens"]
    assert early["passes"] < tree["passes"] < plain["passes"]
    assert plain["tokens"] == plain["distinct_tokens"] == tree["distinct_tokens"]
