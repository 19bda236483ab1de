"""What is read of the tags of a text's tokens, without a model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.decode.mentions import DecodedMention
from spacy_padellm.decode.tags import TextTags, join_tags
from spacy_padellm.prompt.template import PromptTemplate
from spacy_padellm.settings import DecodingOptions
from spacy_padellm.texts import Span, TokenizedText
from tests.sample_texts import cut_at_spaces
from tests.sample_tokenizers import load_tokenizer, lower_casing_tokenizer, make_encoder


def read(
    text: TokenizedText, inside, begins=None, offsets=None, longest: int = 9, biases=None
) -> TextTags:
    """inside: Of labels A, B and so on. begins: By default nothing begins anywhere. offsets: By
    default an id a token.
    """
    probs = np.array(inside, dtype=float)
    labels = "ABC"[: probs.shape[1] - 1]
    begun = np.zeros(len(probs)) if begins is None else np.array(begins, dtype=float)
    offsets = text.tokens if offsets is None else offsets
    return TextTags(text, labels, offsets, probs, begun, longest, biases)


def of_tokens(text: TokenizedText, offsets, is_tagged, begins=None) -> list[tuple[float, ...]]:
    """What a label's tags say inside each token that is known, and whether a mention begins."""
    inside = np.array([[each, 1 - each] for each in is_tagged], dtype=float).reshape(-1, 2)
    tags = read(text, inside, begins, offsets)
    return [(a, b) for (a, _), b in zip(tags.inside.tolist(), tags.begins.tolist(), strict=True)]


FOUR = cut_at_spaces("Anna Berg in Oslo")


def test_a_token_has_the_mean_of_its_ids_and_the_beginning_of_the_first():
    # A space belongs to the token behind it; nothing is left of the last token.
    text, offsets = cut_at_spaces("Anna in Oslo"), [(0, 2), (2, 4), (4, 7)]
    found = of_tokens(text, offsets, [0.75, 0.25, 1.0], [0.5, 0.25, 1.0])
    assert found == [(0.5, 0.5), (1.0, 1.0)]


def test_an_id_of_two_tokens_and_an_id_of_none():
    text = TokenizedText("can\u200bnot  Oslo", ((0, 3), (4, 7), (9, 13)))
    offsets = [(0, 7), (7, 8), (8, 13)]
    found = of_tokens(text, offsets, [0.75, 0.0, 0.5], [0.25, 0.5, 1.0])
    # Nothing begins within an id.
    assert found == [(0.75, 0.25), (0.75, 0.0), (0.5, 1.0)]


def test_a_mention_of_an_id_of_two_tokens_is_not_found_at_the_second_one():
    """As where a large vocabulary has Chinese words, and each character is a token."""
    text, offsets = (
        TokenizedText("在北京市", tuple((n, n + 1) for n in range(4))),
        [(0, 1), (1, 3), (3, 4)],
    )
    tags = read(text, [[0.0, 1.0], [0.9, 0.1], [0.9, 0.1]], [0.0, 1.0, 0.0], offsets)
    assert [place for place, _ in tags.find("A", 0.5)] == [(1, 4)]
    assert tags.score("A", (2, 4)) < 0.2


def test_a_blank_of_its_own_is_in_no_token(request):
    """Byte-level tokenizers have ids for second blanks, which were taught that they are nothing."""
    template = PromptTemplate("{text}{label}")
    encoder = make_encoder(template, {"A": "A"}, load_tokenizer("gpt2", request))
    text = encoder.encode(cut_at_spaces("Anna   Berg  here"))
    ids = text.prefix[len(text.prefix) - text.length :]
    is_blank = [encoder.decode([each]).isspace() for each in ids]
    assert any(is_blank)
    assert of_tokens(text, text.offsets, is_blank) == [(0.0, 0.0)] * 3


def test_case_marks_are_read_with_their_words():
    """A mention begins at the mark, which comes first."""
    tokenizer = lower_casing_tokenizer()
    tokenizer.add_tokens(["<capitalized>"], special_tokens=True)
    template = PromptTemplate("{text}{label}", capitalized="<capitalized>")
    text = make_encoder(template, {"A": "a"}, tokenizer).encode(cut_at_spaces("in Paris in"))
    ids = text.prefix[len(text.prefix) - text.length :]
    is_mark = [each == tokenizer.convert_tokens_to_ids("<capitalized>") for each in ids]
    found = of_tokens(text, text.offsets, is_mark, is_mark)
    assert [inside > 0 for inside, _ in found] == [False, True, False]
    assert [begins for _, begins in found] == [0.0, 1.0, 0.0]


def test_a_text_without_ids_has_no_tags():
    tags = read(TokenizedText("\u200b", ((0, 1),)), np.zeros((0, 2)), offsets=[])
    assert (tags.score("A", (0, 1)), tags.find("A", 0.1), tags.count("A")) == (0.0, [], 0)


# How probable a mention is


def test_a_mention_is_as_probable_as_its_least_probable_token():
    tags = read(FOUR, [[0.9, 0.1], [0.7, 0.3], [0, 1], [0, 1]])
    assert tags.score("A", (0, 9)) == pytest.approx(0.7)


