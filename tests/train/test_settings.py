from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spacy_padellm.checkpoints.saving import save_settings
from spacy_padellm.prompt.presets import PRESETS
from spacy_padellm.prompt.template import TEMPLATES, PromptTemplate
from spacy_padellm.train.settings import find_settings
from tests.toy_corpus import LABELS, parse
from tests.train.toys import TRAIN, config
from tests.trained import LIMITS, trained_lm


@pytest.fixture
def own(base: Path, tmp_path: Path) -> Path:
    """The checkpoint with wordings of its own, some of them untrained."""
    for path in base.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "padellm.json").unlink()
    settings = replace(
        trained_lm()[1], labels={"PER": "person", "DATE": "date"}, untrained=("DATE",)
    )
    save_settings(tmp_path, settings)
    return tmp_path


def settings(folder: Path, **changes):
    return find_settings(config(folder, folder, **changes), TRAIN)


def test_a_checkpoints_settings_are_the_defaults(own: Path):
    found = settings(own)
    assert found.labels == {"PER": "person", "DATE": "date", "LOC": "LOC", "ORG": "ORG"}
    assert found.limits == LIMITS and found.untrained == ()


def test_stated_labels_are_all(own: Path):
    assert settings(own, labels=["PER", "ORG"]).labels == {"PER": "person", "ORG": "ORG"}
    assert settings(own, labels={"ORG": "firm"}).labels == {"ORG": "firm"}


def test_without_a_padellm_json(own: Path):
    (own / "padellm.json").unlink()
    found = settings(own)
    assert found.template == TEMPLATES["en"] and list(found.labels) == LABELS


def test_a_preset_gives_template_and_labels(own: Path):
    found = settings(own, preset="youku")
    assert found.template == TEMPLATES["zh"]
    assert found.labels == {**PRESETS["youku"].labels, "LOC": "LOC", "ORG": "ORG"}
    assert settings(own, preset="msra", labels=["LOC"]).labels == {"LOC": "地点"}
    with pytest.raises(ValueError, match=r"P031.*preset is 'conll'.*conll03"):
        settings(own, preset="conll")


def test_what_is_stated_overrides_the_rest(own: Path):
    template = {"prompt": "{text}\n{label}: ", "mention": "({n})"}
    found = settings(
        own,
        preset="msra",
        template=template,
        prefix_attention="bidirectional",
        softmax="admissible",
        max_mentions=7,
        max_mention_tokens=9,
    )
    assert found.template == PromptTemplate(**template)
    assert (found.prefix_attention, found.softmax) == ("bidirectional", "admissible")
    assert (found.limits.max_mentions, found.limits.max_mention_tokens) == (7, 9)
    assert settings(own, output_format="augmented").output_format == "augmented"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"template": "de"}, "P005.*'de'"),
        ({"softmax": "hard"}, "P031.*softmax"),
        ({"max_mentions": 0}, "P032.*max_mentions"),
        ({"labels": []}, "P078.*labels"),
    ],
)
def test_what_is_not_possible_is_named(own: Path, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        settings(own, **changes)


def test_no_label_at_all(own: Path):
    (own / "padellm.json").unlink()
    with pytest.raises(ValueError, match="P078"):
        find_settings(config(own, own), [parse("Nothing .")])
