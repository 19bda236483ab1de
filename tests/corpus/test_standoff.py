"""brat and WebAnno."""

from __future__ import annotations

from pathlib import Path

import pytest

from spacy_padellm.corpus.formats import read_annotated_texts
from spacy_padellm.corpus.options import ReadingOptions
from spacy_padellm.texts import Mention
from tests.corpus.test_tools import quoted

TEXT = "Mira Tolvanen flew\nto Oulu with 😀 Bob."
ANN = """T1\tPER 0 13\tMira Tolvanen
T2\tLOC 22 26\tOulu
R1\tLives Arg1:T1 Arg2:T2
A1\tNegated T1
#1\tAnnotatorNotes T1\tsure
T3\tPER 34 37\tBob
"""


def write(folder: Path, name: str = "doc", ann: str = ANN, text: str = TEXT) -> Path:
    (folder / f"{name}.txt").write_text(text, encoding="utf8")
    (folder / f"{name}.ann").write_text(ann, encoding="utf8")
    return folder / f"{name}.ann"


def test_brat(tmp_path: Path):
    path = write(tmp_path)
    (text,) = read_annotated_texts(path)
    assert text.source.text == TEXT and not text.has_tokens
    assert quoted(text) == [("Mira Tolvanen", "PER"), ("Oulu", "LOC"), ("Bob", "PER")]
    write(tmp_path, "empty", "")
    assert [len(each.mentions) for each in read_annotated_texts(tmp_path)] == [3, 0]


def test_brats_mentions_in_pieces(tmp_path: Path):
    path = write(tmp_path, ann="T1\tX 14 18;19 21\tflew to\n")
    (text,) = read_annotated_texts(path)
    assert quoted(text) == [("flew\nto", "X")]
    ann = "T1\tX 0 4;14 18\tMira flew\nT2\tX 5 13\tTolvanen\nT3\tY 0 4;14 18\tMira flew\n"
    path = write(tmp_path, ann=ann)
    options = ReadingOptions(label_map={"X": "Z"}, dropped_labels=["Y"])
    with pytest.warns(
        UserWarning, match=r"W102\] .* has 2 mention\(s\) .*'Mira flew' \(X, doc.ann, line 1"
    ):
        (text,) = read_annotated_texts(path, options=options)
    assert quoted(text) == [("Tolvanen", "Z")] and text.unknown == (Mention(0, 18, "Z"),)
    path = write(tmp_path, ann="T1\tX 0 4;14 18\tMira went\n")
    with pytest.raises(ValueError, match=r"P126.*line 1.*'Mira went'"):
        read_annotated_texts(path)


def test_hidden_files_of_a_folder(tmp_path: Path):
    (tmp_path / ".git").mkdir()
    for folder, name in ((tmp_path, "._doc"), (tmp_path / ".git", "doc")):
        (folder / f"{name}.ann").write_bytes(b"\x00\x05\x16")
    write(tmp_path, ann="T1\tX 0 4\tMira\n")
    assert [quoted(text) for text in read_annotated_texts(tmp_path)] == [[("Mira", "X")]]


def test_brats_errors(tmp_path: Path):
    path = write(tmp_path, ann="T1\tX 1 4\tMira\n")
    with pytest.raises(ValueError, match=r"P126.*'Mira'.*1, 4"):
        read_annotated_texts(path)
    path = write(tmp_path, ann="T1 X 1 4 Mira\n")
    with pytest.raises(ValueError, match=r"P125.*line 1"):
        read_annotated_texts(path)
    path.with_suffix(".txt").unlink()
    with pytest.raises(ValueError, match=r"P127.*doc.txt"):
        read_annotated_texts(path)
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="P105"):
        read_annotated_texts(tmp_path / "none")


HEADER = (
    "#FORMAT=WebAnno TSV 3.2\n"
    "#T_SP=de.tudarmstadt.ukp.dkpro.core.api.lexmorph.type.pos.POS|PosValue\n"
    "#T_SP=de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity|identifier|value\n\n\n"
)
ROWS = """#Text=😀 Mira Tolvanen ja O\\_O Oy.
1-1\t0-2\t😀\tSYM\t_\t_\t
1-2\t3-7\tMira\tPROPN\t*[1]|*[3]\tPER[1]|X[3]\t
1-3\t8-16\tTolvanen\tPROPN\t*[1]\tPER[1]\t
1-4\t17-19\tja\tCCONJ\t_\t_\t
1-5\t20-23\tO_O\tPROPN\t*[2]\tORG\\_A[2]\t
1-6\t24-26\tOy\tPROPN\t*[2]\tORG\\_A[2]\t
1-6.1\t24-25\tO\t_\t_\t_\t
1-7\t26-27\t.\tPUNCT\t_\t_\t

#Text=Oulu.
2-1\t28-32\tOulu\tPROPN\t*\tLOC\t
2-2\t32-33\t.\tPUNCT\t_\t_\t
"""


