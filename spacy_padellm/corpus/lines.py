"""Read the lines of a corpus file as text, JSON, columns or a list in Python.

Each line comes with its number, so that every error can name the place.
"""

from __future__ import annotations

import ast
import json
import re
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from shlex import quote
from typing import Any, BinaryIO, cast

from ..errors import Errors
from ..texts import AnnotatedText
from .tags import are_plain, split_tag

# The number of the line that a text starts on, and the text.
NumberedText = tuple[int, AnnotatedText]

_DOCUMENT_MARK = "-DOCSTART-"
# The comments of CoNLL-U: "# text = ...", "# newdoc id = ...", "# newpar".
_CONLLU_COMMENT = re.compile(r"# +(?:[\w.:-]+(?: \w+)? *= |(?:newdoc|newpar)$)")
# Methods that change a list after its assignment.
_CHANGES = ("append", "extend", "insert", "remove", "pop", "clear")
# Bytes that are no ASCII, and those among them that stand alone. Then those that no text has, and
# those that Windows-1252 lacks.
_HIGH = re.compile(rb"[\x80-\xff]")
_HIGH_ALONE = re.compile(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_UNDEFINED = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
# Bytes that are searched at once for a line feed.
_BLOCK = 1 << 20
_SPACES = re.compile(r"[ \t]+")


def line_error(message: str, path: Path, line: int, **values: object) -> ValueError:
    """Build the error for a line from a message of `Errors`, and fill in the place and values."""
    return ValueError(message.format(path=path, line=line, **values))


def shorten(value: object) -> str:
    """Write a value of a file for a message, in few characters."""
    # A whole export may stand on one line.
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    return short.repr(value)


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read the lines of a UTF-8 file, without their line ends.

    Only a line feed ends a line, as tokens may contain the other characters that Python splits
    lines at. In a file without line feeds, a carriage return does.

    Yields:
        The number of a line, from 1, and the line.

    Raises:
        ValueError: The file can't be opened or a line isn't UTF-8.
    """
    try:
        with path.open("rb") as file:
            for line, content in enumerate(_split_lines(file), start=1):
                encoding = "utf-8-sig" if line == 1 else "utf-8"
                yield line, content.decode(encoding).rstrip("\r\n")
    except OSError as error:
        raise ValueError(Errors.P101.format(path=path, reason=error.strerror)) from error
    except UnicodeDecodeError as error:
        remedy = _find_remedy(path)
        raise line_error(Errors.P102, path, line, reason=error.reason, remedy=remedy) from error


def _find_remedy(path: Path) -> str:
    """Say how a file may become UTF-8."""
    with path.open("rb") as file:
        content = file.read(_BLOCK)
    high = len(_HIGH.findall(content))
    # In Western languages, hardly any accented letter is beside another one.
    alone = len(_HIGH_ALONE.findall(content))
    if _CONTROL.search(content):
        return "It seems to be binary. Pass a text file"
    if not _UNDEFINED.search(content) and 4 * alone >= 3 * high:
        out = path.with_name(f"{path.stem}-utf8{path.suffix}")
        command = f"iconv -f cp1252 -t utf-8 {quote(str(path))} > {quote(str(out))}"
        return f"It seems to be Windows-1252. Convert it: `{command}`"
    return "Save the file as UTF-8"


def _split_lines(file: BinaryIO) -> Iterable[bytes]:
    while block := file.read(_BLOCK):
        if b"\n" in block:
            file.seek(0)
            return file
    # Old Macintosh programs, and Excel's export for them, end lines with a carriage return.
    file.seek(0)
    return file.read().removesuffix(b"\r").split(b"\r")


def numbered_json(path: Path) -> Iterator[tuple[int, Any]]:
    """Read a file with one JSON value on each line. Blank lines are skipped.

    Yields:
        The number of a line and its value.

    Raises:
        ValueError: The file can't be read or a line isn't JSON.
    """
    for line, content in numbered_lines(path):
        if not content.strip():
            continue
        try:
            yield line, json.loads(content)
        except json.JSONDecodeError as error:
            reason = f"{error.msg} at character {error.pos}"
            raise line_error(Errors.P106, path, line, reason=reason) from error


def read_python(path: Path, content: str) -> list[tuple[int, Any]] | None:
    """Read the list of training tuples in a Python file; `None` if it has none.

    Other code in the file is left alone: only literals are evaluated, and no code runs.

    Args:
        path: The file, for errors.
        content: What it contains.

    Returns:
        The elements of the list, as JSON has them, each with the number of its line.

    Raises:
        ValueError: There are several such lists, or one is not all literals or is changed later,
            or a file that is named as Python is no Python.
    """
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        if path.suffix != ".py":
            return None
        line, reason = getattr(error, "lineno", 0) or 1, f"as Python: {error}"
        raise line_error(Errors.P106, path, line, reason=reason) from None
    found: list[tuple[str, ast.List | ast.Tuple]] = []
    for node in tree.body:
        value = getattr(node, "value", None)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr) and isinstance(
            value, ast.List | ast.Tuple
        ):
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", 0)
            found.append((target.id if isinstance(target, ast.Name) else "a list", value))
    if len(found) > 1 and all(name == "a list" and _is_pair(each) for name, each in found):
        # A tuple on each line.
        return [(each.lineno, _evaluate(path, name, each)) for name, each in found]
    trained = [each for each in found if any(_is_pair(e, ast.Dict) for e in each[1].elts)]
    if len(trained) > 1:
        names = ", ".join(f"{name} (line {each.lineno})" for name, each in trained)
        raise ValueError(Errors.P133.format(path=path, names=names))
    if not trained and len(found) != 1:
        return None
    name, chosen = (trained or found)[0]
    changed = next((line for each, line in _changes(tree) if each == name), None)
    if changed is not None:
        problem = f"the list {name} is changed here, and no code is run"
        remedy = "Write the list in whole, or save it as JSON from Python"
        raise line_error(Errors.P132, path, changed, problem=problem, remedy=remedy)
    if not trained:
        try:
            json.dumps(ast.literal_eval(chosen))
        except (TypeError, ValueError):
            return None
    return [(each.lineno, _evaluate(path, name, each)) for each in chosen.elts]


def _is_pair(node: ast.expr, *alone: type[ast.expr]) -> bool:
    """Tell whether an expression is a text and its annotation, or of a type that has both."""
    is_two = isinstance(node, ast.Tuple | ast.List) and len(node.elts) == 2
    return isinstance(node, alone) or (
        is_two and isinstance(cast(ast.Tuple, node).elts[1], ast.Dict)
    )


def _changes(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Find what changes lists: their names, and the lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node.lineno
        elif isinstance(node, ast.Attribute) and node.attr in _CHANGES:
            yield ast.unparse(node.value), node.lineno


def _evaluate(path: Path, name: str, node: ast.expr) -> Any:
    """Evaluate a literal, as JSON has it: tuples are lists."""
    try:
        return json.loads(json.dumps(ast.literal_eval(node)))
    except (TypeError, ValueError, MemoryError, RecursionError):
        problem = f"an element of {name} is no literal of strings, numbers, lists and dicts"
        remedy = "Write it out, as no code is run, or save the list as JSON from Python"
        raise line_error(Errors.P132, path, node.lineno, problem=problem, remedy=remedy) from None


def check_encodable(path: Path, line: int, text: str) -> None:
    """Check that a text from a JSON file can be encoded as UTF-8.

    It cannot if a JSON escape in it stands for half a surrogate pair.

    Args:
        path: The file that the text is from.
        line: The number of its line.
        text: The text.

    Raises:
        ValueError: The text cannot be encoded.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise line_error(Errors.P120, path, line, character=ascii(text[error.start])) from error


def numbered_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Read the rows of a token-per-line file.

    Columns are separated by tabs if the pattern row has a tab, otherwise by runs of spaces. The
    pattern row is the first row that can't be a comment or a document mark. If all rows start with
    `#`, it is the first one with a tab.

    Lines that start with `-DOCSTART-` end a sentence. A line that starts with `#` is a comment if
    it has the form of CoNLL-U (`# key = value`). It is also a comment if tabs separate the columns
    and it has no tab, or if spaces separate them and it has another number of columns than the
    pattern row. So is one before a sentence that begins with `#` alone and ends with no tag or
    label, if it has another number of columns, or the pattern row ends with a tag. Other lines with
    `#` are tokens, such as `#` itself or a hashtag.

    A last column is left out if tabs separate the columns and it is empty in all rows.

    Yields:
        The number of a line and its columns. A blank line or a document mark has no columns.
    """
    pattern = _find_pattern(path)
    has_end = pattern.endswith("\t") and all(
        content.endswith("\t") for _, content in numbered_lines(path) if "\t" in content
    )
    is_before = True
    for line, content in numbered_lines(path):
        if not content.strip() or content.startswith(_DOCUMENT_MARK):
            is_before = True
            yield line, []
        elif not (_is_comment(content, pattern) or (is_before and _is_header(content, pattern))):
            is_before = False
            columns = _split_columns(content, pattern)
            yield line, columns[:-1] if has_end and len(columns) > 1 else columns


def _find_pattern(path: Path) -> str:
    """Find a line that is certainly a row; empty if there is none."""
    fallback = ""
    for _, content in numbered_lines(path):
        if content.startswith("#"):
            is_row = "\t" in content and not _CONLLU_COMMENT.match(content)
            fallback = fallback or (content if is_row else "")
        elif content.strip() and not content.startswith(_DOCUMENT_MARK):
            return content
    return fallback


def _is_comment(content: str, pattern: str) -> bool:
    """Tell a comment from a token that starts with `#`."""
    if not content.startswith("#"):
        return False
    if _CONLLU_COMMENT.match(content):
        return True
    if "\t" in pattern:
        return "\t" not in content
    columns = _split_columns(content, pattern)
    return bool(pattern) and len(columns) != len(_split_columns(pattern, pattern))


def _is_header(content: str, pattern: str) -> bool:
    """Tell a comment before a sentence from a row: it begins with `#` and ends with no tag."""
    columns, others = _split_columns(content, pattern), _split_columns(pattern, pattern)
    is_tag = split_tag(columns[-1]) is not None or are_plain([columns[-1], "O"])
    if not pattern or columns[0] != "#" or is_tag:
        return False
    return len(columns) != len(others) or split_tag(others[-1]) is not None


def _split_columns(content: str, pattern: str) -> list[str]:
    """Split a line into columns, and strip the whitespace around them."""
    if "\t" in (pattern or content):
        return [column.strip() for column in content.split("\t")]
    return _SPACES.split(content.strip(" \t"))
