from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.prompt.template import (
    TEMPLATES,
    PromptTemplate,
    check_wording,
    get_template,
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
