from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import spacy_padellm
from spacy_padellm.calibration import Calibration
from spacy_padellm.checkpoints.options import LoadOptions
from spacy_padellm.decode.decoder import ParallelDecoder
from spacy_padellm.decode.mentions import keep_most_probable, non_overlapping
from spacy_padellm.decode.replicas import Replicas, SharedDecoder
from spacy_padellm.model import PaDeLLM
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import PRESETS, TEMPLATES
from spacy_padellm.settings import DecodingOptions, Overrides
from spacy_padellm.texts import AnnotatedText, Entity, Mention, TokenizedText
from spacy_padellm.train.objective import ParallelObjective
from spacy_padellm.tree.causal_lm import TextTooLongError
from tests.sample_texts import cut_at_spaces
from tests.trained import TEXTS, trained_lm

SOURCES = [text.source for text in TEXTS]
SENTENCE = "Ada Lovelace met Bob Dylan in New York."


def toy(**options) -> PaDeLLM:
    return PaDeLLM(*trained_lm(), DecodingOptions(**options))


def found_by(model: PaDeLLM, texts=SOURCES, *, nested: bool = True) -> list[tuple[Mention, ...]]:
    return [
        tuple(Mention(m.start, m.end, m.label) for m in mentions)
        for mentions in model.predict(texts, nested=nested)
    ]


def strings_of(text: str, entities: list[Entity]) -> list[tuple[str, str]]:
    return [(text[e.start : e.end], e.label) for e in entities]


@pytest.fixture(scope="module")
def bundled() -> PaDeLLM:
    return PaDeLLM.from_pretrained("padellm_en_small")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What has learnt a few texts by heart, saved."""
    path = tmp_path_factory.mktemp("toy") / "checkpoint"
    toy().save_pretrained(path)
    return path


# What is found


def test_what_was_learnt_is_found():
    model = toy()
    assert found_by(model) == [text.mentions for text in TEXTS]
    assert any(text.mentions for text in TEXTS)
    for entities in model.predict(SOURCES):
        assert all(0.5 < entity.score <= 1 for entity in entities)


def test_entities_overlap_only_where_asked():
    model = toy()
    nested = model.predict(SOURCES, nested=True)
    flat = model.predict(SOURCES)
    assert flat == [non_overlapping(entities) for entities in nested]
    assert flat != nested


def test_strings_are_split_into_tokens():
    model = toy()
    # The toy corpus' tokens are what words, marks and ideographs are in it.
    assert model.predict([source.text for source in SOURCES]) == model.predict(SOURCES)


def test_the_options_are_applied():
    assert found_by(toy(threshold=1.0)) == [()] * len(TEXTS)
    expected = toy().predict(SOURCES)
    plain = toy(draft_threshold=None, batch_tokens=1)
    for ours, theirs in zip(plain.predict(SOURCES), expected, strict=True):
        assert [replace(e, score=0) for e in ours] == [replace(e, score=0) for e in theirs]
        assert [e.score for e in ours] == pytest.approx([e.score for e in theirs], abs=1e-5)
    assert plain.cost.tokens == plain.cost.distinct_tokens


def test_only_the_labels_of_the_settings_are_looked_for():
    model = toy()
    people = model.with_settings(replace(model.settings, labels={"PER": "PER"}))
    assert found_by(people) == [
        tuple(m for m in text.mentions if m.label == "PER") for text in TEXTS
    ]
    # The other one is as it was.
    assert found_by(model) == [text.mentions for text in TEXTS]
    assert people.lm is model.lm and people.options is model.options


def test_what_another_encoder_encoded_is_a_text_like_others():
    model = toy()
    people = model.with_settings(replace(model.settings, labels={"PER": "PER"}))
    encoded = [people.encode(source) for source in SOURCES]
    assert found_by(model, encoded) == [text.mentions for text in TEXTS]


def test_no_labels():
    lm, settings = trained_lm()
    mute = PaDeLLM(lm, replace(settings, labels={}))
    with pytest.raises(ValueError, match=r"P033.*Set `labels`"):
        mute.predict(SOURCES)


def test_the_cost_so_far_is_a_copy():
    model = toy()
    before = model.cost
    assert before.passes == 0
    model.predict(SOURCES[:1])
    assert before.passes == 0
    assert model.cost.passes > 0


def test_no_texts():
    model = toy()
    assert model.predict([]) == []
    assert model.predict(["", TokenizedText("", ()), TokenizedText("Ada", ())]) == [[], [], []]


# Encoding, windows


def test_what_is_encoded_is_not_encoded_again():
    model = toy()
    texts = [model.encode(source) for source in SOURCES]
    assert all(model.encode(text) is text for text in texts)
    assert [model.cut(text)[0].text for text in texts] == texts
    assert model.predict(texts) == model.predict(SOURCES)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were encoded."""
    texts: list[str] = []
    encode = PromptEncoder.encode

    def recording(self, text):
        texts.append(text.text)
        return encode(self, text)

    monkeypatch.setattr(PromptEncoder, "encode", recording)
    return texts


