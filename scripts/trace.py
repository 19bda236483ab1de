"""Print the functions that a text, a training example and a checkpoint's name pass through.

`python scripts/trace.py` prints, for each of the three, the files and functions in the order in
which they are entered, and how often each function is called. Comprehensions and lambdas are not
counted.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import spacy
from spacy.language import Language
from spacy.training import Example

import spacy_padellm
from spacy_padellm import PaDeLLM

PACKAGE = Path(spacy_padellm.__file__).parent
TEXT = "Angela Merkel met Emmanuel Macron in Paris."
OTHER = "Ada Lovelace wrote to Charles Babbage from London."


def trace(title: str, action: Callable[[], Any]) -> None:
    """Run an action once, and print the functions of the package that it calls.

    Args:
        title: The heading to print.
        action: The action.
    """
    calls: Counter[tuple[str, str]] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        path = Path(code.co_filename)
        if event == "call" and PACKAGE in path.parents and not code.co_name.startswith("<"):
            # The line is part of the key, since two functions may have the same name.
            calls[str(path.relative_to(PACKAGE)), f"{code.co_name}:{code.co_firstlineno}"] += 1

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    files: dict[str, list[str]] = {}
    for (file, function), count in calls.items():
        files.setdefault(file, []).append(
            function.partition(":")[0] + (f" x{count}" if count > 1 else "")
        )
    print(f"{title}: {len(calls)} functions in {len(files)} files")
    for file, functions in files.items():
        print(f"  {file}: {', '.join(functions)}")


def make_example(nlp: Language, text: str) -> Example:
    """Make an example from a text, with its first two tokens as the gold mention."""
    doc, reference = nlp.make_doc(text), nlp.make_doc(text)
    reference.set_ents([spacy.tokens.Span(reference, 0, 2, label="PER")])
    return Example(doc, reference)


def main() -> None:
    """Trace a text, a training example (with and without text tags) and a checkpoint's name."""
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner")
    # Run another text first, since loading the model is not part of each text's way.
    list(nlp.pipe([OTHER]))
    trace("A text, from nlp.pipe to doc.ents", lambda: list(nlp.pipe([TEXT])))
    for tag_text in (0.0, 0.3):
        trained = spacy.blank("en")
        config = {"@architectures": "spacy_padellm.CausalLM.v1", "tag_text": tag_text}
        trained.add_pipe("padellm_ner", config={"model": {**config, "softmax": "admissible"}})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = trained.initialize(lambda: [make_example(trained, OTHER)])  # noqa: B023
            trained.update([make_example(trained, OTHER)], sgd=optimizer)
            example = make_example(trained, TEXT)
            step = lambda: trained.update([example], sgd=optimizer)  # noqa: B023, E731
            trace(f"A training example, through nlp.update, tag_text {tag_text}", step)
    trace("A checkpoint's name", lambda: PaDeLLM.from_pretrained("padellm_en_small"))


if __name__ == "__main__":
    main()
