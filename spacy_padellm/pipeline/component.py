"""The `padellm_ner` component."""

# No `annotations` import: spaCy reads the types of `initialize` at run time.
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import minibatch
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.types import Floats1d

from ..decode.cost import DecodingCost
from ..decode.drafts import DraftPolicy
from ..decode.extraction import MentionExtractor
from ..decode.mentions import Resolution, ScoredMention
from ..decode.parallel import DEFAULT_POLICY
from ..decode.windows import Fit
from ..defaults import BATCH_TOKENS, SPANS_KEY
from ..errors import Errors, Warnings
from ..prompt.encoder import PromptEncoder
from ..prompt.presets import Preset
from ..prompt.template import PromptTemplate, get_template
from ..train.augmentation import MentionSwap
from ..train.objective import Objective
from ..train.supervised_tree import SupervisedTree
from ..train.tree_cache import TreeCache
from .annotate import annotate_doc, register_score_extension
from .gold import annotated_texts, as_in_training, gold_labels
from .labels import Labels, make_wordings
from .left_out import warn_of_absent_labels, warn_of_left_out
from .model import get_shim
from .objective import make_component_objective
from .presets import get_preset
from .processes import use_one_thread_if_forked
from .shim import CausalLMShim
from .unread import unread_logged
from .windows import FittingSpans, SpanGetter, get_windows


