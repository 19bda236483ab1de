"""The one function that does the work: find the entities of a record batch of texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
from spacy.util import is_package
from thinc.api import prefer_gpu

from ..checkpoints.adapters import find_adapted
from ..checkpoints.files import CheckpointFiles, find_bundled
from ..corpus.docs import doc_from_tokens
from ..errors import Errors
from ..pipeline.component import PaDeLLMNER
from ..pipeline.evaluation import load_pipeline, split_settings
from ..settings import Overrides
from ..texts import TokenizedText

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

ENTITIES_TYPE = pa.list_(
    pa.struct(
        [
            pa.field("start", pa.int64()),
            pa.field("end", pa.int64()),
            pa.field("label", pa.string()),
            pa.field("score", pa.float64()),
        ]
    )
)
# Instead of "auto": what is drafted would depend on how fast the machine is just now, and the last
# digits of scores on what is drafted.
_DRAFT_THRESHOLD = 0.3
# Digits of a score after the point.
_DIGITS = 6


class Annotator:
    """Finds the entities of record batches with a spaCy pipeline.

    It can be pickled. The pipeline is loaded with the first batch, once in each process, so engines
    such as Ray, Spark and Daft can send it to where the texts are.

    Args:
        model: A trained pipeline or a checkpoint, with settings of `padellm_ner` after a colon, as
            in `"padellm_en_small:decode=tags"`.
        text_field: The column with the texts.
        entities_field: The column to add, with entities in order of appearance: `start`, `end`
            (offsets of characters), `label`, and `score` (null if the pipeline gives none).
        error_field: The column to add, with the reason why a text failed; null if it did not.
        tokens_field: The column that may have the tokens of the texts, as offsets; `None` for none.
        batch_size: Number of texts that the pipeline reads at once; `None` for its own.
        lang: Language of a pipeline that is made from a checkpoint.
        device: The device to run on, such as `"cuda"`; `None` for the one in the pipeline's config.
    """

    def __init__(
        self,
        model: str,
        *,
        text_field: str = "text",
        entities_field: str = "entities",
        error_field: str = "error",
        tokens_field: str | None = None,
        batch_size: int | None = None,
        lang: str = "en",
        device: str | None = None,
    ) -> None:
        # Other processes may run in other folders.
        name, _ = split_settings(model)
        folder = Path(name).expanduser()
        # A name of a bundled or installed model comes before a folder of the same name.
        is_path = find_bundled(name) == name and not is_package(name) and folder.exists()
        self.model = str(folder.absolute()) + model[len(name) :] if is_path else model
        self.text_field = text_field
        self.entities_field = entities_field
        self.error_field = error_field
        self.tokens_field = tokens_field
        self.batch_size = batch_size
        self.lang = lang
        self.device = device
        self._nlp: Language | None = None
        self._errors: dict[int, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the pipeline."""
        return {**vars(self), "_nlp": None, "_errors": {}}

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Find the entities of the texts in a record batch.

        Args:
            batch: The texts, with any other columns.

        Returns:
            The batch with the columns `entities_field` and `error_field` added. A text that fails
            has null in the first and the reason in the second.

        Raises:
            OSError: The model cannot be asked, such as one on a server that is gone. No text is at
                fault, so none is marked as failed.
            ValueError: The batch has a column with the name of one that is added.
        """
        for name, field in (
            ("entities_field", self.entities_field),
            ("error_field", self.error_field),
        ):
            if field in batch.schema.names:
                raise ValueError(Errors.P521.format(field=field, name=name))
        nlp = self.load()
        texts = batch.column(self.text_field)
        tokens = self._get_tokens(batch)
        found: list[list[dict[str, Any]] | None] = [None] * len(texts)
        self._errors = {}
        # What the vocabulary learns of a batch is forgotten after it, so memory does not grow.
        with nlp.memory_zone():
            docs = []
            for row, text in enumerate(texts):
                try:
                    # A string may have bytes that are not UTF-8.
                    doc = _make_doc(nlp, text.as_py(), None if tokens is None else tokens[row])
                    docs.append((doc, row))
                except ValueError as error:
                    self._errors[row] = str(error)
            for doc, row in nlp.pipe(docs, as_tuples=True, batch_size=self.batch_size):
                found[row] = [_describe(ent) for ent in doc.ents]
        for row, entities in enumerate(found):
            if entities is None:
                self._errors.setdefault(row, "the pipeline returned no doc for this text")
        errors = [self._errors.get(row) for row in range(len(texts))]
        batch = batch.append_column(self.entities_field, pa.array(found, ENTITIES_TYPE))
        return batch.append_column(self.error_field, pa.array(errors, pa.string()))

    def find_weights(self) -> list[Path]:
        """Find the folders and files outside the pipeline from which it reads weights.

        No weights are read, so this also checks that there is such a pipeline with such settings.

        Raises:
            ValueError: There is none.
        """
        nlp = load_pipeline(self.model, self.lang, self._settings, with_weights=False)
        sources = [pipe.shim.source for _, pipe in nlp.pipeline if isinstance(pipe, PaDeLLMNER)]
        # A source that saves its weights may have no name.
        names = [getattr(source, "name", None) for source in sources if not source.saves_weights]
        paths = [Path(find_bundled(name)).expanduser() for name in names if name is not None]
        for path in paths:
            if path.is_dir() and (base := find_adapted(CheckpointFiles(str(path)))) is not None:
                paths.append(Path(base.name))
        return [path for path in paths if path.exists()]

    @property
    def _settings(self) -> dict[str, Any]:
        return {} if self.device is None else {"model.device": self.device}

    @property
    def is_loaded(self) -> bool:
        """Whether the pipeline is loaded in this process."""
        return self._nlp is not None

    def load(self) -> Language:
        """Load the pipeline with its weights, if it is not loaded yet, and return it.

        Raises:
            ValueError: It cannot be loaded.
        """
        if self._nlp is None:
            nlp = self._read()
            for _, pipe in nlp.pipeline:
                if isinstance(pipe, PaDeLLMNER):
                    # Now, as an error in loading is no text's fault.
                    _ = pipe.padellm
            # Its type says that a handler never returns.
            nlp.set_error_handler(cast(Any, self._note))
            self._nlp = nlp
        return self._nlp

    def _read(self) -> Language:
        """Load the pipeline; what is loaded on first use is left for later."""
        if self.device is not None and self.device.startswith("cuda"):
            # For the other components.
            prefer_gpu()
        nlp = load_pipeline(self.model, self.lang, self._settings)
        for _, pipe in nlp.pipeline:
            if isinstance(pipe, PaDeLLMNER) and pipe.shim.options.draft_threshold == "auto":
                options = replace(pipe.shim.options, draft_threshold=_DRAFT_THRESHOLD)
                pipe.shim.configure(Overrides(), options)
        return nlp

    def _note(self, name: str, component: Any, docs: list[Doc], error: Exception) -> None:
        """Note why some docs failed, as spaCy's error handler."""
        if isinstance(error, OSError):
            raise error
        for doc in docs:
            self._errors[doc._context] = f"{name}: {type(error).__name__}: {error}"

    def _get_tokens(self, batch: pa.RecordBatch) -> list[list[list[int]]] | None:
        if self.tokens_field is None or self.tokens_field not in batch.schema.names:
            return None
        tokens: list[list[list[int]]] = batch.column(self.tokens_field).to_pylist()
        return tokens


def _make_doc(nlp: Language, text: object, tokens: list[list[int]] | None) -> Doc:
    if not isinstance(text, str):
        raise ValueError("there is no text" if text is None else f"the text is {text!r}")
    if tokens is not None:
        source = TokenizedText(text, tuple((start, end) for start, end in tokens))
        return doc_from_tokens(source, nlp.vocab)
    return nlp.make_doc(text)


def _describe(ent: Any) -> dict[str, Any]:
    score = ent._.score if ent.has_extension("score") else None
    return {
        "start": ent.start_char,
        "end": ent.end_char,
        "label": ent.label_,
        "score": None if score is None else round(float(score), _DIGITS),
    }
