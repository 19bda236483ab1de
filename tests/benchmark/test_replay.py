from __future__ import annotations

from spacy_padellm.benchmark.output_formats.factory import get_output_format
from spacy_padellm.benchmark.replay import replay_mentions, replay_output, replayable
from spacy_padellm.limits import MentionLimits
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.texts import AnnotatedText, Mention
from tests.sample_texts import cut_at_spaces
from tests.sample_tokenizers import WORDINGS, small_tokenizer

LIMITS = MentionLimits(max_mentions=2, max_mention_tokens=2)
SOURCE = cut_at_spaces("Anna met Bob in New York City")
ENCODER = PromptEncoder(TEMPLATES["en"], WORDINGS["en"], small_tokenizer("en"))


def gold(*mentions: Mention) -> dict[str, list[Mention]]:
    return replayable(AnnotatedText(SOURCE, mentions), WORDINGS["en"], LIMITS, ENCODER)


def test_mentions_are_taken_in_order_of_appearance():
    anna, bob = Mention(0, 4, "PER"), Mention(9, 12, "PER")
    assert gold(bob, anna) == {"PER": [anna, bob], "LOC": [], "ORG": []}


def test_what_cannot_be_written_is_left_out():
    bob = Mention(9, 12, "PER")
    longer = Mention(16, 29, "LOC")
    inside, unknown = Mention(1, 4, "PER"), Mention(0, 4, "MISC")
    assert gold(longer, inside, unknown, bob) == {"PER": [bob], "LOC": [], "ORG": []}
    third = Mention(5, 8, "PER")
    assert gold(Mention(0, 4, "PER"), third, bob)["PER"] == [Mention(0, 4, "PER"), third]


def test_ids_are_those_of_training():
    text = AnnotatedText(SOURCE, (Mention(0, 4, "PER"), Mention(16, 24, "LOC")))
    mentions = replayable(text, WORDINGS["en"], LIMITS, ENCODER)
    replay = replay_mentions(text, mentions, ENCODER)
    assert replay == {
        "PER": ENCODER.mentions(["Anna"]),
        "LOC": ENCODER.mentions(["New York"]),
        "ORG": [],
    }
    output = replay_output(text, mentions, ENCODER, get_output_format("structured"))
    assert output == (ENCODER.output("((PER, Anna), (location, New York))"), 0)


def test_crossing_mentions_are_not_in_augmented_text():
    text = AnnotatedText(SOURCE, (Mention(0, 8, "PER"), Mention(5, 12, "LOC")))
    mentions = replayable(text, WORDINGS["en"], LIMITS, ENCODER)
    output = replay_output(text, mentions, ENCODER, get_output_format("augmented"))
    assert output == (ENCODER.output("[Anna met | PER] Bob in New York City"), 1)
    assert replay_output(text, mentions, ENCODER, get_output_format("structured"))[1] == 0
