from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

pytest.importorskip("spacy")

import spacy
from spacy.tokens import DocBin

from spacy_padellm.corpus.docs import ask_labels
from spacy_padellm.learn.recipe import Recipe
from tests.pipeline.toy_pipeline import make_example, write_docs

Run = Callable[..., Result]

MARKUPS = [
    "[Ada|GUEST] left [Rome|HOME_TOWN]",
    "[Bob Hill|GUEST] left [Oslo|HOME_TOWN]",
    "[Ada|GUEST] saw [Bob Hill|GUEST]",
    "nobody left [Rome|HOME_TOWN]",
    "[Ada|GUEST] was in [Oslo|HOME_TOWN]",
    "it rained",
]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = write_docs(tmp_path / "texts.spacy", MARKUPS)
    blank = spacy.blank("en")
    docs = [*DocBin().from_disk(path).get_docs(blank.vocab), blank("Nobody annotated this.")]
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch):
    """Few steps, as what is learnt is tested elsewhere."""
    recipe = Recipe(rounds=2, steps=2, last_steps=2, step_texts=2, tag_text=0.0, biases=(0.0,))
    choose = Recipe.choose

    def choose_short(*args, **kwargs):
        choose(*args, **kwargs)
        return recipe

    monkeypatch.setattr(Recipe, "choose", choose_short)


def test_a_pipeline_and_its_scores(run: Run, toy_checkpoint: Path, texts: Path, tmp_path: Path):
    out = tmp_path / "new" / "guests"
    result = run("learn", texts, out, "--checkpoint", toy_checkpoint)
    assert result.exit_code == 0, result.output
    assert (
        "Texts: 6 (1 without annotation left out)" in result.stdout
        and 'HOME_TOWN ("home town"): 4' in result.stdout
    )
    rows = [line for line in result.stdout.splitlines() if line.startswith("|")]
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["GUEST", "HOME_TOWN", "all"]
    assert [row.split("|")[2].strip() for row in rows[2:]] == ["5", "4", "9"]
    assert "Bias of text tags: 0" in result.stdout
    assert f"{out}: a pipeline that finds GUEST, HOME_TOWN" in result.stdout
    pipe = spacy.load(out).get_pipe("padellm_ner")
    assert pipe.label_data == {"GUEST": "guest", "HOME_TOWN": "home town"}


def test_from_a_file_of_another_format(run: Run, toy_checkpoint: Path, tmp_path: Path):
    names = ("Ada", "Bob", "Eve", "Dan", "Ann", "Ida")
    lines = [{"text": f"{name} left", "entities": [[0, 3, "GUEST"]]} for name in names]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf8")
    result = run("learn", path, tmp_path / "out", "--checkpoint", toy_checkpoint)
    assert result.exit_code == 0, result.output
    assert 'GUEST ("guest"): 6' in result.stdout


def test_texts_say_what_their_labels_are_called(run: Run, toy_checkpoint: Path, tmp_path: Path):
    nlp = spacy.blank("en")
    docs = [make_example(nlp, markup).reference for markup in MARKUPS]
    for doc in docs:
        ask_labels(doc, {"GUEST": "visitor: who comes", "HOME_TOWN": "town"})
    path = tmp_path / "texts.spacy"
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    stated = ["--checkpoint", toy_checkpoint, "--wording", "GUEST=caller"]
    result = run("learn", path, tmp_path / "out", *stated)
    assert result.exit_code == 0, result.output
    labels = spacy.load(tmp_path / "out").get_pipe("padellm_ner").label_data
    assert labels == {"GUEST": "caller", "HOME_TOWN": "town"}


def test_equal_texts_count_once(run: Run, toy_checkpoint: Path, tmp_path: Path):
    same = write_docs(tmp_path / "same.spacy", MARKUPS[:1] * 8)
    result = run("learn", same, tmp_path / "out", "--checkpoint", toy_checkpoint)
    assert result.exit_code == 1 and "[P440] 1 different" in result.output, result.output


def test_wordings_and_labels_that_are_kept(
    run: Run, toy_checkpoint: Path, texts: Path, tmp_path: Path
):
    own = tmp_path / "own.txt"
    own.write_text("Ada was in Rome\n")
    stated = ["--wording", "GUEST=visitor: who comes", "--keep", "--rehearse", own]
    result = run("learn", texts, tmp_path / "out", "--checkpoint", toy_checkpoint, *stated)
    assert result.exit_code == 0, result.output
    labels = spacy.load(tmp_path / "out").get_pipe("padellm_ner").label_data
    assert labels["GUEST"] == "visitor: who comes" and {"PER", "LOC", "ORG"} < set(labels)


def test_what_cannot_be_learnt_from(run: Run, toy_checkpoint: Path, texts: Path, tmp_path: Path):
    few = write_docs(tmp_path / "few.spacy", MARKUPS[:5])
    empty = write_docs(tmp_path / "empty.spacy", ["it rained"] * 8)
    out, more = tmp_path / "out", ["--checkpoint", toy_checkpoint]
    for path, options, message in (
        (few, [], "P440"),
        (empty, [], "P443"),
        (texts, ["--wording", "GUST=visitor"], "P441"),
        (texts, ["--wording", "GUEST"], "P303"),
        (texts, ["--wording", "GUEST=home town"], "P445"),
        (texts, ["--rehearse", few], "P442"),
    ):
        result = run("learn", path, out, *more, *options)
        assert result.exit_code == 1 and f"[{message}]" in result.output, result.output
    assert not (out / "config.cfg").exists()


def test_a_model_that_was_never_trained_to_find_anything(
    run: Run, toy_checkpoint: Path, texts: Path, tmp_path: Path
):
    raw = Path(shutil.copytree(toy_checkpoint, tmp_path / "raw"))
    (raw / "padellm.json").unlink()
    result = run("learn", texts, tmp_path / "out", "--checkpoint", raw)
    assert result.exit_code == 1 and "[P447]" in result.output, result.output
