from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.prompt.template import (
    PRESETS,
    TEMPLATES,
    PromptTemplate,
    check_wording,
    find_preset,
    get_template,
    word_labels,
)


def test_english_wording_is_the_papers():
    rendered = TEMPLATES["en"].render("JAPAN beat Syria .", "LOC", ["JAPAN", "Syria"], "</s>")
    assert rendered == [
        "text:\nJAPAN beat Syria .\nentity type:\nLOC\n\n<num>2\n<mention 1>JAPAN</s>",
        "text:\nJAPAN beat Syria .\nentity type:\nLOC\n\n<num>2\n<mention 2>Syria</s>",
    ]
    absent = TEMPLATES["en"].render("JAPAN beat Syria .", "PER", [], "</s>")
    assert absent == ["text:\nJAPAN beat Syria .\nentity type:\nPER\n\n<num>0</s>"]


def test_chinese_wording_is_the_papers():
    rendered = TEMPLATES["zh"].render("李开复在台湾", "名称特指", ["李开复"], "</s>")
    assert rendered == [
        "文本:\n李开复在台湾\n指定NER标签:\n名称特指\n\n<数量>1\n<第1文段>李开复</s>"
    ]
    absent = TEMPLATES["zh"].render("李开复在台湾", "公司", [], "</s>")
    assert absent == ["文本:\n李开复在台湾\n指定NER标签:\n公司\n\n<数量>0</s>"]


def test_wording_byte_for_byte():
    en, zh = TEMPLATES["en"], TEMPLATES["zh"]
    assert en.prompt.encode() == b"text:\n{text}\nentity type:\n{label}\n\n<num>"
    assert en.count_end.encode() == b"\n"
    assert en.opener(12).encode() == b"<mention 12>"
    assert zh.prompt.encode("utf-16-be").hex(" ", 2) == (
        "6587 672c 003a 000a 007b 0074 0065 0078 0074 007d 000a 6307 5b9a 004e 0045 0052 6807 7b7e"
        " 003a 000a 007b 006c 0061 0062 0065 006c 007d 000a 000a 003c 6570 91cf 003e"
    )
    assert zh.count_end.encode() == b"\n"
    assert zh.opener(12).encode("utf-16-be").hex(" ", 2) == ("003c 7b2c 0031 0032 6587 6bb5 003e")


def test_own_wording():
    template = get_template(
        {"prompt": "Read: {text} Which {label}?", "count_end": ";", "mention": "[{n}]"}
    )
    assert template.render("a b", "X", ["a", "b"], "<e>") == [
        "Read: a b Which X?2;[1]a<e>",
        "Read: a b Which X?2;[2]b<e>",
    ]
    assert (template.before_text, template.before_label, template.before_count) == (
        "Read: ",
        " Which ",
        "?",
    )


def test_count_end_and_opener_may_be_left_out():
    template = get_template({"prompt": "{text}|{label}:"})
    assert template.render("t", "L", ["m"], ".") == ["t|L:1\n<mention 1>m."]


@given(text=st.text(), wording=st.text(), mentions=st.lists(st.text(), max_size=3))
def test_what_text_and_labels_say_is_no_placeholder(text, wording, mentions):
    for part in ("{text}", "{label}", "{n}"):
        rendered = TEMPLATES["en"].render(text + part, wording + part, mentions, "</s>")
        start = f"text:\n{text}{part}\nentity type:\n{wording}{part}\n\n<num>"
        assert len(rendered) == max(1, len(mentions))
        assert all(sequence.startswith(start) for sequence in rendered)


@pytest.mark.parametrize("template", [*TEMPLATES.values(), PromptTemplate("{text}/{label}:", ";")])
def test_fields_make_the_same_template(template):
    assert get_template(asdict(template)) == template
    assert get_template(template) is template


@pytest.mark.parametrize("prompt", ["", "{text}", "{label}", "{text}{text}{label}", "{label}" * 2])
def test_a_prompt_needs_text_and_label_once(prompt):
    with pytest.raises(ValueError, match=r"P001.*`{text}` and `{label}`, each exactly once"):
        PromptTemplate(prompt)


def test_a_prompt_needs_the_text_first():
    with pytest.raises(ValueError, match=r"P002.*'{label}: {text}'"):
        PromptTemplate("{label}: {text}")


@pytest.mark.parametrize("mention", ["", "mention", "{n}{n}", "{n}", "mention {n}", "{n}0>"])
def test_an_opener_needs_its_number_once_and_with_an_end(mention):
    with pytest.raises(ValueError, match=r"P003.*`{n}` exactly once.*'<mention {n}>'"):
        PromptTemplate("{text}{label}", mention=mention)


@pytest.mark.parametrize("count_end", ["", "0", "1 in all"])
def test_a_count_needs_an_end(count_end):
    with pytest.raises(ValueError, match=rf"P004.*'{count_end}'.*line break"):
        PromptTemplate("{text}{label}", count_end=count_end)


def test_unknown_template():
    with pytest.raises(ValueError, match=r"P005.*'de'.*en, zh.*own wording"):
        get_template("de")


@pytest.mark.parametrize(
    "fields", [{}, {"mention": "{n}"}, {"prompt": "{text}{label}", "end": "</s>"}]
)
def test_unknown_or_missing_fields(fields):
    with pytest.raises(ValueError, match="P006"):
        get_template(fields)


@pytest.mark.parametrize("label, wording", [("", "x"), ("x", ""), ("  ", "x"), ("x", "\t")])
def test_empty_labels(label, wording):
    with pytest.raises(ValueError, match="P007"):
        check_wording(label, wording)


@pytest.mark.parametrize(
    "label, wording",
    [
        ("P\nER", "x"),
        ("x", "P\nER"),
        ("x", "PER\n"),
        ("x", "\nPER"),
        ("x", "a\rb"),
        ("x", "a\u2028b"),
    ],
)
def test_labels_with_line_breaks(label, wording):
    with pytest.raises(ValueError, match=r"P008.*one line"):
        check_wording(label, wording)


@pytest.mark.parametrize("label, wording", [("PER", "PER"), ("PER.NAM", "名称特指"), ("a", "a b")])
def test_other_labels_are_fine(label, wording):
    check_wording(label, wording)


# Presets

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


def test_english_prompts_of_presets_byte_for_byte():
    assert [p.encode() for p in render("conll03", "LOC", "JAPAN beat Syria .", ["JAPAN"])] == [
        b"text:\nJAPAN beat Syria .\nentity type:\nLOC\n\n<num>1\n<mention 1>JAPAN</s>"
    ]
    assert [p.encode() for p in render("genia", "cell_type", "IL-2 gene", [])] == [
        b"text:\nIL-2 gene\nentity type:\ncell_type\n\n<num>0</s>"
    ]


def test_chinese_prompts_of_presets_byte_for_byte():
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


def test_labels_are_worded():
    known = {"PER": "person"}
    assert word_labels(["PER", "LOC"], known) == {"PER": "person", "LOC": "LOC"}
    assert word_labels({"PER": "human"}, known) == {"PER": "human"}
