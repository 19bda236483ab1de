"""The paper's setups: template, labels and checkpoint of each of its datasets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .template import TEMPLATES, PromptTemplate


@dataclass(frozen=True)
class Preset:
    """What a model is prompted with on a dataset.

    name (str): Name of the dataset.
    template (PromptTemplate): The wording around text and label.
    labels (Mapping[str, str]): Label → its wording in the prompt.
    checkpoint (Optional[str]): Hub id or folder of a model trained so.
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
    """name (str): Name of a dataset, in capitals or not.
    RETURNS (Optional[Preset]): What the paper used for it, `None` if it did not.
    """
    return PRESETS.get(name.lower())
