from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.calibration import Calibration
from spacy_padellm.model import find_plugin
from spacy_padellm.prompt.template import PRESETS, TEMPLATES, Preset, PromptTemplate
from spacy_padellm.settings import (
    BUNDLED_MODEL,
    DECODERS,
    OBJECTIVES,
    DecodingOptions,
    Overrides,
    Settings,
)

OWN = PromptTemplate("{text}\n{label}: ", mention="({n})")
TRAINED = Settings(
    TEMPLATES["zh"],
    {"PER": "person", "DATE": "date"},
    prefix_attention="bidirectional",
    softmax="admissible",
    max_mentions=7,
    max_mention_tokens=9,
    text_tags=True,
    trained=("person",),
)

# Decoding


@pytest.mark.parametrize("name", ["threshold", "tag_share", "draft_threshold"])
@pytest.mark.parametrize("value", [-0.1, 1.1, 50, math.nan])
def test_probabilities_are_from_0_to_1(name, value):
    with pytest.raises(ValueError, match=rf"P030.*{name} is {value}.*from 0 to 1"):
        DecodingOptions(**{name: value})
    for possible in (0, 1, 0.5):
        assert getattr(DecodingOptions(**{name: possible}), name) == possible


def test_nothing_need_be_drafted():
    assert DecodingOptions(draft_threshold=None).draft_threshold is None


def test_what_is_drafted_may_be_left_to_the_device():
    assert DecodingOptions().draft_threshold == "auto"
    with pytest.raises(ValueError, match=r"P031.*draft_threshold is 'often'.*auto"):
        DecodingOptions(draft_threshold="often")


@pytest.mark.parametrize("name", ["deduplicate", "occurrences"])
def test_choices_in_decoding(name):
    with pytest.raises(ValueError, match=rf"P031.*{name} is 'both'"):
        DecodingOptions(**{name: "both"})


@pytest.mark.parametrize(
    "name, value, named",
    [("open_counts", (2, 0), 0), ("batch_tokens", 0, 0), ("batch_tokens", -3, -3)],
)
def test_numbers_below_one(name, value, named):
    with pytest.raises(ValueError, match=rf"P032.*{name} is {named}.*at least 1"):
        DecodingOptions(**{name: value})


def test_thresholds_of_labels():
    options = DecodingOptions(threshold={"PER": 0.8, "A B": 1})
    found = [options.find_threshold(label) for label in ("PER", "A B", "LOC")]
    assert found == [0.8, 1, 0.0]
    assert DecodingOptions(threshold=0.3).find_threshold("PER") == 0.3
    with pytest.raises(ValueError, match=r"P030.*threshold of PER is 8"):
        DecodingOptions(threshold={"LOC": 0.5, "PER": 8})


@pytest.mark.parametrize("wrong", ["0.5", None, {"PER": "high"}, {"PER": None}, ["PER"], math.nan])
def test_thresholds_are_numbers(wrong):
    with pytest.raises(ValueError, match=r"P030.*threshold"):
        DecodingOptions(threshold=wrong)


def test_ways_to_decode():
    for name in ("doubtful", "all", "tags"):
        assert DecodingOptions(decode=name).decode == name
    with pytest.raises(ValueError, match=r"P031.*decode.*doubtful"):
        DecodingOptions(decode="some")


# Settings