class PaDeLLMNER(TrainablePipe):
    """Named entities written by a causal language model."""

    # Made when first asked for, of the labels and the model there are then.
    _extractor: MentionExtractor | None
    _trees: TreeCache | None
    _prompt_encoder: PromptEncoder | None
    _own_objective: Objective | None
    _fitting_spans: FittingSpans | None

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "padellm_ner",
        *,
        preset: str | Preset | None = None,
        template: str | PromptTemplate | None = None,
        output_format: str | None = None,
        labels: Labels | None = None,
        get_spans: SpanGetter | None = None,
        max_mentions: int | None = None,
        max_mention_tokens: int | None = None,
        resolution: Resolution | None = None,
        spans_key: str = SPANS_KEY,
        overwrite: bool = False,
        policy: DraftPolicy | None = DEFAULT_POLICY,
        batch_tokens: int = BATCH_TOKENS,
        augment: MentionSwap | None = None,
        scorer: Callable | None = None,
    ) -> None:
        """vocab (Vocab): The shared vocabulary.
        model (Model): The model, of `spacy_padellm.pipeline.model.build_model`.
        name (str): The component's name.
        preset (Optional[Union[str, Preset]]): Template, labels and checkpoint of a dataset, where
            none are given.
        template (Optional[Union[str, PromptTemplate]]): Overrides the checkpoint's wording.
        output_format (Optional[str]): Overrides how the checkpoint writes mentions.
        labels (Optional[Union[Sequence[str], Mapping[str, str]]]): Overrides the checkpoint's
            labels.
        get_spans (Optional[SpanGetter]): Makes the windows a doc is read in, by default such that
            the model has positions for them.
        max_mentions (Optional[int]): Overrides the checkpoint's most mentions of a label.
        max_mention_tokens (Optional[int]): Overrides the checkpoint's longest mention.
        resolution (Optional[Resolution]): How what is written becomes mentions.
        spans_key (str): The span group predicted mentions go to and gold ones are read from.
        overwrite (bool): Whether entities already in `doc.ents` make way.
        policy (Optional[DraftPolicy]): How much is drafted; `None` for a token a pass.
        batch_tokens (int): Most tokens run at once, padding included.
        augment (Optional[MentionSwap]): Makes more training texts of those there are.
        scorer (Optional[Callable]): The scoring method.
        """
        self.vocab = vocab
        self.model = model
        self.name = name
        self.cfg: dict[str, Any] = {"spans_key": spans_key, "overwrite": overwrite}
        self.scorer = scorer
        self.resolution = resolution or Resolution()
        self._own_get_spans = get_spans
        self._policy = policy
        self._batch_tokens = batch_tokens
        if not (augment is None or isinstance(augment, MentionSwap)):
            raise ValueError(Errors.P207.format(value=augment))
        self._swap = augment
        self._reset()
        self.shim.configured.state(
            preset=None if preset is None else get_preset(preset),
            template=None if template is None else get_template(template),
            output_format=output_format,
            labels=labels,
            max_mentions=max_mentions,
            max_mention_tokens=max_mention_tokens,
        )
        register_score_extension()

    @property
    def shim(self) -> CausalLMShim:
        """RETURNS (CausalLMShim): Holds the language model and its settings."""
        return get_shim(self.model)

    @property
    def spans_key(self) -> str:
        """RETURNS (str): The span group of predicted and gold mentions."""
        return self.cfg["spans_key"]

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels the component looks for."""
        return tuple(self.shim.configured.labels)

    @property
    def hide_labels(self) -> bool:
        """RETURNS (bool): Whether `nlp.meta` leaves the labels out: until the model's settings are
        read, as spaCy asks for them while a pipeline is being loaded, and what that was once made
        from may be gone.
        """
        return not self.shim.configured.is_known

    @property
    def label_data(self) -> dict[str, str]:
        """RETURNS (Dict[str, str]): Labels and their wording; `initialize` takes them back."""
        return dict(self.shim.settings.labels)

    def add_label(self, label: str, wording: str | None = None) -> int:
        """label (str): A new label.
        wording (Optional[str]): Its wording in the prompt, by default the one the checkpoint has
            for it, or the label itself.
        RETURNS (int): 0 if the label is already present, otherwise 1.
        """
        if label in self.labels:
            return 0
        wording = wording or self.shim.configured.known_wordings.get(label, label)
        self._set_labels({**self.shim.settings.labels, label: wording})
        return 1

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Labels | None = None,
    ) -> None:
        """Make the model ready for training.

        get_examples (Callable[[], Iterable[Example]]): Gives the training examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Union[Sequence[str], Mapping[str, str]]]): The labels, for example from
            a file that `spacy init labels` wrote; otherwise the config's and the examples'.
        RAISES (ValueError): There are no labels.
        """
        validate_get_examples(get_examples, "PaDeLLMNER.initialize")
        if labels is not None:
            self._set_labels(make_wordings(labels, self.shim.configured.known_wordings))
        else:
            for label in gold_labels(get_examples(), self.spans_key):
                self.add_label(label)
            warn_of_absent_labels(get_examples(), self.labels, self.spans_key)
        if not self.labels:
            raise ValueError(Errors.P204.format(name=self.name, spans_key=self.spans_key))
        self.shim.create(eg.reference.text for eg in get_examples())
        self._reset()
        warn_of_left_out(
            as_in_training(get_examples(), nlp, self),
            self._objective,
            self.labels,
            spans_key=self.spans_key,
            get_spans=self._get_spans,
            check_depth=self.shim.lm.check_depth,
        )

    def predict(self, docs: Iterable[Doc]) -> list[list[ScoredMention]]:
        """docs (Iterable[Doc]): Docs; they stay as they are.
        RETURNS (List[List[ScoredMention]]): The mentions of each, with its character offsets.
        RAISES (ValueError): There is no model or no label, or a text is too long for the model.
        """
        docs = list(docs)
        windows = get_windows(docs, self._get_spans)
        return self.extractor.extract_windows([doc.text for doc in docs], windows)

    def set_annotations(
        self, docs: Iterable[Doc], scores: Sequence[Sequence[ScoredMention]]
    ) -> None:
        """docs (Iterable[Doc]): Docs, changed in place.
        scores (Sequence[Sequence[ScoredMention]]): Their mentions, from `predict`.
        """
        for doc, mentions in zip(docs, scores, strict=True):
            annotate_doc(doc, mentions, spans_key=self.spans_key, overwrite=self.cfg["overwrite"])

    def __call__(self, doc: Doc) -> Doc:
        """doc (Doc): A doc.
        RETURNS (Doc): The doc, annotated.
        """
        with unread_logged(self.name, self._cost):
            return super().__call__(doc)

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """stream (Iterable[Doc]): Docs.
        batch_size (int): How many to read at once.
        YIELDS (Doc): The docs in order. One that fails goes to the error handler alone.
        """
        use_one_thread_if_forked()
        with unread_logged(self.name, self._cost):
            for docs in minibatch(stream, size=batch_size):
                try:
                    mentions = self.predict(docs)
                except Exception:
                    yield from self._one_by_one(docs)
                    continue
                self.set_annotations(docs, mentions)
                yield from docs

    def _one_by_one(self, docs: Iterable[Doc]) -> Iterator[Doc]:
        handle_error = self.get_error_handler()
        for doc in docs:
            try:
                self.set_annotations([doc], self.predict([doc]))
            except Exception as error:
                handle_error(self.name, self, [doc], error)
            else:
                yield doc

    def _cost(self) -> DecodingCost:
        return DecodingCost() if self._extractor is None else self._extractor.cost

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """examples (Iterable[Example]): A batch of examples.
        drop (float): Rate of the model's dropout layers (`torch.nn.Dropout`). Llama-shaped models
            have none; what a model drops in other ways is up to its own configuration.
        sgd (Optional[Optimizer]): The optimizer; without one gradients add up.
        losses (Optional[Dict[str, float]]): Losses so far, by component.
        RETURNS (Dict[str, float]): The updated losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "PaDeLLMNER.update")
        set_dropout_rate(self.model, drop)
        trees = self._supervised_trees(examples)
        if trees:
            log_probs, backprop = self.model.begin_update(trees)
            loss, gradient = _get_loss(trees, log_probs)
            backprop(gradient)
            if sgd is not None:
                self.finish_update(sgd)
            losses[self.name] += loss
        return losses

    def get_loss(self, examples: Iterable[Example], scores: Floats1d) -> tuple[float, Floats1d]:
        """examples (Iterable[Example]): A batch of examples.
        scores (Floats1d): Log-probabilities of their supervised tokens, from the model.
        RETURNS (Tuple[float, Floats1d]): The mean negative log-probability of the tokens the
            loss covers in the paper's separate sequences, and its gradient. With `tag_text`, text
            tags count with their weights.
        """
        return _get_loss(self._supervised_trees(list(examples)), scores)

    @property
    def extractor(self) -> MentionExtractor:
        """RETURNS (MentionExtractor): Texts → mentions, with the model as it is now."""
        if self._extractor is None:
            if not self.labels:
                raise ValueError(Errors.P033)
            if untrained := self.shim.find_untrained():
                message = Warnings.W206.format(name=self.name, labels=", ".join(untrained))
                warnings.warn(message, stacklevel=3)
            self._extractor = MentionExtractor(
                self.shim.lm,
                self.shim.settings,
                self.resolution,
                self._policy,
                self._batch_tokens,
                self.shim.replicas,
            )
        self.shim.renew_replicas()
        return self._extractor

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write `model`, a checkpoint folder that transformers can load on its own.

        path (Union[str, Path]): A directory.
        exclude (Iterable[str]): What to leave out: `"model"`.
        """
        if "model" not in exclude:
            self.shim.save(Path(path) / "model")

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "PaDeLLMNER":
        """path (Union[str, Path]): A directory `to_disk` wrote.
        exclude (Iterable[str]): What to leave out: `"model"`.
        RETURNS (PaDeLLMNER): The component.
        RAISES (ValueError): The checkpoint folder is not complete.
        """
        if "model" not in exclude:
            self.shim.load(Path(path) / "model")
            self._reset()
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """exclude (Iterable[str]): What to leave out: `"model"`.
        RETURNS (bytes): The component.
        """
        return b"" if "model" in exclude else self.shim.to_bytes()

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "PaDeLLMNER":
        """bytes_data (bytes): What `to_bytes` gave.
        exclude (Iterable[str]): What to leave out: `"model"`.
        RETURNS (PaDeLLMNER): The component.
        """
        if "model" not in exclude and bytes_data:
            self.shim.from_bytes(bytes_data)
            self._reset()
        return self

    def _set_labels(self, labels: Mapping[str, str]) -> None:
        self.shim.configured.override(labels=dict(labels))
        self._reset()

    def _reset(self) -> None:
        """Forget what was built for other labels or another model."""
        self._extractor = None
        self._trees = None
        self._prompt_encoder = None
        self._own_objective = None
        self._fitting_spans = None

    @property
    def _encoder(self) -> PromptEncoder:
        if self._prompt_encoder is None:
            settings, tokenizer = self.shim.settings, self.shim.lm.tokenizer
            self._prompt_encoder = PromptEncoder(settings.template, settings.labels, tokenizer)
        return self._prompt_encoder

    @property
    def _get_spans(self) -> SpanGetter:
        if self._own_get_spans is not None:
            return self._own_get_spans
        if self._fitting_spans is None:
            fit = Fit(self.shim.lm, self._encoder, self.shim.settings)
            self._fitting_spans = FittingSpans(fit)
        return self._fitting_spans

    @property
    def _objective(self) -> Objective:
        if self._own_objective is None:
            self._own_objective = make_component_objective(
                self._encoder, self.shim.settings, self.shim.tag_text
            )
        return self._own_objective

    def _supervised_trees(self, examples: Sequence[Example]) -> list[SupervisedTree]:
        if self._trees is None:
            self._trees = TreeCache(
                self._objective, self.labels, swap=self._swap, fits=self.shim.lm.fits
            )
            self.shim.configured.note_text_tags(self._objective.teaches_tags)
            # One made before may read tags that are no longer taught, or none.
            self._extractor = None
        texts = annotated_texts(examples, self.spans_key, self._get_spans)
        trees = [self._trees.build(text) for text in texts]
        return [tree for tree in trees if tree.nodes]


def _get_loss(trees: Sequence[SupervisedTree], scores: Floats1d) -> tuple[float, Floats1d]:
    weights = np.array([w for tree in trees for w in tree.weights], dtype="float32")
    weights /= weights.sum()
    return float(-(weights * scores).sum()), cast(Floats1d, -weights)