def test_a_text_that_fits_is_encoded_once(encoded: list[str], bundled: PaDeLLM):
    model = toy()
    assert any(model.predict(SOURCES))
    assert encoded == [source.text for source in SOURCES]
    encoded.clear()
    # Text tags are read from what is encoded already, too.
    assert bundled.settings.reads_tags
    assert any(bundled.predict([SENTENCE, SENTENCE]))
    assert encoded == [SENTENCE] * 2


def test_a_text_that_fits_is_a_single_window():
    model = toy()
    (window,) = model.cut(SOURCES[0])
    assert (window.start, window.text.text) == (0, SOURCES[0].text)
    assert window.text.tokens == SOURCES[0].tokens
    assert model.cut("") == model.cut(TokenizedText("Ada", ())) == []


def test_what_stands_around_the_tokens_is_left_out():
    model = toy()
    text = TEXTS[0].source.text
    around = f"  \n{text} "
    (window,) = model.cut(around)
    assert (window.start, window.text.text) == (3, text)
    moved = [
        [replace(e, start=e.start + 3, end=e.end + 3) for e in entities]
        for entities in model.predict([text])
    ]
    assert moved[0]
    assert model.predict([around]) == moved


def test_long_texts_are_read_in_windows():
    model = toy()
    long = cut_at_spaces(
        " ".join([*["Ada met Bob Hill in Rome ."] * 12, "It rains in Oslo again ."])
    )
    assert not model.decoder.fits(model.encode(long))
    with pytest.raises(TextTooLongError, match="P023"):
        model.decoder.decode([model.encode(long)])
    windows = model.cut(long)
    assert len(windows) > 1
    assert all(model.decoder.fits(window.text) for window in windows)
    for window in windows:
        assert long.text[window.start :].startswith(window.text.text)
    expected = model.predict_windows([long.text], [windows])
    assert expected[0][-1].end > windows[-1].start > 0
    assert model.predict([long], nested=True) == expected
    assert model.predict([long]) == [non_overlapping(expected[0])]
    # Beside others, each as if alone.
    together = model.predict([SOURCES[0], long, SOURCES[1]], nested=True)
    assert [(e.start, e.end, e.label) for e in together[1]] == [
        (e.start, e.end, e.label) for e in expected[0]
    ]
    assert [len(entities) for entities in together[::2]] == [
        len(text.mentions) for text in TEXTS[:2]
    ]


def test_a_long_text_has_a_label_for_each_string():
    """Whatever its windows found."""
    model = toy()
    long = cut_at_spaces("Ada met Bob Hill in Rome . Acme left New York . " * 9)
    (entities,) = model.predict([long], nested=True)
    assert entities == keep_most_probable(long.text, entities, model.options)


def test_windows_that_are_given_are_read(bundled: PaDeLLM):
    text = f"{SENTENCE} {SENTENCE}"
    first, second = bundled.cut(SENTENCE), bundled.cut(SENTENCE)
    second = [replace(window, start=len(SENTENCE) + 1) for window in second]
    found, none = bundled.predict_windows([text, ""], [[*first, *second], []])
    assert none == []
    assert strings_of(text, found) == strings_of(SENTENCE, bundled.predict([SENTENCE])[0]) * 2


def test_a_window_that_is_too_long():
    model = toy()
    window = replace(model.cut(SOURCES[0])[0], text=model.encode("a " * 130))
    with pytest.raises(TextTooLongError, match="P023"):
        model.predict_windows(["a " * 130], [[window]])


# Loading and saving


