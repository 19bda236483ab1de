from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spacy_padellm.benchmark.datasets import find_corpora, load_datasets
from spacy_padellm.prompt.template import PRESETS, TEMPLATES

CONLL = "Ada\tB-person\nof\tO\n\nRome\tB-LOC\n"


def write(path: Path, content: str = CONLL) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def write_paper(path: Path, *rows: list[Any]) -> Path:
    return write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@pytest.mark.parametrize(
    "file, name",
    [
        ("news.conll", "news"),
        ("weibo/test.jsonl", "weibo"),
        ("weibo/train.jsonl", "weibo"),
        ("weibo/dev.iob2", "weibo"),
        ("weibo/testing.jsonl", "testing"),
    ],
)
def test_a_file_is_named_by_itself_or_its_folder(tmp_path: Path, file: str, name: str):
    path = write(tmp_path / file)
    assert find_corpora(path) == [(name, path)]


def test_names_of_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "weibo" / "test.conll")
    monkeypatch.chdir(path.parent)
    assert find_corpora(Path("test.conll")) == [("weibo", path)]
    assert find_corpora(Path()) == [("weibo", path)]
    assert find_corpora(Path("../weibo")) == [("weibo", path)]


def test_a_linked_folder_keeps_its_name(tmp_path: Path):
    write(tmp_path / "store" / "test.conll")
    (tmp_path / "weibo").symlink_to(tmp_path / "store")
    assert find_corpora(tmp_path / "weibo") == [("weibo", tmp_path / "weibo" / "test.conll")]


def test_a_folder_has_a_test_file(tmp_path: Path):
    path = write(tmp_path / "weibo" / "test.jsonl")
    for other in ("train.jsonl", "test.jsonl.part", "tests.jsonl", "old/test.jsonl", "old/test.x"):
        write(path.parent / other)
    assert find_corpora(path.parent) == [("weibo", path)]


def test_a_folder_of_folders(tmp_path: Path):
    second, first = write(tmp_path / "weibo" / "test.jsonl"), write(tmp_path / "btc" / "test.conll")
    write(tmp_path / "wikigold" / "wikigold.conll")
    write(tmp_path / "readme.md")
    assert find_corpora(tmp_path) == [("btc", first), ("weibo", second)]


def test_a_binary_test_file_beside_its_source(tmp_path: Path):
    path = write(tmp_path / "test.jsonl")
    write(tmp_path / "test.spacy")
    assert [file for _, file in find_corpora(tmp_path)] == [path]


def test_several_test_files(tmp_path: Path):
    write(tmp_path / "test.iob2")
    write(tmp_path / "test.conll")
    with pytest.raises(ValueError, match=r"\[P402\].*test\.conll, test\.iob2"):
        find_corpora(tmp_path)


def test_no_corpus(tmp_path: Path):
    write(tmp_path / "weibo" / "train.jsonl")
    for path in (tmp_path, tmp_path / "weibo", tmp_path / "missing"):
        with pytest.raises(ValueError, match=r"\[P401\].*a folder with a test file") as caught:
            find_corpora(path)
        assert str(path) in str(caught.value)


def test_an_unknown_corpus_keeps_its_labels(tmp_path: Path):
    (dataset,) = load_datasets([write(tmp_path / "news.conll")])
    assert (dataset.name, len(dataset.texts)) == ("news", 2)
    assert dataset.template is TEMPLATES["en"]
    assert list(dataset.labels.items()) == [("LOC", "LOC"), ("person", "person")]


def test_stated_labels_are_asked_for(tmp_path: Path):
    line = {"text": "a", "tokens": [[0, 1]], "mentions": [], "labels": ["X", "ORG"]}
    other = {**line, "mentions": [{"start": 0, "end": 1, "label": "PER"}], "labels": ["PER"]}
    path = write(tmp_path / "news.jsonl", f"{json.dumps(line)}\n{json.dumps(other)}\n")
    assert list(load_datasets([path])[0].labels) == ["ORG", "PER", "X"]


