"""What a component is taught, and what it warns of."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

pytest.importorskip("spacy")

from spacy.training import Example

from tests.pipeline.toy_pipeline import (
    SMALL_MODEL,
    checkpoint_nlp,
    component,
    initialized_nlp,
    make_example,
    toy_examples,
)

KNOWN, NEW = "[Ada|PER] met [Bob Hill|PER] .", "The [tonometer|GADGET] of [Ada|PER] broke ."


def warned(nlp, markups, rate=1e-4, times=2) -> list[str]:
    """The codes of the warnings that training gives."""
    examples = [make_example(nlp, markup) for markup in markups]
    optimizer = nlp.resume_training()
    optimizer.learn_rate = rate
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(times):
            nlp.update(examples, sgd=optimizer)
    messages = [str(each.message) for each in caught]
    return [message[1:5] for message in messages if message.startswith("[W20")]


def test_a_label_that_is_not_taught_is_named_once(toy_checkpoint: Path):
    nlp = checkpoint_nlp(toy_checkpoint)
    assert warned(nlp, [KNOWN]) == []
    assert warned(nlp, [KNOWN, NEW]) == ["W209"]
    assert warned(nlp, [NEW]) == []
    other = checkpoint_nlp(toy_checkpoint)
    component(other).add_label("GADGET")
    assert "W209" not in warned(other, [NEW])


def test_labels_that_initialize_reported_are_not_named_again():
    nlp = initialized_nlp(labels=[])
    nlp.initialize(lambda: toy_examples(nlp), sgd=None)
    assert warned(nlp, [NEW]) == []


def test_a_rate_that_ruins_a_trained_model(toy_checkpoint: Path):
    assert warned(checkpoint_nlp(toy_checkpoint), [KNOWN], rate=1e-3) == ["W208"]
    assert warned(initialized_nlp(), [KNOWN], rate=1e-3) == []


def examples_of(nlp, *tags: str) -> list[Example]:
    doc = nlp.make_doc("Ada Byron lives in Rome")
    return [Example.from_dict(doc, {"entities": list(tags)})]


def test_nothing_is_counted_where_annotation_is_missing():
    nlp = initialized_nlp()
    pipe = component(nlp)
    assert pipe.make_trees(examples_of(nlp, "B-PER", "L-PER", "-", "-", "-")) == []
    assert len(pipe.make_trees(examples_of(nlp, "B-PER", "L-PER", "O", "O", "O"))) == 1


def test_tags_are_taught_where_annotation_is_there():
    nlp = initialized_nlp(model={**SMALL_MODEL, "tag_text": 0.5})
    pipe = component(nlp)
    (whole,) = pipe.make_trees(examples_of(nlp, "B-PER", "L-PER", "O", "O", "O"))
    (part,) = pipe.make_trees(examples_of(nlp, "B-PER", "L-PER", "O", "-", "-"))
    assert whole.nodes and not part.nodes
    assert part.tags is not None and whole.tags is not None
    missing = pipe.padellm.encode("Ada Byron lives in Rome").ids_before([16])[16]
    assert part.tags.tags == [tag for tag in whole.tags.tags if tag.place < missing]
    # It can be learnt from, with nothing to count.
    assert nlp.update(examples_of(nlp, "B-PER", "L-PER", "O", "-", "-"))["padellm_ner"] > 0
    assert pipe.make_trees(examples_of(nlp, *"-----")) == []
