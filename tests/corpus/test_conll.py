from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spacy_padellm.corpus.conll import parse_conll
from spacy_padellm.corpus.formats import read_annotated_texts
from spacy_padellm.corpus.options import ReadingOptions
from spacy_padellm.texts import Mention

Write = Callable[..., Path]


def quoted(path: Path, **options: Any) -> list[tuple[str, list[tuple[str, str]]]]:
    """Texts with their mentions, spelled out."""
    return [
        (each.source.text, [(each.source.text[m.start : m.end], m.label) for m in each.mentions])
        for _, each in parse_conll(path, ReadingOptions(**options))
    ]


def test_sentences_tokens_and_lines(write: Write):
    path = write("", "Ada\tB-PER", "Lovelace\tI-PER", "", "", "wrote\tO", ".\tO")
    (first_line, first), (second_line, second) = parse_conll(path)
    assert (first_line, second_line) == (2, 6)
    assert first.source.text == "Ada Lovelace"
    assert first.source.tokens == ((0, 3), (4, 12))
    assert first.mentions == (Mention(0, 12, "PER"),)
    assert first.labels is None
    assert (second.source.text, second.mentions) == ("wrote .", ())


@pytest.mark.parametrize(
    "lines, expected",
    [
        (["a\tB-X", "b\tI-X", "c\tB-X"], [("a b", "X"), ("c", "X")]),
        (["a\tI-X", "b\tB-X", "c\tI-Y"], [("a", "X"), ("b", "X"), ("c", "Y")]),
        (["a\tB-X", "b\tE-X", "c\tS-X"], [("a b", "X"), ("c", "X")]),
        (["a\tB-X", "b\tL-X", "c\tU-X"], [("a b", "X"), ("c", "X")]),
    ],
)
def test_schemes_are_detected(write: Write, lines: list[str], expected: list[tuple[str, str]]):
    assert quoted(write(*lines)) == [("a b c", expected)]


def test_iob1_reads_mixed_tags(write: Write):
    path = write("a\tI-X", "b\tO", "c\tB-X", "d\tI-X")
    assert quoted(path, scheme="iob1") == [("a b c d", [("a", "X"), ("c d", "X")])]


@pytest.mark.parametrize(
    "words, text",
    [
        ("常 建 良 ， 男", "常建良，男"),
        ("中国 移动 于 1997 年", "中国移动于1997年"),
        ("听 · 汉服 iPhone 6s 来 拿 ！", "听·汉服iPhone 6s来拿！"),
        ("ラーメン と ＡＢＣ です 。", "ラーメンとＡＢＣです。"),
        ("𠀀 𠀁 ab c", "𠀀𠀁ab c"),
        # Korean has spaces, and so has everything else.
        ("서울 에서 Zoë 🙂 ½", "서울 에서 Zoë 🙂 ½"),
    ],
)
def test_chinese_and_japanese_are_written_without_spaces(write: Write, words: str, text: str):
    tokens = words.split()
    ((_, found),) = parse_conll(write(*(f"{token}\tB-X" for token in tokens)))
    assert found.source.text == text
    assert [found.source.text[m.start : m.end] for m in found.mentions] == tokens
    assert [found.source.text[a:b] for a, b in found.source.tokens] == tokens


def test_a_character_a_line(write: Write):
    rows = [f"{character}\tO" for character in "“ＯOK”2008年"]
    ((_, found),) = parse_conll(write(*rows))
    assert found.source.text == "“ＯOK”2008年"
    ((_, found),) = parse_conll(write(*(f"{character}\tO" for character in ["OK", "2008"])))
    assert found.source.text == "OK 2008"


def test_columns(write: Write):
    path = write("1 New NNP B-LOC _", "2 York NNP I-LOC _")
    expected = [("New York", [("New York", "LOC")])]
    assert quoted(path, token_column=1, tag_column=3) == expected
    assert quoted(path, token_column=-4, tag_column=-2) == expected


def test_windows_line_ends_and_byte_order_mark(tmp_path: Path):
    path = tmp_path / "windows.conll"
    path.write_bytes("\ufeffAda\tB-PER\r\n\r\nwrote\tO\r\n".encode())
    assert quoted(path) == [("Ada", [("Ada", "PER")]), ("wrote", [])]


def test_only_line_feeds_end_lines(write: Write):
    assert quoted(write("a\u2028b\tB-X", "c\x85\tO")) == [("a\u2028b c", [("a\u2028b", "X")])]


