from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.texts import AnnotatedText, Mention
from spacy_padellm.train import augmentation
from spacy_padellm.train.augmentation import MentionSwap
from tests.sample_texts import cut_at_characters, cut_at_spaces
from tests.toy_corpus import SENTENCES, parse

TOY = [parse(markup) for markup in SENTENCES]


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    state = random.getstate()
    random.seed(0)
    yield
    random.setstate(state)


def swap_with(*markups: str, rate: float = 1.0) -> MentionSwap:
    swap = MentionSwap(rate)
    for text in map(parse, markups):
        swap.collect(text, text.mentions)
    return swap


def strings(text: AnnotatedText) -> list[tuple[str, str]]:
    return [(m.label, text.source.text[m.start : m.end]) for m in text.mentions]


def test_mentions_make_way_for_others_of_their_label():
    swap = swap_with("[Grace Hopper|PER]", "[New South Wales|LOC]")
    found = swap(parse("in [Rome|LOC] , [Ada|PER] met [Bob Hill|PER] ."))
    text = "in New South Wales , Grace Hopper met Grace Hopper ."
    assert found.source == cut_at_spaces(text)
    assert strings(found) == [
        ("LOC", "New South Wales"),
        ("PER", "Grace Hopper"),
        ("PER", "Grace Hopper"),
    ]


def test_texts_are_put_in_capitals():
    text, longer = parse("[Ada|PER] left [Rome|LOC] ."), parse("in der [Gaußstraße|LOC]")
    raised = MentionSwap(0.0, capitals=1.0)(text)
    assert raised.source.text == "ADA LEFT ROME ."
    assert (raised.source.tokens, raised.mentions) == (text.source.tokens, text.mentions)
    swap = MentionSwap(1.0, join=2, capitals=1.0)
    for each in (text, longer):
        swap.collect(each, each.mentions)
    found = {swap(text).source.text for _ in range(50)}
    # What is swapped in is in capitals, too, but for what cannot be.
    assert "ADA LEFT ROME ." in found
    assert all("left" not in text or "ß" in text for text in found)
    # Its capitals are more letters, and mentions would move.
    assert MentionSwap(0.0, capitals=1.0)(longer) == longer
    some = MentionSwap(0.0, capitals=0.5)
    assert {some(text).source.text for _ in range(50)} == {text.source.text, raised.source.text}
    assert some.fresh().capitals == 0.5


def test_texts_are_joined_with_others_annotated_for_the_same_labels():
    first, second = parse("[Ada|PER] left ."), parse("in [Rome|LOC]")
    other = AnnotatedText(cut_at_spaces("Eve came"), (), ("PER",))
    join = MentionSwap(0.0, join=3)
    for text in (first, second, other):
        join.collect(text, ())
    found = {join(first).source.text for _ in range(200)}
    assert {first.source.text, "Ada left . in Rome in Rome"} <= found
    assert {text.count("Ada left .") + text.count("in Rome") for text in found} == {1, 2, 3}
    assert not any("Eve" in text for text in found)
    joined = next(t for t in iter(lambda: join(first), None) if len(t.mentions) == 3)
    assert joined.source == cut_at_spaces(joined.source.text)
    assert {string for _, string in strings(joined)} <= {"Ada", "Rome"}


def test_where_mentions_touch_each_other_and_the_ends():
    source = cut_at_characters("甲乙丙丁")
    text = AnnotatedText(source, (Mention(0, 1, "A"), Mention(1, 3, "B"), Mention(3, 4, "A")))
    swap = MentionSwap(1.0)
    for string, label in (("一二三", "A"), ("四", "B")):
        mention = Mention(0, len(string), label)
        swap.collect(AnnotatedText(cut_at_characters(string), (mention,)), [mention])
    found = swap(text)
    assert found.source == cut_at_characters("一二三四一二三")
    assert found.mentions == (Mention(0, 3, "A"), Mention(3, 4, "B"), Mention(4, 7, "A"))


def test_mentions_that_overlap_stay():
    swap = swap_with("[Grace Hopper|PER]", "[Lima|LOC]", "[Acme|ORG]")
    found = swap(parse("[University of [Oslo|LOC]|ORG] hired [Dan|PER] in [Rome|LOC] ."))
    assert found.source.text == "University of Oslo hired Grace Hopper in Lima ."
    assert sorted(strings(found)) == [
        ("LOC", "Lima"),
        ("LOC", "Oslo"),
        ("ORG", "University of Oslo"),
        ("PER", "Grace Hopper"),
    ]


def test_and_are_not_swapped_in():
    """What is nested in them would not be annotated any more."""
    swap = swap_with("[University of [Oslo|LOC]|ORG]")
    assert swap(parse("[Acme|ORG] in [Rome|LOC]")) == parse("[Acme|ORG] in [Rome|LOC]")


def test_only_from_texts_annotated_for_as_much():
    """A mention may well have others in it that nobody looked for."""
    swap = MentionSwap(1.0)
    for markup, labels in [("[Bob|PER]", ["PER"]), ("[Eve|PER]", ["LOC", "PER"])]:
        text = parse(markup, labels)
        swap.collect(text, text.mentions)
    for labels, expected in [(None, {"Ada"}), (["PER"], {"Bob", "Eve"}), (["PER", "LOC"], {"Eve"})]:
        text = parse("[Ada|PER]", labels)
        assert {strings(swap(text))[0][1] for _ in range(40)} == expected
    text = parse("[Dan|PER]")
    swap.collect(text, text.mentions)
    assert swap(parse("[Ada|PER]")) == parse("[Dan|PER]")


