from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.texts import Mention, TokenizedText
from tests.sample_texts import mixed_texts, tokenized_texts


def strings(text: TokenizedText) -> list[str]:
    return [text.text[start:end] for start, end in text.tokens]


def test_words_marks_and_ideographs_are_tokens():
    text = TokenizedText.split("Mr. O'Neill (born 12/3/1961): 2-1 für Zürich_U-19!")
    expected = "Mr . O ' Neill ( born 12 / 3 / 1961 ) : 2 - 1 für Zürich _ U - 19 !"
    assert " ".join(strings(text)) == expected
    # Other letters form words, ideographs and kana do not.
    text = TokenizedText.split("常建良，男 iPhone6s の Москва 서울 \U00020bb7")
    assert strings(text) == [*"常建良，男", "iPhone6s", "の", "Москва", "서울", "\U00020bb7"]
    assert strings(TokenizedText.split("中Bob文")) == ["中", "Bob", "文"]
    assert strings(TokenizedText.split("😀👍🏽")) == [*"😀👍🏽"]


def test_there_may_be_no_token():
    for text in ("", " ", "\n\t\u3000"):
        assert TokenizedText.split(text) == TokenizedText(text, ())


@given(mixed_texts)
def test_every_character_but_whitespace_is_in_one_token(string):
    text = TokenizedText.split(string)
    assert text.text == string
    places = [place for start, end in text.tokens for place in range(start, end)]
    assert places == [i for i, character in enumerate(string) if not character.isspace()]
    assert all(start < end for start, end in text.tokens)


def test_a_stretch_has_the_tokens_that_lie_within():
    text = TokenizedText("Ada met Bob Hill", ((0, 3), (4, 7), (8, 11), (12, 16)))
    assert text.stretch(4, 11) == TokenizedText("met Bob", ((0, 3), (4, 7)))
    # Those that are cut are in none.
    assert text.stretch(1, 14) == TokenizedText("da met Bob Hi", ((3, 6), (7, 10)))
    assert text.stretch(3, 4) == TokenizedText(" ", ())
    assert text.stretch(7, 7) == TokenizedText("", ())
    assert text.stretch(0, 16) == text


@given(tokenized_texts(), st.data())
def test_stretches_are_what_stands_there(text, data):
    end = data.draw(st.integers(0, len(text.text)))
    start = data.draw(st.integers(0, end))
    part = text.stretch(start, end)
    assert part.text == text.text[start:end]
    moved = [(a + start, b + start) for a, b in part.tokens]
    assert moved == [(a, b) for a, b in text.tokens if start <= a and b <= end]
    # A stretch of a stretch is one of the text.
    last = data.draw(st.integers(0, end - start))
    first = data.draw(st.integers(0, last))
    assert part.stretch(first, last) == text.stretch(start + first, start + last)


def test_mentions_move():
    mention = Mention(3, 5, "PER")
    assert mention.moved(4) == Mention(7, 9, "PER")
    assert mention.moved(-3) == Mention(0, 2, "PER")
    assert mention == Mention(3, 5, "PER")


def test_mentions_are_in_the_order_of_the_text():
    mentions = [Mention(3, 5, "B"), Mention(3, 5, "A"), Mention(3, 4, "C"), Mention(0, 9, "D")]
    assert [mention.label for mention in sorted(mentions)] == ["D", "C", "A", "B"]