def test_tokens_may_hold_spaces_if_tabs_separate(write: Write):
    path = write("New York\tB-LOC", "😉 \tO")
    assert quoted(path) == [("New York 😉", [("New York", "LOC")])]


def test_spaces_do_not_split_at_other_whitespace(write: Write):
    assert quoted(write("a\u00a0b   B-X ")) == [("a\u00a0b", [("a\u00a0b", "X")])]


def test_comments_and_hash_tokens_with_tabs(write: Write):
    path = write("# sent_id = 1", "# text = a # b", "#a\tB-X", "#\tO", "#b \tO", "# free words")
    assert quoted(path) == [("#a # #b", [("#a", "X")])]


def test_comments_and_hash_tokens_with_spaces(write: Write):
    path = write("# text = # 1", "# free words here", "# O", "1 B-X", "# I-X")
    assert quoted(path) == [("# 1 #", [("1 #", "X")])]


def test_document_marks_end_sentences(write: Write):
    path = write("a B-X", "-DOCSTART- O", "b B-X", "-DOCSTART- -X- O", "", "c O")
    assert [text for text, _ in quoted(path)] == ["a", "b", "c"]


def test_empty_outside_tokens_hold_no_text(write: Write):
    assert quoted(write("\tO", "", " \tO", "a\tO")) == [("a", [])]


@pytest.mark.parametrize(
    "lines, options, code, place, names",
    [
        (["a\tO", "b"], {}, "P110", "line 2", "1 column"),
        (["a\tO"], {"tag_column": 2}, "P110", "line 1", "column 2"),
        (["a\tO"], {"token_column": -3}, "P110", "line 1", "column -3"),
        (["a\tO", "", "b\tX-PER"], {}, "P111", "line 3", "'X-PER'"),
        (["a\tS-X"], {"scheme": "bio"}, "P111", "line 1", "'S-X'"),
        (["a\tU-X"], {"scheme": "bioes"}, "P111", "line 1", "B, I, E, S"),
        (["a\tB-X", "", "a\tO", "b\tI-X"], {}, "P112", "line 4", "'O'"),
        (["a\tB-X", "b\tI-Y"], {"scheme": "bio"}, "P112", "line 2", "'B-X'"),
        (["a\tS-X", "b\tI-Y"], {}, "P112", "line 2", "'S-X'"),
        (["a\tS-X", "b\tB-Y"], {}, "P112", "line 2", "the end"),
        (["a\tI-X", "b\tE-X"], {}, "P112", "line 1", "the start"),
        (["a\tS-X", "", "b\tU-X"], {}, "P113", "line 3", "'U-X'"),
        (["0\ta\tO", "1\tb\tO"], {}, "P114", "column 0", "most likely 1"),
        (["a\tB-X", "\tI-X"], {}, "P115", "line 2", "'I-X'"),
        (["a\tO"], {"scheme": "bmes"}, "P104", "scheme", "'bmes'"),
    ],
)
def test_errors_name_place_and_cause(
    write: Write, lines: list[str], options: dict, code: str, place: str, names: str
):
    path = write(*lines)
    with pytest.raises(ValueError) as caught:
        parse_conll(path, ReadingOptions(**options))
    message = str(caught.value)
    assert message.startswith(f"[{code}]")
    assert place in message and names in message
    assert code == "P104" or str(path) in message


UNER = {"token_column": 1, "tag_column": 2}


@pytest.mark.parametrize(
    "name, options, sentences, entities",
    [
        ("wnut17/train.conll", {}, 3394, 1975),
        ("wnut17/dev.conll", {}, 1009, 836),
        ("wnut17/test.conll", {}, 1287, 1079),
        ("wikigold/wikigold.conll", {}, 1696, 3558),
        ("btc/f.conll", {}, 2000, 4376),
        ("btc/h.conll", {}, 2000, 3368),
        ("crossner/ai/test.conll", {}, 431, 1809),
        ("uner_ewt/dev.iob2", UNER, 2001, 966),
        ("uner_zh_gsd/dev.iob2", UNER, 500, 810),
        ("wikiann_en/dev.conll", {"token_column": 1}, 10000, 14146),
    ],
)
def test_real_corpora(data: Path, name: str, options: dict, sentences: int, entities: int):
    texts = [each for _, each in parse_conll(data / "open" / name, ReadingOptions(**options))]
    assert (len(texts), sum(len(each.mentions) for each in texts)) == (sentences, entities)