def test_a_mention_in_which_another_one_begins():
    """Mentions may nest: the outer one is as probable as if nothing began in it."""
    tags = read(FOUR, [[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0, 1]], begins=[0.9, 0.25, 0.5, 0])
    assert tags.score("A", (0, 12)) == pytest.approx(0.8)
    # What begins at its first token is the mention.
    assert tags.score("A", (0, 4)) == pytest.approx(0.9 * (1 - 0.8 * 0.75))


def test_a_bias_moves_the_log_odds_of_a_mention_and_not_where_it_ends():
    inside = [[0.1, 0.3, 0.6], [0.2, 0.1, 0.7], [0.9, 0.05, 0.05], [0.0, 0.2, 0.8]]
    plain, moved = read(FOUR, inside), read(FOUR, inside, biases=[1.5, -0.5])
    places = [(FOUR.tokens[a][0], FOUR.tokens[b][1]) for a in range(4) for b in range(a, 4)]
    for label, bias in (("A", 1.5), ("B", -0.5)):
        before = np.array([plain.score(label, place) for place in places])
        after = np.array([moved.score(label, place) for place in places])
        assert (after[before == 0] == 0).all() and (before > 0).sum() > 5
        odds = [np.log(p / (1 - p)) for p in (before[before > 0], after[before > 0])]
        assert odds[1] - odds[0] == pytest.approx(bias)
        assert before.argmax() == after.argmax()
    assert (plain.inside == moved.inside).all()


def test_a_part_of_a_mention():
    """On the left, on the right and on both sides; not where another mention begins between."""
    tags = read(FOUR, [[0.6, 0.4], [0.9, 0.1], [0.8, 0.2], [0, 1]], begins=[0.9, 0.5, 0.25, 0])
    left, right = 1 - 0.6 * (1 - 0.5), 1 - 0.8 * (1 - 0.25)
    assert tags.score("A", (5, 9)) == pytest.approx(0.9 * left * right)
    assert tags.score("A", (0, 9)) == pytest.approx(0.6 * right)
    assert tags.score("A", (5, 12)) == pytest.approx(0.8 * left)


def test_tokens_of_which_nothing_is_known_are_passed_over():
    text = cut_at_spaces("- Anna - Berg - in")
    tags = read(text, [[0.9, 0.1], [0.7, 0.3], [0, 1]], offsets=text.tokens[1::2])
    assert tags.score("A", (0, 15)) == tags.score("A", (2, 13)) == pytest.approx(0.7)
    assert tags.score("A", (0, 1)) == 0.0
    assert tags.find("A", 0.5) == [((2, 13), pytest.approx(0.7))]
    assert tags.count("A") == 1
    # They count for the length.
    longest = read(text, [[0.9, 0.1], [0.7, 0.3], [0, 1]], offsets=text.tokens[1::2], longest=2)
    assert longest.find("A", 0.5) == []
    # Of spans of tokens, those that are known count.
    firsts, lasts = np.array([0, 1, 1, 4, 6, 0]), np.array([3, 3, 1, 5, 6, 0])
    found = tags.weigh("A", firsts, lasts)
    expected = [tags.score("A", place) for place in [(0, 13), (2, 13), (2, 6), (14, 18), (18, 19)]]
    assert found.tolist() == pytest.approx([*expected, 0.0])


class Drawn(NamedTuple):
    """A text with tags, of which some tokens have no ids.

    inside: Token → probabilities that it is in a mention of A and of B.
    begins: Token → probability that a mention begins at it.
    """

    text: TokenizedText
    inside: dict[Span, tuple[float, float]]
    begins: dict[Span, float]

    def tags(self, longest: int = 9) -> TextTags:
        probs = [(a, b, 1 - a - b) for a, b in self.inside.values()]
        known = list(self.inside)
        begins = [*self.begins.values()]
        return read(self.text, np.array(probs).reshape(-1, 3), begins, known, longest)

    def score(self, label: str, first: int, last: int) -> float:
        """Factor by factor, of the tokens from `first` to `last`."""
        tokens, known = self.text.tokens, list(self.inside)
        own = [each for each in tokens[first : last + 1] if each in self.inside]
        if not own:
            return 0.0
        place = "AB".index(label)
        score = min(self.inside[each][place] for each in own)
        before = [each for each in known if each < own[0]]
        behind = [each for each in known if each > own[-1]]
        if before:
            score *= 1 - self.inside[before[-1]][place] * (1 - self.begins[own[0]])
        if behind:
            score *= 1 - self.inside[behind[0]][place] * (1 - self.begins[behind[0]])
        return score


@st.composite
def drawn_texts(draw: st.DrawFn) -> Drawn:
    words = draw(st.lists(st.sampled_from(["a", "bc", "\n"]), min_size=1, max_size=7))
    tokens: list[Span] = []
    for word in words:
        start = tokens[-1][1] if tokens else 0
        tokens.append((start, start + len(word)))
    known = draw(st.lists(st.sampled_from(tokens), unique=True).map(sorted))
    share = st.sampled_from([0.0, 0.1, 0.3, 0.6, 0.95, 1.0])
    inside = {each: ((a := draw(share)), (1 - a) * draw(share)) for each in known}
    text = TokenizedText("".join(words), tuple(tokens))
    return Drawn(text, inside, {each: draw(share) for each in known})


