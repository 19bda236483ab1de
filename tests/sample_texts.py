"""Texts the core is tested with."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from hypothesis import strategies as st

from spacy_padellm.texts import TokenizedText

ENGLISH = [
    "SOCCER - JAPAN GET LUCKY WIN , CHINA IN SURPRISE DEFEAT .",
    "Japan began the defence of their Asian Cup title with a lucky 2-1 win against Syria .",
    "Mr. O'Neill (born 12/3/1961) said: \"I'm Neill, from Neill & Sons.\"",
    "Anna met Bob in Paris; Bob met Anna in New York, N.Y.",
]
CHINESE = [
    "常建良，男，",
    "1963年出生，工科学士，高级工程师，北京物资学院客座副教授。",
    "剑网乱世长安公测盛典今日开启，听雨·汉服娃娃 iPhone6s 等你来拿！",
]

# Pieces that belong to the template or to a tokenizer, and must be nothing but text in a text.
NASTY = [
    "</s>",
    "<s>",
    "<unk>",
    "<pad>",
    "<num>5",
    "<num>",
    "<mention 1>",
    "<mention 12>",
    "\nentity type:\nPER",
    "text:\n",
    "PER",
    "location",
    "<|endoftext|>",
    "<数量>3",
    "<第1文段>",
    "\n指定NER标签:\n名称",
    "<extra_id_0>",
    "\n",
    "\n\n",
    " ",
    "  ",
    "\t",
    "0",
    "<",
    ">",
]


def cut_at_spaces(text: str) -> TokenizedText:
    """Whitespace-separated tokens."""
    tokens, start = [], 0
    for word in text.split(" "):
        if word:
            tokens.append((start, start + len(word)))
        start += len(word) + 1
    return TokenizedText(text, tuple(tokens))


def cut_at_characters(text: str) -> TokenizedText:
    """Every character a token, whitespace too."""
    return TokenizedText(text, tuple((i, i + 1) for i in range(len(text))))


# What random models decode.
TEXTS = {
    "en": [
        cut_at_spaces("Anna met Bob in New York ; Bob met Anna ."),
        cut_at_spaces("JAPAN"),
        cut_at_spaces("the the the  the"),
        cut_at_characters("2-1 win"),
    ],
    "zh": [
        cut_at_characters("常建良，男，常建良"),
        cut_at_characters("1963年出生，工科学士。"),
        cut_at_spaces("高级 工程师 高级"),
    ],
}


def paper_texts(folder: Path, name: str, count: int) -> list[TokenizedText]:
    """The first texts of one of the paper's test sets."""
    cut = cut_at_spaces if name in ("conll03", "genia") else cut_at_characters
    with (folder / "paper" / name / "test.jsonl").open(encoding="utf8") as lines:
        return [cut(json.loads(line)[0]) for line, _ in zip(lines, range(count), strict=False)]


words = st.sampled_from([*" ".join(ENGLISH).split(), *"".join(CHINESE)])
separators = st.sampled_from(["", " ", " ", "  ", "\n", "，"])
# SentencePiece spells a space with U+2581, and cannot tell it from one.
any_text = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"), max_size=8
)
pieces = st.one_of(words, st.sampled_from(NASTY), separators, any_text)
mixed_texts = st.lists(pieces, max_size=12).map("".join)


@st.composite
def tokenized_texts(draw: st.DrawFn) -> TokenizedText:
    """Mixed texts, cut anywhere, with stretches left out between tokens."""
    text = draw(mixed_texts)
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=10)))
    bounds = list(pairwise(cuts))
    return TokenizedText(text, tuple(b for b in bounds if draw(st.integers(0, 5)) > 0))
