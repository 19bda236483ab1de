"""The configuration of a fine-tuning: a YAML file, checked by pydantic.

Every error names the entry and says how to correct it. All errors come before a model is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, asdict, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import to_json

from ..checkpoints.loading import load_settings
from ..checkpoints.options import LoadOptions
from ..errors import Errors
from ..prompt.template import word_labels
from ..settings import Overrides, Settings
from ..texts import AnnotatedText
from ..train.augmentation import MentionSwap

ModelT = TypeVar("ModelT", bound=BaseModel)

_CONFIG = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)
_OF_LOADING = {
    "device": "the Trainer chooses it; set training.use_cpu or CUDA_VISIBLE_DEVICES",
    "device_map": "use training.fsdp to spread a model over devices",
}
_SHOULD_BE = "Input should be "
# YAML 1.1 reads a number without a point (2e-5) as a string.
_NUMBER = re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")


def _read_augment(stated: Any) -> Any:
    if stated is None or isinstance(stated, MentionSwap):
        return stated
    return MentionSwap(**check_fields(MentionSwap, stated, "augment", {}))


def _read_load(stated: Any) -> Any:
    if isinstance(stated, LoadOptions):
        return stated
    stated = {} if stated is None else stated
    return LoadOptions(**check_fields(LoadOptions, stated, "load", _OF_LOADING))


class FinetuneConfig(BaseModel):
    """The configuration of a fine-tuning. Use `read_config` to create one from a file.

    A setting of the model that is `None` comes from the preset, then from the checkpoint, then from
    the defaults.

    Args:
        checkpoint: Folder or hub id of the model to start from, or a `.gguf` file.
        output: Folder of the resulting checkpoint. Trainer's own checkpoints are in its subfolder
            `steps`.
        train: Corpus files to train on.
        dev: Corpus files to evaluate on.
        preset: Name of one of the paper's datasets, whose template and labels to use.
        template: A template's name, or its fields.
        labels: Labels, or labels and their wording. By default those of the checkpoint or preset,
            and those of the training data.
        output_format: How mentions are written.
        prefix_attention: `"causal"`, or `"bidirectional"` if the tokens of a text attend in both
            directions.
        softmax: The ids that log-probabilities are taken over: `"vocabulary"` or `"admissible"`.
        label_vectors: Whether text tags are compared with vectors of the labels' wordings.
        max_mentions: Most mentions of a label in a text.
        max_mention_tokens: Longest mention, in tokens of the text.
        tag_text: Weight of text tags; 0 for none.
        augment: How training texts are augmented.
        load: How the checkpoint is loaded.
        lora: Fields of PEFT's `LoraConfig`; `None` to train all weights.
        save: Whether an adapter is merged into its model or saved alone. By default it is merged.
        row_tokens: Most tokens of a row, that is, of the texts that are run together.
        patience: Stop after this many evaluations without a better score; `None` for never.
        training: Fields of transformers' `TrainingArguments`.
    """

    model_config = _CONFIG

    checkpoint: str
    output: str
    train: str | list[str]
    dev: str | list[str] | None = None
    preset: str | None = None
    template: str | dict[str, str] | None = None
    labels: list[str] | dict[str, str] | None = None
    output_format: str | None = None
    prefix_attention: str | None = None
    softmax: str | None = None
    label_vectors: bool | None = None
    max_mentions: int | None = None
    max_mention_tokens: int | None = None
    tag_text: float = 0.0
    augment: Annotated[
        MentionSwap | None,
        PlainValidator(_read_augment),
        PlainSerializer(asdict, when_used="unless-none"),
    ] = None
    load: Annotated[LoadOptions, PlainValidator(_read_load), PlainSerializer(asdict)] = (
        LoadOptions()
    )
    lora: dict[str, Any] | None = None
    save: Literal["adapter", "merged"] | None = None
    row_tokens: int = Field(2048, ge=1)
    patience: int | None = Field(None, ge=1)
    training: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> FinetuneConfig:
        if self.save is not None and self.lora is None:
            raise ValueError(Errors.P082)
        kind = None
        if self.folder.exists() and not self.folder.is_dir():
            kind = "a folder"
        elif self.folder.resolve() == Path(self.checkpoint).expanduser().resolve():
            # Saving removes earlier weights in `output`, which here would be those of the model.
            kind = "another folder than `checkpoint`"
        if kind is not None:
            raise ValueError(Errors.P071.format(key="output", value=self.output, kind=kind))
        if self.load.quantization is not None and self.lora is None:
            raise ValueError(Errors.P074)
        if self.patience is not None and self.dev is None:
            raise ValueError(Errors.P073.format(key="patience"))
        return self

    @property
    def folder(self) -> Path:
        """`output` as a path, with `~` replaced by the user's home directory."""
        return Path(self.output).expanduser()

    @property
    def steps(self) -> Path:
        """The folder of Trainer's checkpoints."""
        return self.folder / "steps"

    @property
    def merges(self) -> bool:
        """Whether an adapter is trained and merged into its model."""
        return self.lora is not None and self.save != "adapter"

    def corpora(self, name: str) -> list[str]:
        """List the corpus files of `"train"` or `"dev"`."""
        stated: str | list[str] | None = getattr(self, name)
        files = [stated] if isinstance(stated, str) else stated or []
        return [str(Path(file).expanduser()) for file in files]


def validate(
    model: type[ModelT], stated: Any, where: str = "", names: Collection[str] = ()
) -> ModelT:
    """Create a pydantic model from the entries of a configuration.

    Args:
        model: The class of the model.
        stated: The entries, as read from YAML.
        where: The key that they are under; empty for the whole file.
        names: The possible entries, which an error suggests; by default the fields of the model.

    Raises:
        ValueError: An entry is unknown, missing, of the wrong type or not possible.
    """
    try:
        # Strict JSON accepts what YAML can state: lists for tuples, and strings for enums.
        return model.model_validate_json(to_json(stated))
    except ValidationError as error:
        message = _explain(error, stated, where, names or model.model_fields)
        raise ValueError(message) from error


