"""The configuration file of a fine-tuning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from ..checkpoints.options import LoadOptions
from ..errors import Errors
from .augmentation import MentionSwap
from .checking import check_entries

# With an adapter: saved as it is, or merged into the model it was trained for.
Save = Literal["adapter", "merged"]

_OF_LOADING = {
    "device": "Trainer chooses devices: set training.use_cpu, or CUDA_VISIBLE_DEVICES",
    "device_map": "to spread a model over devices use training.fsdp",
}
# YAML 1.1 takes a number without a point (2e-5) for a string.
_NUMBER = re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")


@dataclass(frozen=True)
class Augment:
    """As `MentionSwap` takes it.

    rate (float): Probability of a mention to be swapped.
    uses (int): For how many epochs a version of a text is used.
    join (int): Most texts that are put one behind the other.
    capitals (float): Probability of a text to be put in capitals.
    """

    rate: float
    uses: int = 1
    join: int = 1
    capitals: float = 0.0

    def make_swap(self) -> MentionSwap:
        """RETURNS (MentionSwap): What augments texts, with nothing collected yet.
        RAISES (ValueError): A value that is not possible.
        """
        return MentionSwap(self.rate, self.uses, self.join, self.capitals)


@dataclass(frozen=True)
class FinetuneConfig:
    """What is trained, on what, and how.

    checkpoint (str): Folder or hub id of the model to start from.
    output (str): Folder of the resulting checkpoint; Trainer's own are in `steps` below it.
    train (Union[str, List[str]]): Corpus files.
    dev (Optional[Union[str, List[str]]]): Corpus files to evaluate on.
    preset (Optional[str]): Template and labels of one of the paper's datasets.
    template (Optional[Union[str, Dict[str, str]]]): A template's name, or its parts.
    labels (Optional[Union[List[str], Dict[str, str]]]): Labels, or labels and their wording; by
        default the checkpoint's or preset's and those of the training data.
    output_format (Optional[str]): How mentions are written.
    prefix_attention (Optional[str]): Whether the text attends in both directions.
    softmax (Optional[str]): What log-probabilities are taken over.
    max_mentions (Optional[int]): Most mentions of a label in a text.
    max_mention_tokens (Optional[int]): Longest mention, in tokens of the text.
    tag_text (float): Weight of what each token of the text is taught in addition.
    augment (Optional[Augment]): How more texts are made of those there are.
    load (LoadOptions): How the checkpoint is loaded.
    lora (Optional[Dict[str, Any]]): Fields of PEFT's `LoraConfig`; `None` to train all weights.
    save (Optional[Save]): What becomes of an adapter, by default it is merged into its model.
    row_tokens (int): Most tokens of a row, which is a number of texts that are run together.
    patience (Optional[int]): After how many evaluations without a better one to stop.
    training (Dict[str, Any]): Fields of transformers' `TrainingArguments`.
    RAISES (ValueError): A value that is not possible, alone or beside another one.
    """

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
    max_mentions: int | None = None
    max_mention_tokens: int | None = None
    tag_text: float = 0.0
    augment: Augment | None = None
    load: LoadOptions = field(default_factory=LoadOptions)
    lora: dict[str, Any] | None = None
    save: Save | None = None
    row_tokens: int = 2048
    patience: int | None = None
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.save not in (None, *get_args(Save)):
            raise ValueError(
                Errors.P031.format(name="save", value=self.save, values=get_args(Save))
            )
        if self.save is not None and self.lora is None:
            raise ValueError(Errors.P082)
        for name in ("row_tokens", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(Errors.P032.format(name=name, value=value))
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(Errors.P071.format(key="output", value=self.output, kind="a folder"))
        if self.folder.resolve() == Path(self.checkpoint).expanduser().resolve():
            # Weights of an earlier result are removed, and these would be the model's own.
            kind = "another folder than `checkpoint`"
            raise ValueError(Errors.P071.format(key="output", value=self.output, kind=kind))
        if self.load.quantization is not None and self.lora is None:
            raise ValueError(Errors.P074)
        if self.patience is not None and self.dev is None:
            raise ValueError(Errors.P073.format(key="patience"))

    @property
    def folder(self) -> Path:
        """RETURNS (Path): `output`, with the user's home directory in the place of `~`."""
        return Path(self.output).expanduser()

    @property
    def steps(self) -> Path:
        """RETURNS (Path): Where Trainer's checkpoints are."""
        return self.folder / "steps"

    @property
    def merges(self) -> bool:
        """RETURNS (bool): Whether an adapter is trained and merged into its model."""
        return self.lora is not None and self.save != "adapter"

    def corpora(self, name: Literal["train", "dev"]) -> list[str]:
        """name (str): Which texts.
        RETURNS (List[str]): Their files.
        """
        stated: str | list[str] | None = getattr(self, name)
        files = [stated] if isinstance(stated, str) else list(stated or [])
        return [str(Path(file).expanduser()) for file in files]


def make_config(stated: Any) -> FinetuneConfig:
    """stated (Any): What a configuration file holds.
    RETURNS (FinetuneConfig): The configuration.
    RAISES (ValueError): An entry is unknown, missing, of the wrong type, or not possible.
    """
    # What is entered as a whole here is checked entry by entry below.
    parts = {name: stated.get(name) for name in ("augment", "load") if isinstance(stated, Mapping)}
    plain = stated
    if isinstance(stated, Mapping):
        plain = {key: value for key, value in stated.items() if key not in parts}
    entries = check_entries(FinetuneConfig, plain, "")
    required = [each.name for each in fields(FinetuneConfig) if each.default is MISSING]
    for name in required:
        if name not in entries and name not in ("load", "training"):
            raise ValueError(Errors.P075.format(key=name))
    if parts.get("augment") is not None:
        augment = check_entries(Augment, parts["augment"], "augment")
        if "rate" not in augment:
            raise ValueError(Errors.P075.format(key="augment.rate"))
        entries["augment"] = Augment(**augment)
    if parts.get("load") is not None:
        load = check_entries(LoadOptions, parts["load"], "load", left_out=_OF_LOADING)
        entries["load"] = LoadOptions(**load)
    return FinetuneConfig(**entries)


def read_config(path: Path) -> FinetuneConfig:
    """path (Path): A YAML file.
    RETURNS (FinetuneConfig): The configuration in it.
    RAISES (ValueError): It cannot be read, or an entry is wrong.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """With numbers as they are usually written, and no entry twice."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            # As they are written: what `<<` merges into a mapping may well be there already.
            entries = [key.value for key, _ in node.value]
            if twice := [entry for entry in entries if entries.count(entry) > 1]:
                raise yaml.YAMLError(f"{twice[0]!r} is there twice")
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            return found

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))
    try:
        stated = yaml.load(path.read_text(encoding="utf8"), Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(Errors.P076.format(path=path, error=error)) from error
    return make_config(stated)


def on_device(options: LoadOptions, device: str) -> LoadOptions:
    """options (LoadOptions): How a checkpoint is loaded.
    device (str): The device that trains it.
    RETURNS (LoadOptions): The same, onto this device where weights are quantized; others are loaded
        on the CPU and moved, or divided, from there.
    """
    return options if options.quantization is None else replace(options, device=device)
