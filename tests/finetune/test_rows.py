from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.decode.windows import Window, cut_windows
from spacy_padellm.finetune.rows import (
    RowDataset,
    TaughtText,
    collate,
    measure_rows,
    pack_rows,
    prepare_texts,
)
from spacy_padellm.model import PaDeLLM
from spacy_padellm.prompt.encoder import EncodedText
from spacy_padellm.texts import AnnotatedText, TokenizedText
from spacy_padellm.train.augmentation import MentionSwap
from spacy_padellm.train.gold import GoldReport
from spacy_padellm.train.supervised import SupervisedTree
from spacy_padellm.train.versions import TextVersions
from tests.finetune.toys import TRAIN
from tests.toy_corpus import LABELS, parse
from tests.trained import LIMITS, trained_lm

LM, SETTINGS = trained_lm()
MODEL = PaDeLLM(LM, SETTINGS)
OBJECTIVE = MODEL.make_objective()
AMPLE = 10_000


class InWindows(PaDeLLM):
    """Reads so many tokens of a text at once."""

    def __init__(self, most: int) -> None:
        super().__init__(LM, SETTINGS)
        self.most = most

    def cut(self, text: str | TokenizedText) -> list[Window]:
        assert isinstance(text, TokenizedText)
        return cut_windows(text, self.encode, lambda window: len(window.tokens) <= self.most)


def prepare(
    texts: list[AnnotatedText], labels: Sequence[str] = LABELS, model: PaDeLLM = MODEL
) -> tuple[list[TaughtText], GoldReport]:
    wordings = {label: label for label in labels}
    if wordings != SETTINGS.labels:
        model = model.with_settings(replace(SETTINGS, labels=wordings))
    return prepare_texts(texts, model, model.make_objective())


def messages(report: GoldReport) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report.warn()
    return "\n".join(str(each.message) for each in caught)


def test_all_is_taught_and_nothing_said():
    taught, report = prepare(TRAIN)
    assert [each.text for each in taught] == TRAIN
    trees = [OBJECTIVE.build(text)[0] for text in TRAIN]
    assert [each.size for each in taught] == [len(tree.tree) for tree in trees]
    assert report.gold == sum(len(text.mentions) for text in TRAIN) > 0
    assert messages(report) == ""


def test_what_is_kept_of_a_text_is_the_text_alone():
    """Its ids and its trie are many times as large."""
    encoded = [replace(text, source=MODEL.encode(text.source)) for text in TRAIN]
    assert isinstance(encoded[0].source, EncodedText)
    taught, _ = prepare(encoded)
    assert {type(each.text.source) for each in taught} == {TokenizedText}


def test_gold_that_cannot_be_taught_is_counted_by_reason():
    many = parse(" ".join(["[Dan|PER]"] * (LIMITS["max_mentions"] + 2)))
    long = parse("[a b c d e|ORG] left .")
    off = AnnotatedText(TokenizedText("Dan left", ((0, 8),)), parse("[Dan|PER] left").mentions)
    taught, report = prepare([many, long, off, *TRAIN])
    counts = {reason: len(entries) for reason, entries in report.left_out.by_reason.items()}
    assert counts == {"too_many": 2, "too_long": 1, "unaligned": 1}
    assert [len(each.left_out) for each in taught[:3]] == [2, 1, 1]
    said = messages(report)
    assert f"W070] 4 of {report.gold} gold" in said
    assert "2 too many" in said and "1 unaligned (for example PER 'Dan')" in said


def test_labels_that_are_not_taught_and_that_there_are_none_of():
    labels = ["PER", "LOC"]
    taught, report = prepare([parse("[Dan|PER] left [Acme|ORG] .", None)], labels)
    assert len(taught) == 1 and report.gold == 1
    said = messages(report)
    assert "W072] Some mentions are not taught, as their labels are not in `labels`: 1 ORG." in said
    assert "W073] No training text has a mention of LOC" in said


def test_texts_that_teach_nothing():
    idle = parse("Dan left .", labels=["DATE"])
    taught, report = prepare([idle, *TRAIN])
    assert [each.text for each in taught] == TRAIN
    assert f"W071] 1 of {len(TRAIN) + 1} annotated texts" in messages(report)


def test_a_label_of_partly_annotated_texts_is_not_absent():
    _, report = prepare([parse("[Dan|PER] left .", labels=["PER"])])
    assert report.absent == []


def test_long_texts_are_cut_into_windows():
    text = parse("[Dan|PER] met [New York|LOC] and [Bob Hill|PER] there .")
    taught, report = prepare([text], model=InWindows(5))
    assert len(taught) == report.windows > 1
    strings = {
        each.text.source.text[m.start : m.end] for each in taught for m in each.text.mentions
    }
    assert strings == {"Dan", "New York", "Bob Hill"}
    assert report.gold == 3 and not report.left_out