def test_the_bundled_model_is_the_default(bundled: PaDeLLM):
    expected = [("Ada Lovelace", "PER"), ("Bob Dylan", "PER"), ("New York", "LOC")]
    assert strings_of(SENTENCE, bundled.predict([SENTENCE])[0]) == expected
    (found,) = PaDeLLM.from_pretrained().predict([SENTENCE])
    assert strings_of(SENTENCE, found) == expected


def test_a_checkpoint_is_saved_and_loaded(folder: Path, tmp_path: Path):
    model = toy()
    loaded = PaDeLLM.from_pretrained(str(folder))
    assert loaded.settings == model.settings
    assert loaded.predict(SOURCES, nested=True) == model.predict(SOURCES, nested=True)
    loaded.save_pretrained(str(tmp_path / "again"))
    again = PaDeLLM.from_pretrained(str(tmp_path / "again"))
    assert again.settings == model.settings
    assert again.predict(SOURCES) == model.predict(SOURCES)


def test_what_is_changed_is_saved(folder: Path, tmp_path: Path):
    model = PaDeLLM.from_pretrained(str(folder), labels=["PER"], max_mentions=2)
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "padellm.json").read_text(encoding="utf8"))
    assert saved["labels"] == {"PER": "PER"}
    assert saved["limits"] == {"max_mentions": 2, "max_mention_tokens": 4}
    assert PaDeLLM.from_pretrained(str(tmp_path)).settings == model.settings


def test_labels_that_are_stated_are_all_that_are_found(folder: Path):
    model = PaDeLLM.from_pretrained(str(folder), labels=["PER", "LOC"])
    assert model.settings.labels == {"PER": "PER", "LOC": "LOC"}
    assert found_by(model) == [tuple(m for m in t.mentions if m.label != "ORG") for t in TEXTS]
    renamed = PaDeLLM.from_pretrained(str(folder), labels={"person": "PER"})
    assert {m.label for mentions in found_by(renamed) for m in mentions} == {"person"}


def test_labels_are_worded_as_the_checkpoint_does():
    model = PaDeLLM.from_pretrained(labels=["LOC", "PER"])
    assert model.settings.labels == {"LOC": "location", "PER": "person"}
    found = strings_of(SENTENCE, model.predict([SENTENCE])[0])
    assert ("New York", "LOC") in found and ("Bob Dylan", "PER") in found


def test_options_of_all_kinds(folder: Path):
    model = PaDeLLM.from_pretrained(
        str(folder), dtype="float64", threshold=0.5, draft_threshold=None, max_mention_tokens=1
    )
    assert next(model.lm.model.parameters()).dtype.itemsize == 8
    assert model.options == DecodingOptions(threshold=0.5, draft_threshold=None)
    assert model.settings.max_mention_tokens == 1
    assert all(
        len(text.source.text[m.start : m.end].split()) == 1
        for text, mentions in zip(TEXTS, found_by(model), strict=True)
        for m in mentions
    )


def test_a_preset_and_a_template_go_by_name(folder: Path):
    model = PaDeLLM.from_pretrained(str(folder), preset="conll03", template="zh")
    assert model.settings.labels == PRESETS["conll03"].labels
    assert model.settings.template == TEMPLATES["zh"]
    with pytest.raises(ValueError, match=r"P031.*preset is 'conll'.*conll03"):
        PaDeLLM.from_pretrained(str(folder), preset="conll")
    with pytest.raises(ValueError, match=r"P005.*'fr'"):
        PaDeLLM.from_pretrained(str(folder), template="fr")


def test_a_label_it_was_not_trained_with_is_saved_as_one(folder: Path, tmp_path: Path):
    PaDeLLM.from_pretrained(str(folder), labels=["PER", "FOO"]).save_pretrained(tmp_path / "two")
    assert "FOO" not in PaDeLLM.from_pretrained(str(tmp_path / "two")).settings.trained
    # Nor does it come to be trained by being loaded and saved once more.
    PaDeLLM.from_pretrained(str(tmp_path / "two")).save_pretrained(tmp_path / "again")
    again = PaDeLLM.from_pretrained(str(tmp_path / "again")).settings
    assert list(again.labels) == ["PER", "FOO"] and "FOO" not in again.trained


def test_a_single_string_is_no_list(folder: Path):
    with pytest.raises(ValueError, match=r"P035.*texts is the string 'Ada Lovelace met"):
        toy().predict(SENTENCE)
    with pytest.raises(ValueError, match=r"P035.*devices is the string 'cpu'.*\['cpu'\]"):
        PaDeLLM.from_pretrained(str(folder), devices="cpu")


