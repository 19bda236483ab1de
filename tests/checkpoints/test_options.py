from __future__ import annotations

import pytest
import torch

from spacy_padellm.checkpoints.options import LoadOptions, choose_device, get_dtype


def test_a_device_is_found():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    if torch.backends.mps.is_available():
        expected = "mps"
    assert LoadOptions(device="auto").place == expected
    assert LoadOptions(device="cuda:1").place == "cuda:1"


def test_one_device_or_several():
    assert choose_device("cuda:1", None) == "cuda:1"
    assert choose_device("cuda:1", []) == "cuda:1"
    assert choose_device("cpu", ["cuda:0", "cuda:1"]) == "cuda:0"
    with pytest.raises(ValueError, match=r"P065.*'cuda'.*cuda:0, cuda:1.*`devices`"):
        choose_device("cuda", ["cuda:0", "cuda:1"])


def test_a_device_map_says_where_it_goes():
    assert choose_device("cpu", None, "auto") == choose_device("cpu", [], {"": "cpu"}) == "cpu"
    for device_map in ("auto", {"": "cpu"}, {}):
        with pytest.raises(ValueError, match=r"P068.*\(cuda:0, cuda:1\) and a device_map"):
            choose_device("cpu", ["cuda:0", "cuda:1"], device_map)
    with pytest.raises(ValueError, match=r"P068.*\(cuda\) and a device_map"):
        LoadOptions(device="cuda", device_map="auto")


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", "float64"])
def test_dtypes(name):
    assert get_dtype(name) is getattr(torch, name)


def test_a_quantization_that_is_not_there():
    with pytest.raises(ValueError, match=r"P031.*quantization is '3bit'.*'4bit', '8bit'"):
        LoadOptions(quantization="3bit")  # type: ignore[arg-type]
