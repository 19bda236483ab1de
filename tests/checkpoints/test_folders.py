from __future__ import annotations

import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from spacy_padellm.checkpoints.files import SETTINGS_FILE, is_checkpoint
from spacy_padellm.checkpoints.loading import load_causal_lm, load_settings
from spacy_padellm.checkpoints.options import LoadOptions
from spacy_padellm.checkpoints.saving import save_checkpoint
from spacy_padellm.model import PaDeLLM
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.prompt.tokenization import TextEncoder
from spacy_padellm.settings import Settings
from spacy_padellm.tree.causal_lm import CausalLM
from tests.sample_texts import CHINESE, ENGLISH, NASTY
from tests.sample_tokenizers import WORDINGS, load_tokenizer, small_tokenizer
from tests.tiny_models import plain_logits, tiny_lm, tiny_model

SETTINGS = Settings(
    TEMPLATES["zh"],
    WORDINGS["zh"],
    prefix_attention="bidirectional",
    softmax="admissible",
    max_mentions=30,
    max_mention_tokens=24,
)


def small_lm(family: str = "llama") -> CausalLM:
    tokenizer = small_tokenizer("zh")
    model = tiny_model(family, vocab_size=len(tokenizer), seed=3)
    return CausalLM(model, tokenizer, support=tiny_lm(family).support)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save_checkpoint(folder, small_lm(), SETTINGS)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(saved, tmp_path / "checkpoint"))


def assert_same_lm(found: CausalLM, expected: CausalLM) -> None:
    weights, others = found.model.state_dict(), expected.model.state_dict()
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    for ids in ([1, 5, 9, 300], [0]):
        ours, theirs = plain_logits(found.model, ids), plain_logits(expected.model, ids)
        assert torch.allclose(ours, theirs, atol=1e-5)
    texts = [*ENGLISH, *CHINESE, *NASTY, ""]
    encoder, other = TextEncoder(found.tokenizer), TextEncoder(expected.tokenizer)
    assert encoder.encode(texts) == other.encode(texts)
    assert (encoder.bos_ids, encoder.end_id) == (other.bos_ids, other.end_id)
    wording = "文本:\n名称</s><第12文段>"
    assert encoder.encode_wording(wording) == other.encode_wording(wording)


def test_what_was_saved_is_loaded(saved):
    model = PaDeLLM.from_pretrained(str(saved))
    lm = model.lm
    assert model.settings == SETTINGS
    assert lm.bidirectional_prefix
    assert not lm.model.training
    assert lm.model.dtype == torch.float32
    assert lm.support.way == "cached"
    assert_same_lm(lm, small_lm())


@pytest.mark.parametrize("family", ["gpt2", "opt", "bloom", "gemma2", "gpt-neox"])
def test_models_of_other_families(family, tmp_path):
    save_checkpoint(tmp_path, small_lm(family), Settings())
    assert_same_lm(load_causal_lm(str(tmp_path)), small_lm(family))


def test_a_bert_decoder(tmp_path):
    save_checkpoint(tmp_path, small_lm("bert"), SETTINGS)
    lm = PaDeLLM.from_pretrained(str(tmp_path)).lm
    assert lm.model.config.is_decoder
    assert_same_lm(lm, small_lm("bert"))


@pytest.mark.parametrize("name", ["llama2", "gpt2"])
def test_real_tokenizers_come_back_the_same(name, tmp_path, request):
    tokenizer = load_tokenizer(name, request)
    family = {"llama2": "llama", "gpt2": "gpt2"}[name]
    lm = CausalLM(
        tiny_model(family, vocab_size=len(tokenizer)), tokenizer, support=tiny_lm(family).support
    )
    save_checkpoint(tmp_path, lm, Settings())
    assert_same_lm(load_causal_lm(str(tmp_path)), lm)


