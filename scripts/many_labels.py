"""Time a model that is asked for 4 labels and for 30.

    python scripts/many_labels.py corpus/names/test

The texts are the first of each .spacy file in a folder. Other labels come from those of
`assets/labels`, drawn at random. Each round runs all, one after the other; the first is left out.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import warnings
from pathlib import Path
from statistics import median

import spacy

from spacy_padellm import PaDeLLM
from spacy_padellm.corpus.docs import load_docs

NAMES = "assets/labels/names.json"


def main() -> None:
    """Print the seconds for each set of labels, and how they compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model", default="padellm_en_small", help="Checkpoint.")
    parser.add_argument("--limit", type=int, default=100, help="Texts of each file.")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    model = PaDeLLM.from_pretrained(args.model)
    vocab = spacy.blank("en").vocab
    files = sorted(args.corpus.glob("*.spacy"))
    if not files:
        raise SystemExit(f"There is no .spacy file in {args.corpus}.")
    texts = [doc.text for file in files for doc in load_docs(file, vocab)[: args.limit]]
    own = dict(model.settings.labels)
    others = [name for name in json.loads(Path(NAMES).read_text()) if name not in own.values()]
    random.Random(0).shuffle(others)
    asked = {
        "its 4": own,
        "its 4 and 26 others": own | {name: name for name in others[:26]},
        "4 others": {name: name for name in others[:4]},
        "30 others": {name: name for name in others[:30]},
    }
    seconds: dict[str, list[float]] = {name: [] for name in asked}
    found: dict[str, int] = {}
    for _ in range(args.rounds + 1):
        for name, labels in asked.items():
            start = time.perf_counter()
            entities = model.predict(texts, labels=labels)
            seconds[name].append(time.perf_counter() - start)
            found[name] = sum(map(len, entities))
    middle = {name: median(each[1:]) for name, each in seconds.items()}
    print(f"{len(texts)} texts\n")
    print("| labels | seconds | beside its 4 | entities |")
    print("|---|---|---|---|")
    for name, each in middle.items():
        print(f"| {name} | {each:.2f} | {each / middle['its 4']:.2f} | {found[name]} |")


if __name__ == "__main__":
    main()
