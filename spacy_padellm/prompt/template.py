"""Prompt template: the wording around text, label, count and mention. Strings only, no ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Errors


@dataclass(frozen=True)
class PromptTemplate:
    """The wording of the sequences a model is trained on and prompted with.

    prompt (str): Everything up to the count, with `{text}` and then `{label}` in it.
    count_end (str): What follows a count of one or more. A count of zero is followed by the
        tokenizer's end token.
    mention (str): What opens mention number `{n}`; the end token closes it.
    capitalized (str): What is put before each capitalised word of the text, for a tokenizer that
        lower-cases; nothing if empty.
    all_capitals (str): What is put before each word in capitals; `capitalized` if empty.
    RAISES (ValueError): A placeholder is missing or out of order, or a number has no end.
    """

    prompt: str
    count_end: str = "\n"
    mention: str = "<mention {n}>"
    capitalized: str = ""
    all_capitals: str = ""

    def __post_init__(self) -> None:
        if self.prompt.count("{text}") != 1 or self.prompt.count("{label}") != 1:
            raise ValueError(Errors.P001.format(prompt=self.prompt))
        if self.prompt.index("{text}") > self.prompt.index("{label}"):
            raise ValueError(Errors.P002.format(prompt=self.prompt))
        closing = self.mention.partition("{n}")[2]
        # Or opener 1 would be the beginning of opener 10, and count 1 that of count 10.
        if self.mention.count("{n}") != 1 or not closing or closing[0].isdigit():
            raise ValueError(Errors.P003.format(mention=self.mention))
        if not self.count_end or self.count_end[0].isdigit():
            raise ValueError(Errors.P004.format(count_end=self.count_end))

    @property
    def before_text(self) -> str:
        """RETURNS (str): What stands before the text."""
        return self.prompt.partition("{text}")[0]

    @property
    def before_label(self) -> str:
        """RETURNS (str): What stands between text and label."""
        return self.prompt.partition("{text}")[2].partition("{label}")[0]

    @property
    def before_count(self) -> str:
        """RETURNS (str): What stands between label and count."""
        return self.prompt.partition("{label}")[2]

    def opener(self, n: int) -> str:
        """n (int): A mention's number, from 1.
        RETURNS (str): What opens it.
        """
        return self.mention.replace("{n}", str(n))

    def render(self, text: str, wording: str, mentions: Sequence[str], end: str) -> list[str]:
        """Write out the separate sequences of one label (paper, section 3.1).

        text (str): The text.
        wording (str): The label's wording.
        mentions (Sequence[str]): Its mentions in order of appearance.
        end (str): The end token's string.
        RETURNS (List[str]): One sequence a mention; a single one for a label without mentions.
        """
        prompt = self.before_text + text + self.before_label + wording + self.before_count
        if not mentions:
            return [f"{prompt}0{end}"]
        counted = f"{prompt}{len(mentions)}{self.count_end}"
        return [f"{counted}{self.opener(n)}{m}{end}" for n, m in enumerate(mentions, start=1)]


# The paper's wordings, byte for byte (PaDeLLM-NER, released checkpoints).
TEMPLATES: Mapping[str, PromptTemplate] = {
    "en": PromptTemplate("text:\n{text}\nentity type:\n{label}\n\n<num>"),
    "zh": PromptTemplate("文本:\n{text}\n指定NER标签:\n{label}\n\n<数量>", mention="<第{n}文段>"),
}


def get_template(template: str | Mapping[str, Any] | PromptTemplate) -> PromptTemplate:
    """template (Union[str, Mapping, PromptTemplate]): A name of `TEMPLATES`, the fields of a
        template, or a template.
    RETURNS (PromptTemplate): The template.
    RAISES (ValueError): Unknown name or field.
    """
    if isinstance(template, PromptTemplate):
        return template
    if isinstance(template, str):
        if template not in TEMPLATES:
            raise ValueError(Errors.P005.format(name=template, names=", ".join(TEMPLATES)))
        return TEMPLATES[template]
    try:
        return PromptTemplate(**template)
    except TypeError as error:
        raise ValueError(Errors.P006.format(fields=sorted(template), error=error)) from error


def check_wording(label: str, wording: str) -> None:
    """label (str): A label.
    wording (str): Its wording in the prompt.
    RAISES (ValueError): Empty, or with a line break in it: the prompt would fall apart.
    """
    for what in (label, wording):
        if not what.strip():
            raise ValueError(Errors.P007.format(label=label))
        if len(what.splitlines()) > 1 or what.splitlines()[0] != what:
            raise ValueError(Errors.P008.format(label=label, wording=wording))