def test_a_corpus_of_the_paper_has_its_preset(tmp_path: Path):
    path = write_paper(tmp_path / "weibo" / "test.jsonl", ["李在台湾", [0, 0, "李", "PER.NAM"]])
    (dataset,) = load_datasets([path])
    assert dataset.template is TEMPLATES["zh"]
    assert dataset.labels == PRESETS["weibo"].labels


def test_a_preset_has_to_know_the_labels(tmp_path: Path):
    path = write_paper(tmp_path / "weibo" / "test.jsonl", ["李在台湾", [0, 0, "李", "PER"]])
    (dataset,) = load_datasets([path])
    assert dataset.template is TEMPLATES["zh"]
    assert dataset.labels == {"PER": "PER"}


@pytest.mark.parametrize(
    "texts, template",
    [
        (["李 b", "c 李"], "zh"),
        (["a 李", "李 b", "c d"], "zh"),
        (["李 a", "b c"], "en"),
        (["𠀀 x"], "zh"),
        (["a , b 。"], "en"),
    ],
)
def test_most_texts_choose_the_template(tmp_path: Path, texts: list[str], template: str):
    lines = "\n".join(word + "\tO" if word else "" for t in texts for word in [*t.split(), ""])
    (dataset,) = load_datasets([write(tmp_path / "corpus.conll", lines)])
    assert len(dataset.texts) == len(texts)
    assert dataset.template is TEMPLATES[template]


@pytest.mark.parametrize(
    "limit, kept", [(1, [0]), (3, [0, 3, 6]), (4, [0, 2, 5, 7]), (10, range(10)), (99, range(10))]
)
def test_a_limit_spreads_over_the_file(tmp_path: Path, limit: int, kept: list[int]):
    path = write(tmp_path / "news.conll", "".join(f"t{i}\tB-L{i}\n\n" for i in range(10)))
    (dataset,) = load_datasets([path], limit=limit)
    assert [text.source.text for text in dataset.texts] == [f"t{i}" for i in kept]
    # Labels are the file's, however few texts are read.
    assert len(dataset.labels) == 10


def test_a_limit_is_one_or_more(tmp_path: Path):
    with pytest.raises(ValueError, match=r"\[P032\] limit is 0"):
        load_datasets([write(tmp_path / "news.conll")], limit=0)


def test_names_are_numbered(tmp_path: Path):
    paths = [
        write(tmp_path / name)
        for name in ("a/news.conll", "b/news.conll", "news-2.conll", "c/news/test.conll")
    ]
    names = [dataset.name for dataset in load_datasets(paths)]
    assert names == ["news", "news-2", "news-2-2", "news-3"]


def test_a_numbered_corpus_has_its_preset(tmp_path: Path):
    paths = [
        write_paper(tmp_path / "weibo" / file, ["李在台湾", [0, 0, "李", "PER.NAM"]])
        for file in ("dev.jsonl", "test.jsonl")
    ]
    second = load_datasets(paths)[1]
    assert (second.name, second.labels) == ("weibo-2", PRESETS["weibo"].labels)


def test_formats(tmp_path: Path):
    path = write(tmp_path / "news.conll")
    assert load_datasets([path], format="conll") == load_datasets([path])
    with pytest.raises(ValueError, match=r"\[P106\]"):
        load_datasets([path], format="jsonl")


def test_binary_corpora(tmp_path: Path):
    write(tmp_path / "test.spacy")
    with pytest.raises(ValueError, match=r"\[P403\].*test\.spacy.*paper, conll, csv, jsonl"):
        load_datasets([tmp_path])


def test_the_papers_corpora(shared_data: Path):
    datasets = load_datasets([shared_data / "paper"], limit=5)
    names = ["conll03", "ecommerce", "genia", "msra", "resume", "weibo", "youku"]
    assert [dataset.name for dataset in datasets] == names
    for dataset in datasets:
        preset = PRESETS[dataset.name]
        assert (dataset.template, dataset.labels) == (preset.template, preset.labels)
        assert len(dataset.texts) == 5
