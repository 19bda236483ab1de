from __future__ import annotations

import pytest

from spacy_padellm.benchmark.datasets import Dataset
from spacy_padellm.benchmark.decoders import parse_spec
from spacy_padellm.benchmark.run import BenchmarkRun, Contender
from spacy_padellm.benchmark.subjects import ReplayingModel, TrainedModel, TrainedModels
from spacy_padellm.decode.replicas import Replicas
from spacy_padellm.model import PaDeLLM
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText
from spacy_padellm.tree.causal_lm import CausalLM
from tests.sample_texts import cut_at_spaces
from tests.tiny_models import random_lm, tiny_model
from tests.trained import TEXTS, trained_lm

LM, SETTINGS = trained_lm()
MODEL = PaDeLLM(LM, SETTINGS)
WORDED = dict(SETTINGS.labels)
DATASET = Dataset("toy", TEXTS, TEMPLATES["en"], WORDED)


def specs(*names: str):
    return [parse_spec(name) for name in names]


def run(subject, dataset: Dataset, *names: str):
    done: list[int] = []
    benchmark = BenchmarkRun(subject, specs(*names), done.append)
    benchmark.run(dataset)
    assert sum(done) == len(dataset.texts)
    return {row["decoder"]: row for row in benchmark.rows}


def test_trained_models_are_scored():
    rows = run(TrainedModels([TrainedModel("a", MODEL)]), DATASET, "tree", "batch", "multi")
    assert list(rows) == ["tree", "batch", "multi"]
    for row in rows.values():
        assert (row["dataset"], row["texts"], row["left_out"]) == ("toy", len(TEXTS), None)
        assert (row["mentions_f"], row["malformed"], row["ungrounded"]) == (1.0, 0, 0)
        # Of mentions that overlap one is an entity, and not always the one of gold.
        assert 0.9 < row["ents_f"] <= 1
        assert row["latency_ms"]["mean"] > 0
    assert rows["multi"]["host_share"] is None
    assert 0 < rows["tree"]["host_share"] < 1
    assert rows["tree"]["passes"] < rows["batch"]["passes"]
    assert rows["tree"]["distinct_tokens"] <= rows["tree"]["tokens"] < rows["batch"]["tokens"]


def test_replicas_are_measured_beside_the_model():
    model = PaDeLLM(LM, SETTINGS, replicas=Replicas(["cpu", "cpu"]))
    for subject in [
        TrainedModels([TrainedModel("a", model)]),
        ReplayingModel(random_lm("llama"), replicas=Replicas(["cpu", "cpu"])),
    ]:
        benchmark = BenchmarkRun(subject, specs("tree", "replicas"), lambda n: None, 1e9)
        benchmark.run(DATASET)
        tree, several = benchmark.rows
        assert several["texts"] == tree["texts"] == len(TEXTS)
        assert several["mentions_f"] == tree["mentions_f"]
        assert several["passes"] > tree["passes"]
        assert several["latency_ms"]["mean"] > 0
        # Passes at the same time are no part of the time.
        assert several["host_share"] is several["floor_share"] is None
        assert tree["host_share"] > 0 and tree["floor_share"] > 0


def test_what_is_wrong_lowers_the_scores():
    wrong = [
        AnnotatedText(text.source, (*text.mentions[1:], Mention(*text.source.tokens[0], "ORG")))
        for text in TEXTS
    ]
    dataset = Dataset("wrong", wrong, TEMPLATES["en"], dict(SETTINGS.labels))
    (row,) = run(TrainedModels([TrainedModel("a", MODEL)]), dataset, "tree").values()
    assert 0 < row["mentions_f"] < 1
    assert 0 < row["ents_f"] < 1


def test_labels_a_text_is_not_annotated_for_do_not_count():
    only = "PER"
    texts = [
        AnnotatedText(t.source, tuple(m for m in t.mentions if m.label == only), (only,))
        for t in TEXTS
    ]
    dataset = Dataset("partial", texts, TEMPLATES["en"], dict(SETTINGS.labels))
    (row,) = run(TrainedModels([TrainedModel("a", MODEL)]), dataset, "tree").values()
    assert row["mentions_f"] == 1.0


