from __future__ import annotations

import pytest

from spacy_padellm.decode.guides import FreeGuide, TrieGuide
from spacy_padellm.tree.trie import Trie

END = 9


@pytest.fixture
def trie() -> Trie[str]:
    """
    1 - END            a
      - 2 - 3 - END    b, c
          - 4 - END    d
    5 - 6 - END        e
    """
    trie: Trie[str] = Trie()
    for ids, value in [
        ([1], "a"),
        ([1, 2, 3], "b"),
        ([1, 2, 3], "c"),
        ([1, 2, 4], "d"),
        ([5, 6], "e"),
    ]:
        trie.insert([*ids, END], value)
    return trie


def test_a_scored_walk(trie):
    guide = TrieGuide(trie, scored=True)
    assert (guide.admissible(), guide.done, guide.log_prob) == ([1, 5], False, 0.0)
    assert guide.write(1, -0.5) == [1]
    assert guide.admissible() == [END, 2]
    assert guide.write(2, -0.25) == [2]
    # The end follows without an alternative, and has no part in the score.
    assert guide.write(3, -0.125) == [3, END]
    assert guide.done
    assert guide.values == ["b", "c"]
    assert guide.log_prob == -0.875


def test_an_end_that_was_chosen_has_no_part_in_the_score(trie):
    guide = TrieGuide(trie, scored=True)
    guide.write(1, -0.5)
    assert guide.write(END, -7.0) == [END]
    assert (guide.done, guide.values, guide.log_prob) == (True, ["a"], -0.5)


def test_a_token_without_alternative_is_scored(trie):
    guide = TrieGuide(trie, scored=True)
    assert guide.write(5, -0.5) == [5]
    assert guide.admissible() == [6]
    assert guide.write(6, -0.25) == [6, END]
    assert (guide.values, guide.log_prob) == (["e"], -0.75)


def test_without_scores_it_is_taken_at_once(trie):
    guide = TrieGuide(trie, scored=False)
    assert guide.write(5, -0.5) == [5, 6, END]
    assert (guide.done, guide.values) == (True, ["e"])


def test_what_is_not_in_the_trie_cannot_be_written(trie):
    with pytest.raises(KeyError):
        TrieGuide(trie, scored=True).write(2, 0.0)


def test_free_writing_goes_on_to_an_end():
    guide = FreeGuide([[END]], max_tokens=10)
    assert guide.admissible() is None
    assert guide.write(4, -0.5) == [4]
    assert not guide.done
    assert guide.write(END, -7.0) == [END]
    assert (guide.done, guide.ended, guide.ids, guide.log_prob) == (True, True, [4], -0.5)


def test_free_writing_is_cut_off():
    guide = FreeGuide([[END]], max_tokens=2)
    guide.write(4, -0.5)
    assert not guide.done
    guide.write(5, -0.25)
    assert (guide.done, guide.ended, guide.ids, guide.log_prob) == (True, False, [4, 5], -0.75)


def test_an_end_of_several_tokens():
    guide = FreeGuide([[END], [7, 8]], max_tokens=10)
    for token in (8, 7, 7, 8):
        guide.write(token, -0.5)
    assert (guide.done, guide.ended, guide.ids) == (True, True, [8, 7])


def test_an_end_in_the_last_place_ends():
    guide = FreeGuide([[END]], max_tokens=2)
    guide.write(4, 0.0)
    guide.write(END, 0.0)
    assert (guide.done, guide.ended, guide.ids) == (True, True, [4])