def test_texts_that_the_model_has_no_positions_for_are_cut():
    taught, report = prepare([parse("[Dan|PER] left . " * 40)], ["PER"])
    assert len(taught) == report.windows > 1
    assert all(OBJECTIVE.examine(each.text).depth <= 128 for each in taught)


def test_mentions_across_windows_are_counted():
    text = parse("It [a b c d|ORG] is .")
    _, report = prepare([text], model=InWindows(2))
    assert list(report.left_out) == [("across_windows", text.mentions[0])]


def test_a_text_too_long_for_the_model():
    with pytest.raises(ValueError, match=r"(?s)P208.*P023.*'Dan left"):
        prepare([parse("Dan left " * 60)], model=InWindows(1000))


SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=300)


@given(SIZES, st.integers(1, 100), st.integers(0, 5))
def test_each_text_is_in_one_row_and_rows_are_within_bounds(sizes: list[int], most: int, seed: int):
    rows = pack_rows(sizes, most, seed)
    assert sorted(place for row in rows for place in row) == list(range(len(sizes)))
    for row in rows:
        assert len(row) == 1 or sum(sizes[place] for place in row) <= most
    assert pack_rows(sizes, most, seed) == rows


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60))
def test_no_two_rows_would_fit_into_one(sizes: list[int]):
    rows = pack_rows(sizes, 100, 0)
    room = [100 - sum(sizes[place] for place in row) for row in rows]
    # First fit: what opened a row found no room before it.
    assert all(
        sizes[row[0]] > room[earlier] for later, row in enumerate(rows) for earlier in range(later)
    )


def test_the_seed_decides_which_texts_come_together():
    assert pack_rows([10] * 50, 100, 0) != pack_rows([10] * 50, 100, 1)


def test_rows_of_a_seed_stay_what_they_are():
    """A training that is resumed has to find the rows it began with."""
    sizes = [7 * number % 23 + 1 for number in range(20)]
    assert pack_rows(sizes, 40, 3) == [
        *([2, 19, 0, 7], [6, 8, 1], [15, 9, 14], [18, 16, 10, 17]),
        *([13, 5], [3, 11, 4], [12]),
    ]


TAUGHT, _ = prepare(TRAIN)
ALL = range(len(TRAIN))


def dataset(
    taught: Sequence[TaughtText] = TAUGHT,
    rows: Sequence[Sequence[int]] | None = None,
    max_tokens: int = AMPLE,
    seed: int = 0,
    fits: Callable[[int], bool] = LM.fits,
    multiple: int = 1,
    max_bytes: int = 0,
    **changes,
) -> RowDataset:
    """All texts in one row, unless stated otherwise."""
    swap = MentionSwap(**{"rate": 0.5, "uses": 1, "join": 1, **changes})
    versions = TextVersions(OBJECTIVE, swap=swap, fits=fits, max_bytes=max_bytes)
    rows = [range(len(taught))] if rows is None else rows
    return RowDataset(rows, taught, versions, max_tokens, seed, multiple)


def trees_of(rows: RowDataset, epoch: int) -> list[SupervisedTree]:
    rows.epoch = epoch
    return rows[0]


def ids(trees: list[SupervisedTree]) -> list[list[int]]:
    return [tree.tree.ids for tree in trees]


PLAIN = ids([OBJECTIVE.build(text)[0] for text in TRAIN])


def test_figures_of_rows():
    rows = pack_rows([each.size for each in TAUGHT], 200, 0)
    figures = measure_rows(rows, TAUGHT, 200, at_once=2)
    total = sum(each.size for each in TAUGHT)
    assert (figures.texts, figures.rows, figures.tokens) == (len(TAUGHT), len(rows), total)
    assert figures.fullness == pytest.approx(total / (200 * len(rows)))
    assert figures.sequence_tokens == sum(each.sequence_tokens for each in TAUGHT) > total
    assert 0 <= figures.padding < 0.5
    assert f"{len(TAUGHT)} texts in {len(rows)} rows" in figures.describe()
    assert f"({figures.sequence_tokens / total:.2f} times)" in figures.describe()


def test_rows_of_an_epoch():
    rows = pack_rows([each.size for each in TAUGHT], 200, 0)
    of = dataset(rows=rows, max_tokens=200, rate=0.0)
    assert len(of) == len(rows)
    first = [ids(of[place]) for place in range(len(rows))]
    of.epoch = 1
    second = [ids(of[place]) for place in range(len(rows))]
    assert first != second and sorted(first) == sorted(second)
    of.epoch = 0
    assert ids(of[0]) == first[0]


