from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import Result

pytest.importorskip("spacy")

import spacy
from spacy.tokens import Doc, DocBin, Span

from spacy_padellm.cli.visualize import COLORS, render_page, render_picture
from spacy_padellm.pipeline.docs import register_extensions
from tests.toy_corpus import SENTENCES, parse

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def pipeline(toy_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "pipeline"
    nlp = spacy.blank("en")
    config = {"model": {"name": str(toy_checkpoint)}, "max_mentions": 5}
    nlp.add_pipe("padellm_ner", config=config)
    nlp.to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "corpus.spacy"
    nlp = spacy.blank("en")
    docs = [nlp.make_doc(parse(markup).source.text) for markup in SENTENCES[:9]]
    DocBin(docs=docs).to_disk(path)
    return path


def shown(page: str) -> str:
    """The page's text, as it is read."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).strip()


def test_page(run: Run, pipeline: Path, corpus: Path, tmp_path: Path):
    out = tmp_path / "new" / "page.html"
    result = run("visualize", pipeline, corpus, out, "--limit", "3")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"3 texts: {out}\n"
    page = out.read_text(encoding="utf8")
    assert page.startswith("<!DOCTYPE html>")
    text = shown(page)
    assert re.search(r"Ada PER [01]\.\d\d met Bob Hill PER [01]\.\d\d in Rome LOC", text)
    assert "Nothing happened" not in text
    run("visualize", pipeline, corpus, out)
    assert "Nothing happened today ." in shown(out.read_text(encoding="utf8"))


def test_entities_without_a_score_and_markup_in_texts():
    register_extensions()
    nlp = spacy.blank("en")
    doc = Doc(nlp.vocab, words=["<b>", "Ada", "&", "Rome"])
    doc.set_ents([Span(doc, 1, 2, "PER"), Span(doc, 3, 4, "LOC")])
    doc.ents[1]._.score = 0.125
    page = render_page([doc, nlp("")])
    assert "&lt;b&gt;" in page and "<b>" not in page
    assert shown(page).endswith("&lt;b&gt; Ada PER &amp; Rome LOC 0.12")
    # Each label has a color of its own.
    assert page.count(COLORS[0]) == page.count(COLORS[1]) == 1


def test_picture_of_lines_of_text(run: Run, toy_checkpoint: Path, tmp_path: Path):
    """Of a checkpoint that no pipeline was made of; markup in a text does not break it."""
    texts = tmp_path / "texts.txt"
    texts.write_text("Ada met Bob Hill in Rome .\n\n<b> & </b>\n", encoding="utf8")
    out = tmp_path / "picture.svg"
    result = run("visualize", toy_checkpoint, texts, out)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"2 texts: {out}\n"
    picture = ElementTree.parse(out).getroot()
    assert picture.tag.endswith("svg") and int(picture.attrib["height"]) > 0
    text = " ".join(" ".join(picture.itertext()).split())
    assert re.search(r"Ada PER [01]\.\d\d met Bob Hill PER [01]\.\d\d in Rome LOC", text)
    written = out.read_text(encoding="utf8")
    assert "&lt;" in written and "&amp;" in written and "<b>" not in written


def test_pictures_are_as_high_as_their_lines():
    register_extensions()
    nlp = spacy.blank("en")

    def height(text: str) -> int:
        picture = ElementTree.fromstring(render_picture([nlp.make_doc(text)]))
        return int(picture.attrib["height"])

    assert height("one") < height("one\ntwo") < height("one\n\ntwo")
    # Chinese characters are about twice as wide as letters.
    assert height("a" * 90) < height("名" * 90)


def test_entities_of_other_components_have_no_score(run: Run, tmp_path: Path):
    """Whatever was loaded before: it is tried in a process of its own."""
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "R&D", "pattern": "Acme"}])
    nlp.to_disk(tmp_path / "rules")
    (tmp_path / "texts.txt").write_text("Acme left.")
    command = [
        sys.executable,
        "-m",
        "spacy",
        "padellm",
        "visualize",
        "rules",
        "texts.txt",
        "out.svg",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    text = " ".join(ElementTree.parse(tmp_path / "out.svg").getroot().itertext())
    assert "Acme" in text and "R&D" in text


def test_neither_page_nor_picture(run: Run, pipeline: Path, corpus: Path, tmp_path: Path):
    result = run("visualize", pipeline, corpus, tmp_path / "page.png")
    assert result.exit_code == 1 and result.stderr.startswith("Error: [P311] ")


def test_no_pipeline(run: Run, corpus: Path, tmp_path: Path):
    result = run("visualize", tmp_path / "absent", corpus, tmp_path / "page.html")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: [E050] ") and "Traceback" not in result.output


def test_a_pipeline_cut_off(run: Run, pipeline: Path, corpus: Path, tmp_path: Path):
    folder = shutil.copytree(pipeline, tmp_path / "pipeline")
    (folder / "padellm_ner" / "model" / "model.safetensors").unlink()
    result = run("visualize", folder, corpus, tmp_path / "page.html")
    assert result.exit_code == 1 and result.stderr.startswith("Error: [P041] ")


def test_texts_as_windows_writes_them(run: Run, pipeline: Path, tmp_path: Path):
    texts, out = tmp_path / "texts.txt", tmp_path / "page.html"
    texts.write_bytes("\ufeffAda met Bob Hill\x0cin Rome .\r\nIt rains .\r\n".encode())
    result = run("visualize", pipeline, texts, out)
    assert result.exit_code == 0 and result.stdout.startswith("2 texts")
    assert "\ufeff" not in out.read_text(encoding="utf8")
    texts.write_bytes(b"M\xfcller met Ada .\n")
    result = run("visualize", pipeline, texts, out)
    assert result.exit_code == 1 and "[P102]" in result.stderr and "line 1" in result.stderr
