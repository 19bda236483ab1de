"""What importing and registering loads: little. Each test looks in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What stands above the core.
OUTSIDE = tuple(
    f"spacy_padellm.{name}"
    for name in ("pipeline", "annotate", "corpus", "calibrate", "learn", "cli", "benchmark")
)
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
    files = (ROOT / "spacy_padellm").rglob("*.py")
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    core = sorted(
        name
        for name in names
        if not name.startswith(OUTSIDE) and not name.endswith(("__init__", "__main__"))
    )
    assert len(core) > 20
    modules = loaded_after("\n".join(f"import {name}" for name in core))
    assert {"torch", "transformers"} <= modules
    assert modules.isdisjoint(["spacy", "thinc", "spacy_transformers", "typer"])
    assert not any(name.startswith(OUTSIDE) for name in ours(modules))


# What a factory's defaults and types are taken from.
SETTINGS = {
    "spacy_padellm",
    "spacy_padellm.calibration",
    "spacy_padellm.errors",
    "spacy_padellm.prompt",
    "spacy_padellm.prompt.template",
    "spacy_padellm.settings",
}


def test_a_blank_pipeline_loads_the_factory_only():
    pytest.importorskip("spacy")
    modules = loaded_after('import spacy; spacy.blank("en")')
    assert ours(modules) == {
        *SETTINGS,
        "spacy_padellm.pipeline",
        "spacy_padellm.pipeline.factory",
    }


def test_registering_loads_no_core():
    pytest.importorskip("spacy")
    # spacy-transformers' own entry point imports transformers, so spaCy looks nothing up here.
    modules = loaded_after(
        "import spacy\n"
        "from spacy_padellm.pipeline import factory, registered\n"
        "from spacy_padellm.corpus import reader\n"
        "reader.create_annotated_corpus_v1('corpus.txt')\n"
    )
    assert ours(modules) == {
        *SETTINGS,
        "spacy_padellm.corpus",
        "spacy_padellm.corpus.reader",
        "spacy_padellm.pipeline",
        "spacy_padellm.pipeline.factory",
        "spacy_padellm.pipeline.registered",
    }
    assert modules.isdisjoint(["transformers", "tokenizers", "spacy_transformers"])


def test_the_scorer_loads_no_model():
    pytest.importorskip("spacy")
    modules = loaded_after(
        "from spacy_padellm.pipeline import registered\nregistered.make_mention_scorer()"
    )
    rooms = {name.split(".")[1] for name in ours(modules) if "." in name}
    known = {"corpus", "errors", "pipeline", "prompt", "scoring", "settings", "texts"}
    assert rooms == {*known, "calibration"}
    assert modules.isdisjoint(["transformers", "tokenizers", "spacy_transformers"])


# What only other models, training or the laboratory need.
NOT_FOR_PREDICTION = {
    "spacy_padellm.benchmark",
    "spacy_padellm.checkpoints.conversion.baichuan",
    "spacy_padellm.checkpoints.encoder_lm",
    "spacy_padellm.checkpoints.small_lm",
    "spacy_padellm.finetune",
    "bitsandbytes",
    "matplotlib",
    "peft",
    "scipy",
    "transformers.trainer",
}
PREDICTIONS = {
    "core": """
from spacy_padellm import PaDeLLM
PaDeLLM.from_pretrained().predict(["Ada met Bob."])
""",
    "spacy": """
import spacy
nlp = spacy.blank("en")
nlp.add_pipe("padellm_ner")
nlp("Ada met Bob.")
""",
}


@pytest.mark.parametrize("edge", PREDICTIONS)
def test_a_prediction_loads_one_family_of_models(edge: str):
    if edge == "spacy":
        pytest.importorskip("spacy")
    modules = loaded_after(PREDICTIONS[edge])
    families = {name.split(".")[2] for name in modules if name.startswith("transformers.models.")}
    # Generation needs the second, whatever is loaded.
    assert families - {"auto", "encoder_decoder"} == {"bert"}
    assert modules.isdisjoint(NOT_FOR_PREDICTION)
