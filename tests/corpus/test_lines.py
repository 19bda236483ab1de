from __future__ import annotations

from pathlib import Path

import pytest

from spacy_padellm.corpus.lines import check_encodable, numbered_json, numbered_lines


def test_lines_are_numbered_and_stripped_of_their_ends_only(tmp_path: Path):
    path = tmp_path / "lines.txt"
    path.write_bytes("\ufeffa \r\n\n\u2028b\n\ufeffc".encode())
    assert list(numbered_lines(path)) == [(1, "a "), (2, ""), (3, "\u2028b"), (4, "\ufeffc")]


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_line_ends(tmp_path: Path, end: str):
    path = tmp_path / "lines.txt"
    for last in ("", end):
        path.write_bytes((end.join(["\ufeffa\x0cb", "", "c\u2028"]) + last).encode())
        assert list(numbered_lines(path)) == [(1, "a\x0cb"), (2, ""), (3, "c\u2028")]


def test_a_carriage_return_between_line_feeds_belongs_to_its_line(tmp_path: Path):
    path = tmp_path / "lines.txt"
    path.write_bytes(b"a\rb\nc")
    assert list(numbered_lines(path)) == [(1, "a\rb"), (2, "c")]


def test_missing_file_and_folder(tmp_path: Path):
    with pytest.raises(ValueError, match=r"\[P101\].*absent.txt: No such file"):
        list(numbered_lines(tmp_path / "absent.txt"))
    with pytest.raises(ValueError, match=r"\[P101\]"):
        list(numbered_lines(tmp_path))


def test_not_utf8(tmp_path: Path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"good\n\xe9t\xe9\n")
    with pytest.raises(ValueError, match=r"\[P102\].*latin.txt, line 2.*UTF-8"):
        list(numbered_lines(path))


def test_numbered_json(tmp_path: Path):
    path = tmp_path / "values.jsonl"
    path.write_text('[1]\n\n{"a": 2}\n[1,\n')
    values = numbered_json(path)
    assert [next(values), next(values)] == [(1, [1]), (3, {"a": 2})]
    with pytest.raises(ValueError, match=r"\[P106\].*values.jsonl, line 4: not valid JSON"):
        next(values)


def test_check_encodable():
    check_encodable(Path("corpus"), 1, "😀")
    with pytest.raises(ValueError, match=r"\[P120\] corpus, line 7.*ud83d"):
        check_encodable(Path("corpus"), 7, "a\ud83d")
