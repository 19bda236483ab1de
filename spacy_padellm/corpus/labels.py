"""A reader of label corpora, which asks each text for labels drawn anew, under several names."""

# No `from __future__ import annotations`: spaCy validates the config against the real types.
import json
import lzma
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

from ..errors import Errors
from ..settings import SPANS_KEY
from .docs import ask_labels

Reader = Callable[[Language], Iterable[Example]]

# Texts of more words teach little more, and take longer.
_MOST_WORDS = 100


@dataclass(frozen=True)
class LabelledText:
    """A text of a label corpus.

    Args:
        words: Its words.
        mentions: The first word, the end and the label of each mention.
    """

    words: Sequence[str]
    mentions: Sequence[tuple[int, int, str]]

    @classmethod
    def parse(cls, tokens: str | Sequence[str], mentions: Iterable[Any]) -> "LabelledText":
        """Create a text from what a line of the file has.

        Raises:
            ValueError: A mention is not within the tokens.
        """
        words = tokens.split(" ") if isinstance(tokens, str) else [str(word) for word in tokens]
        parsed = tuple((int(start), int(end), str(label)) for start, end, label in mentions)
        if any(not 0 <= start < end <= len(words) for start, end, _ in parsed):
            raise ValueError("a mention is not within the tokens")
        return cls(words, parsed)


@dataclass
class LabelledTexts:
    """The texts of a corpus, or of a part of it, that are annotated for the same labels.

    Args:
        texts: The texts.
    """

    texts: list[LabelledText] = field(default_factory=list)
    _labels: set[str] = field(default_factory=set)

    def add(self, text: LabelledText) -> None:
        """Add a text."""
        self.texts.append(text)
        self._labels.update(label for _, _, label in text.mentions)

    @property
    def labels(self) -> list[str]:
        """The labels that the texts are annotated for, sorted."""
        return sorted(self._labels)


