"""Label corpora: texts that are each asked for labels of their own."""

from __future__ import annotations

import json
import lzma
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("spacy")

import spacy
from spacy.training import Example

from spacy_padellm.corpus.docs import gold_spans, load_docs, own_labels
from spacy_padellm.corpus.labels import (
    LabelNames,
    create_label_corpus_v1,
    make_example,
    read_label_corpora,
)

ASSETS = Path(__file__).parents[2] / "assets" / "labels"
ROWS = [
    ("zoo", "train", "A lion and two zebras .", [[1, 2, "cat"], [4, 5, "horse"]], ""),
    ("zoo", "train", "No animal .", [], ""),
    ("zoo", "dev", "A tiger .", [[1, 2, "cat"]], ""),
    ("talk", "train", ["Fly", "to", "New York"], [[2, 3, "city"]], "flights"),
    ("talk", "train", "At nine in Rome", [[1, 2, "time"]], "alarms"),
    ("nested", "train", "Bank of England", [[0, 3, "bank"], [2, 3, "country"]], ""),
]
NAMES = {"cat": {"names": ["feline", "kitty"], "description": "a big animal with claws"}}


def write(path: Path, rows=ROWS) -> Path:
    keys = ("corpus", "part", "tokens", "mentions", "source")
    lines = [json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows]
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "wt", encoding="utf8") as file:
        file.writelines(lines)
    return path


def draw(path: Path, **options) -> list[Example]:
    names = path.with_name("names.json")
    names.write_text(json.dumps(NAMES), encoding="utf8")
    reader = create_label_corpus_v1(path, **{"names": names, "size": 400, **options})
    return list(reader(spacy.blank("en")))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.xz"])
def test_corpora_are_read_by_their_parts_and_sources(tmp_path, name):
    path = write(tmp_path / name)
    found = read_label_corpora(path, ["train"])
    assert {k: [each.labels for each in v] for k, v in found.items()} == {
        "zoo": [["cat", "horse"]],
        "talk": [["city"], ["time"]],
        "nested": [["bank", "country"]],
    }
    assert [len(each.texts) for each in found["zoo"]] == [2]
    assert found["talk"][0].texts[0].words == ["Fly", "to", "New York"]
    assert list(read_label_corpora(path, ["dev"])) == ["zoo"]


def test_a_text_is_asked_for_labels_of_its_own(tmp_path):
    """For all it is taught it is right about each: the gold is that of the labels asked."""
    gold = {" ".join(row[2]) if isinstance(row[2], list) else row[2]: row for row in ROWS}
    asked_for, wordings = Counter(), Counter()
    # So many that the rarest wording is among them.
    for eg in draw(write(tmp_path / "rows.jsonl"), size=2000):
        (_, part, _, mentions, source) = gold[eg.reference.text.strip()]
        labels = own_labels(eg.reference)
        assert part == "train" and labels
        found = {
            (span.start, span.end, span.label_) for span in gold_spans(eg.reference, "padellm")
        }
        assert found == {(a, b, label) for a, b, label in mentions if label in labels}
        assert eg.predicted.text == eg.reference.text and not eg.predicted.spans
        if source:
            # What other sources are annotated for is not known to be absent.
            assert set(labels) == {mentions[0][2]}
        wordings.update(labels.items())
        asked_for.update(label for label in labels if label not in {m[2] for m in mentions})
    assert asked_for["cat"] and asked_for["horse"]
    own = {wording for label, wording in wordings if label == "cat"}
    names = ("cat", "feline", "kitty")
    assert own == {*names, *(f"{each}: a big animal with claws" for each in names)}
    assert {wording for label, wording in wordings if label == "horse"} == {"horse"}
    orders = {tuple(own_labels(eg.reference)) for eg in draw(write(tmp_path / "rows.jsonl"))}
    assert {("cat", "horse"), ("horse", "cat")} <= orders


def test_each_call_draws_anew_and_the_seed_decides(tmp_path):
    path = write(tmp_path / "rows.jsonl")

    def texts(reader):
        nlp = spacy.blank("en")
        return [(eg.reference.text, own_labels(eg.reference)) for eg in reader(nlp)]

    first, same, other = (create_label_corpus_v1(path, size=50, seed=seed) for seed in (1, 1, 2))
    drawn = texts(first)
    assert len(drawn) == 50 and texts(same) == drawn
    assert texts(first) != drawn and texts(other) != drawn