def test_saving_again_replaces(folder):
    """Also by the very model that was loaded from there."""
    model = PaDeLLM.from_pretrained(str(folder))
    lm = model.lm
    with torch.no_grad():
        lm.model.get_input_embeddings().weight.mul_(1.5)
    expected = plain_logits(lm.model, [1, 5, 9])
    save_checkpoint(folder, lm, replace(model.settings, softmax="vocabulary"))
    found = PaDeLLM.from_pretrained(str(folder))
    assert found.settings == replace(SETTINGS, softmax="vocabulary")
    assert torch.allclose(plain_logits(found.lm.model, [1, 5, 9]), expected, atol=1e-5)
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_files_of_a_larger_model_do_not_stay(folder):
    """Weights in several files come before a single one when transformers looks for them."""
    model = small_lm().model
    model.save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    lm = small_lm("gpt2")
    save_checkpoint(folder, lm, SETTINGS)
    assert [path.name for path in folder.glob("model*")] == ["model.safetensors"]
    assert_same_lm(load_causal_lm(str(folder)), lm)


def test_weights_in_several_files(folder):
    small_lm().model.save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    assert_same_lm(load_causal_lm(str(folder)), small_lm())
    next(iter(folder.glob("model-*.safetensors"))).unlink()
    with pytest.raises(ValueError, match=r"(?s)P042.*save it again"):
        load_causal_lm(str(folder))


