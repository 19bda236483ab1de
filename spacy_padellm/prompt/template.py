"""Prompt templates and the paper's presets: wording only, no ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Errors

# Labels, or labels and their wording in the prompt.
Labels = Sequence[str] | Mapping[str, str]


@dataclass(frozen=True)
class PromptTemplate:
    """The wording of the sequences that a model is trained on and prompted with.

    Args:
        prompt: Everything up to the count. It contains `{text}` and, after it, `{label}`.
        count_end: The string after a count of one or more. After 0 comes the tokenizer's end token.
        mention: The string that opens mention number `{n}`. The end token closes the mention.
        capitalized: The mark before each capitalised word of the text, for a tokenizer that
            lower-cases; empty for none.
        all_capitals: The mark before each word in capitals; if empty, `capitalized`.

    Raises:
        ValueError: A placeholder is missing, repeated or out of order, or a number is followed by
            nothing or by a digit.
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
        # Otherwise opener 1 would be the beginning of opener 10, and count 1 that of count 10.
        if self.mention.count("{n}") != 1 or not closing or closing[0].isdigit():
            raise ValueError(Errors.P003.format(mention=self.mention))
        if not self.count_end or self.count_end[0].isdigit():
            raise ValueError(Errors.P004.format(count_end=self.count_end))

    @property
    def before_text(self) -> str:
        """The wording before the text."""
        return self.prompt.partition("{text}")[0]

    @property
    def before_label(self) -> str:
        """The wording between the text and the label."""
        return self.prompt.partition("{text}")[2].partition("{label}")[0]

    @property
    def before_count(self) -> str:
        """The wording between the label and the count."""
        return self.prompt.partition("{label}")[2]

    def opener(self, n: int) -> str:
        """Return the string that opens mention number `n`, from 1."""
        return self.mention.replace("{n}", str(n))

    def render(self, text: str, wording: str, mentions: Sequence[str], end: str) -> list[str]:
        """Write out the separate sequences of one label (paper, section 3.1).

        Args:
            text: The text.
            wording: The label's wording.
            mentions: The label's mentions, in order of appearance.
            end: The end token's string.

        Returns:
            One sequence for each mention, or a single sequence if there are none.
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
    """Return a template, which may be given by its name or its fields.

    Args:
        template: A name in `TEMPLATES`, the fields of a template, or a template.

    Raises:
        ValueError: The name or a field is unknown, or the field `prompt` is missing.
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


def word_labels(labels: Labels, known: Mapping[str, str]) -> dict[str, str]:
    """Give each label a wording: the given one, else the known one, else the label itself.

    Raises:
        ValueError: The labels are a single string, or are not strings.
    """
    if isinstance(labels, str):
        raise ValueError(Errors.P203.format(labels=repr(labels)))
    strings = (*labels, *labels.values()) if isinstance(labels, Mapping) else labels
    if not all(isinstance(each, str) for each in strings):
        raise ValueError(Errors.P212.format(labels=labels))
    if isinstance(labels, Mapping):
        return dict(labels)
    return {label: known.get(label, label) for label in labels}


def check_wording(label: str, wording: str) -> None:
    """Check that a label and its wording fit into a prompt.

    Raises:
        ValueError: One of them is empty or contains a line break, which would break the prompt.
    """
    for what in (label, wording):
        if not what.strip():
            raise ValueError(Errors.P007.format(label=label))
        if len(what.splitlines()) > 1 or what.splitlines()[0] != what:
            raise ValueError(Errors.P008.format(label=label, wording=wording))


@dataclass(frozen=True)
class Preset:
    """The template and the labels for a dataset.

    Args:
        name: Name of the dataset.
        template: The wording around text and label.
        labels: Label → its wording in the prompt.
        checkpoint: Hub id or folder of a model that was trained with them; `None` if there is none.
    """

    name: str
    template: PromptTemplate
    labels: Mapping[str, str]
    checkpoint: str | None = None


_RELEASED = "JinghuiLuAstronaut/PaDeLLM"


def _english(name: str, *labels: str) -> Preset:
    wordings = {label: label for label in labels}
    return Preset(name, TEMPLATES["en"], wordings, f"{_RELEASED}_llama2_7b_{name}")


def _chinese(name: str, labels: Mapping[str, str]) -> Preset:
    return Preset(name, TEMPLATES["zh"], labels, f"{_RELEASED}_baichuan2_7b_{name}")


_PRESETS = (
    _english("conll03", "ORG", "MISC", "PER", "LOC"),
    _english("genia", "DNA", "RNA", "cell_type", "protein", "cell_line"),
    _english("ace05", "GPE", "LOC", "VEH", "WEA", "PER", "ORG", "FAC"),
    _chinese(
        "weibo",
        {
            "PER.NAM": "名称特指",
            "PER.NOM": "名称代称",
            "GPE.NAM": "行政区特指",
            "GPE.NOM": "行政区代称",
            "LOC.NOM": "地点代称",
            "LOC.NAM": "地点特指",
            "ORG.NOM": "组织代称",
            "ORG.NAM": "组织特指",
        },
    ),
    _chinese("msra", {"PER": "名称", "LOC": "地点", "ORG": "组织"}),
    _chinese("ontonotes", {"PER": "名称", "LOC": "地点", "ORG": "组织", "GPE": "地缘"}),
    _chinese(
        "resume",
        {
            "NAME": "名称",
            "CONT": "国籍",
            "RACE": "民族",
            "TITLE": "职位",
            "EDU": "学历",
            "ORG": "公司",
            "PRO": "专业",
            "LOC": "籍贯",
        },
    ),
    _chinese("youku", {"TELEVISION": "电视剧", "PER": "明星", "MISC": "其他"}),
    _chinese("ecommerce", {"HC": "商品", "HP": "品牌"}),
)
PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _PRESETS}


def find_preset(name: str) -> Preset | None:
    """Return the preset of one of the paper's datasets, `None` if there is none of this name.

    Args:
        name: Name of the dataset, in upper or lower case.
    """
    return PRESETS.get(name.lower())
