"""What a configuration file states against what there is: names and types of its entries."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..errors import Errors


def check_entries(
    kind: type, stated: Any, where: str, *, left_out: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """kind (type): A dataclass, whose fields are the entries there may be.
    stated (Any): The entries.
    where (str): What they are part of, empty for the file itself.
    left_out (Optional[Mapping[str, str]]): Fields that may not be stated, and what to do instead.
    RETURNS (Dict[str, Any]): The entries.
    RAISES (ValueError): No entries, an entry that does not exist or is not to be stated, or one of
        another type.
    """
    if not isinstance(stated, Mapping):
        raise ValueError(Errors.P071.format(key=where or "the file", value=stated, kind="entries"))
    hints = _hints(kind)
    names = [each.name for each in fields(kind) if each.init]
    for key, value in stated.items():
        path = f"{where}.{key}" if where else str(key)
        if left_out and key in left_out:
            raise ValueError(Errors.P072.format(key=path, instead=left_out[key]))
        if key not in names:
            near = get_close_matches(str(key), names, n=1)
            # Those of transformers and PEFT are too many to be read.
            possible = near if near and len(names) > 40 else sorted(names)
            raise ValueError(Errors.P070.format(key=path, possible=", ".join(possible)))
        if not _matches(value, hints.get(key, Any)):
            raise ValueError(Errors.P071.format(key=path, value=value, kind=_name(hints[key])))
    return dict(stated)


def _hints(kind: type) -> dict[str, Any]:
    try:
        return get_type_hints(kind)
    except (NameError, TypeError):  # of what only a type checker imports
        return {}


def _matches(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        return True
    if origin in (Union, types.UnionType):
        return any(_matches(value, each) for each in arguments)
    if origin is Literal:
        return value in arguments
    if hint is None or hint is type(None):
        return value is None
    if origin in (list, tuple, set) or hint in (list, tuple, set):
        inner = arguments[0] if arguments else Any
        return isinstance(value, list) and all(_matches(each, inner) for each in value)
    if isinstance(origin or hint, type) and issubclass(origin or hint, Mapping):
        keys, values = arguments or (Any, Any)
        return isinstance(value, Mapping) and all(
            _matches(key, keys) and _matches(each, values) for key, each in value.items()
        )
    return _is_plain(value, hint)


def _is_plain(value: Any, hint: Any) -> bool:
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, (int, float))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return isinstance(value, str)
    return isinstance(value, hint) if isinstance(hint, type) else True


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