def read_label_corpora(
    path: Path, parts: Sequence[str] | None = None
) -> dict[str, list[LabelledTexts]]:
    """Read a file of label corpora.

    Args:
        path: JSON lines, compressed with xz or not, with `corpus`, `part`, `tokens`, `mentions` and
            perhaps `source`.
        parts: The parts to read, such as `["train", "dev"]`; `None` for all.

    Returns:
        Corpus → its texts, by `source`.

    Raises:
        ValueError: The file is missing, or a line is not such a text.
    """
    found: dict[str, dict[str, LabelledTexts]] = {}
    line = 0
    try:
        with (lzma.open if path.suffix == ".xz" else open)(path, "rt", encoding="utf8") as rows:
            for content in rows:
                line += 1
                row = json.loads(content)
                if parts is None or row["part"] in parts:
                    # What only some texts of a corpus are annotated for says nothing of others.
                    of_corpus = found.setdefault(row["corpus"], {})
                    texts = of_corpus.setdefault(row.get("source", ""), LabelledTexts())
                    texts.add(LabelledText.parse(row["tokens"], row["mentions"]))
    except (
        OSError,
        EOFError,
        lzma.LZMAError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise ValueError(Errors.P150.format(path=path, line=line, error=error)) from error
    return {corpus: list(by_source.values()) for corpus, by_source in found.items()}


class LabelNames:
    """The names under which labels are asked for: the label itself, another name, a description.

    Args:
        names: Label → its `"names"` and its `"description"`.
        other: Probability of another name.
        described: Probability that a description follows the name, as in "drug: a medicine".
    """

    def __init__(
        self, names: Mapping[str, Mapping[str, Any]], other: float = 0.4, described: float = 0.25
    ) -> None:
        self._names = names
        self._other, self._described = other, described

    @classmethod
    def read(cls, path: Path | None) -> "LabelNames":
        """Read a JSON file of names.

        Raises:
            ValueError: The file is missing, or has other contents.
        """
        if path is None:
            return cls({})
        try:
            names = json.loads(path.read_text(encoding="utf8"))
            for each in names.values():
                if not all(isinstance(name, str) for name in (*each["names"], each["description"])):
                    raise ValueError("a name or a description is not a string")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(Errors.P151.format(path=path, error=error)) from error
        return cls(names)

    def draw(self, label: str, draw: random.Random) -> str:
        """Draw a wording for a label."""
        known = self._names.get(label)
        if known is None:
            return label
        is_other = draw.random() < self._other
        wording: str = draw.choice(list(known["names"])) if is_other and known["names"] else label
        return f"{wording}: {known['description']}" if draw.random() < self._described else wording


def create_label_corpus_v1(
    path: Path,
    names: Path | None = None,
    parts: list[str] = ["train"],  # noqa: B006 (read only, and spaCy needs the real default)
    without: list[str] = [],  # noqa: B006
    size: int = 20000,
    most_labels: int = 6,
    seed: int = 0,
    share: float = 1.0,
    others: Reader | None = None,
) -> Callable[[Language], Iterator[Example]]:
    """Create `spacy_padellm.LabelCorpus.v1`: texts that are each asked for labels of their own.

    Each text is asked for some of its labels and for some that are absent, in random order and
    under several names. So a model learns to read what a label is called. Each time the reader is
    called, it draws other texts, labels and names.

    Args:
        path: The label corpora, see `assets/labels/SOURCES.md`.
        names: Other names and descriptions of labels; `null` for none.
        parts: The parts of the corpora to read.
        without: Corpora to leave out.
        size: Number of examples of each call.
        most_labels: Most labels that a text is asked for.
        seed: The seed of the first call.
        share: Share of the label corpora; the rest comes from `others`.
        others: A reader of further texts, which are asked for the component's labels. It is called
            once for each pipeline.

    Raises:
        ValueError: A number is not possible. The reader raises it if a file is wrong.
    """
    for name, value in (("size", size), ("most_labels", most_labels)):
        if value < 1:
            raise ValueError(Errors.P032.format(name=name, value=value))
    if not 0 <= share <= 1:
        raise ValueError(Errors.P030.format(name="share", value=share))
    # Confection passes a string on.
    file, names_file = Path(path), None if names is None else Path(names)
    return LabelCorpus(file, names_file, parts, without, size, most_labels, seed, share, others)


class LabelCorpus:
    """A reader of label corpora: what `create_label_corpus_v1` creates, with its arguments."""

    def __init__(
        self,
        path: Path,
        names: Path | None,
        parts: Sequence[str],
        without: Sequence[str],
        size: int,
        most_labels: int,
        seed: int,
        share: float,
        others: Reader | None,
    ) -> None:
        self._path, self._names_path = path, names
        self._parts, self._without = tuple(parts), tuple(without)
        self._size, self._most_labels = size, most_labels
        self._draw = random.Random(seed)
        self._share, self._others = share, others
        self._read: tuple[list[list[LabelledTexts]], list[float], LabelNames] | None = None
        # Reading the other texts takes as long as many steps: once for each pipeline.
        self._others_read: tuple[Language, list[Example]] | None = None
        self._others_left: list[Example] = []

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Draw examples.

        Args:
            nlp: The pipeline whose vocabulary to use.
        """
        corpora, weights, names = self._load()
        for _ in range(self._size):
            if self._others is not None and self._draw.random() >= self._share:
                yield self._draw_other(nlp, self._others)
                continue
            (corpus,) = self._draw.choices(corpora, weights)
            (group,) = self._draw.choices(corpus, [len(each.texts) for each in corpus])
            text = self._draw.choice(group.texts)
            yield make_example(nlp, text, self._ask(text, group.labels, names))

    def _load(self) -> tuple[list[list[LabelledTexts]], list[float], LabelNames]:
        if self._read is None:
            found = read_label_corpora(self._path, self._parts)
            corpora = [groups for name, groups in found.items() if name not in self._without]
            # What is left out may be there in another part only.
            others = set(self._without) - set(found)
            if unknown := sorted(others and others - set(read_label_corpora(self._path))):
                known = ", ".join(sorted(found))
                raise ValueError(Errors.P152.format(unknown=", ".join(unknown), known=known))
            if not corpora:
                parts = ", ".join(self._parts)
                raise ValueError(Errors.P154.format(path=self._path, parts=parts))
            # Large corpora come more often, and those of many labels.
            sizes = [sum(len(group.texts) for group in groups) for groups in corpora]
            labels = [len({x for group in groups for x in group.labels}) for groups in corpora]
            weights = [(a * b) ** 0.5 for a, b in zip(sizes, labels, strict=True)]
            self._read = corpora, weights, LabelNames.read(self._names_path)
        return self._read

    def _draw_other(self, nlp: Language, read: Reader) -> Example:
        """Draw one of the other texts: each comes once before one comes again."""
        if self._others_read is None or self._others_read[0] is not nlp:
            self._others_read, self._others_left = (nlp, list(read(nlp))), []
        if not self._others_left:
            _, texts = self._others_read
            if not texts:
                raise ValueError(Errors.P153)
            self._others_left = self._draw.sample(texts, len(texts))
        drawn = self._others_left.pop()
        return Example(drawn.predicted.copy(), drawn.reference)

    def _ask(
        self, text: LabelledText, annotated: Sequence[str], names: LabelNames
    ) -> dict[str, str]:
        """Draw the labels that a text is asked for, and their wordings."""
        draw = self._draw
        own = sorted({label for _, _, label in text.mentions})
        draw.shuffle(own)
        # Not always all of its labels, so that the corpus does not give them away.
        asked = own[: min(self._most_labels, draw.randint(1, len(own) + 1))]
        absent = [label for label in annotated if label not in own]
        draw.shuffle(absent)
        asked += absent[: draw.randint(0 if asked else 1, max(1, self._most_labels - len(asked)))]
        draw.shuffle(asked)
        worded = {label: names.draw(label, draw) for label in asked[: self._most_labels]}
        # Two labels under one name could not be told apart.
        return {
            label: w if list(worded.values()).count(w) == 1 else label
            for label, w in worded.items()
        }


def make_example(nlp: Language, text: LabelledText, labels: Mapping[str, str]) -> Example:
    """Make an example of a text that is asked for labels of its own.

    Args:
        nlp: The pipeline whose vocabulary to use.
        text: The text.
        labels: The labels, and their wordings.
    """
    words = text.words[:_MOST_WORDS]
    reference = Doc(nlp.vocab, words=list(words))
    spans = [
        Span(reference, start, end, label=label)
        for start, end, label in text.mentions
        if label in labels and end <= len(words)
    ]
    reference.spans[SPANS_KEY] = SpanGroup(reference, name=SPANS_KEY, spans=spans)
    ask_labels(reference, labels)
    return Example(Doc(nlp.vocab, words=list(words)), reference)
