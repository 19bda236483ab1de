from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.checkpoints.small_lm import train_tokenizer
from spacy_padellm.prompt.encoder import EncodedText
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.texts import Mention, TokenizedText
from spacy_padellm.train.tags import TextTag, TextTagger, find_untaggable
from tests.sample_texts import NASTY
from tests.sample_tokenizers import WORDINGS, make_encoder, small_tokenizer

ENCODER = make_encoder(TEMPLATES["en"], WORDINGS["en"], small_tokenizer("en"), max_mentions=4)
PER, LOC = (ENCODER.wordings[label][0] for label in ("PER", "LOC"))
END = ENCODER.end_id


def opener(n: int) -> int:
    (token_id,) = ENCODER.openers[n]
    return token_id


def encode(text: str) -> EncodedText:
    return ENCODER.encode(TokenizedText(text, ()))


def length(text: str) -> int:
    return encode(text).length


def tag(text: str, **mentions: list[str]) -> tuple[list[str], list[TextTag]]:
    """Mentions by label, each at its string's first place behind the one before."""
    found: dict[str, list[Mention]] = {}
    for label, strings in mentions.items():
        found[label], place = [], 0
        for string in strings:
            start = text.index(string, place)
            place = start + len(string)
            found[label].append(Mention(start, place, label))
    encoded = encode(text)
    own = encoded.prefix[len(encoded.prefix) - encoded.length :]
    pieces = [small_tokenizer("en").decode([i]) for i in own]
    return pieces, TextTagger(ENCODER).tag(encoded, found)


def named(tags: list[TextTag], choices: list[int]) -> dict[int, dict[int, float]]:
    """Place → what it names of these choices, and how much of it; the end token left out."""
    found: dict[int, dict[int, float]] = {}
    for each in tags:
        if set(choices) <= set(each.choices) and each.target != END:
            found.setdefault(each.place, {})[each.target] = each.share
    return found


def test_mentions_behind_the_highest_number_begin_nothing_that_has_a_name():
    names = ["Anna", "Bob", "Paris", "Rome", "Oslo", "Cleo"]
    text = " ".join(names)
    _, tags = tag(text, PER=names)
    numbers = [opener(n) for n in range(1, 5)]
    begun = named(tags, numbers)
    assert [of_place for of_place in begun.values()] == [{number: 1.0} for number in numbers]
    # Where the fifth and the sixth begin, not even that nothing does.
    taught = {each.place for each in tags if set(numbers) <= set(each.choices)}
    inside = set(named(tags, [PER]))
    starts = {length(text[: text.index(name)]) for name in names[4:]}
    places = {each.place for each in tags}
    assert starts == places - taught and starts <= inside


def test_tokens_name_the_label_they_are_in_and_the_mention_they_begin():
    pieces, tags = tag("Bob: Anna, Bob; Paris", PER=["Bob", "Anna", "Bob"], LOC=["Paris"])
    bounds = {}
    for place in range(len(pieces)):
        bounds.setdefault("".join(pieces[:place]), place)
    starts = [bounds[""], bounds["Bob: "], bounds["Bob: Anna, "], bounds["Bob: Anna, Bob; "]]
    ends = [bounds["Bob"], bounds["Bob: Anna"], bounds["Bob: Anna, Bob"], len(pieces)]
    inside = named(tags, [PER, LOC])
    assert set(inside) == {p for a, b in zip(starts, ends, strict=True) for p in range(a, b)}
    assert all(inside[place] == {PER: 1.0} for place in inside if place < ends[2])
    assert inside[starts[3]] == {LOC: 1.0}
    begun = named(tags, [opener(1), opener(4)])
    assert begun == dict(
        zip(
            starts,
            [{opener(1): 1.0}, {opener(2): 1.0}, {opener(3): 1.0}, {opener(1): 1.0}],
            strict=True,
        )
    )
    # Each token is taught both, those that are in nothing too.
    assert sorted(each.place for each in tags) == [p for p in range(len(pieces)) for _ in "ab"]
    for each in tags:
        assert each.target in each.choices and END in each.choices
        assert len(set(each.choices)) == len(each.choices)


def test_labels_that_are_not_taught_are_no_choice():
    """Not being named one's label is no mistake if nobody looked for it."""
    _, tags = tag("Bob", PER=["Bob"])
    assert any(PER in each.choices for each in tags)
    assert not any(LOC in each.choices for each in tags)


def test_overlapping_mentions_share_a_token():
    pieces, tags = tag("York Minster", LOC=["York"], ORG=["York Minster"])
    (org,) = ENCODER.wordings["ORG"]
    inside = named(tags, [LOC, org])
    assert inside[0] == {LOC: 0.5, org: 0.5}
    assert inside[len(pieces) - 1] == {org: 1.0}
    # Both are the first of their label, and the token says so twice.
    assert [each.share for each in tags if each.target == opener(1)] == [0.5, 0.5]
    weights = [0.0] * len(pieces)
    for each in tags:
        weights[each.place] += each.share
    assert weights == [2.0] * len(pieces)


part = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(NASTY)


@given(data=st.data())
def test_every_mention_begins_and_is_inside_somewhere(data):
    """Wherever it is cut, through a token too."""
    text = data.draw(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(NASTY),
            max_size=4,
        ).map("".join)
    )
    size = length(text)
    cuts = data.draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=2).map(sorted))
    if not size or cuts[0] == cuts[1]:
        return
    tags = TextTagger(ENCODER).tag(encode(text), {"PER": [Mention(*cuts, "PER")]})
    assert {each.place for each in tags} == set(range(size))
    begun = [each.place for each in tags if each.target == opener(1)]
    inside = [each.place for each in tags if each.target == PER]
    assert begun == inside[:1]
    assert inside == list(range(inside[0], inside[-1] + 1))
    before, until = (length(text[:cut]) for cut in cuts)
    assert inside[0] <= before and inside[-1] < max(until, inside[0] + 1)


def test_a_text_without_ids():
    assert TextTagger(ENCODER).tag(encode(""), {"PER": []}) == []


def test_a_label_that_is_called_like_a_number():
    tokenizer = train_tokenizer(["Anna"], TEMPLATES["en"], ["PER"], 2, 300)
    encoder = make_encoder(TEMPLATES["en"], {"1": "number one"}, tokenizer, max_mentions=2)
    assert len(encoder.wordings["1"]) > 1 == len(encoder.openers[1])
    assert find_untaggable(encoder, ["1"]) == ("1", len(encoder.wordings["1"]))
    assert find_untaggable(encoder, []) is None


def test_a_tokenizer_without_such_tokens():
    tokenizer = small_tokenizer("zh")
    labels = {"PER": "PER"}
    with pytest.raises(ValueError, match=r"P012.*'PER' has \d+.*tag_text = 0"):
        TextTagger(make_encoder(TEMPLATES["en"], labels, tokenizer, max_mentions=1))
    tokenizer = train_tokenizer(["Anna"], TEMPLATES["en"], ["PER"], 2, 300)
    TextTagger(make_encoder(TEMPLATES["en"], labels, tokenizer, max_mentions=2))
    with pytest.raises(ValueError, match=r"P012.*'3' has \d+"):
        TextTagger(make_encoder(TEMPLATES["en"], labels, tokenizer, max_mentions=3))
