"""Time ways to read texts with the bundled model on a CPU: all layers, nothing is written.

Run `OMP_NUM_THREADS=1 python scripts/cpu.py CORPUS [LIMIT]`. The ways with ONNX Runtime need
`pip install onnx onnxruntime onnxscript`, and are left out without them. For each way it prints the
texts per second, the best of three runs, and the largest difference of an output from float32.
"""

from __future__ import annotations

import copy
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spacy_padellm import PaDeLLM
from spacy_padellm.corpus.formats import read_annotated_texts
from spacy_padellm.tree.packing import batch_by_padded

_BATCH_TOKENS = 2048

Batch = tuple[Tensor, Tensor]
Reader = Callable[[Tensor, Tensor], Tensor]


class Encoder(torch.nn.Module):
    """The layers of a model, without its output layer."""

    def __init__(self, base: torch.nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, ids: Tensor, visible: Tensor) -> Tensor:
        """Return the last hidden states."""
        output: Tensor = self.base(input_ids=ids, attention_mask=visible, use_cache=False)[0]
        return output


def make_batches(model: PaDeLLM, path: Path, limit: int) -> list[Batch]:
    """Encode the texts of a corpus, and pad those of similar length together."""
    texts = read_annotated_texts(path)[:limit]
    encoded = [model.encode(text.source).prefix for text in texts]
    batches = []
    for batch in batch_by_padded([len(ids) for ids in encoded], _BATCH_TOKENS):
        length = max(len(encoded[item]) for item in batch)
        ids = torch.zeros(len(batch), length, dtype=torch.long)
        real = torch.zeros(len(batch), length)
        for row, item in enumerate(batch):
            ids[row, : len(encoded[item])] = torch.tensor(encoded[item])
            real[row, : len(encoded[item])] = 1
        batches.append((ids, real[:, None].expand(-1, length, -1).contiguous()))
    return batches


def make_readers(model: PaDeLLM, batch: Batch) -> Iterator[tuple[str, Reader]]:
    """Yield each way to run the layers, with its name."""
    encoder = Encoder(model.lm.model.base_model)
    yield "float32", encoder
    short = copy.deepcopy(model.lm)
    short.predict_in_bfloat16()
    yield "bfloat16 in linear layers", Encoder(short.model.base_model)
    yield "bfloat16 throughout", copy.deepcopy(encoder).bfloat16()
    linear = {torch.nn.Linear}
    yield "int8 in linear layers", torch.ao.quantization.quantize_dynamic(encoder, linear)
    yield "float32, torch.compile", torch.compile(encoder, dynamic=True)
    try:
        import onnxruntime
        from onnxruntime.quantization import quantize_dynamic
    except ImportError:
        return
    with tempfile.TemporaryDirectory() as folder:
        exact, rounded = Path(folder) / "exact.onnx", Path(folder) / "int8.onnx"
        axes = {
            "ids": {0: "n", 1: "k"},
            "visible": {0: "n", 1: "k", 2: "k"},
            "out": {0: "n", 1: "k"},
        }
        torch.onnx.export(
            encoder,
            batch,
            exact,
            input_names=["ids", "visible"],
            output_names=["out"],
            dynamic_axes=axes,
            dynamo=False,
        )
        quantize_dynamic(exact, rounded, per_channel=True)
        for name, path in (("float32, ONNX Runtime", exact), ("int8, ONNX Runtime", rounded)):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            yield name, _run_session(onnxruntime.InferenceSession(path, options))


def _run_session(session: Any) -> Reader:
    """Return a function that runs a session of ONNX Runtime."""

    def read(ids: Tensor, visible: Tensor) -> Tensor:
        return torch.from_numpy(
            session.run(None, {"ids": ids.numpy(), "visible": visible.numpy()})[0]
        )

    return read


def main() -> None:
    """Time all ways on the corpus that the command line names."""
    warnings.simplefilter("ignore")
    limit = int(sys.argv[2]) if len(sys.argv) > 2 else 600
    model = PaDeLLM.from_pretrained("padellm_en_small")
    batches = make_batches(model, Path(sys.argv[1]), limit)
    n_texts = sum(len(ids) for ids, _ in batches)
    expected: list[Tensor] = []
    for name, read in make_readers(model, batches[0]):
        with torch.inference_mode():
            found = [read(*batch).float() for batch in batches]
            expected = expected or found
            seconds = []
            for _ in range(3):
                begun = time.perf_counter()
                for batch in batches:
                    read(*batch)
                seconds.append(time.perf_counter() - begun)
        real = [visible[:, 0] > 0 for _, visible in batches]
        pairs = zip(found, expected, real, strict=True)
        difference = max(float((a - b)[is_real].abs().max()) for a, b, is_real in pairs)
        print(f"{name}: {n_texts / min(seconds):.0f} texts/s, difference {difference:.2g}")


if __name__ == "__main__":
    main()
