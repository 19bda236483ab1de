from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("spacy")

import spacy
import transformers
from spacy.language import Language
from spacy.tokens import Doc

from spacy_padellm.checkpoints.saving import save_checkpoint
from spacy_padellm.decode.decoder import ParallelDecoder
from spacy_padellm.decode.mentions import DecodedMention
from spacy_padellm.pipeline.docs import tokenized
from spacy_padellm.settings import Settings
from spacy_padellm.texts import TokenizedText
from spacy_padellm.tree.causal_lm import CausalLM
from tests.pipeline.toy_pipeline import (
    checkpoint_nlp,
    component,
    entities,
    fresh_nlp,
    gold_places,
    initialized_nlp,
    make_example,
    mentions,
    places,
    toy_examples,
)
from tests.toy_corpus import LABELS, SENTENCES, parse

TEXT = "Ada met Bob Hill in Rome ."
ENTITIES = [("Ada", "PER"), ("Bob Hill", "PER"), ("Rome", "LOC")]
# Twelve sentences the model knows, more than it has positions for.
LONG = SENTENCES[:12]
WHOLE = {"@span_getters": "spacy-transformers.doc_spans.v1"}


def as_text(markups: Sequence[str]) -> str:
    return " ".join(parse(markup).source.text for markup in markups)


# What it finds


def test_works_without_initialize(toy_checkpoint: Path):
    nlp = checkpoint_nlp(toy_checkpoint)
    doc = nlp(TEXT)
    assert entities(doc) == mentions(doc) == ENTITIES
    scores = doc.spans["padellm"].attrs["scores"]
    assert all(0 < score <= 1 for score in scores)
    assert [ent._.score for ent in doc.ents] == pytest.approx(scores.tolist())


def test_finds_all_mentions_of_all_texts(toy_nlp: Language):
    for example, doc in zip(
        toy_examples(toy_nlp), toy_nlp.pipe(eg.text for eg in toy_examples(toy_nlp)), strict=True
    ):
        assert places(doc.spans["padellm"]) == gold_places(example)


def test_nested_mentions_are_spans_and_the_better_one_an_entity(toy_nlp: Language):
    doc = toy_nlp("The University of Oslo hired Dan .")
    assert mentions(doc) == [("University of Oslo", "ORG"), ("Oslo", "LOC"), ("Dan", "PER")]
    scores = doc.spans["padellm"].attrs["scores"].tolist()
    better = max((scores[i], mentions(doc)[i]) for i in (0, 1))
    assert entities(doc) == [better[1], ("Dan", "PER")]
    assert doc.ents[0]._.score == pytest.approx(better[0])


def test_the_same_string_at_two_places(toy_nlp: Language):
    assert places(toy_nlp("Ada asked Ada why .").ents) == [(0, 3, "PER"), (10, 13, "PER")]


@pytest.mark.parametrize("batch_size", [1, 4, 63, 100])
def test_pipe_agrees_with_call(toy_nlp: Language, batch_size: int):
    texts = [*(parse(markup).source.text for markup in SENTENCES[:30]), "", " ", "Rome"]
    one_by_one = [toy_nlp(text) for text in texts]
    piped = list(toy_nlp.pipe(texts, batch_size=batch_size))
    assert [doc.text for doc in piped] == texts
    for doc, expected in zip(piped, one_by_one, strict=True):
        assert places(doc.ents) == places(expected.ents)
        assert mentions(doc) == mentions(expected)
        assert doc.spans["padellm"].attrs["scores"].tolist() == pytest.approx(
            expected.spans["padellm"].attrs["scores"].tolist(), abs=1e-4
        )


def test_predicting_leaves_docs_as_they_are(toy_nlp: Language):
    doc = toy_nlp.make_doc(TEXT)
    (found,) = component(toy_nlp).predict([doc])
    assert [(TEXT[m.start : m.end], m.label) for m in found] == ENTITIES
    assert not doc.ents and not doc.spans


# Settings of what is written, with a model that writes what a test wants

Written = list[tuple[str, str, float]]
Write = Callable[..., Doc]