@pytest.mark.parametrize("limits", [{"max_mentions": 0}, {"max_mention_tokens": -1}])
def test_limits_below_one(limits):
    ((name, value),) = limits.items()
    for kind in (Settings, Overrides):
        with pytest.raises(ValueError, match=rf"P032.*{name} is {value}.*at least 1"):
            kind(**limits)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"label_vectors": True, "softmax": "vocabulary"}, "P058"),
        ({"prefix_attention": "both"}, r"P031.*prefix_attention is 'both'.*bidirectional"),
        ({"softmax": "hard"}, "P031.*softmax is 'hard'.*admissible"),
        ({"output_format": "yaml"}, "P031.*output_format is 'yaml'.*parallel.*augmented"),
        ({"output_format": "xml"}, "P031.*output_format is 'xml'.*'structured'"),
        *(
            (
                {"output_format": name, "softmax": "admissible"},
                rf"P037.*'{name}'.*softmax is 'admissible'\. Set softmax = \"vocabulary\"",
            )
            for name in ("augmented", "structured")
        ),
        ({"labels": {"PER": ""}}, "P007.*PER"),
        ({"labels": {" ": "person"}}, "P007"),
        ({"labels": {"PER": "a\nb"}}, "P008.*PER"),
        ({"labels": {"A\nB": "a"}}, "P008"),
    ],
)
def test_what_is_not_possible(changes, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        Settings(**changes)


def test_output_formats_that_are_plugged_in_are_possible():
    assert Settings(output_format="structured").output_format == "structured"


@pytest.mark.parametrize(
    "changes, reads",
    [
        ({}, True),
        ({"text_tags": False}, False),
        ({"softmax": "vocabulary"}, True),
        ({"softmax": "vocabulary", "output_format": "augmented"}, False),
    ],
    ids=str,
)
def test_tags_are_read_where_they_were_taught(changes, reads):
    assert replace(TRAINED, **changes).reads_tags is reads


# padellm.json

line = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda s: s.strip() and s.splitlines() == [s]
)
part = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}"), max_size=10)
number_end = part.filter(lambda s: s and not s[0].isdigit())
templates = st.builds(
    lambda a, b, c, end, d, e: PromptTemplate(f"{a}{{text}}{b}{{label}}{c}", end, f"{d}{{n}}{e}"),
    *[part, part, part, number_end, part, number_end],
)
written_as = st.sampled_from(
    [
        {"softmax": "vocabulary", "output_format": "parallel"},
        {"softmax": "admissible", "output_format": "parallel"},
        {"softmax": "admissible", "output_format": "parallel", "label_vectors": True},
        {"softmax": "vocabulary", "output_format": "augmented"},
        {"softmax": "vocabulary", "output_format": "structured"},
    ]
)
any_settings = st.builds(
    lambda written, **rest: Settings(**written, **rest),
    written_as,
    template=templates | st.sampled_from(list(TEMPLATES.values())),
    labels=st.dictionaries(line, line, max_size=4),
    prefix_attention=st.sampled_from(["causal", "bidirectional"]),
    max_mentions=st.integers(1, 99),
    max_mention_tokens=st.integers(1, 99),
    text_tags=st.booleans(),
    trained=st.lists(line, max_size=2).map(tuple),
    tag_bias=st.sampled_from([0.0, 0.5, -2.0]),
    usual=st.lists(line, max_size=2).map(tuple),
    other_tag_bias=st.sampled_from([0.0, 1.5]),
)


@given(any_settings)
def test_settings_are_written_and_read(settings):
    text = settings.to_json()
    assert Settings.from_json(text, "here") == settings
    content = json.loads(text)
    # As versions before read it, too.
    assert content["format"] == 1
    assert content["limits"] == {
        "max_mentions": settings.max_mentions,
        "max_mention_tokens": settings.max_mention_tokens,
    }
    assert set(content) == {
        "format",
        "template",
        "labels",
        "prefix_attention",
        "softmax",
        "limits",
        "output_format",
        "text_tags",
        *(["trained"] if settings.trained != tuple(settings.labels.values()) else []),
        *(
            name
            for name in ("label_vectors", "tag_bias", "usual", "other_tag_bias")
            if getattr(settings, name)
        ),
    }
    assert list(content["labels"]) == list(settings.labels)


def test_what_is_written_is_read_by_people():
    assert (
        TRAINED.to_json()
        == """{
  "format": 1,
  "template": {
    "prompt": "文本:\\n{text}\\n指定NER标签:\\n{label}\\n\\n<数量>",
    "count_end": "\\n",
    "mention": "<第{n}文段>",
    "capitalized": "",
    "all_capitals": ""
  },
  "labels": {
    "PER": "person",
    "DATE": "date"
  },
  "prefix_attention": "bidirectional",
  "softmax": "admissible",
  "limits": {
    "max_mentions": 7,
    "max_mention_tokens": 9
  },
  "output_format": "parallel",
  "text_tags": true,
  "trained": [
    "person"
  ]
}
"""
    )


def test_training_leaves_nothing_that_was_chosen_for_the_weights_before():
    biases = {"tag_bias": 0.5, "usual": ("person",), "other_tag_bias": 1.5}
    chosen = replace(TRAINED, calibration=Calibration(2.0, 3.0), **biases)
    assert chosen.uncalibrated() == TRAINED
    further = chosen.as_trained(text_tags=True, others=["river", "person"])
    assert further == replace(TRAINED, text_tags=True, trained=("person", "date", "river"))


