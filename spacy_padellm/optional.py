"""Packages that only some uses need."""

from __future__ import annotations

import importlib.util

from .errors import Errors


def require(package: str, purpose: str, *, extra: str | None = None) -> None:
    """Check that a package is installed which only some uses need.

    package (str): Name of the package.
    purpose (str): What needs it, as the start of a sentence.
    extra (Optional[str]): The extra of this package that installs it.
    RAISES (ImportError): If it isn't installed.
    """
    if importlib.util.find_spec(package) is None:
        error = Errors.P301.format(purpose=purpose, package=package)
        if extra is not None:
            error += f" The extra {extra!r} has all of this kind: `pip install -e '.[{extra}]'`."
        raise ImportError(error)
