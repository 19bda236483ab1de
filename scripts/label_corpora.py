"""Write label corpora as .spacy files, each text asked for all labels that it is annotated for.

Such files measure how well labels are found that are merely named, and are few examples to learn
from. Of each it says how many mentions have a label that training texts of other corpora, not
written here, have, too.
Run it as `python scripts/label_corpora.py corpus/labels/test --part test --corpora a,b`.
"""

import argparse
import random
from pathlib import Path

import spacy
from spacy.tokens import Doc, DocBin

from spacy_padellm.corpus.labels import make_example, read_label_corpora
from spacy_padellm.settings import SPANS_KEY

CORPORA = Path(__file__).parents[1] / "assets" / "labels" / "corpora.jsonl.xz"


def write(
    folder: Path, parts: list[str], names: list[str], limit: int | None, seed: int | None
) -> None:
    """Write a file for each corpus.

    Args:
        folder: The folder that they go to.
        parts: The parts to take.
        names: The corpora; empty for all.
        limit: How many texts to take of each; `None` for all.
        seed: The seed of their order; `None` for that of the corpora.
    """
    nlp = spacy.blank("en")
    corpora = read_label_corpora(CORPORA, parts)
    if missing := sorted(set(names) - set(corpora)):
        raise SystemExit(
            f"Not there: {', '.join(missing)}. There are {', '.join(sorted(corpora))}."
        )
    chosen = names or sorted(corpora)
    elsewhere = {
        label
        for name, groups in read_label_corpora(CORPORA, ["train"]).items()
        for group in groups
        for label in group.labels
        if name not in chosen
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        docs: list[Doc] = [
            make_example(nlp, text, {label: label for label in group.labels}).reference
            for group in corpora[name]
            for text in group.texts
        ]
        if seed is not None:
            random.Random(seed).shuffle(docs)
        docs = docs[:limit]
        DocBin(docs=docs, store_user_data=True).to_disk(folder / f"{name}.spacy")
        labels = [span.label_ for doc in docs for span in doc.spans[SPANS_KEY]]
        known = sum(label in elsewhere for label in labels)
        print(f"{name}: {len(docs)} texts, {len(labels)} mentions, {known} have labels of others")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", default="test", help="parts, such as train,dev")
    parser.add_argument("--corpora", default="", help="corpora, separated by commas; all if empty")
    parser.add_argument("--limit", type=int, help="most texts of each corpus")
    parser.add_argument("--shuffle", type=int, metavar="SEED", help="shuffle the texts first")
    given = parser.parse_args()
    chosen = [name for name in given.corpora.split(",") if name]
    write(given.folder, given.part.split(","), chosen, given.limit, given.shuffle)