@pytest.fixture
def write(toy_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Run a pipeline whose model writes these labels, strings and probabilities."""

    def places_of(text: str, string: str) -> tuple[tuple[int, int], ...]:
        starts = [i for i in range(len(text)) if text.startswith(string, i)]
        return tuple((i, i + len(string)) for i in starts)

    def make(text: str, written: Written, before: Language | None = None, **config: Any) -> Doc:
        def decode(
            self: ParallelDecoder, texts: Sequence[TokenizedText]
        ) -> list[list[DecodedMention]]:
            return [
                [
                    DecodedMention(label, places_of(each.text, string), math.log(probability))
                    for label, string, probability in written
                    if string in each.text
                ]
                for each in texts
            ]

        monkeypatch.setattr(ParallelDecoder, "decode", decode)
        nlp = checkpoint_nlp(toy_checkpoint, **config)
        return nlp(before(text) if before is not None else text)

    return make


AMBIGUOUS: Written = [("LOC", "Paris", 0.5), ("LOC", "Paris", 0.25), ("PER", "Paris", 0.75)]


def scored(doc: Doc) -> list[tuple[int, str, float]]:
    group = doc.spans["padellm"]
    rows = zip(group, group.attrs["scores"].tolist(), strict=True)
    return [(span.start, span.label_, score) for span, score in rows]


def test_a_string_stays_under_its_most_probable_label(write: Write):
    doc = write("Paris saw Paris", AMBIGUOUS)
    assert scored(doc) == [(0, "PER", 0.75)]
    assert entities(doc) == [("Paris", "PER")]


def test_deduplication_by_place(write: Write):
    doc = write("Paris saw Paris", AMBIGUOUS, deduplicate="span")
    assert scored(doc) == [(0, "PER", 0.75), (2, "LOC", 0.25)]


def test_mentions_mark_all_occurrences(write: Write):
    doc = write("Paris saw Paris", AMBIGUOUS, occurrences="all")
    assert scored(doc) == [(0, "PER", 0.75), (2, "PER", 0.75)]


def test_threshold(write: Write):
    assert scored(write("Paris saw Paris", AMBIGUOUS, threshold=0.75)) == [(0, "PER", 0.75)]
    doc = write("Paris saw Paris", AMBIGUOUS, threshold=0.76)
    assert scored(doc) == [] and not doc.ents


def test_another_spans_key(write: Write):
    doc = write("Paris saw Paris", AMBIGUOUS, spans_key="found")
    assert list(doc.spans) == ["found"] and mentions(doc, "found") == [("Paris", "PER")]


@pytest.mark.parametrize("overwrite", [False, True])
def test_entities_of_an_earlier_component(write: Write, overwrite: bool):
    ruler = spacy.blank("en")
    patterns = [
        {"label": "GPE", "pattern": "York", "id": "york"},
        {"label": "FOOD", "pattern": "pie"},
    ]
    ruler.add_pipe("entity_ruler").add_patterns(patterns)
    written = [("LOC", "New York", 0.5), ("PER", "Ada", 0.5)]
    doc = write("Ada had pie in New York", written, ruler, overwrite=overwrite)
    assert mentions(doc) == [("Ada", "PER"), ("New York", "LOC")]
    found, name = (("New York", "LOC"), "") if overwrite else (("York", "GPE"), "york")
    assert entities(doc) == [("Ada", "PER"), ("pie", "FOOD"), found]
    assert [ent.id_ for ent in doc.ents] == ["", "", name]
    assert [ent._.score is None for ent in doc.ents] == [False, True, not overwrite]


OVERLAPPING = {
    "@span_getters": "spacy-transformers.strided_spans.v1",
    "window": 4,
    "stride": 2,
}


def test_overlapping_windows_are_merged(write: Write, monkeypatch: pytest.MonkeyPatch):
    # Windows: "Ada saw Bob and", "Bob and Cleo", and each finds what it can see.
    written = [("PER", "Ada", 0.5), ("PER", "Bob", 0.25), ("PER", "Cleo", 0.75)]
    doc = write("Ada saw Bob and Cleo", written, get_spans=OVERLAPPING)
    assert scored(doc) == [(0, "PER", 0.5), (2, "PER", 0.25), (4, "PER", 0.75)]


def test_max_mentions(toy_checkpoint: Path):
    few, many = (checkpoint_nlp(toy_checkpoint, max_mentions=n) for n in (1, 5))
    assert sum(label == "PER" for _, label in mentions(few(TEXT))) <= 1
    assert sum(label == "PER" for _, label in mentions(many(TEXT))) == 2


def test_max_mention_tokens(toy_checkpoint: Path):
    doc = checkpoint_nlp(toy_checkpoint, max_mention_tokens=1)(TEXT)
    assert {len(span) for span in doc.spans["padellm"]} == {1}


# Texts longer than the model's positions


def test_long_texts_are_read_in_windows_without_being_told(toy_checkpoint: Path):
    """Those that fit are read whole, long ones all the way."""
    nlp = checkpoint_nlp(toy_checkpoint)
    short = nlp(TEXT)
    model = component(nlp).padellm
    assert len(model.cut(tokenized(short))) == 1
    doc = nlp(as_text(LONG))
    windows = model.cut(tokenized(doc))
    last = windows[-1]
    assert len(windows) > 1 and last.start + len(last.text.text) == len(doc.text)
    found = set(places(doc.spans["padellm"]))
    assert {end for _, end, _ in found} & set(range(last.start, len(doc.text)))


def test_windows_that_do_not_fit_are_errors(toy_checkpoint: Path):
    nlp = checkpoint_nlp(toy_checkpoint, get_spans=WHOLE)
    with pytest.raises(ValueError, match=r"\[P023\].*96 positions\..*`get_spans`"):
        nlp(as_text(LONG))


def test_sentences_as_windows(toy_checkpoint: Path):
    nlp = checkpoint_nlp(
        toy_checkpoint, get_spans={"@span_getters": "spacy-transformers.sent_spans.v1"}
    )
    nlp.add_pipe("sentencizer", before="padellm_ner")
    doc = nlp(as_text(LONG))
    expected, start = [], 0
    for markup in LONG:
        annotated = parse(markup)
        expected += [(m.start + start, m.end + start, m.label) for m in annotated.mentions]
        start += len(annotated.source.text) + 1
    assert places(doc.spans["padellm"]) == expected


def test_strided_windows(toy_checkpoint: Path):
    # Windows of one sentence each, as all of these have five tokens.
    sentences = ["[Ada|PER] works for [Acme|ORG] .", "[Dan|PER] asked [Dan|PER] why ."] * 8
    nlp = checkpoint_nlp(toy_checkpoint, get_spans={**OVERLAPPING, "window": 5, "stride": 5})
    doc = nlp(as_text(sentences))
    assert len(doc) == 80
    one = [("Ada", "PER"), ("Acme", "ORG"), ("Dan", "PER"), ("Dan", "PER")]
    assert mentions(doc) == one * 8


def test_overlapping_windows_of_a_long_text(toy_checkpoint: Path):
    nlp = checkpoint_nlp(toy_checkpoint, get_spans={**OVERLAPPING, "window": 12, "stride": 6})
    doc = nlp(as_text(LONG))
    model = component(checkpoint_nlp(toy_checkpoint)).padellm
    best: dict[tuple[int, int], tuple[float, str]] = {}
    windows = [doc[first : first + 12] for first in range(0, len(doc) - 6, 6)]
    assert windows[-1].end == len(doc)
    for window in windows:
        start = window.start_char
        tokens = tuple((t.idx - start, t.idx - start + len(t)) for t in window)
        for m in model.predict([TokenizedText(window.text, tokens)], nested=True)[0]:
            place = (m.start + start, m.end + start)
            at_edge = place[0] == start or place[1] == window.end_char
            # It may be cut off: another window that reads on knows better.
            if at_edge and any(w.start_char < place[0] and place[1] < w.end_char for w in windows):
                continue
            best[place] = max((m.score, m.label), best.get(place, (0.0, "")))
    assert best
    assert places(doc.spans["padellm"]) == sorted((*key, best[key][1]) for key in best)
    scores = doc.spans["padellm"].attrs["scores"].tolist()
    assert scores == pytest.approx([best[key][0] for key in sorted(best)], abs=1e-4)


def test_whole_docs_as_windows(toy_checkpoint: Path):
    nlp = checkpoint_nlp(toy_checkpoint, get_spans=WHOLE)
    assert entities(nlp(TEXT)) == ENTITIES
    with pytest.raises(ValueError, match=r"\[P023\]"):
        nlp(as_text(LONG))


def test_a_failing_text_fails_alone(toy_checkpoint: Path):
    nlp = checkpoint_nlp(toy_checkpoint, get_spans=WHOLE)
    failed = []
    nlp.set_error_handler(lambda name, pipe, docs, error: failed.append((name, docs, error)))
    texts = ["Ada asked Ada why .", as_text(LONG), TEXT]
    found = list(nlp.pipe(texts, batch_size=3))
    assert [doc.text for doc in found] == [texts[0], texts[2]]
    assert entities(found[1]) == ENTITIES
    ((name, docs, error),) = failed
    assert name == "padellm_ner" and [doc.text for doc in docs] == [texts[1]]
    assert "[P023]" in str(error)


def test_a_failing_text_is_an_error_by_default(toy_checkpoint: Path):
    nlp = checkpoint_nlp(toy_checkpoint, get_spans=WHOLE)
    found = nlp.pipe([TEXT, as_text(LONG)], batch_size=1)
    assert entities(next(found)) == ENTITIES
    with pytest.raises(ValueError, match=r"\[P023\]"):
        next(found)


# Labels


def test_labels(toy_checkpoint: Path):
    pipe = component(checkpoint_nlp(toy_checkpoint))
    assert pipe.labels == tuple(LABELS)
    assert pipe.label_data == {label: label for label in LABELS}
    nlp = checkpoint_nlp(toy_checkpoint, labels={"PER": "PER", "PLACE": "LOC"})
    assert component(nlp).labels == ("PER", "PLACE")
    # The wording is what the model reads, the label what the doc says.
    assert entities(nlp(TEXT)) == [("Ada", "PER"), ("Bob Hill", "PER"), ("Rome", "PLACE")]
    nlp = checkpoint_nlp(toy_checkpoint, labels=["LOC"])
    assert entities(nlp(TEXT)) == [("Rome", "LOC")]


@pytest.fixture
def worded(toy_checkpoint: Path, tmp_path: Path) -> Path:
    """The checkpoint with labels that are not their own wordings."""
    folder = shutil.copytree(toy_checkpoint, tmp_path / "worded")
    settings = json.loads((folder / "padellm.json").read_text())
    settings["labels"] = {"PERSON": "PER", "PLACE": "LOC"}
    (folder / "padellm.json").write_text(json.dumps(settings))
    return folder


def test_labels_of_a_checkpoint_keep_their_wording(worded: Path, recwarn):
    nlp = checkpoint_nlp(worded, labels=["PLACE", "ORG"])
    assert component(nlp).label_data == {"PLACE": "LOC", "ORG": "ORG"}
    assert entities(checkpoint_nlp(worded, labels=["PLACE"])(TEXT)) == [("Rome", "PLACE")]
    component(nlp).initialize(lambda: toy_examples(nlp), labels=["PERSON", "PLACE"])
    assert component(nlp).label_data == {"PERSON": "PER", "PLACE": "LOC"}
    assert not [w for w in recwarn if "W206" in str(w.message)]


def test_untrained_labels_are_told_of(worded: Path, tmp_path: Path):
    nlp = checkpoint_nlp(worded, labels={"PERSON": "PER", "FOOD": "FOOD", "ANIMAL": "animal"})
    with pytest.warns(UserWarning, match=r"\[W206\] padellm_ner .*find FOOD, ANIMAL, and goes"):
        nlp(TEXT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=r"\[W20[89]\]")
        nlp(TEXT)  # once
        # Known by another name.
        checkpoint_nlp(worded, labels={"P": "PER"})(TEXT)
        # Trained with them.
        pipe = component(nlp)
        pipe.update(toy_examples(nlp)[:2], sgd=nlp.create_optimizer())
        # Its labels are looked at again.
        pipe.shim.set_labels(pipe.label_data)
        nlp(TEXT)
        nlp.to_disk(tmp_path / "saved")
        spacy.load(tmp_path / "saved")(TEXT)
        # Trained with some of a checkpoint's labels, it still knows the others.
        nlp = checkpoint_nlp(worded, labels=["PER"])
        component(nlp).initialize(lambda: toy_examples(nlp), labels=["PERSON"])
        component(nlp).update(toy_examples(nlp)[:2], sgd=nlp.create_optimizer())
        component(nlp).add_label("PLACE", "LOC")
        nlp(TEXT)


def test_labels_are_in_the_meta_once_known(toy_checkpoint: Path):
    nlp = checkpoint_nlp(toy_checkpoint)
    assert "padellm_ner" not in nlp.pipe_labels
    nlp(TEXT)
    assert nlp.pipe_labels["padellm_ner"] == nlp.meta["labels"]["padellm_ner"] == LABELS


def test_add_label(toy_checkpoint: Path):
    nlp = checkpoint_nlp(toy_checkpoint, labels=["LOC"])
    pipe = component(nlp)
    assert entities(nlp(TEXT)) == ENTITIES[2:]
    assert pipe.add_label("PERSON", "PER") == 1
    assert pipe.add_label("PERSON", "other") == 0
    assert pipe.add_label("ORG") == 1
    assert pipe.label_data == {"LOC": "LOC", "PERSON": "PER", "ORG": "ORG"}
    assert entities(nlp(TEXT))[:2] == [("Ada", "PERSON"), ("Bob Hill", "PERSON")]


def test_initialize_takes_labels_from_the_examples():
    nlp = initialized_nlp(["[University of [Oslo|LOC]|ORG]", "[Ada|PER] left [Rome|LOC]"])
    assert component(nlp).labels == ("LOC", "ORG", "PER")
    nlp = initialized_nlp(["[Ada|PER] left [Rome|LOC]"], labels={"ZIP": "zip", "LOC": "place"})
    assert component(nlp).label_data == {"ZIP": "zip", "LOC": "place", "PER": "PER"}


@pytest.mark.parametrize("labels", [["B", "A"], {"B": "wording of B", "A": "A"}])
def test_initialize_takes_labels_from_a_file(labels: Any, tmp_path: Path):
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    nlp = fresh_nlp()
    reader = {"@readers": "spacy.read_labels.v1", "path": str(tmp_path / "labels.json")}
    nlp.config["initialize"]["components"]["padellm_ner"] = {"labels": reader}
    nlp.initialize(lambda: [make_example(nlp, "[Ada|PER] left")])
    assert component(nlp).labels == ("B", "A")
    expected = labels if isinstance(labels, dict) else {label: label for label in labels}
    assert component(nlp).label_data == expected


def test_initialize_gives_back_what_label_data_gave():
    first = initialized_nlp(labels={"PER": "person"})
    second = fresh_nlp()
    pipe = component(second)
    pipe.initialize(lambda: toy_examples(second), labels=component(first).label_data)
    assert pipe.label_data == {"PER": "person", "LOC": "LOC", "ORG": "ORG"}


# What can be wrong


@pytest.fixture
def copied(toy_checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(toy_checkpoint, tmp_path / "checkpoint")


def test_building_it_loads_nothing(monkeypatch: pytest.MonkeyPatch):
    def load(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("loaded")

    for name in ("AutoTokenizer", "PreTrainedModel"):
        monkeypatch.setattr(getattr(transformers, name), "from_pretrained", load)
    # A name that is not there is not looked at, either.
    nlp = checkpoint_nlp(Path("/absent/folder"), labels=["PER"])
    assert nlp.pipe_names == ["padellm_ner"]
    assert "padellm_ner" in nlp.config["components"]
    with pytest.raises(ValueError, match=r"\[P041\] /absent/folder .* the folder itself"):
        nlp(TEXT)


def test_without_a_model():
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner", config={"model": {"name": ""}})
    for run in (lambda: nlp(TEXT), lambda: list(nlp.pipe([TEXT])), lambda: nlp.to_bytes()):
        with pytest.raises(ValueError, match=r"\[P201\].*Set `model\.name`"):
            run()


def test_without_labels(copied: Path):
    (copied / "padellm.json").unlink()
    nlp = checkpoint_nlp(copied)
    with pytest.raises(ValueError, match=r"\[P033\].*Set `labels`"):
        nlp(TEXT)
    nlp = checkpoint_nlp(copied, labels=["PER"], model={"prefix_attention": "bidirectional"})
    assert {label for _, label in mentions(nlp(TEXT))} == {"PER"}


def test_empty_label_list(toy_checkpoint: Path):
    with pytest.raises(ValueError, match=r"\[P033\].*Set `labels`"):
        checkpoint_nlp(toy_checkpoint, labels=[])(TEXT)
    nlp = fresh_nlp(labels=[])
    with pytest.raises(ValueError, match=r"\[P204\].*'padellm_ner'.*Set `labels`"):
        nlp.initialize(lambda: [make_example(nlp, "Nobody left")])


@pytest.mark.parametrize("labels", [["A\nB"], {"AB": "A\nB"}, ["A\u2028B"], ["A\r"]])
def test_label_with_a_line_break(toy_checkpoint: Path, labels: Any):
    with pytest.raises(ValueError, match=r"\[P008\].*Keep both to one line"):
        checkpoint_nlp(toy_checkpoint, labels=labels)(TEXT)
    nlp = fresh_nlp(labels=labels)
    with pytest.raises(ValueError, match=r"\[P008\].*Keep both to one line"):
        nlp.initialize(lambda: [make_example(nlp, "[Ada|PER] left")])


@pytest.mark.parametrize("labels", [[""], [" "], {"PER": ""}])
def test_empty_label(toy_checkpoint: Path, labels: Any):
    with pytest.raises(ValueError, match=r"\[P007\].*a name and a wording"):
        checkpoint_nlp(toy_checkpoint, labels=labels)(TEXT)


def test_labels_of_a_wrong_type(toy_checkpoint: Path):
    with pytest.raises(ValueError, match=r"\[P203\].*'PER'.* a list"):
        checkpoint_nlp(toy_checkpoint, labels="PER")


def cut(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])


def remove(folder: Path, name: str) -> None:
    (folder / name).unlink()


@pytest.mark.parametrize(
    "damage, name, code, remedy",
    [
        (remove, "config.json", "P041", "config.json is missing. Give the folder"),
        (remove, "model.safetensors", "P041", "weights .* is missing. Give the folder"),
        (remove, "tokenizer.json", "P041", "a tokenizer .* is missing. Give the folder"),
        (cut, "model.safetensors", "P042", "If saving was interrupted, save it again"),
        (cut, "config.json", "P042", "If saving was interrupted, save it again"),
        (cut, "tokenizer.json", "P042", "If saving was interrupted, save it again"),
        (cut, "padellm.json", "P040", "padellm.json.*Save the pipeline or checkpoint again"),
    ],
)
def test_half_written_checkpoints(
    copied: Path, damage: Callable, name: str, code: str, remedy: str
):
    damage(copied, name)
    with pytest.raises(ValueError, match=rf"(?s)\[{code}\].*{copied}.*{remedy}"):
        checkpoint_nlp(copied)(TEXT)


def test_a_file_in_place_of_a_folder(tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(b"weights")
    with pytest.raises(ValueError, match=r"\[P041\].*config\.json is missing"):
        checkpoint_nlp(tmp_path / "model.bin")(TEXT)


def test_a_tokenizer_without_an_end_token(toy_nlp: Language, tmp_path: Path):
    lm = component(toy_nlp).shim.lm
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=lm.tokenizer.backend_tokenizer, name_or_path="some/name"
    )
    endless = CausalLM(lm.model, tokenizer, support=lm.support)
    save_checkpoint(tmp_path / "model", endless, Settings(labels={"PER": "PER"}))
    with pytest.raises(ValueError, match=r"\[P010\].*no end token.*eos_token"):
        checkpoint_nlp(tmp_path / "model")(TEXT)


@pytest.mark.parametrize(
    "config, code",
    [
        ({"threshold": 1.5}, "P030"),
        ({"threshold": -0.1}, "P030"),
        ({"decode": "some"}, "P031"),
        ({"deduplicate": "label"}, "P031"),
        ({"occurrences": "first"}, "P031"),
        ({"max_mentions": 0}, "P032"),
        ({"max_mention_tokens": 0}, "P032"),
    ],
)
def test_settings_out_of_range(config: dict[str, Any], code: str):
    (name,) = config
    with pytest.raises(ValueError, match=rf"\[{code}\] {name} is "):
        checkpoint_nlp(Path("/absent/folder"), **config)


def test_a_fresh_model_has_to_be_trained():
    nlp = fresh_nlp(labels=["PER"])
    with pytest.raises(ValueError, match=r"\[P202\].*Call `nlp\.initialize\(\)`"):
        nlp(TEXT)


@pytest.mark.parametrize(("deduplicate", "count"), [("string", 1), ("span", 2)])
def test_a_string_has_one_label_in_a_doc_across_windows(
    toy_checkpoint: Path, deduplicate: str, count: int, monkeypatch: pytest.MonkeyPatch
):
    windows = {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 2, "stride": 2}
    found = [("LOC", 0.9), ("PER", 0.4)]

    def decode(self: ParallelDecoder, texts: Sequence[TokenizedText]) -> list[list[DecodedMention]]:
        assert [text.text for text in texts] == ["Paris met", "Paris ."]
        return [[DecodedMention(label, ((0, 5),), math.log(score))] for label, score in found]

    monkeypatch.setattr(ParallelDecoder, "decode", decode)
    nlp = checkpoint_nlp(toy_checkpoint, get_spans=windows, deduplicate=deduplicate)
    doc = nlp("Paris met Paris .")
    assert len(doc.spans["padellm"]) == count
    assert entities(doc) == [("Paris", "LOC"), ("Paris", "PER")][:count]