def test_saving_that_fails_leaves_what_was_there(folder, monkeypatch):
    lm = small_lm("gpt2")
    monkeypatch.setattr(type(lm.tokenizer), "save_pretrained", _fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(folder, lm, SETTINGS)
    monkeypatch.undo()
    assert_same_lm(PaDeLLM.from_pretrained(str(folder)).lm, small_lm())


def test_folders_inside_are_replaced_and_what_was_left_over_goes(folder, monkeypatch):
    """A tokenizer with several chat templates has one of its own."""
    lm = small_lm()
    save = type(lm.tokenizer).save_pretrained

    def save_with_folder(tokenizer, path, **kwargs):
        (Path(path) / "additional_chat_templates").mkdir()
        (Path(path) / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
        return save(tokenizer, path, **kwargs)

    monkeypatch.setattr(type(lm.tokenizer), "save_pretrained", save_with_folder)
    (folder / ".saving").mkdir()
    (folder / ".saving" / "model.safetensors").write_text("half")
    for _ in range(2):
        save_checkpoint(folder, lm, SETTINGS)
    assert not list(folder.glob(".saving*"))
    assert [path.name for path in folder.glob("*/*")] == ["tools.jinja"]
    assert_same_lm(PaDeLLM.from_pretrained(str(folder)).lm, lm)


_WRITES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")


def save_until(folder: Path, lm: CausalLM, most: int) -> bool:
    """Save in a process that dies at its n-th change to a folder; return whether it got to its end.

    What transformers writes from Rust is no event of Python's.
    """
    child = os.fork()
    if child == 0:
        changes = 0

        def watch(event: str, args: tuple[object, ...]) -> None:
            nonlocal changes
            if event not in _WRITES or (event == "open" and not is_for_writing(args)):
                return
            changes += any(str(folder) in str(each) for each in args)
            if changes > most:
                os._exit(1)

        sys.addaudithook(watch)
        try:
            save_checkpoint(folder, lm, SETTINGS)
            os._exit(0)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def is_for_writing(args: tuple[object, ...]) -> bool:
    mode, flags = args[1], args[2]
    if isinstance(mode, str):
        return not mode.startswith("r")
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked on POSIX systems only")
def test_a_save_that_is_killed_leaves_the_old_checkpoint_or_the_new_one(folder, tmp_path):
    old, new = small_lm(), small_lm("gpt2")
    found = []
    for most in range(100):
        copy = Path(shutil.copytree(folder, tmp_path / f"copy-{most}"))
        is_done = save_until(copy, new, most)
        loaded = PaDeLLM.from_pretrained(str(copy))
        is_new = loaded.lm.model.config.model_type == "gpt2"
        assert_same_lm(loaded.lm, new if is_new else old)
        assert loaded.settings == SETTINGS
        found.append(is_new)
        # The next save makes up for it.
        save_checkpoint(copy, old, SETTINGS)
        assert_same_lm(PaDeLLM.from_pretrained(str(copy)).lm, old)
        assert not (copy / ".saving").exists()
        if is_done:
            break
    assert is_done and len(found) > 10
    assert found == sorted(found) and not found[0] and sum(found) > 5


def interrupted(folder: Path, lm: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save, but stop before the first file takes the place of an old one."""
    replace = os.replace

    def stop(source, target) -> None:
        if Path(target).parent == folder:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, lm, SETTINGS)
    monkeypatch.undo()
    assert (folder / ".saving" / "saved.json").is_file()


def test_names_in_the_list_of_a_save_lead_nowhere(folder, tmp_path, monkeypatch):
    interrupted(folder, small_lm("gpt2"), monkeypatch)
    other = tmp_path / "other"
    (other / "inner").mkdir(parents=True)
    listed = folder / ".saving" / "saved.json"
    names = json.loads(listed.read_text())
    listed.write_text(json.dumps([*names, str(other), "../other", ".."]))
    loaded = PaDeLLM.from_pretrained(str(folder))
    assert loaded.lm.model.config.model_type == "gpt2" and (other / "inner").is_dir()


def test_a_first_save_that_was_interrupted_is_found(tmp_path, monkeypatch):
    folder = tmp_path / "new"
    interrupted(folder, small_lm(), monkeypatch)
    assert is_checkpoint(str(folder))
    assert_same_lm(PaDeLLM.from_pretrained(str(folder)).lm, small_lm())


def test_several_may_finish_a_save(folder, monkeypatch):
    interrupted(folder, small_lm("gpt2"), monkeypatch)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: load_settings(str(folder)), range(16)))
    assert found == [SETTINGS] * 16
    assert_same_lm(PaDeLLM.from_pretrained(str(folder)).lm, small_lm("gpt2"))


def test_a_folder_that_may_only_be_read(folder, monkeypatch):
    interrupted(folder, small_lm("gpt2"), monkeypatch)

    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ValueError, match=r"P059.*Permission denied"):
        PaDeLLM.from_pretrained(str(folder))


@pytest.mark.parametrize(
    "family, lost", [("llama", "model.layers.1."), ("gpt2", "transformer.h.0")]
)
def test_weights_that_lack_parameters(tmp_path, family, lost):
    """Transformers itself fills them in at random."""
    save_checkpoint(tmp_path, small_lm(family), SETTINGS)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.startswith(lost)}
    assert 0 < len(kept) < len(weights)
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"P044.*lack {len(weights) - len(kept)} .*{lost}"):
        load_causal_lm(str(tmp_path))


def test_a_folder_in_the_home_directory(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load_settings(f"~/{folder.name}") == SETTINGS
    assert_same_lm(load_causal_lm(f"~/{folder.name}"), small_lm())


def _fail(*args, **kwargs):
    raise OSError("disk full")


def test_half_precision(tmp_path):
    lm = small_lm()
    lm.model.bfloat16()
    save_checkpoint(tmp_path, lm, SETTINGS)
    assert (
        load_causal_lm(str(tmp_path), options=LoadOptions(dtype="bfloat16")).model.dtype
        == torch.bfloat16
    )
    loaded = load_causal_lm(str(tmp_path))
    assert loaded.model.dtype == torch.float32
    assert loaded.support.way == "cached"


def test_a_hugging_face_folder_without_settings(folder):
    (folder / SETTINGS_FILE).unlink()
    assert load_settings(str(folder)) is None
    lm = load_causal_lm(str(folder))
    assert not lm.bidirectional_prefix
    assert_same_lm(lm, small_lm())
    with pytest.raises(ValueError, match=rf"P041.*{SETTINGS_FILE} is missing"):
        PaDeLLM.from_pretrained(str(folder))


# Settings


@pytest.mark.parametrize("wrong", ["\n", '{"format": 2, "template": "en"}'])
def test_settings_that_cannot_be_read(folder, wrong):
    (folder / SETTINGS_FILE).write_text(wrong, encoding="utf8")
    for load in (load_settings, PaDeLLM.from_pretrained):
        with pytest.raises(
            ValueError, match=rf"P040.*{SETTINGS_FILE}.*Save the pipeline or checkpoint again"
        ) as error:
            load(str(folder))
        assert str(folder / SETTINGS_FILE) in str(error.value)


def test_settings_that_are_cut_off(folder):
    """Anywhere, in the middle of a Chinese character too."""
    whole = SETTINGS.to_json().encode()
    for size in range(1, len(whole) - 2):
        (folder / SETTINGS_FILE).write_bytes(whole[:size])
        with pytest.raises(
            ValueError, match=rf"P040.*{SETTINGS_FILE}.*Save the pipeline or checkpoint again"
        ):
            load_settings(str(folder))


# Folders


@pytest.mark.parametrize("name", ["/no/such/folder", "./no_such_folder", "a/b/no_such_folder"])
def test_a_folder_that_is_not_there(name):
    for load in (load_settings, load_causal_lm, PaDeLLM.from_pretrained):
        with pytest.raises(ValueError, match=rf"P041.*{name}.*the folder itself is missing.*Give"):
            load(name)


@pytest.mark.parametrize("name", ["no_such_model", "nobody/no_such_model"])
def test_a_hub_id_that_cannot_be_reached(name):
    for load in (load_settings, load_causal_lm, PaDeLLM.from_pretrained):
        with pytest.raises(
            ValueError,
            match=rf"(?s)P042.*{name}: there is no such folder.*hub id that you can access",
        ):
            load(name)


def test_the_folder_of_a_pipeline(folder, tmp_path):
    pipeline = tmp_path / "pipeline"
    shutil.copytree(folder, pipeline / "padellm_ner" / "model")
    for load in (load_settings, load_causal_lm, PaDeLLM.from_pretrained):
        with pytest.raises(ValueError, match=r"P047.*spacy\.load.*padellm_ner.model$"):
            load(str(pipeline))


def test_an_empty_folder(tmp_path):
    for load in (load_settings, load_causal_lm, PaDeLLM.from_pretrained):
        with pytest.raises(ValueError, match=r"P041.*config\.json is missing.*save it again"):
            load(str(tmp_path))


@pytest.mark.parametrize(
    "file, missing",
    [
        ("config.json", "config.json"),
        ("model.safetensors", "weights (model.safetensors)"),
        ("tokenizer.json", "a tokenizer (tokenizer.json)"),
    ],
)
def test_a_file_is_missing(folder, file, missing):
    (folder / file).unlink()
    for load in (load_settings, load_causal_lm, PaDeLLM.from_pretrained):
        with pytest.raises(ValueError, match="P041") as error:
            load(str(folder))
        assert f"{missing} is missing" in str(error.value)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_a_file_is_cut_off(folder, file, share):
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: int(share * len(content))])
    for load in (load_causal_lm, PaDeLLM.from_pretrained):
        with pytest.raises(ValueError, match=r"(?s)P042.*save it again") as error:
            load(str(folder))
        assert str(folder) in str(error.value)


def test_a_tokenizer_without_an_end_token(folder):
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        if path.exists():
            config = json.loads(path.read_text())
            config.pop("eos_token", None)
            path.write_text(json.dumps(config))
    lm = load_causal_lm(str(folder))
    if lm.tokenizer.eos_token_id is not None:
        lm.tokenizer.eos_token = None
    with pytest.raises(ValueError, match=r"P010.*has no end token.*add_special_tokens"):
        TextEncoder(lm.tokenizer)


@pytest.mark.parametrize("name", ["int8", "fp16", "nn", ""])
def test_unknown_dtypes(name, saved):
    with pytest.raises(ValueError, match=r"P043.*Use float32, bfloat16 or float16"):
        load_causal_lm(str(saved), options=LoadOptions(dtype=name))
