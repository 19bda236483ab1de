"""What a checkpoint was trained with and has to be run with: its `padellm.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_args

from ..benchmark.output_formats.base import OutputFormatName
from ..errors import Errors
from ..limits import MentionLimits
from ..prompt.template import TEMPLATES, PromptTemplate, check_wording, get_template
from ..tree.causal_lm import PrefixAttention
from ..tree.softmax import Softmax

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
    untrained (Tuple[str, ...]): Labels it was never trained to find.
    RAISES (ValueError): A value that is not possible, alone or beside another one.
    """

    template: PromptTemplate = TEMPLATES["en"]
    labels: Mapping[str, str] = field(default_factory=dict)
    prefix_attention: PrefixAttention = "causal"
    softmax: Softmax = "vocabulary"
    limits: MentionLimits = field(default_factory=MentionLimits)
    output_format: OutputFormatName = "parallel"
    text_tags: bool = False
    untrained: tuple[str, ...] = ()

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
            content["untrained"] = tuple(content.get("untrained", ()))
            return cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(Errors.P040.format(path=where, error=error)) from error
