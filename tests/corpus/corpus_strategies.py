"""Annotated texts for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText

LABELS = ["PER", "ORG", "creative-work", "地名"]
# Letters, a combining mark, a character outside the basic plane, and what JSON escapes.
_CHARACTERS = "abÄ北\u0301😀\"\\'#"


@st.composite
def annotated_text(draw: st.DrawFn, gap: str = " \t\n\u3000") -> AnnotatedText:
    """A text of tokens with whitespace or nothing between them, and mentions on the tokens."""
    text, tokens = draw(st.text(gap, max_size=2)), []
    for word in draw(st.lists(st.text(_CHARACTERS, min_size=1, max_size=4), max_size=6)):
        tokens.append((len(text), len(text) + len(word)))
        text += word + draw(st.text(gap, max_size=2))
    mentions = set()
    for _ in range(draw(st.integers(0, 4)) if tokens else 0):
        first = draw(st.integers(0, len(tokens) - 1))
        last = draw(st.integers(first, len(tokens) - 1))
        label = draw(st.sampled_from(LABELS))
        mentions.add(Mention(tokens[first][0], tokens[last][1], label))
    labels = draw(st.none() | st.permutations(LABELS).map(tuple))
    # No neighbours, which would be one stretch, and none within a mention.
    places = draw(st.sets(st.integers(0, 2), max_size=2))
    stretches = [Mention(*tokens[2 * n], "") for n in sorted(places) if 2 * n < len(tokens)]
    unknown = tuple(
        each
        for each in stretches
        if all(each.end <= mention.start or mention.end <= each.start for mention in mentions)
    )
    source = TokenizedText(text, tuple(tokens))
    return AnnotatedText(source, tuple(sorted(mentions)), labels, unknown)


def annotated_texts() -> st.SearchStrategy[list[AnnotatedText]]:
    """A corpus of such texts."""
    return st.lists(annotated_text(), min_size=1, max_size=4)