def test_hash_tokens_of_a_real_corpus_are_kept(data: Path):
    texts = [each for _, each in parse_conll(data / "open/wikigold/wikigold.conll")]
    tokens = Counter(each.source.text[s:e] for each in texts for s, e in each.source.tokens)
    # 39,152 rows, 145 of them document marks.
    assert (tokens["#"], tokens.total()) == (39, 39007)


@pytest.mark.parametrize("row", ["Home Town _ O B-LOC", "Home O"])
def test_rows_of_other_widths(write: Write, row: str):
    """A space in a token would move its tag."""
    path = write("is _ O O", row)
    with pytest.raises(ValueError, match=r"P124.*line 2: the row has \d columns, but .* 4\."):
        parse_conll(path)


def conllu(*rows: str) -> list[str]:
    """Number, token and tag, in the columns of CoNLL-U."""
    return ["\t".join([*row.split(" ")[:2], *"_" * 7, row.split(" ")[2]]) for row in rows]


def test_rows_of_conllu_that_are_no_words(write: Write):
    rows = conllu("1-2 del _", "1 de O", "2 el O", "3 Oulu B-LOC", "3.1 viene O")
    path = write("# text = del Oulu", *rows)
    assert quoted(path, token_column=1) == [("de el Oulu", [("Oulu", "LOC")])]


def test_labels_without_prefixes(write: Write):
    lines = ["Ada PER", "Byron PER", "met O", "Bob PER", "in O", "Oulu LOC", ". O"]
    expected = [("Ada Byron", "PER"), ("Bob", "PER"), ("Oulu", "LOC")]
    assert quoted(write(*lines)) == [("Ada Byron met Bob in Oulu .", expected)]
    assert quoted(write(*lines[:2]), scheme="plain") == [("Ada Byron", [("Ada Byron", "PER")])]
    with pytest.raises(ValueError, match=r"P111.*'PER'"):
        parse_conll(write(*lines), ReadingOptions(scheme="bio"))


def test_spaces_of_conllu(write: Write):
    rows = ["1 Oulu NER=B-LOC|SpaceAfter=No", "2 , SpaceAfter=No", "3 Mira NER=B-PER", "4 ! _"]
    found = quoted(write("# sent_id = 1", *conllu(*rows)))
    assert found == [("Oulu,Mira !", [("Oulu", "LOC"), ("Mira", "PER")])]


def table(path: Path, **options: Any) -> list[tuple[str, list[tuple[str, str]]]]:
    texts = read_annotated_texts(path, options=ReadingOptions(**options))
    return [
        (t.source.text, [(t.source.text[m.start : m.end], m.label) for m in t.mentions])
        for t in texts
    ]


def test_tables(write: Write):
    """Sentences are named in each row, in their first row only, or separated by blank rows."""
    expected = [("Ada , she", [("Ada", "PER")]), ("Oulu", [("Oulu", "LOC")])]
    kaggle = ["Sentence #,Word,POS,Tag", "Sentence: 1,Ada,N,B-PER", ',",",P,O', ",she,P,O"]
    assert table(write(*kaggle, "Sentence: 2,Oulu,N,B-LOC")) == expected
    named = ["sentence_id;token;ner", "1;Ada;B-PER", "1;,;O", "1;she;O", "2;Oulu;B-LOC"]
    assert table(write(*named)) == expected
    blank = ["label\ttoken", "PER\tAda", "O\t,", "O\tshe", "", "LOC\tOulu"]
    assert table(write(*blank)) == expected
    for wrong in ("she", "she,O,", "1,000,O"):
        with pytest.raises(ValueError, match=r"P124.*line 3"):
            table(write("token,tag", "Ada,B-PER", wrong))
    with pytest.raises(ValueError, match=r"P125.*line 3.*quotation mark"):
        table(write("token,tag", "Ada,B-PER", '",O', "she,O", '",O'))
    quotes = ["token\ttag", '"\tO', "Ada\tB-PER", '"\tO']
    assert table(write(*quotes)) == [('" Ada "', [("Ada", "PER")])]
    with pytest.raises(ValueError, match=r"P130.*token and tag"):
        table(write("a,b", "Ada,B-PER"), format="csv")


def test_a_table_that_names_no_sentences(write: Write):
    with pytest.raises(ValueError, match=r"P131.*501 rows"):
        table(write("token,tag", *["Ada,B-PER"] * 501))
    assert (
        len(table(write("sentence_idx,token,tag", *[f"{n},Ada,B-PER" for n in range(501)]))) == 501
    )