def test_what_is_not_stated_is_the_default():
    text = json.dumps({"format": 1, "template": "en"})
    assert Settings.from_json(text, "here") == Settings()
    text = json.dumps({"format": 1, "template": "zh", "limits": {"max_mentions": 5}})
    assert Settings.from_json(text, "here") == Settings(TEMPLATES["zh"], max_mentions=5)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"format": 2}, "its format is 2, and this version reads 1"),
        ({"colour": "red"}, r"unknown entries \['colour'\]"),
        ({"limits": {"max_words": 3}}, r"unknown entries \['max_words'\]"),
        # Each has its place.
        ({"limits": {"softmax": "vocabulary"}}, r"unknown entries \['softmax'\]"),
        ({"max_mentions": 3}, r"unknown entries \['max_mentions'\]"),
        ({"max_mention_tokens": 3}, r"unknown entries \['max_mention_tokens'\]"),
        ({"limits": {"max_mentions": 0}}, "P032.*max_mentions"),
        ({"limits": 3}, ""),
        ({"softmax": "hard"}, "P031.*softmax"),
        ({"template": "de"}, "P005.*'de'"),
        ({"template": {"words": ""}}, "P006.*words"),
        ({"template": 3}, ""),
        ({"template": {"prompt": "{text}"}}, "P001"),
        ({"output_format": "xml"}, "P031.*output_format"),
        ({"prefix_attention": "no"}, "P031.*prefix_attention"),
        ({"labels": ["PER"]}, ""),
        ({"labels": {"PER": 3}}, ""),
        ({"untrained": 3}, ""),
        ({"trained": 3}, ""),
        ({"trained": [3]}, "trained must name wordings"),
        ({"tag_bias": float("nan")}, "P444.*nan"),
        ({"other_tag_bias": "much"}, ""),
        ({"usual": [3]}, "usual must name wordings"),
    ],
)
def test_what_cannot_be_read(changes, reason):
    text = json.dumps({**json.loads(TRAINED.to_json()), **changes})
    with pytest.raises(ValueError, match=f"(?s)P040.*some/padellm.json.*{reason}"):
        Settings.from_json(text, "some/padellm.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "{",
        "labels",
        "[1, 2]",
        "[]",
        "3",
        "null",
        "{}",
        '{"format": 1}',
        '{"template": "en"}',
    ],
)
def test_what_is_no_such_file(text):
    with pytest.raises(ValueError, match=r"P040.*here"):
        Settings.from_json(text, "here")


# Overrides


def test_without_anything_stated_it_is_the_checkpoint_or_the_defaults():
    assert Overrides().resolve(TRAINED) == TRAINED
    assert Overrides().resolve(None) == Settings()


def test_what_is_stated_comes_first():
    stated = Overrides(
        preset=PRESETS["msra"],
        template=OWN,
        labels={"X": "x"},
        output_format="augmented",
        prefix_attention="causal",
        softmax="vocabulary",
        max_mentions=3,
        max_mention_tokens=2,
    )
    expected = Settings(
        OWN,
        {"X": "x"},
        output_format="augmented",
        max_mentions=3,
        max_mention_tokens=2,
    )
    assert stated.resolve(None) == expected
    # What nothing can override stays the checkpoint's.
    assert stated.resolve(TRAINED) == replace(expected, text_tags=True, trained=("person",))


def test_a_preset_comes_before_the_checkpoint():
    found = Overrides(preset=PRESETS["conll03"]).resolve(TRAINED)
    assert found == replace(
        TRAINED, template=PRESETS["conll03"].template, labels=PRESETS["conll03"].labels
    )
    assert Overrides(preset=PRESETS["conll03"], template=OWN).resolve(TRAINED).template is OWN


def test_labels_have_the_wording_that_is_known():
    assert Overrides(labels=["DATE", "ORG", "PER"]).resolve(TRAINED).labels == {
        "DATE": "date",
        "ORG": "ORG",
        "PER": "person",
    }
    assert list(Overrides(labels=["ORG", "PER"]).resolve(TRAINED).labels) == ["ORG", "PER"]
    assert Overrides(labels={"PER": "human"}).resolve(TRAINED).labels == {"PER": "human"}
    assert Overrides(labels=["PER"]).resolve(None).labels == {"PER": "PER"}
    assert Overrides(labels=[]).resolve(TRAINED).labels == {}
    # A preset's wording comes before the checkpoint's.
    preset = Overrides(preset=PRESETS["msra"], labels=["LOC", "DATE"])
    assert preset.resolve(TRAINED).labels == {"LOC": "地点", "DATE": "date"}
    assert preset.resolve(None).labels == {"LOC": "地点", "DATE": "DATE"}