@given(drawn=drawn_texts())
def test_the_probability_of_any_place(drawn):
    """Of those that begin and end with a token that may be the first or last one of a mention."""
    tags, tokens, text = drawn.tags(), drawn.text.tokens, drawn.text.text
    for label in "AB":
        for first, (start, _) in enumerate(tokens):
            for last in range(first, len(tokens)):
                found = tags.score(label, (start, tokens[last][1]))
                own = [each for each in tokens[first : last + 1] if each in drawn.inside]
                is_mention = own and not any(text[slice(*own[k])].isspace() for k in (0, -1))
                expected = drawn.score(label, first, last) if is_mention else 0.0
                assert found == pytest.approx(expected)


# None of them is the probability of a place.
@given(
    drawn=drawn_texts(),
    least=st.sampled_from([0.051, 0.2302, 0.503, 0.7698]),
    longest=st.integers(1, 8),
)
def test_all_places_that_are_probable_enough_are_found(drawn, least, longest):
    """Those that begin and end with a token that has ids and is no whitespace."""
    tags, tokens, text = drawn.tags(longest), drawn.text.tokens, drawn.text.text
    ends = [
        number
        for number, token in enumerate(tokens)
        if token in drawn.inside and not text[slice(*token)].isspace()
    ]
    for label in "AB":
        expected = {}
        for first in ends:
            for last in ends:
                if first <= last < first + longest:
                    score = drawn.score(label, first, last)
                    if score >= least:
                        expected[tokens[first][0], tokens[last][1]] = pytest.approx(score)
        found = tags.find(label, least)
        assert dict(found) == expected
        assert [place for place, _ in found] == sorted(expected)


@given(drawn=drawn_texts())
def test_as_many_are_counted_as_are_beyond_doubt(drawn):
    """Where nothing probably begins within them."""
    tags = drawn.tags()
    for label in "AB":
        sure = [place for place, _ in tags.find(label, 0.7698)]
        apart = [a for a in sure if not any(a != b and a[0] < b[1] and b[0] < a[1] for b in sure)]
        assert len(apart) <= tags.count(label)


def test_a_count_goes_up_where_a_mention_begins():
    inside = [[0.5, 0.3, 0.2]] * 3 + [[0.2, 0.5, 0.3]]
    assert (read(FOUR, inside).count("A"), read(FOUR, inside).count("B")) == (1, 1)
    assert read(FOUR, inside, [0, 0.6, 0.4, 0]).count("A") == 2


def test_no_mention_begins_or_ends_with_whitespace():
    text = TokenizedText("\nAnna\n\nBerg \n", ((0, 1), (1, 5), (5, 7), (7, 11), (12, 13)))
    tags = read(text, [[0.8, 0.2]] * 5)
    assert tags.count("A") == 2
    assert (1, 11) in [place for place, _ in tags.find("A", 0.01)]
    only_blank = read(text, [[0.8, 0.2], *[[0.0, 1.0]] * 4])
    assert (only_blank.count("A"), only_blank.find("A", 0.01)) == (0, [])


# Joined with what is written


def test_tags_confirm_what_is_written_and_name_what_is_not():
    text = cut_at_spaces("Anna in Oslo , Oslo")
    oslo = ((8, 12), (15, 19))
    inside = [[0.9, 0.1, 0], [0, 0, 1], [0, 0.6, 0.4], [0, 0, 1], [0, 0.95, 0.05]]
    written = [DecodedMention("B", oslo, -0.1)]
    options = DecodingOptions()
    assert join_tags(read(text, inside), written, ["B"], options) == [
        DecodedMention("B", oslo, -0.1, pytest.approx((0.6, 0.95))),
        # Not asked for, and beyond doubt.
        DecodedMention("A", ((0, 4),), None, pytest.approx((0.9,)), asked=False),
        DecodedMention("B", ((15, 19),), None, pytest.approx((0.95,))),
    ]
    alone = join_tags(read(text, inside), [], [], DecodingOptions(decode="tags"))
    assert [(each.label, *each.places) for each in alone] == [
        ("A", (0, 4)),
        ("B", (8, 12)),
        ("B", (15, 19)),
    ]


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"tag_share": 0.65}, (0.2725 / 0.65, 0.465 / 0.65)),
        # A threshold only leaves out some of what is found.
        ({"tag_share": 0.65, "threshold": 0.9}, (0.2725 / 0.65, 0.465 / 0.65)),
        ({"tag_share": 0.5}, (0.35, 0.9)),
        ({"tag_share": 1.0}, (0.5, 0.5)),
        ({"tag_share": 0.65, "decode": "tags"}, (0.5, 0.5)),
    ],
    ids=str,
)
def test_what_leaves_doubt(options, expected):
    assert DecodingOptions(**options).doubtful == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.23])
def test_light_tags_leave_all_in_doubt(share):
    low, high = DecodingOptions(tag_share=share).doubtful
    assert low <= 0 and high >= 1
