from __future__ import annotations

from tests.test_imports import loaded_after

MODULES = ("chart", "datasets", "report", "rows")


def test_parts_that_report_load_nothing_heavy():
    modules = loaded_after(f"from spacy_padellm.benchmark import {', '.join(MODULES)}")
    assert {f"spacy_padellm.benchmark.{name}" for name in MODULES} <= modules
    assert modules.isdisjoint(["torch", "transformers", "tokenizers", "spacy", "matplotlib"])