def check_fields(kind: type, stated: Any, where: str, instead: Mapping[str, str]) -> dict[str, Any]:
    """Check entries that are fields of a dataclass, such as those of transformers and PEFT.

    Args:
        kind: The dataclass.
        stated: The entries.
        where: The key that they are under.
        instead: Fields that may not be stated → what to do instead.

    Returns:
        The entries, converted to the types of the fields.

    Raises:
        ValueError: An entry is unknown, missing, not allowed or of the wrong type.
    """
    entries = stated if isinstance(stated, Mapping) else {}
    for key in entries:
        if key in instead:
            raise ValueError(Errors.P072.format(key=f"{where}.{key}", instead=instead[key]))
    possible = [each for each in fields(kind) if each.init and each.name not in instead]
    needed = [e.name for e in possible if e.default is e.default_factory is MISSING]
    names = [each.name for each in possible]
    try:
        hints = get_type_hints(kind)
    except (NameError, TypeError):  # types that only a type checker imports
        hints = {}
    # Only entries that are stated or needed, as pydantic may not know the types of others.
    stated_fields: dict[str, Any] = {
        n: (hints.get(n, Any), ...) for n in names if n in {*entries, *needed}
    }
    model = create_model(kind.__name__, __config__=_CONFIG, **stated_fields)
    return dict(validate(model, stated, where, names))


def _explain(error: ValidationError, stated: Any, where: str, names: Collection[str]) -> str:
    """Turn pydantic's first error into one of our messages."""
    errors = error.errors(include_url=False)
    errors = [each for each in errors if each["loc"][:1] == errors[0]["loc"][:1]]
    # For a union, take the errors of the member whose check got furthest: that one was meant.
    depth = max(len(each["loc"]) for each in errors)
    errors = [each for each in errors if len(each["loc"]) == depth]
    kind, loc = errors[0]["type"], errors[0]["loc"]
    path = [where] if where else []
    for part in loc:
        # A part that cannot be looked up names a member of a union, or a missing entry.
        with suppress(LookupError, TypeError):
            stated = stated[part]
            path.append(str(part))
    key = ".".join(path)
    if kind == "value_error":
        return str(errors[0]["ctx"]["error"])
    if kind == "missing":
        return Errors.P075.format(key=".".join([*path, str(loc[-1])]))
    if kind == "extra_forbidden":
        possible = get_close_matches(str(loc[-1]), names, n=1) or sorted(names)
        return Errors.P070.format(key=key, possible=", ".join(possible))
    if kind == "greater_than_equal":
        return Errors.P032.format(name=key, value=stated)
    wanted = " or ".join(dict.fromkeys(each["msg"] for each in errors))
    if _SHOULD_BE not in wanted:
        return Errors.P083.format(key=key, error=wanted)
    wanted = wanted.replace(_SHOULD_BE, "")
    return Errors.P071.format(key=key or "the file", value=stated, kind=wanted)


def read_config(path: Path, changes: Sequence[str] = ()) -> FinetuneConfig:
    """Read a configuration from a YAML file.

    Args:
        path: The file.
        changes: Entries that take the place of the file's, such as `"training.max_steps=100"`.

    Raises:
        ValueError: The file cannot be read, or an entry is wrong.
    """
    import yaml

    def construct(loader: Any, node: Any) -> Any:
        # Check keys as written: `<<` may merge in a key that the mapping has already.
        keys = [key.value for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"{twice[0]!r} is there twice")
        found = loader.construct_mapping(node, deep=True)
        if others := [name for name in found if not isinstance(name, str)]:
            raise yaml.YAMLError(f"{others[0]!r} is no name, unless it is put in quotes")
        return found

    loader: Any = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("tag:yaml.org,2002:map", construct)
    loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))
    try:
        stated = yaml.load(path.read_text(encoding="utf8"), loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(Errors.P076.format(path=path, error=error)) from error
    for change in changes:
        key, _, value = change.partition("=")
        try:
            _set_entry(stated, key.split("."), yaml.load(value, loader))
        except (TypeError, AttributeError, yaml.YAMLError) as error:
            raise ValueError(Errors.P088.format(change=change)) from error
    return validate(FinetuneConfig, stated)


def _set_entry(stated: Any, key: Sequence[str], value: Any) -> None:
    """Set an entry, and make the mappings that it is in if there are none."""
    *outer, last = key
    for name in outer:
        if stated.get(name) is None:
            stated[name] = {}
        stated = stated[name]
    stated[last] = value


def find_settings(config: FinetuneConfig, texts: Sequence[AnnotatedText]) -> Settings:
    """Find the settings to train a model with.

    An entry of the configuration comes first, then the preset, then the checkpoint, then the
    defaults. If the configuration states no labels, those of the training texts are added.

    Raises:
        ValueError: A value is not possible, or there are no labels.
    """
    checkpoint = load_settings(config.checkpoint, config.load) or Settings()
    stated = {each.name: getattr(config, each.name) for each in fields(Overrides)}
    overrides = Overrides.state(**stated)
    settings = overrides.resolve(checkpoint)
    labels = dict(settings.labels)
    if config.labels is None:
        found = sorted({mention.label for text in texts for mention in text.mentions})
        labels |= word_labels(found, overrides.known_wordings(checkpoint))
    if not labels:
        raise ValueError(Errors.P078.format(labels="none set"))
    return replace(settings, labels=labels)
