"""Write the texts on which `padellm learn` rehearses what a checkpoint knows: sentences with names,
half of them from Wikipedia, drawn from the label corpora.

    python scripts/rehearsal_texts.py assets/labels/corpora.jsonl.xz spacy_padellm/learn/texts.txt
"""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

from spacy_padellm.corpus.labels import LabelledText, read_label_corpora

# Corpus → how many of its sentences.
COUNTS = {"redocred": 200, "gum": 100, "crossner": 100}
LENGTHS = range(8, 41)


def to_text(words: list[str]) -> str:
    """Join words, without the blanks that tokenizing has put before and behind marks."""
    text = re.sub(r" ([,.;:?!%)\]])", r"\1", " ".join(words))
    return re.sub(r"([(\[]) ", r"\1", re.sub(r" (n't|'\w{0,2})\b", r"\1", text))


def has_names(text: LabelledText) -> bool:
    """Tell whether some mention is capitalised."""
    return any(text.words[start][:1].isupper() for start, _, _ in text.mentions)


def main(corpora: str, out: str) -> None:
    """Draw the texts and write them, one on a line."""
    draw = random.Random(0)
    found = read_label_corpora(Path(corpora), ["train"])
    lines = []
    for corpus, count in COUNTS.items():
        texts = [each for group in found[corpus] for each in group.texts]
        fit = [each for each in texts if len(each.words) in LENGTHS and has_names(each)]
        lines += [to_text(list(each.words)) for each in draw.sample(fit, count)]
    draw.shuffle(lines)
    Path(out).write_text("".join(f"{line}\n" for line in lines), encoding="utf8")


if __name__ == "__main__":
    main(*sys.argv[1:])
