from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_padellm.limits import MentionLimits
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.texts import AnnotatedText, Mention
from spacy_padellm.train.gold import LeftOut
from spacy_padellm.train.parallel import ParallelObjective
from spacy_padellm.tree.trie import admissible_spans
from tests.sample_texts import cut_at_spaces, tokenized_texts
from tests.sample_tokenizers import lower_casing_tokenizer
from tests.train.samples import LIMITS, objective

TEXT = cut_at_spaces("Anna Bob Cleo Dan Eve Finn  Gil")


def left_out_of(*mentions: Mention, limits: MentionLimits = LIMITS) -> dict[str, list[str]]:
    each = ParallelObjective(objective().encoder, limits)
    text = AnnotatedText(TEXT, mentions)
    tree, left_out = each.build(text, ["PER"])
    assert vars(each.examine(text, ["PER"])[0]) == vars(left_out)
    found = vars(left_out)
    assert all(source == TEXT.text for entries in found.values() for source, _ in entries)
    assert len(left_out) == sum(map(len, found.values()))
    # The others are taught, and counted.
    taught = len(mentions) - len(left_out)
    assert tree.targets[0] == each.encoder.count(taught)[0]
    return {
        reason: [TEXT.text[m.start : m.end] for _, m in entries]
        for reason, entries in found.items()
        if entries
    }


def test_gold_that_cannot_be_taught():
    anna, bob = Mention(0, 4, "PER"), Mention(5, 8, "PER")
    assert left_out_of(anna, bob) == {}
    assert left_out_of(anna, Mention(5, 7, "PER")) == {"unaligned": ["Bo"]}
    assert left_out_of(anna, Mention(4, 8, "PER")) == {"unaligned": [" Bob"]}
    assert left_out_of(anna, Mention(3, 3, "PER")) == {"unaligned": [""]}
    five, six = Mention(0, 21, "PER"), Mention(0, 26, "PER")
    assert left_out_of(five) == {}
    assert left_out_of(six, bob) == {"too_long": ["Anna Bob Cleo Dan Eve Finn"]}
    names = [Mention(s, e, "PER") for s, e in TEXT.tokens]
    assert left_out_of(*names) == {"too_many": ["Eve", "Finn", "Gil"]}
    # What cannot be taught for another reason does not count.
    few = MentionLimits(max_mentions=2, max_mention_tokens=5)
    found = left_out_of(anna, Mention(1, 3, "PER"), six, bob, names[2], limits=few)
    assert found == {
        "unaligned": ["nn"],
        "too_long": ["Anna Bob Cleo Dan Eve Finn"],
        "too_many": ["Cleo"],
    }


@settings(max_examples=200)
@given(source=tokenized_texts(), longest=st.integers(1, 3), data=st.data())
def test_gold_is_taught_if_it_can_be_decoded(source, longest, data):
    """Exactly what the source trie can write; else it is said why not."""
    offsets = st.integers(0, len(source.text))
    boundaries = [offset for token in source.tokens for offset in token]
    offsets |= st.sampled_from(boundaries or [0])
    start, end = sorted(data.draw(st.tuples(offsets, offsets)))
    encoder = objective().encoder
    each = ParallelObjective(encoder, MentionLimits(max_mentions=1, max_mention_tokens=longest))
    left_out = each.examine(AnnotatedText(source, (Mention(start, end, "PER"),)), ["PER"]).left_out
    reason = next((reason for reason, entries in vars(left_out).items() if entries), None)
    if (start, end) in admissible_spans(source, longest):
        assert reason is None
    elif (start, end) in admissible_spans(source, len(source.text)):
        assert reason == "too_long"
    else:
        assert reason == "unaligned"


def test_gold_of_other_labels_is_not_left_out_but_not_asked_for():
    text = AnnotatedText(TEXT, (Mention(1, 3, "ORG"), Mention(0, 4, "PER")))
    assert len(objective().build(text, ["PER"])[1]) == 0
    assert len(objective().build(text, ["PER", "ORG"])[1]) == 1


def test_gold_without_ids_is_left_out():
    encoder = PromptEncoder(TEMPLATES["en"], {"PER": "paris"}, lower_casing_tokenizer())
    source = cut_at_spaces("in \u200d paris")
    text = AnnotatedText(source, (Mention(3, 4, "PER"), Mention(5, 10, "PER")))
    tree, left_out = ParallelObjective(encoder, LIMITS).build(text, ["PER"])
    assert left_out.unaligned == [(source.text, Mention(3, 4, "PER"))]
    assert tree.targets[-2:] == [7, encoder.end_id]


def test_left_out_gold_adds_up():
    anna = ("Anna met Bob", Mention(0, 4, "PER"))
    bob = ("Anna met Bob", Mention(9, 12, "PER"))
    total = LeftOut(unaligned=[anna])
    total.extend(LeftOut(unaligned=[bob], too_long=[anna], across_windows=[bob]))
    total.extend(LeftOut(too_many=[bob]))
    assert vars(total) == {
        "unaligned": [anna, bob],
        "too_long": [anna],
        "too_many": [bob],
        "not_annotated": [],
        "partly_annotated": [],
        "crossing": [],
        "across_windows": [bob],
    }
    assert len(total) == 5
    assert total.describe() == (
        "2 unaligned (for example PER 'Anna'); 1 too long (for example PER 'Anna'); "
        "1 too many (for example PER 'Bob'); 1 across windows (for example PER 'Bob')"
    )
    assert LeftOut().describe() == ""
    assert LeftOut().unaligned is not LeftOut().unaligned
