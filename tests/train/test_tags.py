from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.checkpoints.small_lm import train_tokenizer
from spacy_padellm.prompt.encoder import EncodedText
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.texts import Mention, TokenizedText
from spacy_padellm.train.tags import TaughtTags, TextTag, teach_tags
from tests.sample_texts import NASTY
from tests.sample_tokenizers import WORDINGS, make_encoder, small_tokenizer

ENCODER = make_encoder(TEMPLATES["en"], WORDINGS["en"], small_tokenizer("en"), max_mentions=4)
LABELS = list(ENCODER.wordings)
PER, LOC, ORG = map(LABELS.index, ("PER", "LOC", "ORG"))
# What stands for no label, and for no number.
NONE, NO_NUMBER = len(LABELS), 4


def encode(text: str) -> EncodedText:
    return ENCODER.encode(TokenizedText(text, ()))


def length(text: str) -> int:
    return encode(text).length


def tag(text: str, **mentions: list[str]) -> tuple[list[str], TaughtTags]:
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
    return pieces, teach_tags(encoded, found, (), 1.0)


def named(taught: TaughtTags, kind: str) -> dict[int, dict[int, float]]:
    """Place → what it names, and how much of it; places that name none left out."""
    none = {"inside": NONE, "begins": NO_NUMBER}[kind]
    found: dict[int, dict[int, float]] = {}
    for each, weight in zip(taught.tags, taught.weights, strict=True):
        if each.kind == kind and each.target != none:
            found.setdefault(each.place, {})[each.target] = weight
    return found


def test_mentions_behind_the_highest_number_begin_nothing_that_has_a_name():
    names = ["Anna", "Bob", "Paris", "Rome", "Oslo", "Cleo"]
    text = " ".join(names)
    _, taught = tag(text, PER=names)
    begun = named(taught, "begins")
    assert [of_place for of_place in begun.values()] == [{number: 1.0} for number in range(4)]
    # Where the fifth and the sixth begin, not even that nothing does.
    places = {each.place for each in taught.tags}
    silent = places - {each.place for each in taught.tags if each.kind == "begins"}
    starts = {length(text[: text.index(name)]) for name in names[4:]}
    assert starts == silent and starts <= set(named(taught, "inside"))


def test_mentions_behind_what_is_unknown_have_no_number():
    text = "Anna Bob Cleo Paris Rome"
    spans = {word: (text.index(word), text.index(word) + len(word)) for word in text.split()}
    of_label = {
        label: [Mention(*spans[word], label) for word in words]
        for label, words in {"PER": ["Anna", "Cleo"], "LOC": ["Paris", "Rome"]}.items()
    }
    starts = {word: length(text[:start]) for word, (start, _) in spans.items()}

    def taught(label: str) -> tuple[dict[str, dict[int, float]], dict[str, dict[int, float]]]:
        unknown = (Mention(*spans["Bob"], label),)
        tags = teach_tags(encode(text), of_label, unknown, 1.0)
        found = []
        for kind in ("begins", "inside"):
            at = named(tags, kind)
            found.append({word: at[start] for word, start in starts.items() if start in at})
        places = {each.place for each in tags.tags}
        assert starts["Bob"] not in places
        # Not even that nothing begins there.
        begins = {each.place for each in tags.tags if each.kind == "begins"}
        assert {starts["Cleo"], starts["Paris"]} - begins == {
            starts[word] for word in ("Cleo", "Paris") if word not in found[0]
        }
        return found[0], found[1]

    inside = {"Anna": {PER: 1.0}, "Cleo": {PER: 1.0}, "Paris": {LOC: 1.0}, "Rome": {LOC: 1.0}}
    # Bob may be a person, so Cleo is the second one or the third.
    assert taught("PER") == ({"Anna": {0: 1}, "Paris": {0: 1}, "Rome": {1: 1}}, inside)
    assert taught("") == ({"Anna": {0: 1}}, inside)


def test_tokens_name_the_label_they_are_in_and_the_mention_they_begin():
    pieces, taught = tag("Bob: Anna, Bob; Paris", PER=["Bob", "Anna", "Bob"], LOC=["Paris"])
    bounds = {}
    for place in range(len(pieces)):
        bounds.setdefault("".join(pieces[:place]), place)
    starts = [bounds[""], bounds["Bob: "], bounds["Bob: Anna, "], bounds["Bob: Anna, Bob; "]]
    ends = [bounds["Bob"], bounds["Bob: Anna"], bounds["Bob: Anna, Bob"], len(pieces)]
    inside = named(taught, "inside")
    assert set(inside) == {p for a, b in zip(starts, ends, strict=True) for p in range(a, b)}
    assert all(inside[place] == {PER: 1.0} for place in inside if place < ends[2])
    assert inside[starts[3]] == {LOC: 1.0}
    numbers = [{0: 1.0}, {1: 1.0}, {2: 1.0}, {0: 1.0}]
    assert named(taught, "begins") == dict(zip(starts, numbers, strict=True))
    # Each token is taught both, those that are in nothing too.
    assert [each.place for each in taught.tags] == [p for p in range(len(pieces)) for _ in "ab"]
    assert taught.length == len(pieces)


def test_labels_that_are_not_taught_are_no_choice():
    """Not being named one's label is no mistake if nobody looked for it."""
    _, taught = tag("Bob", PER=["Bob"])
    allowed = dict(zip([*LABELS, "none"], taught.allowed, strict=True))
    assert {label for label, is_allowed in allowed.items() if is_allowed} == {"PER", "none"}


def test_overlapping_mentions_share_a_token():
    pieces, taught = tag("York Minster", LOC=["York"], ORG=["York Minster"])
    inside = named(taught, "inside")
    assert inside[0] == {LOC: 0.5, ORG: 0.5}
    assert inside[len(pieces) - 1] == {ORG: 1.0}
    # Both are the first of their label, and the token says so twice.
    pairs = list(zip(taught.tags, taught.weights, strict=True))
    assert [weight for each, weight in pairs if each[1:] == ("begins", 0)] == [0.5, 0.5]
    weights = [0.0] * len(pieces)
    for each, weight in pairs:
        weights[each.place] += weight
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
    tags = teach_tags(encode(text), {"PER": [Mention(*cuts, "PER")]}, (), 0.5).tags
    assert {each.place for each in tags} == set(range(size))
    begun = [each.place for each in tags if (each.kind, each.target) == ("begins", 0)]
    inside = [each.place for each in tags if (each.kind, each.target) == ("inside", PER)]
    assert begun == inside[:1]
    assert inside == list(range(inside[0], inside[-1] + 1))
    before, until = (length(text[:cut]) for cut in cuts)
    assert inside[0] <= before and inside[-1] < max(until, inside[0] + 1)


def test_a_text_without_ids():
    taught = teach_tags(encode(""), {"PER": []}, (), 1.0)
    assert (taught.tags, taught.weights, taught.length) == ([], [], 0)


def test_a_label_that_is_called_like_a_number():
    """It is another tag than the number, spelled alike or not."""
    labels = {"1": "1", "PER": "PER"}
    tokenizer = train_tokenizer(["Anna"], TEMPLATES["en"], list(labels), 2, 300)
    encoder = make_encoder(TEMPLATES["en"], labels, tokenizer, max_mentions=2)
    text = encoder.encode(TokenizedText("Anna", ()))
    taught = teach_tags(text, {"1": [Mention(0, 4, "1")], "PER": []}, (), 1.0)
    assert set(taught.tags) >= {TextTag(0, "inside", 0), TextTag(0, "begins", 0)}
