"""The spaCy component `padellm_ner`."""

# No `annotations` import, since spaCy reads the types of `initialize` at run time.
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import minibatch
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.types import Floats1d

from ..errors import Errors, Warnings
from ..model import PaDeLLM
from ..prompt.template import Labels, word_labels
from ..settings import SPANS_KEY, DecodingOptions, Overrides
from ..texts import Entity
from ..train.augmentation import MentionSwap
from ..train.gold import WindowedText
from ..train.supervised import SupervisedTree
from .docs import (
    AskedLabels,
    SpanGetter,
    annotate_doc,
    as_in_training,
    get_windows,
    gold_labels,
    register_extensions,
    windowed_texts,
)
from .lessons import Lessons, find_loss
from .shim import get_shim


class PaDeLLMNER(TrainablePipe):  # type: ignore[misc]  # Cython's, without types.
    """A spaCy component that finds named entities with a causal language model.

    Args:
        vocab: The shared vocabulary.
        model: The thinc model that `build_model` in `shim.py` returns.
        name: The component's name.
        stated: Settings in the config that override the checkpoint's; `None` for none.
        options: How the model decodes; `None` for the defaults.
        get_spans: A span getter that splits docs into windows; `None` to split only docs that are
            too long for the model.
        spans_key: The span group that predicted mentions are written to and gold mentions are read
            from; `None` to write and read only `doc.ents`.
        overwrite: Whether entities replace those already in `doc.ents` that overlap them.
        augment: Augments training texts; `None` for no augmentation.
        scorer: The scoring method.

    Raises:
        ValueError: `augment` is not a `MentionSwap`.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[Any, Any],
        name: str = "padellm_ner",
        *,
        stated: Overrides | None = None,
        options: DecodingOptions | None = None,
        get_spans: SpanGetter | None = None,
        spans_key: str | None = SPANS_KEY,
        overwrite: bool = False,
        augment: MentionSwap | None = None,
        scorer: Callable[..., Any] | None = None,
    ) -> None:
        self.vocab = vocab
        self.model = model
        self.name = name
        self.cfg: dict[str, Any] = {"spans_key": spans_key, "overwrite": overwrite}
        self.scorer = scorer
        self.get_spans = get_spans
        self._checked: PaDeLLM | None = None
        self.shim = get_shim(model)
        self._asked = AskedLabels(self._word_asked)
        self._lessons = Lessons(self.shim, self._cut, augment)
        self.shim.configure(stated or Overrides(), options or DecodingOptions())
        register_extensions()

    @property
    def spans_key(self) -> str | None:
        """The key of the span group with predicted and gold mentions; `None` for no group."""
        return cast("str | None", self.cfg["spans_key"])

    @property
    def padellm(self) -> PaDeLLM:
        """The model that finds entities, with its current settings.

        Reading it warns of labels that the model was never trained to find.

        Raises:
            ValueError: There is no model yet.
        """
        model = self.shim.padellm
        if model is not self._checked:
            self._warn_of_untrained(self.shim.settings.labels)
            self._asked.forget()
            self._checked = model
        return model

    def _warn_of_untrained(self, labels: Mapping[str, str]) -> None:
        if untrained := self.shim.find_untrained(labels):
            message = Warnings.W206.format(name=self.name, labels=", ".join(untrained))
            warnings.warn(message, stacklevel=4)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the component finds."""
        return tuple(self.shim.labels)

    @labels.setter
    def labels(self, labels: Labels) -> None:
        self.shim.set_labels(word_labels(labels, self.shim.known_wordings))
        self._lessons.forget()

    @property
    def hide_labels(self) -> bool:
        """Whether `nlp.meta` leaves out the labels, as the settings have not been read yet.

        spaCy asks for the labels while it loads a pipeline. Reading the settings then may fail,
        because the checkpoint that the pipeline was made from may be gone.
        """
        return not self.shim.is_known

    @property
    def label_data(self) -> dict[str, str]:
        """The labels and their wording, in the form that `initialize` takes."""
        return dict(self.shim.settings.labels)

    def add_label(self, label: str, wording: str | None = None) -> int:
        """Add a label to find.

        Args:
            label: The label.
            wording: Its wording in the prompt; `None` for the checkpoint's, or else the label
                itself.

        Returns:
            0 if the label is already present, otherwise 1.
        """
        if label in self.labels:
            return 0
        wording = wording or self.shim.known_wordings.get(label, label)
        self.shim.set_labels({**self.shim.settings.labels, label: wording})
        self._lessons.forget()
        return 1

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Labels | None = None,
    ) -> None:
        """Initialize the model for training, and warn of annotation that cannot be taught.

        Args:
            get_examples: Returns the training examples.
            nlp: The pipeline. Its annotating components run first, as they may set what `get_spans`
                needs.
            labels: The labels, for example from a file that `spacy init labels` wrote; `None` for
                those of the config and the examples.

        Raises:
            ValueError: There are no labels, or `labels` is a single string.
        """
        validate_get_examples(get_examples, "PaDeLLMNER.initialize")
        if labels is not None:
            self.labels = labels
        else:
            for label in gold_labels(get_examples(), self.spans_key):
                self.add_label(label)
        if not self.labels:
            raise ValueError(Errors.P204.format(name=self.name, spans_key=self.spans_key))
        # Release the old model first, as there may not be room for both.
        self._release()
        self.shim.create(eg.reference.text for eg in get_examples())
        # The user chose the labels in a file, so no warning about labels is needed.
        self._lessons.begin(as_in_training(get_examples(), nlp, self), of_labels=labels is None)

    def _cut(self, examples: Iterable[Example]) -> list[WindowedText]:
        return windowed_texts(examples, self.spans_key, self.shim.padellm, self.get_spans)

    def _release(self) -> None:
        """Let go of the model."""
        self._checked = None
        self._asked.forget()
        self._lessons.forget()

    def __call__(
        self, doc: Doc, *, labels: Labels | None = None, batch_size: int = 1
    ) -> Doc | None:
        """Annotate a doc.

        Args:
            doc: The doc, changed in place.
            labels: As in `pipe`.
            batch_size: Not used; `nlp.pipe` adds it to the `component_cfg` that it is given.

        Returns:
            The doc; `None` if it failed and the error handler did not raise, as in spaCy.
        """
        try:
            self.set_annotations([doc], self.predict([doc], labels))
        except Exception as error:
            self.get_error_handler()(self.name, self, [doc], error)
            return None
        return doc

    def predict(self, docs: Iterable[Doc], labels: Labels | None = None) -> list[list[Entity]]:
        """Find the entities of docs without changing the docs.

        Args:
            docs: The docs.
            labels: As in `pipe`.

        Returns:
            The entities of each doc, with character offsets. They may overlap.

        Raises:
            ValueError: There is no model or no label, or a window is too long for the model.
        """
        docs, model = list(docs), self.padellm
        asked = [self._asked.find(doc, labels) for doc in docs]
        windows = get_windows(docs, model, self.get_spans, asked)
        return model.predict_windows([doc.text for doc in docs], windows)

    def _word_asked(self, labels: Labels) -> dict[str, str]:
        """Find the wordings of labels that a text is asked for in place of the component's."""
        wordings = word_labels(labels, self.shim.known_wordings)
        self._warn_of_untrained(wordings)
        return wordings

    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[Sequence[Entity]]) -> None:
        """Write entities to docs.

        Args:
            docs: The docs, changed in place.
            scores: Their entities, from `predict`.
        """
        for doc, entities in zip(docs, scores, strict=True):
            annotate_doc(doc, entities, spans_key=self.spans_key, overwrite=self.cfg["overwrite"])

    def pipe(
        self, stream: Iterable[Doc], *, batch_size: int = 128, labels: Labels | None = None
    ) -> Iterator[Doc]:
        """Annotate a stream of docs.

        Args:
            stream: The docs. A doc with `doc._.padellm_labels` is asked for these labels.
            batch_size: Number of docs to read at once.
            labels: The labels to look for in the other docs; `None` for those of the component.
                Pass them as `nlp.pipe(texts, component_cfg={name: {"labels": labels}})`.

        Yields:
            The docs in order. A doc that fails goes to the error handler and is left out.
        """
        for docs in minibatch(stream, size=batch_size):  # type: ignore[no-untyped-call]
            yield from self._annotate(docs, labels)

    def _annotate(self, docs: Sequence[Doc], labels: Labels | None) -> Iterator[Doc]:
        """Annotate docs together. If that fails, halve them until those that fail are alone."""
        handle_error = self.get_error_handler()
        left = [docs]
        while left:
            part = left.pop()
            try:
                self.set_annotations(part, self.predict(part, labels))
            except OSError as error:
                # The model cannot be asked, such as one on a server that is gone. The next text
                # would only wait for it again.
                others = [doc for each in reversed(left) for doc in each]
                handle_error(self.name, self, [*part, *others], error)
                return
            except Exception as error:
                if len(part) == 1:
                    handle_error(self.name, self, part, error)
                else:
                    half = len(part) // 2
                    left += [part[half:], part[:half]]
            else:
                yield from part

    def make_trees(self, examples: Iterable[Example]) -> list[SupervisedTree]:
        """Build the supervised trees for a training step.

        Args:
            examples: A batch of examples. Each use of a text builds its next version.

        Returns:
            A tree for each window that teaches something.
        """
        return self._lessons.make_trees(examples)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Train on a batch of examples.

        Args:
            examples: The examples.
            drop: Rate of the model's dropout layers (`torch.nn.Dropout`). Llama-shaped models have
                none. Other kinds of dropout follow the model's own configuration.
            sgd: The optimizer; `None` to only add up gradients.
            losses: Losses so far, by component; changed in place.

        Returns:
            The updated losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "PaDeLLMNER.update")
        set_dropout_rate(self.model, drop)
        self._lessons.check(self.name, examples, self.spans_key)
        if trees := self.make_trees(examples):
            log_probs, backprop = self.model.begin_update(trees)
            loss, gradient = find_loss(trees, log_probs)
            backprop(gradient)
            if sgd is not None:
                self.finish_update(sgd)
            losses[self.name] += loss
        return losses

    def get_loss(self, examples: Iterable[Example], scores: Floats1d) -> tuple[float, Floats1d]:
        """Compute the loss for a batch of examples.

        Args:
            examples: The examples.
            scores: Log-probabilities of their supervised tokens, from the model, shape
                `(n_supervised,)`.

        Returns:
            The mean negative log-probability of the supervised tokens, as in the paper's separate
            sequences, and its gradient. Text tags count with their weights.
        """
        return find_loss(self.make_trees(examples), scores)

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Save the component with `model`, a checkpoint folder that transformers can load, too.

        Args:
            path: The directory to save to.
            exclude: What to leave out: `"model"`.
        """
        if "model" not in exclude:
            self.shim.save(Path(path) / "model")

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "PaDeLLMNER":
        """Load the component from a directory that `to_disk` wrote.

        Args:
            path: The directory.
            exclude: What to leave out: `"model"`.
        """
        if "model" not in exclude:
            self._release()
            self.shim.load(Path(path) / "model")
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Serialize the component to bytes.

        Args:
            exclude: What to leave out: `"model"`.
        """
        return b"" if "model" in exclude else self.shim.to_bytes()

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "PaDeLLMNER":
        """Load the component from the bytes that `to_bytes` returned.

        Args:
            bytes_data: The bytes.
            exclude: What to leave out: `"model"`.
        """
        if "model" not in exclude and bytes_data:
            self._release()
            self.shim.from_bytes(bytes_data)
        return self
