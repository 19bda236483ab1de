"""Every name the package registers, as setup.cfg states them."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

pytest.importorskip("spacy")

import spacy
from thinc.api import Config

from spacy_padellm.model import find_plugin
from spacy_padellm.pipeline.factory import DEFAULT_CONFIG
from spacy_padellm.settings import DECODERS, OBJECTIVES

ROOT = Path(__file__).parents[1]


def stated_entry_points() -> dict[str, dict[str, str]]:
    """Read group → name → `module:attribute`."""
    parser = ConfigParser(delimiters=["="])
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(ROOT / "setup.cfg", encoding="utf8")
    groups = {}
    for group, lines in parser["options.entry_points"].items():
        entries = (line.partition(" = ") for line in lines.strip().splitlines())
        groups[group] = {name: target for name, _, target in entries}
    return groups


STATED = stated_entry_points()
# What the package itself looks up; the other groups are spaCy's.
PLUGINS = (OBJECTIVES, DECODERS)
NAMES = [
    (group.removeprefix("spacy_"), name, target)
    for group, entries in STATED.items()
    if group.startswith("spacy_") and group not in PLUGINS
    for name, target in entries.items()
]

# Looks names up as spaCy does, in a process that imports nothing of the package itself.
LOOK_UP = """
import json, sys
import spacy
from spacy.util import registry
assert not any(name.startswith("spacy_padellm") for name in sys.modules)
nlp = spacy.blank("en")
found = []
for group, name in json.loads(sys.argv[1]):
    value = getattr(registry, group).get(name)
    found.append(getattr(value, "__name__", type(value).__name__))
    assert group != "factories" or nlp.has_factory(name)
print(json.dumps(found))
"""


def test_every_name_resolves_without_an_import():
    names = json.dumps([(group, name) for group, name, _ in NAMES])
    result = subprocess.run(
        [sys.executable, "-c", LOOK_UP, names],
        capture_output=True,
        text=True,
        # From elsewhere, so that only what is installed is found.
        cwd="/",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    expected = [
        # A command line is an app, not a function.
        "Typer" if group == "cli" else target.partition(":")[2]
        for group, _, target in NAMES
    ]
    assert found == expected


@pytest.mark.parametrize("target", [t for entries in STATED.values() for t in entries.values()])
def test_entry_points_name_what_is_there(target: str):
    module, _, attribute = target.partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))


@pytest.mark.parametrize("group", PLUGINS)
def test_output_formats_are_plugged_in(group: str):
    assert set(STATED[group]) == {"augmented", "structured"}
    for name, target in STATED[group].items():
        assert find_plugin(group, name).__name__ == target.partition(":")[2]


def test_no_versioned_function_is_forgotten():
    """What is made to be registered, by its name, is registered."""
    targets = {target for _, _, target in NAMES}
    made = set()
    for path in (ROOT / "spacy_padellm").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.endswith("_v1"):
                made.add(f"{module}:{node.name}")
    assert len(made) >= 4
    assert made <= targets


def test_names_in_configs_are_registered():
    texts = [DEFAULT_CONFIG, *(path.read_text() for path in (ROOT / "configs").glob("*.cfg"))]
    named = {line for text in texts for line in text.splitlines() if "spacy_padellm." in line}
    stated = {f'@{group} = "{name}"' for group, name, _ in NAMES}
    assert named and named <= stated


def test_factory_meta():
    meta = spacy.blank("en").get_factory_meta("padellm_ner")
    assert meta.assigns == [
        "doc.ents",
        "doc.spans",
        "token.ent_iob",
        "token.ent_type",
        "span._.score",
    ]
    scores = ["ents_f", "ents_p", "ents_r", "ents_per_type"]
    scores += ["mentions_f", "mentions_p", "mentions_r"]
    assert sorted(meta.default_score_weights) == sorted(scores)
    weights = [weight for weight in meta.default_score_weights.values() if weight]
    assert sum(weights) == pytest.approx(1)
    assert meta.default_config["model"]["@architectures"] == "spacy_padellm.CausalLM.v1"
    assert meta.default_config["scorer"]["@scorers"] == "spacy_padellm.mention_scorer.v1"
    assert Config().from_str(DEFAULT_CONFIG)["padellm_ner"] == meta.default_config


def test_pipes_are_analyzed():
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner")
    nlp.add_pipe("entity_linker", config={"incl_prior": False, "use_gold_ents": False})
    analysis = nlp.analyze_pipes()
    assert analysis["summary"]["padellm_ner"]["assigns"][0] == "doc.ents"
    assert "mentions_f" in analysis["summary"]["padellm_ner"]["scores"]
    assert analysis["attrs"]["doc.ents"]["assigns"] == ["padellm_ner"]
    # What an entity linker asks for of entities is there.
    assert "doc.ents" not in analysis["problems"]["entity_linker"]
    assert nlp.config["training"]["score_weights"]["mentions_f"] > 0