def test_corpora_may_be_left_out(tmp_path):
    examples = draw(write(tmp_path / "rows.jsonl"), without=["zoo", "talk"])
    assert {eg.reference.text.strip() for eg in examples} == {"Bank of England"}
    with pytest.raises(ValueError, match=r"P152.*called moon.*nested, talk, zoo"):
        draw(tmp_path / "rows.jsonl", without=["moon"])


def test_a_corpus_that_is_left_out_may_be_of_another_part(tmp_path):
    path = write(tmp_path / "rows.jsonl")
    all_corpora = set(read_label_corpora(path))
    of_dev = set(read_label_corpora(path, ["dev"]))
    (other, *_) = sorted(all_corpora - of_dev)
    assert draw(path, parts=["dev"], without=[other])


@pytest.mark.parametrize("given", [{"parts": ["trian"]}, {"without": ["zoo", "talk", "nested"]}])
def test_nothing_to_draw_from(tmp_path, given):
    with pytest.raises(ValueError, match=r"P154.*rows\.jsonl.*`without`"):
        draw(write(tmp_path / "rows.jsonl"), **given)


def test_other_texts_come_in_between(tmp_path):
    def read_others(nlp):
        for text in ("one", "two"):
            yield Example(nlp.make_doc(text), nlp.make_doc(text))

    path = write(tmp_path / "rows.jsonl")
    examples = draw(path, share=0.7, others=read_others)
    others = [eg for eg in examples if own_labels(eg.reference) is None]
    assert {eg.reference.text for eg in others} == {"one", "two"}
    assert 0.2 < len(others) / len(examples) < 0.4
    assert not [eg for eg in draw(path, others=read_others) if own_labels(eg.reference) is None]
    with pytest.raises(ValueError, match="P153"):
        draw(path, share=0.5, others=lambda nlp: [])


def test_other_texts_are_read_once_and_each_comes_as_often(tmp_path):
    read = []

    def read_others(nlp):
        read.append(nlp)
        return [Example.from_dict(nlp.make_doc(str(n)), {}) for n in range(7)]

    reader = create_label_corpus_v1(
        write(tmp_path / "rows.jsonl"), size=5, share=0.0, others=read_others
    )
    nlp, other = spacy.blank("en"), spacy.blank("en")
    seen = [eg.reference.text for _ in range(14) for eg in reader(nlp)]
    assert len(read) == 1 and set(Counter(seen).values()) == {10}
    assert all(eg.reference.vocab is other.vocab for eg in reader(other)) and len(read) == 2


@pytest.mark.parametrize(
    "line, problem",
    [
        ("{", "P150.*line 1"),
        ('{"corpus": "a"}', "P150.*line 1.*'part'"),
        ('{"corpus": "a", "part": "train", "tokens": "b", "mentions": [[0, 2, "c"]]}', "within"),
        ('{"corpus": "a", "part": "train", "tokens": "b", "mentions": [[0, 1]]}', "P150.*line 1"),
        ("[]", "P150.*line 1"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path, line, problem):
    path = tmp_path / "rows.jsonl"
    path.write_text(line + "\n", encoding="utf8")
    with pytest.raises(ValueError, match=problem):
        read_label_corpora(path, ["train"])


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"P150.*nowhere\.jsonl"):
        read_label_corpora(tmp_path / "nowhere.jsonl", ["train"])
    (tmp_path / "half.xz").write_bytes(lzma.compress(b"{}" * 99)[:20])
    with pytest.raises(ValueError, match=r"P150.*half\.xz"):
        read_label_corpora(tmp_path / "half.xz", ["train"])
    for content in ("[]", '{"a": {"names": [1], "description": "b"}}', '{"a": {"names": ["b"]}}'):
        (tmp_path / "bad.json").write_text(content, encoding="utf8")
        with pytest.raises(ValueError, match=r"P151.*bad\.json"):
            LabelNames.read(tmp_path / "bad.json")
    with pytest.raises(ValueError, match=r"P151.*none\.json"):
        LabelNames.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    "options, problem",
    [({"size": 0}, "P032.*size"), ({"most_labels": 0}, "P032"), ({"share": 1.5}, "P030.*share")],
)
def test_numbers_that_are_not_possible(tmp_path, options, problem):
    with pytest.raises(ValueError, match=problem):
        create_label_corpus_v1(tmp_path, **options)