def test_a_replay_measures_no_quality():
    names = ["tree", "structured-lookup"]
    costs = []
    for seed in range(2):
        lm = random_lm("llama", "en", "causal", seed)
        rows = run(ReplayingModel(lm), DATASET, *names)
        for row in rows.values():
            scores = [row[name] for name in ("mentions_f", "ents_f", "malformed", "ungrounded")]
            assert scores == [None] * 4
            assert row["left_out"] == 0
        costs.append([(rows[name]["passes"], rows[name]["tokens"]) for name in names])
    assert costs[0] == costs[1]


def test_invented_labels_cost_no_more_than_their_tokens():
    """Labels are branches of the same pass: tokens grow with them, passes do not."""
    lm = random_lm("llama", "en", "causal", 0)
    rows = {n: run(ReplayingModel(lm, n), DATASET, "tree")["tree"] for n in (4, 16, 64)}
    assert rows[4]["passes"] == rows[64]["passes"]
    step = (rows[16]["tokens"] - rows[4]["tokens"]) / 12
    assert rows[64]["tokens"] <= rows[16]["tokens"] + 48 * step * 1.2


def test_gold_that_cannot_be_replayed_is_counted():
    start, end = TEXTS[0].source.tokens[0]
    odd = (Mention(start, end - 1, "PER"), Mention(start, end, "UNKNOWN"))
    texts = [AnnotatedText(TEXTS[0].source, (*TEXTS[0].mentions, *odd))]
    dataset = Dataset("odd", texts, TEMPLATES["en"], dict(SETTINGS.labels))
    rows = run(ReplayingModel(random_lm("llama", "en", "causal", 0)), dataset, "tree")
    assert rows["tree"]["left_out"] == 2


def test_texts_that_do_not_fit_are_left_out_for_all():
    texts = [AnnotatedText(TokenizedText("a " * 60, ((0, 1),)), ()), *TEXTS]
    dataset = Dataset("long", texts, TEMPLATES["en"], dict(SETTINGS.labels))
    subject = TrainedModels([TrainedModel("a", MODEL)])
    for names in (["tree", "batch"], ["tree@4", "tree"]):
        for row in run(subject, dataset, *names).values():
            assert (row["texts"], row["too_long"], row["mentions_f"]) == (len(TEXTS), 1, 1.0)


def test_a_text_that_does_not_fit_leaves_the_others_together():
    long = AnnotatedText(TokenizedText("a " * 60, ((0, 1),)), ())
    subject = TrainedModels([TrainedModel("a", MODEL)])
    name = f"tree@{len(TEXTS) + 1}"
    passes = [
        run(subject, Dataset("long", texts, TEMPLATES["en"], dict(SETTINGS.labels)), name)[name]
        for texts in ([*TEXTS, long], TEXTS)
    ]
    assert passes[0]["passes"] == passes[1]["passes"] and passes[0]["too_long"] == 1


def test_a_replay_that_does_not_fit_is_not_cut_off():
    """The text does, but not what is written of it."""
    lm = random_lm("llama", "en", "causal", 0)
    source = cut_at_spaces("Anna " * 20 + "Anna")
    mentions = tuple(Mention(start, end, "PER") for start, end in source.tokens)
    dataset = Dataset("long", [AnnotatedText(source, mentions), *TEXTS], TEMPLATES["en"], WORDED)
    rows = run(ReplayingModel(lm), dataset, "structured")
    assert rows["structured"]["too_long"] == 1
    assert rows["structured"]["texts"] == len(TEXTS)
    (row,) = run(ReplayingModel(lm), dataset, "tree").values()
    assert row["too_long"] == 0


def test_labels_the_model_does_not_know_count_as_missed():
    text = TEXTS[0]
    more = AnnotatedText(text.source, (*text.mentions, Mention(*text.source.tokens[0], "NEW")))
    dataset = Dataset("more", [more], TEMPLATES["en"], {**SETTINGS.labels, "NEW": "NEW"})
    (row,) = run(TrainedModels([TrainedModel("a", MODEL)]), dataset, "tree").values()
    assert row["mentions_f"] < 1