def test_known_wordings():
    assert Overrides().known_wordings(TRAINED) == {"PER": "person", "DATE": "date"}
    own = Preset("own", OWN, {"PER": "human", "LOC": "place"})
    assert Overrides(preset=own, labels={"X": "x"}).known_wordings(TRAINED) == {
        "PER": "human",
        "DATE": "date",
        "LOC": "place",
    }


def test_limits_alone_are_overridden():
    stated = Overrides(template=OWN, labels=["X"], softmax="vocabulary", max_mentions=3)
    assert stated.limit(TRAINED) == replace(TRAINED, max_mentions=3)
    assert Overrides().limit(TRAINED) == TRAINED
    both = Overrides(max_mentions=3, max_mention_tokens=4).limit(TRAINED)
    assert (both.max_mentions, both.max_mention_tokens) == (3, 4)


@pytest.mark.parametrize("labels", ["PER", ""])
def test_a_single_string_is_no_list_of_labels(labels):
    with pytest.raises(ValueError, match=f"P203.*'{labels}'"):
        Overrides(labels=labels)


@pytest.mark.parametrize(
    "stated, message",
    [
        (Overrides(softmax="hard"), "P031.*softmax"),
        (Overrides(output_format="augmented"), "P037"),
        (Overrides(labels={"PER": ""}), "P007"),
    ],
)
def test_what_is_not_possible_beside_the_checkpoint(stated, message):
    with pytest.raises(ValueError, match=message):
        stated.resolve(TRAINED)


def test_what_a_saved_pipeline_does_not_do_is_named():
    assert Overrides().find_ignored(TRAINED) == []
    # Limits are overridden, and labels need only be among the saved ones.
    fine = Overrides(
        labels=["PER"], max_mentions=3, softmax="admissible", template=TRAINED.template
    )
    assert fine.find_ignored(TRAINED) == []
    assert Overrides(labels=["PER", "ORG", "GPE"]).find_ignored(TRAINED) == ["labels (GPE, ORG)"]
    # Another wording is another label to the model.
    assert Overrides(labels={"PER": "human"}).find_ignored(TRAINED) == ["labels (PER)"]
    everything = Overrides(
        template=OWN,
        labels={"X": "x"},
        output_format="augmented",
        prefix_attention="causal",
        softmax="vocabulary",
    )
    assert everything.find_ignored(TRAINED) == [
        "prefix_attention",
        "softmax",
        "template",
        "output_format",
        "labels (X)",
    ]
    assert Overrides(preset=PRESETS["conll03"]).find_ignored(TRAINED) == [
        "template",
        "labels (LOC, MISC, ORG, PER)",
    ]


def test_overrides_are_of_settings():
    known = {each.name for each in fields(Settings)}
    assert {each.name for each in fields(Overrides)} - {"preset"} < known


# What else there is


def test_plugins(tmp_path, monkeypatch):
    (tmp_path / "own_format.py").write_text("def decoder(): ...\nobjective = 'objective'\n")
    (tmp_path / "own-1.0.dist-info").mkdir()
    (tmp_path / "own-1.0.dist-info" / "METADATA").write_text("Name: own\nVersion: 1.0\n")
    (tmp_path / "own-1.0.dist-info" / "entry_points.txt").write_text(
        f"[{DECODERS}]\nown = own_format:decoder\ngone = no_such_module:decoder\n"
        f"[{OBJECTIVES}]\nown = own_format:objective\n"
    )
    with pytest.raises(ValueError, match=r"P031.*'own'"):
        Settings(output_format="own")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert Settings(output_format="own").output_format == "own"
    assert find_plugin(DECODERS, "own").__name__ == "decoder"
    assert find_plugin(OBJECTIVES, "own") == "objective"
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        find_plugin(DECODERS, "gone")
    # Said of which there is none.
    for group, name in ((DECODERS, "parallel"), (OBJECTIVES, "gone")):
        with pytest.raises(ValueError, match=rf"P031.*output_format is '{name}'.*own"):
            find_plugin(group, name)


def test_the_bundled_model_has_a_name():
    assert BUNDLED_MODEL == "padellm_en_small"
