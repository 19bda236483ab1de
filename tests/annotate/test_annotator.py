from __future__ import annotations

import pickle

import pytest

pytest.importorskip("spacy")
pytest.importorskip("pyarrow")

import pyarrow as pa
from spacy.language import Language

from spacy_padellm.annotate.annotator import ENTITIES_TYPE, Annotator
from spacy_padellm.pipeline.evaluation import load_pipeline
from tests.annotate.pipelines import rule_pipeline

MODEL = "padellm_en_small"
TEXT = "Ada Lovelace met Bob Hill in Rome ."


def batch_of(*texts: str | None, **columns: object) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.string()), **columns})


def test_it_finds_what_the_pipeline_finds():
    annotate = Annotator(MODEL)
    found = annotate(batch_of("", TEXT, n=pa.array([1, 2])))
    assert found.schema.names == ["text", "n", "entities", "error"]
    assert found.schema.field("entities").type == ENTITIES_TYPE
    doc = load_pipeline(MODEL, "en")(TEXT)
    assert doc.ents
    expected = [
        {
            "start": ent.start_char,
            "end": ent.end_char,
            "label": ent.label_,
            "score": pytest.approx(ent._.score, abs=1e-4),
        }
        for ent in doc.ents
    ]
    assert found.column("entities").to_pylist() == [[], expected]
    assert found.column("error").null_count == 2
    assert found.column("n").to_pylist() == [1, 2]


def test_it_is_pickled_without_the_pipeline():
    annotate = Annotator(MODEL, entities_field="found")
    first = annotate(batch_of(TEXT))
    sent = pickle.dumps(annotate)
    assert len(sent) < 1000
    assert pickle.loads(sent)(batch_of(TEXT)).equals(first)


def test_what_is_drafted_does_not_depend_on_the_machines_speed():
    (pipe,) = (pipe for _, pipe in Annotator(MODEL).load().pipeline)
    assert isinstance(pipe.shim.options.draft_threshold, float)
    (pipe,) = (pipe for _, pipe in Annotator(f"{MODEL}:draft_threshold=0.5").load().pipeline)
    assert pipe.shim.options.draft_threshold == 0.5


def test_settings_of_the_component():
    assert Annotator(f"{MODEL}:threshold=1.0")(batch_of(TEXT)).column("entities").to_pylist() == [
        []
    ]


def test_tokens_are_kept(tmp_path):
    """An entity can start and end only where a token does."""
    rule_pipeline({"Ada": "PER"}).to_disk(tmp_path / "rules")
    annotate = Annotator(str(tmp_path / "rules"), tokens_field="tokens")
    tokens = pa.array([[[0, 3], [3, 4]], [[0, 4]]], pa.list_(pa.list_(pa.int64())))
    found = annotate(batch_of("Ada!", "Ada!", tokens=tokens)).column("entities").to_pylist()
    assert [len(each) for each in found] == [1, 0]


def test_a_pipeline_without_scores(tmp_path):
    rule_pipeline({"Ada": "PER"}).to_disk(tmp_path / "rules")
    found = Annotator(str(tmp_path / "rules"))(batch_of("Ada"))
    entity = {"start": 0, "end": 3, "label": "PER", "score": None}
    assert found.column("entities").to_pylist() == [[entity]]


def test_a_text_that_fails_is_marked(tmp_path):
    nlp = rule_pipeline({"Ada": "PER"}, component="fails_on_no")
    nlp.max_length = 20
    nlp.to_disk(tmp_path / "rules")
    annotate = Annotator(str(tmp_path / "rules"))
    annotate.load().max_length = 20
    found = annotate(batch_of("Ada", "Ada says no", None, "Ada " * 10, "Ada again"))
    reasons = found.column("error").to_pylist()
    assert [reason is None for reason in reasons] == [True, False, False, False, True]
    assert reasons[1] == "fails_on_no: RuntimeError: it says no"
    assert reasons[2] == "there is no text"
    assert "E088" in reasons[3]
    entities = found.column("entities").to_pylist()
    assert [each is None for each in entities] == [False, True, True, True, False]
    # The reasons of one batch do not appear in the next.
    assert annotate(batch_of("Bob", "Bob")).column("error").null_count == 2


def test_a_model_that_cannot_be_asked_is_no_texts_fault(tmp_path):
    rule_pipeline({}, component="is_gone").to_disk(tmp_path / "rules")
    with pytest.raises(OSError, match="the server is gone"):
        Annotator(str(tmp_path / "rules"))(batch_of("Ada", "Bob"))


def test_the_vocabulary_does_not_grow(tmp_path):
    rule_pipeline({"Ada": "PER"}).to_disk(tmp_path / "rules")
    annotate = Annotator(str(tmp_path / "rules"))
    annotate(batch_of("Ada"))
    nlp: Language = annotate.load()
    before = len(nlp.vocab.strings)
    annotate(batch_of(*(f"word{n} other{n}" for n in range(500))))
    assert len(nlp.vocab.strings) == before
    (entities,) = annotate(batch_of("Ada")).column("entities").to_pylist()
    assert entities[0]["label"] == "PER"


def test_columns_that_are_there_already():
    batch = pa.RecordBatch.from_pydict({"text": ["Ada"], "error": ["none"]})
    with pytest.raises(ValueError, match=r"\[P521\].*'error'.*`error_field`"):
        Annotator("padellm_en_small")(batch)


def test_a_bundled_model_comes_before_a_folder_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "padellm_en_small").mkdir()
    assert Annotator("padellm_en_small").model == "padellm_en_small"
    assert Annotator("./padellm_en_small").model == str(tmp_path / "padellm_en_small")
