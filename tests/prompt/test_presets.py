from __future__ import annotations

import json
from pathlib import Path

import pytest

from spacy_padellm.prompt.presets import PRESETS, find_preset
from spacy_padellm.prompt.template import TEMPLATES, check_wording

ENGLISH = {
    "conll03": ["ORG", "MISC", "PER", "LOC"],
    "genia": ["DNA", "RNA", "cell_type", "protein", "cell_line"],
    "ace05": ["GPE", "LOC", "VEH", "WEA", "PER", "ORG", "FAC"],
}
CHINESE = {
    "weibo": "PER.NAM 名称特指 PER.NOM 名称代称 GPE.NAM 行政区特指 GPE.NOM 行政区代称 "
    "LOC.NOM 地点代称 LOC.NAM 地点特指 ORG.NOM 组织代称 ORG.NAM 组织特指",
    "msra": "PER 名称 LOC 地点 ORG 组织",
    "ontonotes": "PER 名称 LOC 地点 ORG 组织 GPE 地缘",
    "resume": "NAME 名称 CONT 国籍 RACE 民族 TITLE 职位 EDU 学历 ORG 公司 PRO 专业 LOC 籍贯",
    "youku": "TELEVISION 电视剧 PER 明星 MISC 其他",
    "ecommerce": "HC 商品 HP 品牌",
}


def test_the_papers_nine_datasets():
    assert list(PRESETS) == [*ENGLISH, *CHINESE]
    assert all(preset.name == name for name, preset in PRESETS.items())


@pytest.mark.parametrize("name", ENGLISH)
def test_english_labels_are_worded_as_they_are(name: str):
    preset = PRESETS[name]
    assert list(preset.labels.items()) == [(label, label) for label in ENGLISH[name]]
    assert preset.template is TEMPLATES["en"]


@pytest.mark.parametrize("name", CHINESE)
def test_chinese_labels_have_wordings(name: str):
    preset = PRESETS[name]
    words = CHINESE[name].split()
    assert list(preset.labels.items()) == list(zip(words[::2], words[1::2], strict=True))
    assert preset.template is TEMPLATES["zh"]


@pytest.mark.parametrize("name", PRESETS)
def test_wordings_tell_labels_apart(name: str):
    labels = PRESETS[name].labels
    assert len(set(labels.values())) == len(labels)
    for label, wording in labels.items():
        check_wording(label, wording)


def render(name: str, label: str, text: str, mentions: list[str]) -> list[str]:
    preset = PRESETS[name]
    return preset.template.render(text, preset.labels[label], mentions, "</s>")


def test_english_prompts_byte_for_byte():
    assert [p.encode() for p in render("conll03", "LOC", "JAPAN beat Syria .", ["JAPAN"])] == [
        b"text:\nJAPAN beat Syria .\nentity type:\nLOC\n\n<num>1\n<mention 1>JAPAN</s>"
    ]
    assert [p.encode() for p in render("genia", "cell_type", "IL-2 gene", [])] == [
        b"text:\nIL-2 gene\nentity type:\ncell_type\n\n<num>0</s>"
    ]


def test_chinese_prompts_byte_for_byte():
    assert render("weibo", "PER.NAM", "李开复在台湾", ["李开复"]) == [
        "文本:\n李开复在台湾\n指定NER标签:\n名称特指\n\n<数量>1\n<第1文段>李开复</s>"
    ]
    assert render("resume", "RACE", "汉族，男", ["汉族"]) == [
        "文本:\n汉族，男\n指定NER标签:\n民族\n\n<数量>1\n<第1文段>汉族</s>"
    ]
    assert render("ecommerce", "HP", "手机壳", []) == [
        "文本:\n手机壳\n指定NER标签:\n品牌\n\n<数量>0</s>"
    ]


def test_find_preset():
    assert find_preset("weibo") is PRESETS["weibo"]
    assert find_preset("CoNLL03") is PRESETS["conll03"]
    assert find_preset("wnut17") is None


@pytest.mark.parametrize(
    "name", ["conll03", "ecommerce", "genia", "msra", "resume", "weibo", "youku"]
)
def test_presets_name_every_gold_label(shared_data: Path, name: str):
    path = shared_data / "paper" / name / "test.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path}")
    lines = path.read_text(encoding="utf8").splitlines()
    labels = {mention[3] for line in lines for mention in json.loads(line)[1:]}
    assert labels and labels <= set(PRESETS[name].labels)
