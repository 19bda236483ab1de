from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from spacy_padellm.cli.app import create_app
from spacy_padellm.corpus.jsonl import write_jsonl
from spacy_padellm.texts import Mention
from tests.toy_corpus import LABELS, SENTENCES, parse


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run a command and return what it printed and its exit status."""

    def invoke(*arguments: str | Path, env: dict[str, str | None] | None = None) -> Result:
        return CliRunner().invoke(create_app(), [str(each) for each in arguments], env=env)

    return invoke


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A small corpus with two entities."""
    path = tmp_path / "corpus.conll"
    path.write_text("Ada\tB-person\nof\tO\n\nNew\tB-LOC\nYork\tI-LOC\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """The models here are so small that a second thread only costs."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toy_checkpoint(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that knows the toy corpus by heart, made with the core alone. Tests leave it
    as it is.
    """
    import torch

    from spacy_padellm.checkpoints.small_lm import SmallModelShape, build_small_lm, train_tokenizer
    from spacy_padellm.model import PaDeLLM
    from spacy_padellm.settings import Settings
    from spacy_padellm.train.supervised import target_log_probs, weighted_loss

    texts = [parse(markup) for markup in SENTENCES]
    settings = Settings(
        labels={label: label for label in LABELS},
        prefix_attention="bidirectional",
        softmax="admissible",
        max_mentions=5,
        trained=tuple(LABELS),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = train_tokenizer(
            [text.source.text for text in texts], settings.template, LABELS, 5, 1000
        )
        shape = SmallModelShape(64, 2, 2, 128, max_positions=128)
        lm = build_small_lm(tokenizer, shape, bidirectional_prefix=True)
    padellm = PaDeLLM(lm, settings)
    objective = padellm.make_objective()
    trees = [objective.build(text)[0] for text in texts]
    optimizer = torch.optim.AdamW(lm.model.parameters(), lr=2e-3)
    shuffled = random.Random(0)
    for epoch in range(100):
        order = shuffled.sample(range(len(trees)), len(trees))
        for first in range(0, len(order), 6):
            batch = [trees[i] for i in order[first : first + 6]]
            weighted_loss(batch, target_log_probs(lm, batch, padellm.encoder)).backward()
            optimizer.step()
            optimizer.zero_grad()
        if epoch % 5 == 4:
            found = padellm.predict([text.source for text in texts], nested=True)
            places = [tuple(Mention(m.start, m.end, m.label) for m in each) for each in found]
            if places == [text.mentions for text in texts]:
                break
    else:
        raise AssertionError("the toy corpus was not learned in 100 epochs")
    folder = tmp_path_factory.mktemp("toy") / "checkpoint"
    padellm.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def output_checkpoint(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that writes augmented text and knows the toy corpus's first eight texts. Tests
    leave it as it is.
    """
    from spacy_padellm.model import PaDeLLM
    from tests.trained import trained_lm

    folder = tmp_path_factory.mktemp("output") / "checkpoint"
    PaDeLLM(*trained_lm(output_format="augmented")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def toy_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy corpus's first two dozen texts as JSON lines."""
    path = tmp_path_factory.mktemp("toy") / "corpus.jsonl"
    write_jsonl(path, [parse(markup) for markup in SENTENCES[:24]])
    return path