def test_the_bandwidth_floor():
    """Weights read once a pass, at a speed that makes it a second."""
    weights = sum(p.numel() * 4 for p in LM.model.parameters())
    subject = TrainedModels([TrainedModel("a", MODEL)])
    benchmark = BenchmarkRun(subject, specs("tree"), lambda n: None, float(weights))
    benchmark.run(DATASET)
    (row,) = benchmark.rows
    seconds = row["latency_ms"]["mean"] / 1000
    assert row["floor_share"] == pytest.approx(row["passes"] * 1.0 / seconds)


def test_an_interruption_keeps_texts_that_are_done(monkeypatch):
    benchmark = BenchmarkRun(
        TrainedModels([TrainedModel("a", MODEL)]), specs("tree", "batch"), lambda n: None
    )
    measured = []
    measure = Contender.measure

    def interrupt(self, texts):
        measured.append(texts)
        # Both have warmed up and been measured on three texts, one of them on the fourth.
        if len(measured) == 2 + 3 * 2 + 2:
            raise KeyboardInterrupt
        return measure(self, texts)

    monkeypatch.setattr(Contender, "measure", interrupt)
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(DATASET)
    assert [row["texts"] for row in benchmark.rows] == [3, 3]


def test_an_interruption_before_the_first_text(monkeypatch):
    benchmark = BenchmarkRun(
        TrainedModels([TrainedModel("a", MODEL)]), specs("tree"), lambda n: None
    )

    def interrupt(self, texts):
        raise KeyboardInterrupt

    monkeypatch.setattr(Contender, "measure", interrupt)
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(DATASET)
    assert benchmark.rows == []


def test_batches_of_texts():
    rows = run(TrainedModels([TrainedModel("a", MODEL)]), DATASET, "tree", "tree@3")
    assert rows["tree"]["texts"] == rows["tree@3"]["texts"] == len(TEXTS)
    assert rows["tree@3"]["passes"] < rows["tree"]["passes"]
    assert rows["tree@3"]["tokens"] == pytest.approx(rows["tree"]["tokens"])
    assert rows["tree@3"]["mentions_f"] == 1.0
    # Texts decoded together have no latency of their own.
    assert rows["tree@3"]["latency_ms"] == {"mean": None, "p50": None, "p95": None}
    assert rows["tree@3"]["texts_per_s"] > 0


def test_as_many_texts_at_once_as_the_name_says():
    """However long they are: passes are those of the text that takes most."""
    words = "Anna met Bob in Rome and Paris . " * 40
    long = AnnotatedText(cut_at_spaces(words.strip()), ())
    lm = random_lm("llama", "en", "causal", 0)
    lm = CausalLM(tiny_model("llama", vocab_size=500, max_position_embeddings=4000), lm.tokenizer)
    dataset = Dataset("long", [long] * 6, TEMPLATES["en"], dict(SETTINGS.labels))
    assert len(words) > 1024
    for kind in ("tree", "structured"):
        rows = run(ReplayingModel(lm), dataset, kind, f"{kind}@6")
        assert rows[f"{kind}@6"]["passes"] * 6 == pytest.approx(rows[kind]["passes"])


def test_a_decoder_needs_a_model_that_writes_its_format():
    subject = TrainedModels([TrainedModel("a", MODEL)])
    with pytest.raises(ValueError, match=r"P412.*augmented-lookup.*'augmented'"):
        run(subject, DATASET, "augmented-lookup")


def test_two_models_of_one_format():
    model = TrainedModel("a", MODEL)
    with pytest.raises(ValueError, match=r"P413.*'parallel'"):
        TrainedModels([model, model])


def test_a_corpus_of_other_labels():
    dataset = Dataset("other", TEXTS, TEMPLATES["en"], {"GENE": "GENE"})
    with pytest.raises(ValueError, match=r"P414.*other"):
        run(TrainedModels([TrainedModel("a", MODEL)]), dataset, "tree")