@pytest.mark.parametrize(
    "tags, code", [("B I O O", "P136.*line 1: the tag 'B'.*sed"), ("PER-B PER-I O O", "P111")]
)
def test_tags_of_other_forms_are_no_plain_labels(write: Write, tags: str, code: str):
    rows = [f"{word} {tag}" for word, tag in zip("abcd", tags.split(), strict=True)]
    with pytest.raises(ValueError, match=code):
        parse_conll(write(*rows))
    if code != "P111":
        with pytest.raises(ValueError, match=code):
            read_annotated_texts(write(*rows))


@pytest.mark.parametrize(
    "tags, label",
    [
        ("B_PER I_PER O O", "PER"),
        ("b-per i-per o o", "per"),
        ("B-PER E-PER O O", "PER"),
        ("B-Active Substance,I-Active Substance,O,O", "Active Substance"),
    ],
)
@pytest.mark.parametrize("end", ["", "\t"])
def test_other_forms_of_tags(write: Write, tags: str, label: str, end: str):
    written = tags.split("," if "," in tags else " ")
    rows = [f"{word}\t{tag}{end}" for word, tag in zip("abcd", written, strict=True)]
    assert table(write(*rows)) == [("a b c d", [("a b", label)])]


def test_bmes(write: Write):
    rows = ["常 B-NAME", "建 M-NAME", "良 E-NAME", "， O", "王 S-NAME"]
    assert table(write(*rows)) == [("常建良，王", [("常建良", "NAME"), ("王", "NAME")])]


@pytest.mark.parametrize(
    "rows, what",
    [
        (["1\tAda\tB-PER", "2\tran\tO", "", "3\tBob\tB-PER", "4\tran\tO"], "token numbers"),
        (["1-1\tAda\tB-PER", "1-2\tran\tO", "1-3\tto\tO"], "token numbers"),
        (["s1\tAda\tB-PER", "s1\tran\tO", "", "s2\tBob\tB-PER"], "the ids of sentences"),
    ],
)
def test_columns_that_have_no_tokens(write: Write, rows: list[str], what: str):
    with pytest.raises(ValueError, match=f"P114.*column 0 contains {what}.*likely 1"):
        table(write(*rows))
    assert table(write(*rows), token_column=1)[0][1] == [("Ada", "PER")]


def test_the_same_word_in_each_row_is_no_id(write: Write):
    rows = ["ho O", "ho O", "", "ho O", "ho O"]
    assert len(table(write(*rows))) == 2


@pytest.mark.parametrize(
    "comment, rows",
    [
        ("# id 0f9e\tdomain=en", ["Ada _ _ B-PER", "ran _ _ O"]),
        ("#\thttp://de.wikipedia.org/wiki/Ada [2009-10-17]", ["Ada\tB-PER\tO", "ran\tO\tO"]),
    ],
)
def test_comments_before_sentences(write: Write, comment: str, rows: list[str]):
    path = write(comment, *rows, "", comment, comment, *rows)
    tag = len(rows[0].split()) - 1 if "_" in rows[0] else 1
    assert table(path, tag_column=tag) == [("Ada ran", [("Ada", "PER")])] * 2
    # Within a sentence it would be a row.
    with pytest.raises(ValueError, match=r"P111|P124"):
        table(write(*rows, comment), tag_column=tag, format="conll")


@pytest.mark.parametrize("row", ["# O", "# B-X", "# mark"])
def test_a_hash_before_a_sentence_is_a_token(write: Write, row: str):
    assert table(write(row, "a O", "b O"), scheme="auto")[0][0] == "# a b"


def test_names_in_conllu(write: Write):
    rows = conllu("1 Ada name=B-PER", "2 ran name=O|SpaceAfter=No")
    assert table(write("# sent_id = 1", *rows)) == [("Ada ran", [("Ada", "PER")])]


def test_columns_that_are_given_are_looked_at(write: Write):
    rows = ["O\tin", "B-LOC\tOulu", "I-LOC\tCity", "", "B-PER\tMira"]
    with pytest.raises(ValueError, match="P103"):
        table(write(*rows))
    found = table(write(*rows), token_column=1, tag_column=0)
    assert found == [("in Oulu City", [("Oulu City", "LOC")]), ("Mira", [("Mira", "PER")])]


def test_numbers_in_files_of_ten_columns(write: Write):
    rows = ["\t".join([word, *"_" * 8, tag]) for word, tag in [("Oulu", "B-LOC"), ("1-2", "O")]]
    assert quoted(write(*rows)) == [("Oulu 1-2", [("Oulu", "LOC")])]
