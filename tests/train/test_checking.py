from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import pytest

from spacy_padellm.train.checking import check_entries


class Kind(Enum):
    ONE = "one"


@dataclass
class Entries:
    number: float = 0.0
    whole: int | None = None
    kind: Kind = Kind.ONE
    word: Literal["a", "b"] = "a"
    words: list[str] | str = "x"
    parts: Mapping[str, int] = field(default_factory=dict)
    anything: Any = None
    unstated: int = field(init=False, default=0)


def test_entries_of_the_right_types():
    stated = {
        "number": 1,
        "whole": None,
        "kind": "one",
        "word": "b",
        "words": ["a"],
        "parts": {"a": 1},
        "anything": object,
    }
    assert check_entries(Entries, stated, "here") == stated


@pytest.mark.parametrize(
    "key, value",
    [
        ("number", "1"),
        ("number", True),
        ("whole", 1.5),
        ("kind", 1),
        ("word", "c"),
        ("words", [1]),
        ("parts", {"a": "b"}),
        ("parts", ["a"]),
    ],
)
def test_entries_of_other_types(key: str, value: Any):
    with pytest.raises(ValueError, match=rf"P071.*here\.{key}"):
        check_entries(Entries, {key: value}, "here")


def test_entries_that_there_are_not():
    for key in ("numbr", "unstated"):
        with pytest.raises(ValueError, match=rf"P070.*'here\.{key}'.*number"):
            check_entries(Entries, {key: 1}, "here")
    with pytest.raises(ValueError, match=r"P072.*whole.*do it otherwise"):
        check_entries(Entries, {"whole": 1}, "", left_out={"whole": "do it otherwise"})
