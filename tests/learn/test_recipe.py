from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.learn.recipe import FEWEST_TEXTS, Recipe, check_count, spell_out, word


@pytest.mark.parametrize(
    "label, words",
    [
        ("JOB_TITLE", "job title"),
        ("JobTitle", "job title"),
        ("operating-system", "operating system"),
        ("software plug-in", "software plug-in"),
        ("pH value", "pH value"),
        ("C++", "c++"),
        ("स्थान", "स्थान"),
        ("PER", "per"),
        ("地点", "地点"),
        ("B2B", "b2b"),
        ("__", "__"),
    ],
)
def test_labels_are_spelled_out(label: str, words: str):
    assert spell_out(label) == words


def test_a_stated_wording_comes_first_and_then_the_checkpoints():
    found = word(["LANG", "PER", "JOB_TITLE"], {"LANG": "language: of code"}, {"PER": "person"})
    assert found == {"LANG": "language: of code", "PER": "person", "JOB_TITLE": "job title"}


def test_a_wording_of_no_label():
    with pytest.raises(ValueError, match=r"P441.*no label LNAG.*only LANG, OS"):
        word(["LANG", "OS"], {"LNAG": "language"}, {})


@pytest.mark.parametrize(
    "labels, stated",
    [(["a.b", "a/b"], {}), (["A", "JobTitle", "JOB_TITLE"], {}), (["A", "B"], {"A": "b"})],
)
def test_two_labels_of_one_wording(labels: list[str], stated: dict[str, str]):
    with pytest.raises(ValueError, match=rf"P445.*{labels[-1]} .*--wording"):
        word(labels, stated, {})


def test_a_wording_that_is_not_possible():
    with pytest.raises(ValueError, match="P0"):
        word(["A"], {"A": "two\nlines"}, {})


@given(st.integers(1, 300))
def test_the_rate_rises_and_falls(steps: int):
    recipe = Recipe()
    rates = [recipe.find_rate(step, steps) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0 < rate <= recipe.rate for rate in rates)
    assert top <= steps / 10 and rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_a_large_model_learns_slowly():
    small, large = (Recipe.choose(n, has_tags=True) for n in (22_000_000, 300_000_000))
    assert large.rate < small.rate / 10 and small.tag_text > 0 and small.biases[0] == 1


def test_a_model_without_tags_is_taught_none():
    recipe = Recipe.choose(22_000_000, has_tags=False)
    assert recipe.tag_text == 0 and recipe.biases == (0.0,)


def test_too_few_texts():
    check_count(FEWEST_TEXTS)
    assert Recipe().rounds < FEWEST_TEXTS
    with pytest.raises(
        ValueError, match=r"P440.*5 different annotated texts are too few.*at least 6"
    ):
        check_count(FEWEST_TEXTS - 1)
