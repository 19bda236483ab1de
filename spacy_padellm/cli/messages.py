"""How commands show errors, and lists too long to show in full."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

# The package's errors and spaCy's own start with a code; others are defects and keep the traceback.
_CODE = re.compile(r"\[[A-Z]\d{3,4}\]")


@contextmanager
def shown_errors() -> Iterator[None]:
    """Show errors that a user can mend as a message, and exit with status 1.

    RAISES (typer.Exit): If the code within raises such an error.
    """
    try:
        yield
    except (ValueError, ImportError, OSError) as error:
        if not _CODE.match(str(error)):
            raise
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error


def echo_list(items: Sequence[str], *, limit: int | None) -> None:
    """Print items on lines of their own, indented.

    items (Sequence[str]): The items.
    limit (Optional[int]): How many to print before "... and N more", `None` for all.
    """
    for item in items[:limit]:
        typer.echo(f"  {item}")
    if limit is not None and len(items) > limit:
        typer.echo(f"  ... and {len(items) - limit} more (--verbose lists all)")