def test_a_fresh_one_has_collected_nothing():
    fresh = swap_with("[Bob|PER]", rate=0.5).fresh()
    assert (fresh.rate, fresh.uses) == (0.5, 1)
    assert swap_with("[Bob|PER]").fresh()(parse("[Ada|PER]")) == parse("[Ada|PER]")


def test_so_do_mentions_that_cut_a_token():
    cut = AnnotatedText(cut_at_spaces("Anna left"), (Mention(0, 2, "PER"),))
    swap = swap_with("[Bob|PER]")
    assert swap(cut) == cut
    # And nothing is swapped for a part of a token.
    swap = MentionSwap(1.0)
    swap.collect(cut, cut.mentions)
    assert swap(parse("[Bob|PER]")) == parse("[Bob|PER]")


def test_labels_nothing_is_known_of_stay():
    assert swap_with("[Bob|PER]")(parse("in [Rome|LOC]")) == parse("in [Rome|LOC]")


def test_labels_a_text_is_annotated_for_are_kept():
    found = swap_with("[Bob|PER]")(parse("[Ada|PER]", ["PER"]))
    assert found == parse("[Bob|PER]", ["PER"])


def test_the_rate():
    text = parse("[Ada|PER] [Ada|PER]")
    assert swap_with("[Bob|PER]", rate=0.0)(text) == text
    swap = swap_with("[Bob|PER]", rate=0.25)
    found = [string for _ in range(2000) for _, string in strings(swap(text))]
    assert found.count("Bob") == pytest.approx(1000, abs=120)


def test_frequent_mentions_come_more_often():
    swap = swap_with("[Bob|PER]", "[Bob|PER]", "[Bob|PER]", "[Eve|PER]")
    found = [strings(swap(parse("[Ada|PER]")))[0][1] for _ in range(1000)]
    assert found.count("Bob") == pytest.approx(750, abs=80)
    assert found.count("Eve") == 1000 - found.count("Bob")


def test_the_pool_is_limited(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(augmentation, "POOL_SIZE", 3)
    swap = swap_with(*["[Bob|PER]"] * 3, *["[Eve|PER]"] * 50)
    assert {strings(swap(parse("[Ada|PER]")))[0][1] for _ in range(50)} == {"Eve"}


@given(st.data())
def test_everything_else_stays(data: st.DataObject):
    """What is between the mentions, their order and nesting, and tokens that cover the text."""
    swap = MentionSwap(data.draw(st.sampled_from([0.3, 1.0])))
    for text in TOY:
        swap.collect(text, text.mentions)
    text = data.draw(st.sampled_from(TOY))
    found = swap(text)
    assert [m.label for m in found.mentions] == [m.label for m in text.mentions]
    known = {(label, string) for each in TOY for label, string in strings(each)}
    assert set(strings(found)) <= known
    assert outside(found) == outside(text)
    assert found.source == cut_at_spaces(found.source.text)
    order = [sorted(range(len(t.mentions)), key=t.mentions.__getitem__) for t in (text, found)]
    assert order[0] == order[1]


def outside(text: AnnotatedText) -> str:
    """The text with a bar in the place of each run of mentions."""
    covered = {place for m in text.mentions for place in range(m.start, m.end)}
    kept = ("|" if place in covered else c for place, c in enumerate(text.source.text))
    return re.sub(r"\|+", "|", "".join(kept))


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_wrong_rates(rate: float):
    with pytest.raises(ValueError, match=r"P030\] rate is"):
        MentionSwap(rate)


def test_no_uses():
    with pytest.raises(ValueError, match=r"P032.*uses is 0"):
        MentionSwap(0.5, uses=0)


def test_what_is_unknown_moves_with_the_text():
    swap = swap_with("[Grace Hopper|PER]")
    text = parse("[Ada|PER] met Bob in [Rome|LOC]")
    text = replace(text, unknown=(Mention(8, 11, "PER"),))
    swapped = swap(text)
    assert swapped.source.text == "Grace Hopper met Bob in Rome"
    assert [quote(swapped, each) for each in swapped.unknown] == ["Bob"]
    join = MentionSwap(0.0, join=2)
    join.collect(text, ())
    joined = next(t for t in iter(lambda: join(text), None) if len(t.mentions) == 4)
    assert [quote(joined, each) for each in joined.unknown] == ["Bob", "Bob"]
    first, second = joined.unknown
    assert first == text.unknown[0] and second.start > len(text.source.text)


def quote(text: AnnotatedText, mention: Mention) -> str:
    return text.source.text[mention.start : mention.end]


@pytest.mark.parametrize("join, growth", [(1, 1), (2, 1.5), (3, 2)])
def test_how_much_longer_texts_get(join: int, growth: float):
    assert MentionSwap(0.5, join=join).growth == growth


def test_chance_may_come_from_a_generator():
    def versions(seed: int) -> list[AnnotatedText]:
        draw = random.Random(seed)
        swap = MentionSwap(0.5, join=3, capitals=0.2)
        for text in TOY:
            swap.collect(text, text.mentions, draw)
        return [swap(text, draw) for text in TOY]

    state = random.getstate()
    first = versions(1)
    assert random.getstate() == state
    random.seed(9)
    assert versions(1) == first != versions(2)
