"""Checkpoint folder: a Hugging Face model and tokenizer with a `padellm.json` beside them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import cached_file

from ..errors import Errors
from .bundled import find_bundled
from .causal_lm import CausalLM, PrefixAttention
from .limits import MentionLimits
from .output_formats.base import OutputFormatName
from .softmax import Softmax
from .template import TEMPLATES, PromptTemplate, check_wording, get_template

SETTINGS_FILE = "padellm.json"
FORMAT = 1


@dataclass(frozen=True)
class CheckpointSettings:
    """What a model was trained with and has to be run with; the contents of `padellm.json`.

    template (PromptTemplate): The wording.
    labels (Mapping[str, str]): Label → its wording in the prompt.
    prefix_attention (PrefixAttention): Whether the text attends in both directions.
    softmax (Softmax): What log-probabilities are taken over.
    limits (MentionLimits): How much it may write.
    output_format (OutputFormatName): How it writes mentions.
    text_tags (bool): Whether it was taught text tags that can be read.
    RAISES (ValueError): A value that is not possible, alone or beside another one.
    """

    template: PromptTemplate = TEMPLATES["en"]
    labels: Mapping[str, str] = field(default_factory=dict)
    prefix_attention: PrefixAttention = "causal"
    softmax: Softmax = "vocabulary"
    limits: MentionLimits = field(default_factory=MentionLimits)
    output_format: OutputFormatName = "parallel"
    text_tags: bool = False

    def __post_init__(self) -> None:
        literals = {
            "prefix_attention": PrefixAttention,
            "softmax": Softmax,
            "output_format": OutputFormatName,
        }
        for name, choices in literals.items():
            value, values = getattr(self, name), get_args(choices)
            if value not in values:
                raise ValueError(Errors.P031.format(name=name, value=value, values=values))
        if self.output_format != "parallel" and self.softmax != "vocabulary":
            raise ValueError(
                Errors.P037.format(output_format=self.output_format, softmax=self.softmax)
            )
        for label, wording in self.labels.items():
            check_wording(label, wording)

    def override_limits(
        self, max_mentions: int | None = None, max_mention_tokens: int | None = None
    ) -> CheckpointSettings:
        """max_mentions (Optional[int]): Another value, or `None` to leave it.
        max_mention_tokens (Optional[int]): Likewise.
        RETURNS (CheckpointSettings): The settings with these limits.
        """
        changes = {"max_mentions": max_mentions, "max_mention_tokens": max_mention_tokens}
        given = {name: value for name, value in changes.items() if value is not None}
        return replace(self, limits=replace(self.limits, **given))

    def to_json(self) -> str:
        """RETURNS (str): The contents of `padellm.json`."""
        content = {"format": FORMAT, **asdict(self)}
        return json.dumps(content, ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> CheckpointSettings:
        """text (str): The contents of `padellm.json`.
        where (str): Where they come from, for the error.
        RETURNS (CheckpointSettings): The settings.
        RAISES (ValueError): Not such a file, or one of a later version.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            if content.pop("format") != FORMAT:
                raise ValueError(f"its format is not {FORMAT}")
            unknown = set(content) - {f.name for f in fields(cls)}
            if unknown:
                raise ValueError(f"unknown entries {sorted(unknown)}")
            content["template"] = get_template(content["template"])
            content["limits"] = MentionLimits(**content.get("limits", {}))
            return cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(Errors.P040.format(path=where, error=error)) from error


def load_settings(name: str) -> CheckpointSettings | None:
    """name (str): A folder or hub id.
    RETURNS (Optional[CheckpointSettings]): What its `padellm.json` says, `None` without one.
    RAISES (ValueError): A `padellm.json` that cannot be read.
    """
    name = _find_folder(name)
    path = _find_file(name, SETTINGS_FILE)
    if path is None:
        return None
    try:
        content = Path(path).read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(Errors.P040.format(path=path, error=error)) from error
    if not content:
        raise ValueError(Errors.P041.format(name=name, missing=f"what {SETTINGS_FILE} holds"))
    return CheckpointSettings.from_json(content, path)


def load_causal_lm(
    name: str,
    *,
    prefix_attention: PrefixAttention = "causal",
    device: str = "cpu",
    dtype: str = "float32",
) -> CausalLM:
    """Load model and tokenizer, and find out how the model runs trees.

    name (str): A folder or hub id.
    prefix_attention (PrefixAttention): Whether the text attends in both directions.
    device (str): Where to run, e.g. `"cuda:0"`.
    dtype (str): What weights are kept in, e.g. `"bfloat16"`; `"auto"` for what they are stored in.
    RETURNS (CausalLM): The model, in evaluation mode.
    RAISES (ValueError): The folder is missing or not complete.
    """
    name = _find_folder(name)
    torch_dtype = dtype if dtype == "auto" else get_dtype(dtype)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model, report = AutoModelForCausalLM.from_pretrained(
            name, torch_dtype=torch_dtype, output_loading_info=True
        )
    except Exception as error:  # transformers, safetensors and tokenizers each have their own
        raise cannot_load(name, error) from error
    if missing := sorted(report["missing_keys"]):
        raise ValueError(Errors.P044.format(name=name, count=len(missing), first=missing[0]))
    return CausalLM(model.eval(), tokenizer, prefix_attention=prefix_attention).to(device)


