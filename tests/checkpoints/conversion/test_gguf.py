from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

from spacy_padellm.checkpoints.conversion.gguf import load_gguf_tokenizer
from spacy_padellm.checkpoints.files import CheckpointFiles
from spacy_padellm.checkpoints.loading import load_causal_lm
from spacy_padellm.checkpoints.options import LoadOptions
from spacy_padellm.model import PaDeLLM
from tests.checkpoints.gguf_files import byte_pair_entries, gemma, sentencepiece_entries, write_gguf
from tests.sample_texts import CHINESE, ENGLISH
from tests.sample_tokenizers import small_tokenizer
from tests.sentencepiece_models import baichuan_model
from tests.tiny_models import plain_logits

pytest.importorskip("gguf")
pytest.importorskip("accelerate")

SIZE = len(sentencepiece_entries()["tokens"])
IDS = [1, 9, 30, 7, 200, 41]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", gemma(SIZE))


def read_tokenizer(path: Path, **entries):
    return load_gguf_tokenizer(CheckpointFiles(str(write_gguf(path, gemma(SIZE), **entries))))


def test_the_model_is_the_one_that_was_written(file):
    lm = load_causal_lm(str(file))
    torch.testing.assert_close(plain_logits(lm.model, IDS), plain_logits(gemma(SIZE), IDS))
    assert lm.support.way == "cached"


def test_quantized_weights_become_floating_point(tmp_path):
    model = gemma(SIZE)
    path = write_gguf(tmp_path / "q8.gguf", model, "Q8_0")
    lm = load_causal_lm(str(path), options=LoadOptions(dtype="auto"))
    assert {p.dtype for p in lm.model.parameters()} == {torch.float32}
    found, expected = plain_logits(lm.model, IDS), plain_logits(model, IDS)
    assert not torch.equal(found, expected)
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


def test_it_is_saved_as_any_other_checkpoint(file, tmp_path):
    loaded = PaDeLLM.from_pretrained(str(file), labels=["PER"], template="en")
    loaded.save_pretrained(tmp_path / "saved")
    again = load_causal_lm(str(tmp_path / "saved"))
    assert torch.equal(plain_logits(again.model, IDS), plain_logits(loaded.lm.model, IDS))
    assert "quantization_config" not in (tmp_path / "saved" / "config.json").read_text()
    texts = [*ENGLISH, *CHINESE]
    encode = loaded.lm.tokenizer.backend_tokenizer.encode_batch
    pairs = zip(encode(texts), again.tokenizer.backend_tokenizer.encode_batch(texts), strict=True)
    assert all(a.ids == b.ids for a, b in pairs)


@pytest.mark.parametrize("space", [True, False])
def test_its_ids_are_those_of_sentencepiece(space, tmp_path):
    tokenizer = read_tokenizer(tmp_path / "tiny.gguf", add_space_prefix=space)
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(baichuan_model())
    model.normalizer_spec.add_dummy_prefix = space
    processor = SentencePieceProcessor(model_proto=model.SerializeToString())
    texts = [*ENGLISH, *CHINESE, "a  b", "x\n\ny"]
    found = tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    assert [each.ids for each in found] == processor.encode(texts)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (1, 2, 0)


def test_no_begin_token_where_the_file_says_so(tmp_path):
    assert read_tokenizer(tmp_path / "tiny.gguf", add_bos_token=False).bos_token is None


def test_byte_pairs_are_read_by_transformers(tmp_path):
    expected = small_tokenizer("en")
    entries = byte_pair_entries(expected)
    path = write_gguf(tmp_path / "tiny.gguf", gemma(len(entries["tokens"])), arch="gpt2", **entries)
    tokenizer = load_gguf_tokenizer(CheckpointFiles(str(path)))
    for text in ENGLISH:
        found = tokenizer.encode(text, add_special_tokens=False)
        assert found == expected.encode(text, add_special_tokens=False)


def test_a_tokenizer_that_splits_its_own_pieces_is_an_error(tmp_path):
    """Here most of its merges are lost."""
    entries = byte_pair_entries(small_tokenizer("en"))
    entries["merges"] = entries["merges"][:2]
    path = write_gguf(tmp_path / "tiny.gguf", gemma(len(entries["tokens"])), arch="gpt2", **entries)
    with pytest.raises(ValueError, match=r"P057.*tiny\.gguf.*splits [\d,]+ of its own [\d,]+ pie"):
        load_gguf_tokenizer(CheckpointFiles(str(path)))


def test_a_kind_of_tokenizer_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"P057.*it is of the kind 'rwkv'"):
        read_tokenizer(tmp_path / "tiny.gguf", model="rwkv")


@pytest.mark.parametrize("name", ["tokens", "scores", "token_type"])
def test_a_tokenizer_that_is_not_whole(name, tmp_path):
    with pytest.raises(ValueError, match=rf"P057.*tiny\.gguf.*it has no '{name}'"):
        read_tokenizer(tmp_path / "tiny.gguf", **{name: None})


def test_a_name_in_capitals(file, tmp_path):
    (tmp_path / "TINY.GGUF").write_bytes(file.read_bytes())
    lm = load_causal_lm(str(tmp_path / "TINY.GGUF"))
    assert lm.tokenizer("Ada").input_ids == load_causal_lm(str(file)).tokenizer("Ada").input_ids


def test_a_family_that_transformers_cannot_read(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf", gemma(SIZE), arch="unheard")
    with pytest.raises(ValueError, match=r"(?s)P042.*tiny\.gguf.*unheard"):
        load_causal_lm(str(path))


def test_weights_that_are_missing(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf", gemma(SIZE), leave_out=["blk.1.ffn_up.weight"])
    with pytest.raises(ValueError, match=r"P044.*tiny\.gguf lack 1 .*up_proj"):
        load_causal_lm(str(path))


def test_no_quantization_on_top(file):
    pytest.importorskip("bitsandbytes")
    with pytest.raises(ValueError, match=r"P056.*tiny\.gguf"):
        load_causal_lm(str(file), options=LoadOptions(quantization="8bit"))


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("none.gguf", None, "no such file"),
        ("other.gguf", b"PK\3\4 something", "begins with"),
        ("empty.gguf", b"", "begins with"),
        ("model-00002-of-00003.gguf", b"GGUF", "one part of several"),
    ],
)
def test_files_that_are_no_models(name, content, reason, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"P055.*{name}.*{reason}"):
        load_causal_lm(str(tmp_path / name))


def test_a_file_that_ends_too_early(file, tmp_path):
    (tmp_path / "cut.gguf").write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"P042.*cut\.gguf"):
        load_causal_lm(str(tmp_path / "cut.gguf"))


def test_without_gguf(file, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"P301.*needs gguf.*'\.\[gguf\]'"):
        load_causal_lm(str(file))
