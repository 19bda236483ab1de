"""Settings of a model: what it was trained with, what overrides that, and how it decodes.

Nothing heavy is imported here, as spaCy loads this module with the factory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import entry_points
from typing import Any, Literal, get_args

from .calibration import UNCALIBRATED, Calibration
from .errors import Errors, check_choice
from .prompt.template import (
    PRESETS,
    TEMPLATES,
    Labels,
    Preset,
    PromptTemplate,
    check_wording,
    find_preset,
    get_template,
    word_labels,
)

PrefixAttention = Literal["causal", "bidirectional"]
# "vocabulary": the model's own probability, as in the paper. "admissible": over the tokens that
# may come next only, which makes the model a pointer into the text and learns faster.
Softmax = Literal["vocabulary", "admissible"]
Deduplicate = Literal["string", "span"]
Occurrences = Literal["in_order", "all"]
Decode = Literal["doubtful", "all", "tags"]
Drafts = Literal["auto"]
TagActivation = Literal["softmax", "sigmoid"]

SPANS_KEY = "padellm"
# If text tags are read, an entity must be more probable than this.
LIKELY = 0.5
# Labels are not opened for mentions that would have to be written with a higher probability than
# the first to be kept, or with a lower one than the second to be dropped. Wider bounds open more
# labels, for nearly the same entities.
SURE, UNSURE = 0.65, 0.1
# The checkpoint that comes with the package: English names.
BUNDLED_MODEL = "padellm_en_small"
# Every label and mention in a sequence of its own. Other output formats are plugged in.
PARALLEL = "parallel"
# The entry points through which other output formats are plugged in, by the format's name.
OBJECTIVES, DECODERS = "spacy_padellm_objectives", "spacy_padellm_decoders"

_FORMAT = 1
_LIMITS = ("max_mentions", "max_mention_tokens")
_BIASES = ("tag_bias", "usual", "other_tag_bias")
# Left out where they say nothing, so that earlier versions can read the rest.
_LATER = ("calibration", "tokenizer", "label_vectors", "trained", *_BIASES)


@dataclass(frozen=True)
class DecodingOptions:
    """How a model decodes, and how its output becomes entities.

    Args:
        threshold: Lowest score an entity is kept with, for all labels or by label. Labels that are
            not named keep all.
        deduplicate: `"string"`: a string found under several labels stays under the most probable
            one (the paper's rule). `"span"`: the same for a place in the text only.
        occurrences: `"in_order"`: the k-th mention of a string takes its k-th place in the text.
            `"all"`: a mention marks every place of its string.
        tag_share: Share of the text tags in a mention's probability, where they are read. An entity
            then has to be more probable than not, and what only the tags name is found, too.
            More than half by default, as counts err more than tags.
        tag_activation: `"softmax"`: a token of the text is in a mention of one of the labels asked,
            or in none. `"sigmoid"`: each label is held against none alone, so that the others asked
            make no difference. `None`: as in training.
        decode: For which labels the model writes mentions, if it was taught text tags.
            `"doubtful"`: for those that the tags leave in doubt. `"all"`: for all labels,
            which finds nearly the same. `"tags"`: for none. Entities then come from the tags alone,
            in a single pass over the text.
        draft_threshold: Lowest probability of a token that is drafted. The same is found whatever
            it is: a lower one takes fewer passes and more tokens. `"auto"` chooses it from what a
            pass and a token take on this device. `None` drafts nothing: the paper's two steps
            follow each other, one token a pass.
        open_counts: Numbers of mentions that are so likely that the mentions of every label are
            opened while they are being counted.
        batch_tokens: Most tokens that are run at once, padding included.

    Raises:
        ValueError: A value is not possible.
    """

    threshold: float | Mapping[str, float] = 0.0
    deduplicate: Deduplicate = "string"
    occurrences: Occurrences = "in_order"
    tag_share: float = 0.65
    tag_activation: TagActivation | None = None
    decode: Decode = "doubtful"
    draft_threshold: float | Drafts | None = "auto"
    open_counts: tuple[int, ...] = ()
    # The fastest on a CPU.
    batch_tokens: int = 2048

    def __post_init__(self) -> None:
        values: dict[str, object] = {"tag_share": self.tag_share}
        if isinstance(self.draft_threshold, str):
            check_choice("draft_threshold", self.draft_threshold, get_args(Drafts))
        elif self.draft_threshold is not None:
            values["draft_threshold"] = self.draft_threshold
        if isinstance(self.threshold, Mapping):
            values |= {f"threshold of {label}": each for label, each in self.threshold.items()}
        else:
            values["threshold"] = self.threshold
        for name, value in values.items():
            if not (isinstance(value, int | float) and 0 <= value <= 1):
                raise ValueError(Errors.P030.format(name=name, value=repr(value)))
        least = {"open_counts": min(self.open_counts, default=1), "batch_tokens": self.batch_tokens}
        for name, value in least.items():
            if value < 1:
                raise ValueError(Errors.P032.format(name=name, value=value))
        check_choice("deduplicate", self.deduplicate, get_args(Deduplicate))
        check_choice("occurrences", self.occurrences, get_args(Occurrences))
        check_choice("decode", self.decode, get_args(Decode))
        check_choice("tag_activation", self.tag_activation, (*get_args(TagActivation), None))

    def find_threshold(self, label: str) -> float:
        """Find the lowest score an entity of a label is kept with."""
        if isinstance(self.threshold, Mapping):
            return self.threshold.get(label, 0.0)
        return self.threshold

    @property
    def doubtful(self) -> tuple[float, float]:
        """The lowest and the highest probability by the tags that leave a mention in doubt.

        A place below the lowest does not open its label, as it would be kept only if the model were
        very sure to write it. Nor does a place above the highest, as it would be dropped only if
        the model were very sure not to write it.
        """
        if self.decode == "tags":
            return (LIKELY, LIKELY)
        share = max(self.tag_share, 1e-9)
        return (LIKELY - (1 - share) * SURE) / share, (LIKELY - (1 - share) * UNSURE) / share


@dataclass(frozen=True)
class Settings:
    """The settings a model was trained with and must run with: the contents of `padellm.json`.

    Args:
        template: The prompt's wording.
        labels: Label → its wording in the prompt.
        prefix_attention: Whether the text attends in both directions.
        softmax: What log-probabilities are taken over.
        max_mentions: Most mentions of a label in a text.
        max_mention_tokens: Longest mention, in tokens of the text.
        output_format: How it writes mentions.
        text_tags: Whether it was taught text tags that can be read.
        label_vectors: Whether text tags are compared with vectors that the model makes of labels'
            wordings, each against none alone. If not, labels are rows of the output layer.
        calibration: Temperatures that make its probabilities mean what they say.
        trained: The wordings of the labels that it was trained to find.
        tag_bias: Added to the log-odds of mentions by the text tags: above 0, more is found.
        usual: The wordings that `tag_bias` is for; empty for all.
        other_tag_bias: The same for labels with other wordings than these.
        tokenizer: Some ids of its tokenizer → their tokens, to know it by; empty if unknown.

    Raises:
        ValueError: A value is not possible, alone or beside another one.
    """

    template: PromptTemplate = TEMPLATES["en"]
    labels: Mapping[str, str] = field(default_factory=dict)
    prefix_attention: PrefixAttention = "causal"
    softmax: Softmax = "vocabulary"
    max_mentions: int = 30
    max_mention_tokens: int = 16
    output_format: str = PARALLEL
    text_tags: bool = False
    label_vectors: bool = False
    calibration: Calibration = UNCALIBRATED
    trained: tuple[str, ...] = ()
    tag_bias: float = 0.0
    usual: tuple[str, ...] = ()
    other_tag_bias: float = 0.0
    tokenizer: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        check_choice("prefix_attention", self.prefix_attention, get_args(PrefixAttention))
        check_choice("softmax", self.softmax, get_args(Softmax))
        for name in _LIMITS:
            if getattr(self, name) < 1:
                raise ValueError(Errors.P032.format(name=name, value=getattr(self, name)))
        if self.output_format != PARALLEL:
            names = (PARALLEL, *(each.name for each in entry_points(group=DECODERS)))
            check_choice("output_format", self.output_format, names)
            if self.softmax != "vocabulary":
                raise ValueError(
                    Errors.P037.format(output_format=self.output_format, softmax=self.softmax)
                )
        biases = (self.tag_bias, self.other_tag_bias)
        if not all(map(math.isfinite, biases)):
            raise ValueError(Errors.P444.format(biases=", ".join(map(str, biases))))
        if self.label_vectors and self.softmax == "vocabulary":
            raise ValueError(Errors.P058)
        for label, wording in self.labels.items():
            check_wording(label, wording)

    @classmethod
    def of_preset(cls, preset: Preset) -> Settings:
        """Create the settings of a model that was trained as a preset says."""
        labels = dict(preset.labels)
        return cls(preset.template, labels, trained=tuple(labels.values()))

    @property
    def reads_tags(self) -> bool:
        """Whether text tags can be read from the model."""
        return self.text_tags and self.output_format == PARALLEL

    @property
    def tag_activation(self) -> TagActivation:
        """How text tags are taught."""
        return "sigmoid" if self.label_vectors else "softmax"

    def uncalibrated(self) -> Settings:
        """Return the settings without what was chosen for these weights."""
        return replace(self, calibration=UNCALIBRATED, tag_bias=0.0, usual=(), other_tag_bias=0.0)

    def as_trained(self, *, text_tags: bool, others: Iterable[str] = ()) -> Settings:
        """Return the settings of the model once it is trained further, to find its labels.

        Its probabilities are others then, so what was chosen for them no longer holds.

        Args:
            text_tags: Whether it is taught text tags that can be read.
            others: Wordings of other labels that it is trained to find.
        """
        trained = tuple(dict.fromkeys([*self.trained, *self.labels.values(), *others]))
        return replace(self.uncalibrated(), text_tags=text_tags, trained=trained)

    def to_json(self) -> str:
        """Write the contents of `padellm.json`."""
        content: dict[str, Any] = {"format": _FORMAT}
        nothing: dict[str, Any] = {"calibration": UNCALIBRATED, "trained": (*self.labels.values(),)}
        for name, value in asdict(self).items():
            own = getattr(self, name)
            if name in _LATER and (own == nothing[name] if name in nothing else not own):
                continue
            place = content.setdefault("limits", {}) if name in _LIMITS else content
            place[name] = value
        return json.dumps(content, ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Settings:
        """Read the contents of a `padellm.json`.

        Args:
            text: The contents.
            where: Where they come from, for the error.

        Raises:
            ValueError: They are not such contents, or of a later version.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            if (found := content.pop("format")) != _FORMAT:
                raise ValueError(f"its format is {found!r}, and this version reads {_FORMAT}")
            limits = dict(content.pop("limits", {}))
            known = {each.name for each in fields(cls)}.difference(_LIMITS) | {"untrained"}
            if unknown := (set(content) - known) | (set(limits) - set(_LIMITS)):
                raise ValueError(f"unknown entries {sorted(unknown)}")
            content["template"] = get_template(content["template"])
            content["calibration"] = Calibration(**content.get("calibration", {}))
            if any(not each.isdecimal() for each in content.get("tokenizer", {})):
                raise ValueError("tokenizer must name ids and their tokens")
            # Earlier versions named the other labels.
            new, labels = list(content.pop("untrained", ())), content.get("labels", {})
            words = [word for label, word in labels.items() if label not in new]
            for name, default in {"trained": words, "usual": ()}.items():
                content[name] = tuple(content.get(name, default))
                if content[name] != tuple(map(str, content[name])):
                    raise ValueError(f"{name} must name wordings")
            return cls(**content, **limits)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(Errors.P040.format(path=where, error=error)) from error


@dataclass(frozen=True)
class Overrides:
    """Settings in a config, YAML file or call that override those of a checkpoint.

    The one place where settings are resolved: what is stated comes first, then the preset's, then
    what the checkpoint was trained with, then the defaults.

    Args:
        preset: Template and labels of a dataset.
        template: The prompt's wording.
        labels: The labels, which have the checkpoint's or the preset's wording where none is given.
        output_format: How mentions are written.
        prefix_attention: Whether the text attends in both directions.
        softmax: What log-probabilities are taken over.
        label_vectors: Whether text tags are compared with vectors of the labels' wordings.
        max_mentions: Most mentions of a label in a text.
        max_mention_tokens: Longest mention, in tokens of the text.

    Raises:
        ValueError: The labels are a single string, or a limit is below 1.
    """

    preset: Preset | None = None
    template: PromptTemplate | None = None
    labels: Labels | None = None
    output_format: str | None = None
    prefix_attention: PrefixAttention | None = None
    softmax: Softmax | None = None
    label_vectors: bool | None = None
    max_mentions: int | None = None
    max_mention_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.labels is not None:
            word_labels(self.labels, {})
        self.limit(Settings())

    @classmethod
    def state(
        cls,
        *,
        preset: str | Preset | None = None,
        template: str | Mapping[str, Any] | PromptTemplate | None = None,
        **others: Any,
    ) -> Overrides:
        """Create overrides, with preset and template also by name.

        Args:
            preset: One of the paper's datasets, or a preset.
            template: What `get_template` takes.
            **others: The other fields.

        Raises:
            ValueError: There is no such preset or template, or a value is not possible.
        """
        if isinstance(preset, str):
            name, preset = preset, find_preset(preset)
            if preset is None:
                check_choice("preset", name, tuple(PRESETS))
        wording = None if template is None else get_template(template)
        return cls(preset=preset, template=wording, **others)

    def merged(self, stated: Overrides) -> Overrides:
        """Merge with other overrides, which take precedence over these."""
        values = {each.name: getattr(stated, each.name) for each in fields(stated)}
        return replace(self, **{n: value for n, value in values.items() if value is not None})

    def resolve(self, checkpoint: Settings | None) -> Settings:
        """Find the settings that a model runs with.

        Args:
            checkpoint: What the checkpoint was trained with, `None` if it does not say.

        Raises:
            ValueError: A value is not possible, alone or beside another one.
        """
        changes: dict[str, Any] = {}
        if self.preset is not None:
            changes |= {"template": self.preset.template, "labels": dict(self.preset.labels)}
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and each.name not in ("preset", "labels"):
                changes[each.name] = value
        if self.labels is not None:
            known = self.known_wordings(checkpoint or Settings())
            changes["labels"] = word_labels(self.labels, known)
        return replace(checkpoint or Settings(), **changes)

    def known_wordings(self, checkpoint: Settings) -> dict[str, str]:
        """Find the wordings of all labels of the checkpoint or the preset."""
        return {**checkpoint.labels, **({} if self.preset is None else self.preset.labels)}

    def limit(self, settings: Settings) -> Settings:
        """Override only the limits, as for a saved pipeline, which keeps all other settings."""
        stated = {name: getattr(self, name) for name in _LIMITS}
        return replace(settings, **{n: value for n, value in stated.items() if value is not None})

    def find_ignored(self, saved: Settings) -> list[str]:
        """Find the overrides that a saved pipeline ignores, as it was trained with other settings.

        Args:
            saved: What the pipeline was trained with.

        Returns:
            The names of settings. Labels are added in training, so those stated need only be among
            the saved ones.
        """
        wanted = self.resolve(saved)
        names = ("prefix_attention", "softmax", "label_vectors", "template", "output_format")
        ignored = [name for name in names if getattr(wanted, name) != getattr(saved, name)]
        if missing := dict(wanted.labels).items() - dict(saved.labels).items():
            ignored.append(f"labels ({', '.join(sorted(label for label, _ in missing))})")
        return ignored
