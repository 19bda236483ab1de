"""Count the lines of code in each part of the package.

Docstrings, comments and blank lines do not count. Run `python scripts/count_lines.py [FOLDER]`; the
default folder is the package.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

_NO_CODE = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def count_lines(source: str) -> int:
    """Count the lines of a module that contain code."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node) is not None:
            first = node.body[0]
            docstrings.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def main() -> None:
    """Print a line for each part of the package, and one for the total."""
    default = Path(__file__).parents[1] / "spacy_padellm"
    package = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    lines: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).parts
        part = parts[0] if len(parts) > 1 else "."
        lines[part] += count_lines(path.read_text(encoding="utf8"))
        files[part] += 1
    for part, count in lines.items():
        print(f"{count:6d} lines in {files[part]:3d} files  {part}")
    print(f"{lines.total():6d} lines in {files.total():3d} files")


if __name__ == "__main__":
    main()
