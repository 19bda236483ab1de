from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("spacy")

import spacy
from spacy.util import registry

from spacy_padellm.prompt.template import TEMPLATES, PromptTemplate
from tests.pipeline.toy_pipeline import fresh_nlp, make_example

OWN = {
    "@misc": "spacy_padellm.PromptTemplate.v1",
    "prompt": "read: {text} | find: {label} = ",
    "count_end": ";",
    "mention": "({n}) ",
}


def make(**fields: str) -> PromptTemplate:
    config = {"template": {"@misc": "spacy_padellm.PromptTemplate.v1", **fields}}
    return registry.resolve(config)["template"]


def test_own_wording():
    template = make(prompt="{text}?{label}:", count_end=";", mention="#{n} ")
    assert template == PromptTemplate("{text}?{label}:", ";", "#{n} ")
    assert make(prompt="{text}?{label}:") == PromptTemplate("{text}?{label}:")


@pytest.mark.parametrize(
    "fields, code",
    [
        ({"prompt": "{text}"}, "P001"),
        ({"prompt": "{label} {text}"}, "P002"),
        ({"prompt": "{text} {label}", "mention": "<>"}, "P003"),
        ({"prompt": "{text} {label}", "mention": "No {n}"}, "P003"),
        ({"prompt": "{text} {label}", "mention": "{n}0:"}, "P003"),
        ({"prompt": "{text} {label}", "count_end": ""}, "P004"),
        ({"prompt": "{text} {label}", "count_end": "0"}, "P004"),
    ],
)
def test_wrong_wording(fields: dict[str, str], code: str):
    with pytest.raises(ValueError, match=rf"\[{code}\]"):
        make(**fields)


@pytest.mark.filterwarnings("ignore:.*W202.*template")
@pytest.mark.parametrize(
    "template, expected",
    [
        (None, TEMPLATES["en"]),
        ("zh", TEMPLATES["zh"]),
        (OWN, PromptTemplate(*[OWN[name] for name in ("prompt", "count_end", "mention")])),
    ],
)
def test_the_wording_is_trained_and_saved(template: Any, expected: PromptTemplate, tmp_path: Path):
    nlp = fresh_nlp(template=template)
    nlp.initialize(lambda: [make_example(nlp, "[Ada|PER] left")])
    nlp.to_disk(tmp_path / "pipeline")
    # A saved pipeline keeps its wording whatever the config says: it was trained with it.
    config = {"components": {"padellm_ner": {"template": "en"}}}
    for loaded in (
        spacy.load(tmp_path / "pipeline"),
        spacy.load(tmp_path / "pipeline", config=config),
    ):
        settings = loaded.get_pipe("padellm_ner").shim.settings
        assert settings.template == expected
        tokenizer = loaded.get_pipe("padellm_ner").shim.lm.tokenizer
        assert expected.before_label in tokenizer.get_vocab()


def test_unknown_name():
    with pytest.raises(ValueError, match=r"\[P005\].*'fr'.*en, zh"):
        fresh_nlp(template="fr")