def test_there_is_no_such_option(folder: Path):
    with pytest.raises(TypeError, match=r"P036.*no option 'treshold'.*: .*threshold") as caught:
        PaDeLLM.from_pretrained(str(folder), treshold=0.5)
    known = str(caught.value).rsplit(": ", 1)[1].split(", ")
    kinds = (LoadOptions, DecodingOptions, Overrides)
    assert known == sorted(each.name for kind in kinds for each in fields(kind))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"threshold": 2}, "P030.*threshold is 2"),
        ({"occurrences": "some"}, "P031.*occurrences"),
        ({"batch_tokens": 0}, "P032.*batch_tokens"),
        ({"max_mentions": 0}, "P032.*max_mentions"),
        ({"labels": "PER"}, "P203.*'PER'"),
        ({"softmax": "hard"}, "P031.*softmax"),
        ({"labels": {"PER": " "}}, "P007.*PER"),
        ({"device": "nowhere"}, "P045.*nowhere"),
    ],
)
def test_values_that_are_not_possible(folder: Path, options: dict, message: str):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        PaDeLLM.from_pretrained(str(folder), **options)


def test_a_checkpoint_that_does_not_say_what_it_was_trained_with(folder: Path, tmp_path: Path):
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "padellm.json").unlink()
    name = str(tmp_path)
    with pytest.raises(ValueError, match=r"P041.*padellm\.json is missing"):
        PaDeLLM.from_pretrained(name, max_mentions=4)
    limits = {"max_mentions": 4, "max_mention_tokens": 4}
    model = PaDeLLM.from_pretrained(name, labels=["LOC", "ORG", "PER"], **limits)
    assert model.settings == trained_lm()[1]
    assert found_by(model) == [text.mentions for text in TEXTS]
    preset = PaDeLLM.from_pretrained(name, preset=PRESETS["conll03"])
    assert preset.settings.labels == PRESETS["conll03"].labels


def test_no_such_checkpoint(tmp_path: Path):
    with pytest.raises(ValueError, match="P04"):
        PaDeLLM.from_pretrained(str(tmp_path / "nowhere"), labels=["PER"])


# The average of several


def moved(checkpoint: Path, folder: Path, by: float) -> str:
    """The same with all weights moved."""
    shutil.copytree(checkpoint, folder)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: weight + by for name, weight in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    return str(folder)


def assert_weights(found: PaDeLLM, expected: PaDeLLM, by: float = 0.0, within: float = 0.0) -> None:
    """The same weights, but for what they were moved by."""
    pairs = zip(found.lm.model.parameters(), expected.lm.model.parameters(), strict=True)
    for ours, theirs in pairs:
        assert torch.allclose(ours, theirs + by, rtol=0, atol=within)


def test_weights_are_averaged(folder: Path, tmp_path: Path):
    others = [moved(folder, tmp_path / name, by) for name, by in (("a", 0.5), ("b", 0.25))]
    average = PaDeLLM.from_average([str(folder), *others])
    expected = PaDeLLM.from_pretrained(str(folder))
    assert average.settings == expected.settings
    assert_weights(average, expected, by=0.25, within=1e-6)


def test_weights_are_averaged_by_shares(folder: Path, tmp_path: Path):
    other = moved(folder, tmp_path / "other", 0.5)
    average = PaDeLLM.from_average([str(folder), other], [1.5, 0.5])
    assert_weights(average, PaDeLLM.from_pretrained(str(folder)), by=0.125, within=1e-6)


def test_an_average_knows_what_any_of_them_does(folder: Path, tmp_path: Path):
    others = [moved(folder, tmp_path / name, 0.0) for name in "ab"]
    for name, words in zip(others, (["LOC", "river"], ["PER", "river", "lake"]), strict=True):
        path = Path(name) / "padellm.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "trained": words}))
    average = PaDeLLM.from_average(others)
    assert average.settings.trained == ("LOC", "river", "PER", "lake")


def test_an_average_is_not_calibrated(folder: Path, tmp_path: Path):
    others = [moved(folder, tmp_path / name, 0.5) for name in "ab"]
    for name, temperature in zip(others, (2.0, 3.0), strict=True):
        path = Path(name) / "padellm.json"
        calibration = {"written": temperature, "tags": 1.0}
        path.write_text(json.dumps({**json.loads(path.read_text()), "calibration": calibration}))
    assert PaDeLLM.from_average(others).settings == PaDeLLM.from_pretrained(str(folder)).settings
    assert PaDeLLM.from_average(others[:1]).settings.calibration == Calibration(written=2.0)


