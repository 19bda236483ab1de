"""The component with a model behind a server."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("spacy")
pytest.importorskip("tenacity")
pytest.importorskip("httpx")

import httpx
import spacy
from spacy.training import Example

from spacy_padellm.checkpoints.saving import save_checkpoint
from spacy_padellm.pipeline.evaluation import device_of
from spacy_padellm.served.client import CompletionClient, ServerError
from tests.served.server_double import ServerDouble
from tests.trained import TEXTS, trained_lm

OPTIONS = {"tag_share": 0.0, "decode": "all"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lm, settings = trained_lm()
    settings = replace(settings, softmax="vocabulary")
    save_checkpoint(tmp_path / "checkpoint", lm, settings)
    return tmp_path / "checkpoint"


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> ServerDouble:
    """What all clients talk to."""
    server = ServerDouble(trained_lm()[0])
    connect = CompletionClient.__init__
    monkeypatch.setattr(
        CompletionClient,
        "__init__",
        lambda self, stated, transport=None: connect(self, stated, server.transport),
    )
    return server


def pipeline(folder: Path, **changes):
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy_padellm.ServedLM.v1", "name": str(folder), "url": "http://h/"}
    nlp.add_pipe("padellm_ner", config={"model": {**model, **changes}, **OPTIONS})
    return nlp


def entities(nlp) -> list[list[tuple[str, str]]]:
    docs = nlp.pipe([text.source.text for text in TEXTS])
    return [[(ent.text, ent.label_) for ent in doc.ents] for doc in docs]


def test_it_finds_what_the_model_finds_here(folder, double):
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner", config={"model": {"name": str(folder)}, **OPTIONS})
    found = entities(pipeline(folder))
    assert found == entities(nlp)
    assert any(found)


def test_nothing_is_sent_before_the_first_text(folder, double):
    nlp = pipeline(folder)
    assert nlp.get_pipe("padellm_ner").labels == tuple(trained_lm()[1].labels)
    assert double.paths == []
    entities(nlp)
    assert double.paths[0] == "/v1/models" and double.bodies


def test_where_it_runs_is_the_server(folder, double):
    nlp = pipeline(folder)
    entities(nlp)
    assert device_of([nlp]) == "http://h"


def test_the_key_is_not_saved(folder, double, tmp_path, monkeypatch):
    monkeypatch.setenv("SERVER_KEY", "s3cret")
    nlp = pipeline(folder, api_key_env="SERVER_KEY")
    expected = entities(nlp)
    assert double.headers[0]["authorization"] == "Bearer s3cret"
    nlp.to_disk(tmp_path / "saved")
    files = [path for path in (tmp_path / "saved").rglob("*") if path.is_file()]
    assert not any(b"s3cret" in path.read_bytes() for path in files)
    assert not any(path.suffix == ".safetensors" for path in files)
    assert entities(spacy.load(tmp_path / "saved")) == expected


def test_training_is_refused(folder, double):
    nlp = pipeline(folder)
    doc = nlp.make_doc(TEXTS[0].source.text)
    with pytest.raises(ValueError, match="P095"):
        nlp.initialize(lambda: [Example(doc, doc.copy())])


def test_a_server_that_refuses(folder, double):
    double.fault = lambda number, body: httpx.Response(404, text="no such model")
    with pytest.raises(ServerError, match=r"P091.*no such model"):
        entities(pipeline(folder))


def test_a_text_that_the_server_refuses(folder, double):
    """Only this text fails."""
    nlp = pipeline(folder)
    texts = [text.source.text for text in TEXTS[:4]]
    encoder = nlp.get_pipe("padellm_ner").padellm.encoder
    refused = encoder.encode(TEXTS[1].source).prefix

    def fault(number, body):
        if any(prompt[: len(refused)] == refused for prompt in body["prompt"]):
            return httpx.Response(400, text="not this one")

    double.fault = fault
    failed: list[str] = []
    nlp.set_error_handler(lambda name, pipe, docs, error: failed.extend(doc.text for doc in docs))
    assert [doc.text for doc in nlp.pipe(texts)] == [texts[0], *texts[2:]]
    assert failed == [texts[1]]


def test_a_trained_pipeline_whose_model_is_served_now(folder, double, tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner", config={"model": {"name": str(folder)}, **OPTIONS})
    expected = entities(nlp)
    nlp.to_disk(tmp_path / "trained")
    config = nlp.config.copy()
    config["components"]["padellm_ner"]["model"] = {
        "@architectures": "spacy_padellm.ServedLM.v1",
        "name": str(tmp_path / "trained" / "padellm_ner" / "model"),
        "url": "http://h",
    }
    config.to_disk(tmp_path / "trained" / "config.cfg")
    assert entities(spacy.load(tmp_path / "trained")) == expected
    assert double.bodies


@pytest.mark.parametrize("key", ["timeout", "retry_for", "concurrency"])
def test_numbers_are_checked(folder, key):
    with pytest.raises(ValueError, match=rf"P097.*`{key}` is 0"):
        pipeline(folder, **{key: 0})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_fork_makes_its_own_connections(folder, double, monkeypatch):
    nlp = pipeline(folder)
    entities(nlp)
    made: list[object] = []
    connect = httpx.Client.__init__

    def note(client: httpx.Client, **options: object) -> None:
        made.append(client)
        connect(client, **options)

    monkeypatch.setattr(httpx.Client, "__init__", note)
    entities(nlp)
    assert not made
    monkeypatch.setattr(os, "getpid", lambda: -1)
    entities(nlp)
    assert len(made) == 1


def test_a_server_that_is_gone_fails_a_batch_at_once(folder, double):
    """The other texts would only wait for it again."""
    double.fault = lambda number, body: httpx.Response(404, text="gone")
    nlp = pipeline(folder, concurrency=1)
    failed: list[int] = []
    nlp.set_error_handler(lambda name, pipe, docs, error: failed.append(len(docs)))
    assert list(nlp.pipe([text.source.text for text in TEXTS[:4]])) == []
    assert failed == [4]
    assert len(double.bodies) == 1


def test_a_server_that_is_gone_while_texts_are_tried_alone(folder, double):
    """One text of the batch is refused; then the server goes away."""

    def fault(number, body):
        return httpx.Response(400, text="no") if number == 0 else httpx.Response(404, text="gone")

    double.fault = fault
    nlp = pipeline(folder, concurrency=1)
    failed: list[tuple[int, str]] = []
    nlp.set_error_handler(
        lambda name, pipe, docs, error: failed.append((len(docs), type(error).__name__))
    )
    assert list(nlp.pipe([text.source.text for text in TEXTS[:4]])) == []
    assert failed == [(4, "ServerError")]
    assert len(double.bodies) == 2