def test_no_two_labels_of_a_text_have_the_same_wording(tmp_path):
    path = write(tmp_path / "rows.jsonl", [("zoo", "train", "a b", [[0, 1, "c"], [1, 2, "d"]], "")])
    names = tmp_path / "same.json"
    same = {"names": ["thing"], "description": "what it is"}
    names.write_text(json.dumps({"c": same, "d": same}), encoding="utf8")
    asked = [own_labels(eg.reference) for eg in draw(path, names=names)]
    assert any("thing" in labels.values() for labels in asked)
    assert all(len(set(labels.values())) == len(labels) for labels in asked)


def test_a_long_text_is_cut(tmp_path):
    rows = [("a", "train", " ".join(map(str, range(300))), [[1, 2, "b"], [250, 251, "b"]], "")]
    (group,) = read_label_corpora(write(tmp_path / "rows.jsonl", rows), ["train"])["a"]
    eg = make_example(spacy.blank("en"), group.texts[0], {"b": "b"})
    assert [span.text for span in gold_spans(eg.reference, "padellm")] == ["1"]
    assert len(eg.reference) == 100


def test_the_corpora_of_the_project_have_names_for_all_labels():
    corpora = read_label_corpora(ASSETS / "corpora.jsonl.xz", ["train", "dev", "test"])
    names = json.loads((ASSETS / "names.json").read_text(encoding="utf8"))
    LabelNames.read(ASSETS / "names.json")
    labels = {label for groups in corpora.values() for each in groups for label in each.labels}
    assert labels == set(names) and len(corpora) == 41
    sources = (ASSETS / "SOURCES.md").read_text(encoding="utf8")
    assert all(f"\n| {corpus} |" in sources for corpus in corpora)
    for groups in corpora.values():
        for own in ({label for each in groups for label in each.labels},):
            # Another label of the same corpus would be a wrong name.
            assert not [n for label in own for n in names[label]["names"] if n in own]


def test_label_corpora_are_written_as_docs(tmp_path, monkeypatch, capsys):
    """As many as wanted, each asked for all labels of its corpus, or of its source."""
    monkeypatch.syspath_prepend(str(ASSETS.parents[1] / "scripts"))
    script = import_module("label_corpora")
    script.write(tmp_path, ["test"], ["job_adverts", "sgd"], 20, None)
    said = capsys.readouterr().out.splitlines()
    trained = read_label_corpora(ASSETS / "corpora.jsonl.xz", ["train"])
    elsewhere = {
        label
        for name, groups in trained.items()
        if name not in ("job_adverts", "sgd")
        for group in groups
        for label in group.labels
    }
    vocab = spacy.blank("en").vocab
    corpora = read_label_corpora(ASSETS / "corpora.jsonl.xz", ["test"])
    for name, line in zip(("job_adverts", "sgd"), said, strict=True):
        docs = load_docs(tmp_path / f"{name}.spacy", vocab)
        asked = [own_labels(doc) for doc in docs]
        known = [{label: label for label in each.labels} for each in corpora[name]]
        assert len(docs) == 20 and all(labels in known for labels in asked)
        found = {span.label_ for doc in docs for span in gold_spans(doc, "padellm")}
        assert len(found) > 1 and found <= {label for labels in known for label in labels}
        labels = [span.label_ for doc in docs for span in gold_spans(doc, "padellm")]
        of_others = sum(label in elsewhere for label in labels)
        # Of the adverts' labels one stands in another corpus, of these commands' none.
        assert 0 < of_others < len(labels) if name == "job_adverts" else of_others == 0
        told = f"{len(labels)} mentions, {of_others} have labels of others"
        assert line == f"{name}: 20 texts, {told}"
    with pytest.raises(SystemExit, match=r"Not there: moon\. There are anatem, "):
        script.write(tmp_path, ["test"], ["moon"], None, None)
    # In another order, with a seed.
    first = [doc.text for doc in load_docs(tmp_path / "sgd.spacy", vocab)]
    for seed in (1, 1, 2):
        script.write(tmp_path / str(seed), ["test"], ["sgd"], 20, seed)
    one, two = ([d.text for d in load_docs(tmp_path / n / "sgd.spacy", vocab)] for n in "12")
    assert one != first and one != two and len(one) == 20
