from __future__ import annotations

import pytest

from spacy_padellm.benchmark.lookup import PromptLookup


@pytest.mark.parametrize(
    "ids, draft",
    [
        ([1, 2, 3, 4, 9, 2, 3], [4, 9, 2, 3]),
        # The longest match, even if a shorter one is nearer.
        ([1, 2, 3, 5, 3, 6, 2, 3], [5, 3, 6, 2]),
        # The last of several.
        ([3, 7, 3, 8, 3], [8, 3]),
        ([1, 1, 1], [1]),
        ([1, 2, 3], []),
        ([1], []),
        ([], []),
    ],
)
def test_what_followed_is_drafted(ids, draft):
    assert PromptLookup(longest_match=2, length=4).draft(ids) == draft


def test_a_longer_match_is_not_looked_for():
    ids = [1, 2, 3, 5, 9, 2, 3, 6, 1, 2, 3]
    assert PromptLookup(3, 1).draft(ids) == [5]
    assert PromptLookup(2, 1).draft(ids) == [6]
