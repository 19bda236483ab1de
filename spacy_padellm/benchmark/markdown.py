"""Tables as Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def to_table(header: Sequence[str], cells: Sequence[Sequence[str]], names: int) -> str:
    """header (Sequence[str]): Headings.
    cells (Sequence[Sequence[str]]): What stands below them, line by line.
    names (int): How many columns are names and stand left.
    RETURNS (str): The table.
    """
    rule = ["---"] * names + ["---:"] * (len(header) - names)
    lines = (" | ".join(each.replace("|", r"\|") for each in line) for line in (header, *cells))
    written = [f"| {line} |" for line in lines]
    return "\n".join([written[0], f"| {' | '.join(rule)} |", *written[1:]])