def load_checkpoint(
    name: str,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    max_mentions: int | None = None,
    max_mention_tokens: int | None = None,
) -> tuple[CausalLM, CheckpointSettings]:
    """Load a checkpoint with all it was trained with.

    name (str): A folder, bundled checkpoint or hub id with a `padellm.json`.
    device (str): Where to run.
    dtype (str): What weights are kept in.
    max_mentions (Optional[int]): Overrides the checkpoint's most mentions of a label.
    max_mention_tokens (Optional[int]): Overrides the checkpoint's longest mention.
    RETURNS (Tuple[CausalLM, CheckpointSettings]): The model and its settings.
    RAISES (ValueError): The folder is missing or not complete, or a limit is below 1.
    """
    settings = load_settings(name)
    if settings is None:
        raise ValueError(Errors.P041.format(name=name, missing=SETTINGS_FILE))
    settings = settings.override_limits(max_mentions, max_mention_tokens)
    lm = load_causal_lm(
        name, prefix_attention=settings.prefix_attention, device=device, dtype=dtype
    )
    return lm, settings


def find_checkpoint(name: str) -> str:
    """name (str): A checkpoint folder, a hub id, or the folder of a trained pipeline.
    RETURNS (str): The checkpoint folder in the pipeline, or the name as it is.
    """
    inner = next(Path(name).expanduser().glob(f"*/model/{SETTINGS_FILE}"), None)
    return name if inner is None else str(inner.parent)


def is_checkpoint(name: str) -> bool:
    """name (str): Anything.
    RETURNS (bool): Whether it is a folder with a `padellm.json`, or a bundled checkpoint.
    """
    return (Path(find_bundled(os.path.expanduser(name))) / SETTINGS_FILE).is_file()


def save_checkpoint(folder: Path, lm: CausalLM, settings: CheckpointSettings) -> None:
    """Write a folder that `load_causal_lm`, and transformers on its own, can load.

    folder (Path): Where to; made if missing.
    lm (CausalLM): Model and tokenizer.
    settings (CheckpointSettings): What goes into `padellm.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(".saving-*"):
        shutil.rmtree(left_over)
    # Aside first: the model may be mapped from the very files that are replaced.
    with TemporaryDirectory(dir=folder, prefix=".saving-") as name:
        aside = Path(name)
        lm.model.save_pretrained(aside, safe_serialization=True)
        lm.tokenizer.save_pretrained(aside)
        # Empty until the end, so that nobody takes half a folder for a whole one.
        (folder / SETTINGS_FILE).write_text("")
        for stale in folder.glob("model*.safetensors*"):
            stale.unlink()
        for path in aside.iterdir():
            if (folder / path.name).is_dir():
                shutil.rmtree(folder / path.name)
            os.replace(path, folder / path.name)
    (folder / SETTINGS_FILE).write_text(settings.to_json(), encoding="utf8")


def get_dtype(name: str) -> torch.dtype:
    """name (str): A torch dtype's name.
    RETURNS (torch.dtype): The dtype.
    RAISES (ValueError): No floating point dtype of torch.
    """
    dtype = getattr(torch, name, None)
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(Errors.P043.format(dtype=name))
    return dtype


def _find_folder(name: str) -> str:
    """RETURNS (str): The name, with the user's home directory in the place of `~`; the folder of a
    bundled checkpoint.
    """
    name = find_bundled(os.path.expanduser(name))
    path = Path(name)
    if not path.exists():
        # What reads like a path and is not there is no hub id, either.
        if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
            raise ValueError(Errors.P041.format(name=name, missing="the folder itself"))
        return name
    if (inner := find_checkpoint(name)) != name:
        raise ValueError(Errors.P047.format(name=name, inner=inner))
    if not (path / "config.json").is_file():
        raise ValueError(Errors.P041.format(name=name, missing="config.json"))
    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    if not any((path / w).is_file() for w in (*weights, "pytorch_model.bin.index.json")):
        raise ValueError(Errors.P041.format(name=name, missing="weights (model.safetensors)"))
    # What a tokenizer without a tokenizer.json is kept in has many names.
    tokenizers = ("tokenizer.json", "*.model", "*vocab*", "*.tiktoken")
    if not any(file for pattern in tokenizers for file in path.glob(pattern)):
        raise ValueError(Errors.P041.format(name=name, missing="a tokenizer (tokenizer.json)"))
    return name


def _find_file(name: str, file: str) -> str | None:
    if Path(name).is_dir():
        path = Path(name) / file
        return str(path) if path.is_file() else None
    try:
        # A hub id that cannot be reached is not one without this file.
        cached_file(name, "config.json")
        found: str | None = cached_file(
            name,
            file,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except OSError as error:
        raise cannot_load(name, error) from error
    return found


def cannot_load(name: str, error: Exception) -> ValueError:
    """name (str): A folder or hub id.
    error (Exception): Why it cannot be loaded.
    RETURNS (ValueError): The error to raise.
    """
    tried = "" if Path(name).exists() else "no folder of this name is here, and as a hub id: "
    return ValueError(Errors.P042.format(name=name, error=f"{tried}{error}"))