@pytest.mark.parametrize("wrong", [{"written": 0}, {"tags": "hot"}, {"words": 1.0}, 2.0])
def test_a_calibration_that_is_not_possible(folder: Path, tmp_path: Path, wrong):
    copy = Path(moved(folder, tmp_path / "copy", 0.0))
    content = json.loads((copy / "padellm.json").read_text())
    (copy / "padellm.json").write_text(json.dumps({**content, "calibration": wrong}))
    with pytest.raises(ValueError, match=r"P040.*copy"):
        PaDeLLM.from_pretrained(str(copy))


def test_thresholds_of_labels_that_are_not_looked_for(folder: Path):
    with pytest.warns(UserWarning, match=r"W093.*not among the model's: CITY\. .*PER"):
        PaDeLLM.from_pretrained(str(folder), threshold={"PER": 0.5, "CITY": 0.5})


def test_of_one_it_is_that_one(folder: Path):
    average = PaDeLLM.from_average([str(folder)])
    assert_weights(average, PaDeLLM.from_pretrained(str(folder)))


def test_an_average_is_loaded_with_the_same_options(folder: Path, tmp_path: Path):
    """All that is averaged, so that nothing but weights may differ."""
    other = moved(folder, tmp_path / "other", 0.5)
    options = {"labels": ["PER"], "max_mentions": 2, "threshold": 0.5, "dtype": "float64"}
    average = PaDeLLM.from_average([str(folder), other], **options)
    expected = PaDeLLM.from_pretrained(str(folder), **options)
    assert (average.settings, average.options) == (expected.settings, expected.options)
    assert average.lm.model.dtype == torch.float64
    assert_weights(average, expected, by=0.25, within=1e-6)


def test_checkpoints_that_differ(folder: Path, tmp_path: Path):
    other = moved(folder, tmp_path / "other", 0.0)
    settings = Path(other) / "padellm.json"
    changed = {**json.loads(settings.read_text()), "labels": {"PER": "person"}}
    settings.write_text(json.dumps(changed))
    with pytest.raises(ValueError, match=rf"\[P049\].*{folder.name}.*other"):
        PaDeLLM.from_average([str(folder), other])


# Devices


@pytest.mark.parametrize("count", [1, 2, 3])
def test_replicas_find_the_same(folder: Path, count: int):
    one = PaDeLLM.from_pretrained(str(folder))
    several = PaDeLLM.from_pretrained(str(folder), devices=["cpu"] * count)
    assert isinstance(several.decoder, ParallelDecoder if count == 1 else SharedDecoder)
    for texts in (SOURCES, SOURCES[:1], SOURCES[:2]):
        pairs = list(zip(several.predict(texts), one.predict(texts), strict=True))
        assert any(expected for _, expected in pairs)
        for found, expected in pairs:
            assert [replace(e, score=0) for e in found] == [replace(e, score=0) for e in expected]
            scores = [e.score for e in expected]
            assert [e.score for e in found] == pytest.approx(scores, abs=1e-5)
    assert several.cost.passes > 0
    # Other settings are run on the same devices.
    people = several.with_settings(replace(several.settings, labels={"PER": "PER"}))
    assert people.replicas is several.replicas
    assert {m.label for mentions in found_by(people) for m in mentions} == {"PER"}


def test_replicas_are_renewed_when_weights_have_changed(folder: Path):
    """As between two evaluations while a model is trained."""
    loaded = PaDeLLM.from_pretrained(str(folder))
    replicas = Replicas(["cpu", "cpu"])
    model = PaDeLLM(loaded.lm, loaded.settings, replicas=replicas)
    before = found_by(model)
    for parameter in loaded.lm.model.parameters():
        parameter.data.mul_(-0.5)
    replicas.outdate()
    assert found_by(model) == found_by(PaDeLLM(loaded.lm, loaded.settings)) != before