def test_webanno(tmp_path: Path):
    path = tmp_path / "doc.tsv"
    path.write_text(HEADER + ROWS, encoding="utf8")
    first, second = read_annotated_texts(path)
    assert first.source.text == "😀 Mira Tolvanen ja O_O Oy." and first.has_tokens
    assert quoted(first) == [("Mira", "X"), ("Mira Tolvanen", "PER"), ("O_O Oy", "ORG_A")]
    assert (second.source.text, quoted(second)) == ("Oulu.", [("Oulu", "LOC")])


def test_webannos_layers(tmp_path: Path):
    path = tmp_path / "doc.tsv"
    one = "#FORMAT=WebAnno TSV 3.2\n#T_SP=custom.Finding|kind\n\n\n"
    path.write_text(one + "#Text=Oulu\n1-1\t0-4\tOulu\tLOC\t\n")
    (text,) = read_annotated_texts(path)
    assert quoted(text) == [("Oulu", "LOC")]
    several = "#FORMAT=WebAnno TSV 3.2\n#T_SP=custom.A|a\n#T_SP=custom.B|b\n\n\n"
    path.write_text(several + "#Text=Oulu\n1-1\t0-4\tOulu\tLOC\t_\t\n")
    with pytest.raises(ValueError, match=r"P128.*custom.A, custom.B"):
        read_annotated_texts(path)
    path.write_text(HEADER + "#Text=Oulu\n1-1\t0-4\tOulu\n")
    with pytest.raises(ValueError, match=r"P125.*line 7"):
        read_annotated_texts(path)


BUILT_IN = "#T_SP=de.tudarmstadt.ukp.dkpro.core.api."
BARE = "#Text=Oulu\n1-1\t0-4\tOulu\t"
LAYERS = {
    "none": ("", BARE),
    "pos": (f"{BUILT_IN}lexmorph.type.pos.POS|coarseValue|PosValue\n", f"{BARE}NN\tN\t"),
    "lemma": (f"{BUILT_IN}segmentation.type.Lemma|value\n", f"{BARE}oulu\t"),
    "chunk": (f"{BUILT_IN}syntax.type.chunk.Chunk|chunkValue\n", f"{BARE}NP\t"),
    "own": (
        f"{BUILT_IN}segmentation.type.Lemma|value\n#T_SP=custom.X|kind\n",
        f"{BARE}oulu\tLOC\t",
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_exports_without_a_layer_of_entities(tmp_path: Path, name: str):
    """An export lacks layers that have no annotation."""
    path, other = tmp_path / "doc.tsv", tmp_path / "other.tsv"
    header, rows = LAYERS[name]
    path.write_text(f"#FORMAT=WebAnno TSV 3.3\n{header}\n\n{rows}\n")
    other.write_text(HEADER + ROWS, encoding="utf8")
    text, *more = read_annotated_texts(path, other)
    assert quoted(text) == ([("Oulu", "LOC")] if name == "own" else []) and len(more) == 2
    (text,) = read_annotated_texts(path, options=ReadingOptions(format="webanno"))
    assert quoted(text) == {"own": [("Oulu", "LOC")], "chunk": [("Oulu", "NP")]}.get(name, [])


def test_webannos_annotations_of_parts_and_numbers(tmp_path: Path):
    """A number of an annotation may be that of a line, and a mention may begin within a token."""
    path = tmp_path / "doc.tsv"
    rows = [
        "1-1\t0-3\tAda\tN\t*\tPER\t",
        "1-2\t4-7\tBob\tN\t*[9]\tPER[9]\t",
        "1-3\t8-12\tHill\tN\t*[9]\tPER[9]\t",
        "1-4\t13-25\tBerlin-based\tN\t_\t_\t",
        "1-4.1\t13-19\tBerlin\tN\t*\tLOC\t",
    ]
    lines = (HEADER + "#Text=Ada Bob Hill Berlin-based\n").count("\n")
    rows = [row.replace("[9]", f"[{lines + 1}]") for row in rows]
    path.write_text(HEADER + "#Text=Ada Bob Hill Berlin-based\n" + "\n".join(rows) + "\n")
    (text,) = read_annotated_texts(path)
    assert quoted(text) == [("Ada", "PER"), ("Bob Hill", "PER"), ("Berlin", "LOC")]


def test_texts_with_line_ends_of_windows(tmp_path: Path):
    """Offsets may count two characters for each, or one."""
    text = "Ada left.\r\nBob stayed."
    for start in (11, 10):
        path = write(tmp_path, ann=f"T1\tPER {start} {start + 3}\tBob\n")
        path.with_suffix(".txt").write_bytes(text.encode())
        (found,) = read_annotated_texts(path)
        assert quoted(found) == [("Bob", "PER")]


@pytest.mark.parametrize("offsets", ["5", "5 6 7", "0 4;5"])
def test_brats_offsets_that_are_no_pairs(tmp_path: Path, offsets: str):
    path = write(tmp_path, ann=f"T1\tPER {offsets}\tx\n")
    with pytest.raises(ValueError, match=r"P125.*no pairs"):
        read_annotated_texts(path)