def test_the_last_step_is_filled_up_with_what_teaches_nothing():
    rows = pack_rows([each.size for each in TAUGHT], 200, 0)
    of = dataset(rows=rows, max_tokens=200, rate=0.0, multiple=len(rows) + 3)
    assert len(of) == len(rows) + 3
    assert all(sum(tree.weights) > 0 for place in range(len(rows)) for tree in of[place])
    smallest = min(TAUGHT, key=lambda each: each.size)
    for place in range(len(rows), len(of)):
        (tree,) = of[place]
        assert tree.nodes and set(tree.weights) == {0.0}
        assert len(tree.tree) == smallest.size
    assert len(dataset(rows=rows, multiple=1)) == len(rows)


def test_rows_are_joined():
    of = dataset(rows=[[0, 1], [2]])
    rows = [of[0], of[1]]
    assert collate(rows) == {"trees": [*rows[0], *rows[1]]}


def test_without_augmentation_texts_are_as_they_are():
    versions = TextVersions(OBJECTIVE, fits=LM.fits, max_bytes=0)
    assert ids(trees_of(RowDataset([ALL], TAUGHT, versions, AMPLE, seed=0), 7)) == PLAIN


def test_a_version_depends_on_seed_epoch_and_text_alone():
    random.seed(1)
    changes = {"join": 2, "capitals": 0.2}
    first = dataset(**changes)
    epochs = [ids(trees_of(first, epoch)) for epoch in range(4)]
    assert epochs[0] == PLAIN
    assert epochs[1] != epochs[2] != epochs[3] and PLAIN not in epochs[1:]
    random.seed(2)
    # Other processes, in another order, which saw no epoch before.
    backwards = [trees_of(dataset(rows=[[place]], **changes), 3)[0] for place in reversed(ALL)]
    assert ids(backwards[::-1]) == epochs[3]
    assert ids(trees_of(dataset(**changes, seed=5), 3)) != epochs[3]


@pytest.mark.parametrize("changes", [{}, {"uses": 2}, {"uses": 2, "join": 2, "capitals": 0.2}])
def test_trees_are_the_same_with_a_cache(changes: dict):
    """Equal texts have versions of their own in both."""
    taught, _ = prepare(TRAIN * 2)
    room = sum(each.size for each in taught) + 30
    half = 2**10 * len(taught)
    made = []
    for max_bytes in (0, half, 2**30):
        of = dataset(taught, max_tokens=room, max_bytes=max_bytes, **changes)
        epochs = [trees_of(of, epoch) for epoch in (0, 1, 2, 3, 4, 2, 0)]
        made.append([[(t.tree.ids, t.targets, t.weights) for t in trees] for trees in epochs])
    assert made[0] == made[1] == made[2]
    first, second = ids(epochs[2])[: len(TRAIN)], ids(epochs[2])[len(TRAIN) :]
    assert first != second and epochs[0][0] is epochs[-1][0]


def test_chance_elsewhere_is_left_alone():
    random.seed(3)
    expected = random.random()
    random.seed(3)
    trees_of(dataset(join=2, capitals=0.5), 2)
    assert random.random() == expected


def test_a_version_is_used_as_often_as_stated():
    of = dataset(uses=2)
    epochs = [ids(trees_of(of, epoch)) for epoch in range(6)]
    assert epochs[0] == epochs[1] == PLAIN
    assert epochs[2] == epochs[3] != PLAIN
    assert epochs[4] == epochs[5] != epochs[3]


@pytest.mark.parametrize("join", [1, 2, 3])
def test_a_row_never_grows_beyond_its_tokens(join: int):
    room = sum(each.size for each in TAUGHT) + 30
    of = dataset(join=join, max_tokens=room)
    for epoch in range(1, 6):
        trees = trees_of(of, epoch)
        assert sum(len(tree.tree) for tree in trees) <= room
        assert ids(trees) != PLAIN


def test_a_version_too_deep_for_the_model_is_not_used():
    assert ids(trees_of(dataset(fits=lambda depth: False), 1)) == PLAIN


def test_a_version_with_more_left_out_is_not_used():
    # Two of these have more mentions than can be taught.
    text = parse("[Dan|PER] asked [Ada|PER] and [Cleo|PER] .")
    taught, _ = prepare([text] * 4)
    trees = trees_of(dataset(taught, rate=0.0, join=3), 1)
    assert ids(trees) == ids([OBJECTIVE.build(text)[0]]) * 4


def test_gold_that_cannot_be_taught_is_not_swapped_in():
    text, long = parse("[Dan|PER] left ."), parse("[a b c d e|PER] left .")
    taught, _ = prepare([text, long])
    of = dataset(taught, rate=1.0)
    first, second = ids([OBJECTIVE.build(each)[0] for each in (text, text)])
    for epoch in range(1, 6):
        # Only Dan is known: he stays, and takes the place of the long one.
        assert ids(trees_of(of, epoch)) == [first, second]
