from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("tenacity")

from spacy_padellm.checkpoints.loading import load_settings, load_tokenizer
from spacy_padellm.checkpoints.saving import save_checkpoint
from spacy_padellm.model import PaDeLLM
from spacy_padellm.served.client import Server
from spacy_padellm.served.lm import ServedLM, ServedPaDeLLM
from spacy_padellm.served.source import ServedSource
from spacy_padellm.settings import DecodingOptions, Settings
from tests.served.server_double import NAME, ServerDouble
from tests.trained import TEXTS, trained_lm

SERVER = Server("http://here", NAME)


def settings_of(**changes) -> Settings:
    return replace(trained_lm()[1], softmax="vocabulary", prefix_attention="causal", **changes)


def served_lm(double: ServerDouble | None = None) -> ServedLM:
    lm = trained_lm()[0]
    transport = None if double is None else double.transport
    return ServedLM("folder", lm.tokenizer, SERVER, 2, transport)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint without weights."""
    save_checkpoint(tmp_path, trained_lm()[0], settings_of())
    (tmp_path / "model.safetensors").unlink()
    return tmp_path


def test_it_finds_the_entities_that_the_model_finds_here():
    lm = trained_lm()[0]
    texts = [text.source for text in TEXTS]
    options = DecodingOptions(tag_share=0.0, decode="all")
    expected = PaDeLLM(lm, settings_of(), options).predict(texts)
    found = ServedPaDeLLM(served_lm(ServerDouble(lm)), settings_of(), options).predict(texts)
    for own, others in zip(found, expected, strict=True):
        for a, b in zip(own, others, strict=True):
            assert (a.start, a.end, a.label) == (b.start, b.end, b.label)
            assert a.score == pytest.approx(b.score, abs=1e-4)
    assert sum(map(len, found)) > 5


def test_long_texts_are_cut_into_windows():
    lm = trained_lm()[0]
    one = TEXTS[0].source
    long = " ".join([one.text] * 6)
    alone = ServedPaDeLLM(served_lm(ServerDouble(lm)), settings_of())
    most = len(alone.encode(one).prefix) * 2 + 30
    double = ServerDouble(lm, max_depth=most)
    padellm = ServedPaDeLLM(served_lm(double), settings_of())
    assert len(padellm.cut(long)) > 1
    (found,) = padellm.predict([long])
    assert {"PER", "LOC"} <= {entity.label for entity in found}
    longest = max(len(ids) + body["max_tokens"] for body in double.bodies for ids in body["prompt"])
    assert longest <= most


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"prefix_attention": "bidirectional"}, "both directions"),
        ({"softmax": "admissible"}, "over admissible ids"),
        ({"output_format": "augmented"}, "'augmented', not 'parallel'"),
    ],
)
def test_models_that_a_server_cannot_run_exactly(changes, reason):
    with pytest.raises(ValueError, match=rf"P096.*folder.*{reason}"):
        ServedPaDeLLM(served_lm(), replace(settings_of(), **changes))


def test_text_tags_cannot_be_read():
    taught = replace(settings_of(), text_tags=True)
    with pytest.warns(UserWarning, match=r"W090.*folder"):
        ServedPaDeLLM(served_lm(), taught)
    with pytest.raises(ValueError, match=r"P096.*servers do not give"):
        ServedPaDeLLM(served_lm(), taught, DecodingOptions(decode="tags"))


def test_neither_trained_nor_saved(tmp_path):
    padellm = ServedPaDeLLM(served_lm(), settings_of())
    for attempt in (padellm.make_objective, lambda: padellm.save_pretrained(tmp_path)):
        with pytest.raises(ValueError, match=rf"P095.*'{NAME}'.*http://here"):
            attempt()
    with pytest.raises(ValueError, match="P095"):
        ServedSource("folder", SERVER, 1).create(settings_of(), ())


def test_no_weights_are_needed_here(folder):
    source = ServedSource(str(folder), SERVER, 3)
    assert source.load_settings(None) == settings_of()
    lm = source.load(settings_of(), None)
    assert lm.tokenizer.get_vocab() == trained_lm()[0].tokenizer.get_vocab()
    assert lm.concurrency == 3
    with pytest.raises(ValueError, match=r"P041.*weights"):
        load_settings(str(folder))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"P041.*tokenizer"):
        load_tokenizer(str(folder))


def test_labels_can_be_changed():
    padellm = ServedPaDeLLM(served_lm(), settings_of())
    other = padellm.with_settings(replace(settings_of(), labels={"PER": "person"}))
    assert isinstance(other, ServedPaDeLLM)
    assert list(other.encoder.labels) == ["PER"]
