"""The checkpoint that comes with the package: all that `add_pipe` needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

pytest.importorskip("spacy")

import spacy
from spacy.util import load_model_from_config

from spacy_padellm.checkpoints.files import BUNDLED_FOLDER
from spacy_padellm.settings import BUNDLED_MODEL

TEXT = "Ada Lovelace and Charles Babbage met in London."


def test_the_default_is_there_with_its_card():
    assert [path.parent.name for path in BUNDLED_FOLDER.glob("*/config.json")] == [BUNDLED_MODEL]
    folder = BUNDLED_FOLDER / BUNDLED_MODEL
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 48e6
    assert list(json.loads((folder / "padellm.json").read_text())["labels"]) == (
        ["PER", "ORG", "LOC", "MISC"]
    )
    card = (folder / "README.md").read_text(encoding="utf8")
    assert all(word in card for word in ("Apache 2.0", "CC BY-SA 4.0", "train", "Limits"))


def test_nothing_is_fetched():
    """Without a network, and without the variables that keep others from using it."""
    code = (
        "import socket\n"
        "def refuse(*args): raise AssertionError(f'asked the network: {args}')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "import spacy\n"
        "nlp = spacy.blank('en')\n"
        "nlp.add_pipe('padellm_ner')\n"
        f"print([ent.text for ent in nlp({TEXT!r}).ents])\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "['Ada Lovelace', 'Charles Babbage', 'London']"


@pytest.mark.parametrize("decode, passes", [("tags", [1]), ("doubtful", [1, 2]), ("all", [2, 3])])
def test_labels_are_written_as_the_config_says(decode: str, passes: list[int]):
    nlp = spacy.blank("en")
    padellm = nlp.add_pipe("padellm_ner", config={"decode": decode}).padellm
    assert padellm.options.decode == decode
    doc = nlp(TEXT)
    assert [ent.text for ent in doc.ents] == ["Ada Lovelace", "Charles Babbage", "London"]
    assert padellm.cost.passes in passes


def test_nothing_else_is_needed():
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner")
    doc = nlp(TEXT)
    assert [(ent.text, ent.label_) for ent in doc.ents] == [
        ("Ada Lovelace", "PER"),
        ("Charles Babbage", "PER"),
        ("London", "LOC"),
    ]
    assert all(0 < ent._.score <= 1 for ent in doc.ents)


def test_us_is_not_the_us():
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner")
    doc = nlp("They told us that the US signed the treaty with Canada.")
    assert ("US", "LOC") in [(ent.text, ent.label_) for ent in doc.ents]
    assert "us" not in [ent.text for ent in doc.ents]


def test_labels_it_was_not_trained_on_are_said_to_be_untrained():
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner", config={"labels": ["PER", "MACHINE"]})
    with pytest.warns(UserWarning, match=r"W206.*MACHINE") as caught:
        doc = nlp(TEXT)
    assert not any("PER" in str(each.message) for each in caught)
    assert {"Ada Lovelace", "Charles Babbage"} <= {ent.text for ent in doc.ents}


def test_untrained_labels_are_told_of_once_saved(tmp_path: Path):
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner", config={"labels": ["PER", "MACHINE"]})
    nlp.to_disk(tmp_path)
    copy = load_model_from_config(nlp.config, auto_fill=True).from_bytes(nlp.to_bytes())
    for again in (spacy.load(tmp_path), copy):
        with pytest.warns(UserWarning, match=r"W206.*find MACHINE, and goes"):
            again(TEXT)


def test_a_wording_in_other_case_is_the_same_to_a_model_without_case():
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner", config={"labels": ["PERSON", "LOC"]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        doc = nlp(TEXT)
    assert ("Ada Lovelace", "PERSON") in [(ent.text, ent.label_) for ent in doc.ents]
