"""What importing and registering loads: little. Each test looks in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# What stands above the core.
OUTSIDE = tuple(f"spacy_padellm.{name}" for name in ("pipeline", "corpus", "cli"))
HEAVY = ["torch", "transformers", "tokenizers", "spacy", "thinc", "numpy", "typer"]


def loaded_after(code: str) -> set[str]:
    """The modules there are after running some code."""
    code += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.split(".")[0] == "spacy_padellm"}


def test_the_package_itself_is_light():
    modules = loaded_after("import spacy_padellm; assert spacy_padellm.__version__")
    assert ours(modules) == {"spacy_padellm"}
    assert modules.isdisjoint(HEAVY)


def test_options_of_loading_are_light():
    modules = loaded_after("from spacy_padellm.checkpoints.options import LoadOptions as L; L()")
    assert modules.isdisjoint(HEAVY)


def test_the_core_does_without_spacy():
    modules = loaded_after(
        "from spacy_padellm.checkpoints import encoder_lm, loading, saving, small_lm\n"
        "from spacy_padellm.decode import extraction\n"
        "from spacy_padellm.train import factory, finetuning"
    )
    assert {"torch", "transformers"} <= modules
    assert modules.isdisjoint(["spacy", "thinc", "spacy_transformers", "typer"])
    assert not any(name.startswith(OUTSIDE) for name in ours(modules))


def test_a_blank_pipeline_loads_the_factory_only():
    pytest.importorskip("spacy")
    modules = loaded_after('import spacy; spacy.blank("en")')
    assert ours(modules) == {
        "spacy_padellm",
        "spacy_padellm.defaults",
        "spacy_padellm.pipeline",
        "spacy_padellm.pipeline.factory",
    }


def test_registering_loads_no_core():
    pytest.importorskip("spacy")
    # spacy-transformers' own entry point imports transformers, so spaCy looks nothing up here.
    modules = loaded_after(
        "import spacy\n"
        "from spacy_padellm.pipeline import factory, architectures, scorer, templates\n"
        "from spacy_padellm.corpus import reader\n"
        "scorer.make_mention_scorer()\n"
        "reader.create_annotated_corpus_v1('corpus.txt')\n"
    )
    assert ours(modules) == {
        "spacy_padellm",
        "spacy_padellm.defaults",
        "spacy_padellm.errors",
        "spacy_padellm.corpus",
        "spacy_padellm.corpus.reader",
        "spacy_padellm.pipeline",
        "spacy_padellm.pipeline.architectures",
        "spacy_padellm.pipeline.factory",
        "spacy_padellm.pipeline.scorer",
        "spacy_padellm.pipeline.templates",
    }
    assert modules.isdisjoint(["transformers", "tokenizers", "spacy_transformers"])