def test_one_device_or_several(folder: Path):
    with pytest.raises(ValueError, match=r"P065.*'meta'.*cpu, cpu"):
        PaDeLLM.from_pretrained(str(folder), device="meta", devices=["cpu", "cpu"])
    with pytest.raises(ValueError, match=r"P068.*\(cpu, cpu\) and a device_map"):
        PaDeLLM.from_pretrained(str(folder), devices=["cpu", "cpu"], device_map="auto")
    with pytest.raises(ValueError, match=r"(?s)P045.*'nowhere'"):
        PaDeLLM.from_pretrained(str(folder), devices=["cpu", "nowhere"]).predict(SOURCES)


# Output formats that are plugged in

PLUGIN = '''
from spacy_padellm.decode.decoder import DecodingCost
from spacy_padellm.decode.mentions import DecodedMention


class FirstToken:
    """Finds the first token of a text, whatever it is."""

    def __init__(self, model, lms):
        self.model, self.lms = model, lms
        self.cost = DecodingCost()

    def fits(self, text):
        return len(text.tokens) < 4

    def decode(self, texts):
        self.cost.passes += 1
        (label,) = self.model.settings.labels
        return [[DecodedMention(label, text.tokens[:1], -0.5)] for text in texts]


def make_objective(model, tag_text):
    return model, tag_text
'''


@pytest.fixture
def plugged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with an output format of its own, as pip would have installed it."""
    (tmp_path / "first_token_format.py").write_text(PLUGIN)
    info = tmp_path / "first_token_format-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: first-token-format\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(
        "[spacy_padellm_decoders]\nfirst = first_token_format:FirstToken\n"
        "[spacy_padellm_objectives]\nfirst = first_token_format:make_objective\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("first_token_format", None)


def test_an_output_format_that_is_plugged_in(plugged_in: None):
    lm, settings = trained_lm()
    settings = replace(settings, output_format="first", labels={"X": "x"})
    model = PaDeLLM(lm, settings)
    assert model.make_objective(0.5) == (model, 0.5)
    score = pytest.approx(0.60653, abs=1e-5)
    assert model.predict(["", "Ada met Bob"]) == [[], [Entity(0, 3, "X", score)]]
    assert model.cost.passes == 1
    # Windows as the format's decoder needs them.
    assert [window.text.text for window in model.cut("a b c d e")] == ["a b c", "d e"]
    several = PaDeLLM(lm, settings, replicas=Replicas(["cpu", "cpu"]))
    assert several.predict(["Ada"]) == [[Entity(0, 3, "X", score)]]
    assert len(several.decoder.lms) == 2
    with pytest.raises(ValueError, match="P033"):
        PaDeLLM(lm, replace(settings, labels={})).predict(["Ada"])


def test_the_papers_objective():
    model = toy()
    objective = model.make_objective()
    assert isinstance(objective, ParallelObjective)
    (tree, *_) = objective.build(TEXTS[0])
    assert tree.nodes
    with pytest.raises(ValueError, match="P034"):
        model.make_objective(-1)


def test_an_annotated_text_is_built_from_an_encoded_one(encoded: list[str]):
    model = toy()
    text = replace(TEXTS[0], source=model.encode(TEXTS[0].source))
    assert isinstance(text, AnnotatedText)
    plain, _ = model.make_objective().build(TEXTS[0])
    again, _ = model.make_objective().build(text)
    assert (again.tree.ids, again.nodes, again.targets) == (
        plain.tree.ids,
        plain.nodes,
        plain.targets,
    )


# Without spaCy

WITHOUT_SPACY = f"""
import sys

for name in ("spacy", "thinc", "spacy_transformers", "typer"):
    sys.modules[name] = None
from spacy_padellm import PaDeLLM

text = {SENTENCE!r}
(entities,) = PaDeLLM.from_pretrained("padellm_en_small").predict([text])
print([(text[e.start : e.end], e.label) for e in entities])
outside = {{"pipeline", "corpus", "cli", "benchmark"}}
ours = [name.split(".") for name in sys.modules if name.startswith("spacy_padellm.")]
print([name for name in ours if name[1] in outside])
"""


def test_two_lines_without_spacy():
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_SPACY],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    found, outside = result.stdout.splitlines()[-2:]
    assert found == "[('Ada Lovelace', 'PER'), ('Bob Dylan', 'PER'), ('New York', 'LOC')]"
    assert outside == "[]"


def test_the_package_has_it():
    assert spacy_padellm.PaDeLLM is PaDeLLM
    with pytest.raises(AttributeError, match="PaDeLMM"):
        spacy_padellm.PaDeLMM  # noqa: B018
