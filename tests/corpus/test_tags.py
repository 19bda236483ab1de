from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.corpus.tags import (
    SCHEMES,
    detect_scheme,
    entities_from_tags,
    first_illegal,
    split_tag,
)

Entity = tuple[int, int, str]


def tags(written: str) -> list:
    return [split_tag(each) for each in written.split()]


def tags_from_entities(entities: list[Entity], length: int, scheme: str) -> list[str]:
    """The scheme's definition, written from the entities' side."""
    written = ["O"] * length
    previous_end, previous_label = -1, ""
    for start, end, label in entities:
        inside = ["I"] * (end - start)
        if scheme == "bio":
            inside[0] = "B"
        elif scheme == "iob1":
            touches = start == previous_end and label == previous_label
            inside[0] = "B" if touches else "I"
        else:
            last, single = ("E", "S") if scheme == "bioes" else ("L", "U")
            inside[0], inside[-1] = "B", last
            inside = [single] if len(inside) == 1 else inside
        written[start:end] = [f"{prefix}-{label}" for prefix in inside]
        previous_end, previous_label = end, label
    return written


@st.composite
def sentences(draw: st.DrawFn) -> tuple[list[Entity], int]:
    entities, place = [], 0
    for _ in range(draw(st.integers(0, 5))):
        start = place + draw(st.integers(0, 2))
        place = start + draw(st.integers(1, 3))
        entities.append((start, place, draw(st.sampled_from(["PER", "ORG", "creative-work"]))))
    return entities, place + draw(st.integers(0, 2))


@pytest.mark.parametrize("scheme", SCHEMES)
@given(sentence=sentences())
def test_entities_survive_each_scheme(scheme: str, sentence: tuple[list[Entity], int]):
    entities, length = sentence
    written = tags_from_entities(entities, length, scheme)
    split = [split_tag(each) for each in written]
    assert entities_from_tags(split) == entities
    assert first_illegal(split, SCHEMES[scheme].follows) is None
    assert tags_from_entities(entities_from_tags(split), length, scheme) == written


@pytest.mark.parametrize("scheme", SCHEMES)
@given(corpus=st.lists(sentences(), min_size=1, max_size=4))
def test_detected_scheme_finds_the_same_entities(
    scheme: str, corpus: list[tuple[list[Entity], int]]
):
    split = [[split_tag(tag) for tag in tags_from_entities(*each, scheme)] for each in corpus]
    detected = detect_scheme(split)
    assert detected is not None
    for each in split:
        assert first_illegal(each, SCHEMES[detected].follows) is None


@pytest.mark.parametrize(
    "written, parts",
    [
        ("O", ("O", "")),
        ("B-creative-work", ("B", "creative-work")),
        ("U-a.b", ("U", "a.b")),
        ("o", ("O", "")),
        ("b-per", ("B", "per")),
        ("B_PER", ("B", "PER")),
        ("B-a b", ("B", "a b")),
        ("M-NAME", ("I", "NAME")),
    ],
)
def test_split_tag(written: str, parts: tuple[str, str]):
    tag = split_tag(written)
    assert tag is not None and (tag.prefix, tag.label) == parts


@pytest.mark.parametrize("written", ["", "-", "B", "B-", "B- ", "X-PER", "O-PER", "B PER", "PER-B"])
def test_split_tag_rejects(written: str):
    assert split_tag(written) is None


@pytest.mark.parametrize(
    "scheme, written, entities",
    [
        ("bio", "B-A I-A B-A O", [(0, 2, "A"), (2, 3, "A")]),
        ("iob1", "I-A I-A B-A I-A I-B", [(0, 2, "A"), (2, 4, "A"), (4, 5, "B")]),
        ("bioes", "B-A I-A E-A S-A B-A E-A", [(0, 3, "A"), (3, 4, "A"), (4, 6, "A")]),
        ("bilou", "U-A B-A L-A O U-B", [(0, 1, "A"), (1, 3, "A"), (4, 5, "B")]),
    ],
)
def test_each_scheme(scheme: str, written: str, entities: list[Entity]):
    assert first_illegal(tags(written), SCHEMES[scheme].follows) is None
    assert entities_from_tags(tags(written)) == entities


@pytest.mark.parametrize(
    "scheme, written, index",
    [
        ("bio", "O I-A", 1),
        ("bio", "B-A I-B", 1),
        ("bioes", "B-A O", 1),
        ("bioes", "B-A", 1),
        ("bioes", "O I-A E-A", 1),
        ("bioes", "S-A E-A", 1),
        ("bioes", "B-A I-A S-A", 2),
        ("bilou", "B-A U-A", 1),
        ("bilou", "B-A L-B", 1),
        ("iob1", "B-A O I-A", None),
    ],
)
def test_first_illegal(scheme: str, written: str, index: int | None):
    assert first_illegal(tags(written), SCHEMES[scheme].follows) == index


@pytest.mark.parametrize(
    "corpus, scheme",
    [
        (["O O"], "bio"),
        (["B-A I-A", "B-A B-A"], "bio"),
        (["I-A I-A O", "O"], "iob1"),
        (["I-A B-A"], "iob1"),
        # An I- that starts an entity next to a B- that separates nothing: neither scheme.
        (["I-A", "O B-A"], "bio"),
        (["B-A I-A", "S-A"], "bioes"),
        (["B-A E-A"], "bioes"),
        (["B-A L-A"], "bilou"),
        (["U-A"], "bilou"),
        (["U-A", "S-A"], None),
    ],
)
def test_detect_scheme(corpus: list[str], scheme: str | None):
    assert detect_scheme(map(tags, corpus)) == scheme
