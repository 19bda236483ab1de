"""The rules of the house, read from the source: who may import whom, and how large files may be.

Nothing is imported here. Imports within functions and for type checkers count like any others,
where nothing else is said.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from configparser import ConfigParser
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "spacy_padellm"
# What stands above the core: rooms, and the command line's entry.
ABOVE = ("pipeline", "annotate", "corpus", "calibrate", "learn", "cli", "benchmark", "__main__")
MOST_LINES, MOST_FILES = 400, 147


class Import(NamedTuple):
    """An import statement's target.

    name: The module, in full.
    is_at_load: Whether it happens when the module is loaded: not in a function, not for type
        checkers only.
    """

    name: str
    is_at_load: bool


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}


def room_of(module: str) -> str:
    """The part of the package that a module is in: a room, or itself if it stands in the root."""
    return module.split(".")[1] if "." in module else ""


def is_core(module: str) -> bool:
    return room_of(module) not in ABOVE


def in_rooms(*rooms: str) -> list[str]:
    return [module for module in FILES if room_of(module) in rooms]


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    tree = ast.parse(FILES[module].read_text(encoding="utf8"))
    is_package = FILES[module].name == "__init__.py"
    return tuple(find_imports(tree, module if is_package else module.rpartition(".")[0], True))


def find_imports(node: ast.AST, package: str, is_at_load: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, is_at_load)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*(above if node.level else []), *([node.module] if node.module else [])])
        for alias in node.names:
            # A module of a package, or a name of a module.
            inner = f"{base}.{alias.name}"
            yield Import(inner if inner in FILES else base, is_at_load)
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for child in node.body:
            yield from find_imports(child, package, False)
        for child in node.orelse:
            yield from find_imports(child, package, is_at_load)
    else:
        in_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from find_imports(child, package, is_at_load and not in_function)


def imported(module: str) -> set[str]:
    """All that a module imports, whenever."""
    return {each.name for each in imports_of(module)}


def own(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] == PACKAGE}


def rooms_of(names: set[str]) -> set[str]:
    return {room_of(name) for name in own(names)}


def test_imports_are_found():
    """What the rules below rest on."""
    assert f"{PACKAGE}.errors" in imported(f"{PACKAGE}.settings")
    assert "spacy.language" in imported(f"{PACKAGE}.pipeline.factory")
    inside = [each for each in imports_of(f"{PACKAGE}.pipeline.factory") if not each.is_at_load]
    assert f"{PACKAGE}.pipeline.component" in {each.name for each in inside}
    assert len(in_rooms("tree")) > 3 and len(in_rooms("pipeline")) > 3


@pytest.mark.parametrize("module", [module for module in FILES if is_core(module)])
def test_the_core_knows_neither_spacy_nor_what_stands_above_it(module: str):
    names = imported(module)
    tops = {name.split(".")[0] for name in names}
    assert tops.isdisjoint(["spacy", "thinc", "spacy_transformers"])
    assert rooms_of(names).isdisjoint(ABOVE)


# What each part may import besides itself: the table in CONTRIBUTING.
_TEXTS = {"errors", "texts", "scoring", "calibration"}
_CORE = {*_TEXTS, "settings", "tree", "prompt", "checkpoints", "decode", "train", "model"}
_ROOMS = {"finetune", "corpus", "pipeline", "annotate", "calibrate", "learn", "benchmark"}
MAY_IMPORT = {
    "errors": set(),
    "texts": set(),
    "scoring": {"texts"},
    "tree": {"errors"},
    "prompt": {*_TEXTS, "tree"},
    "calibration": {"errors"},
    "settings": {*_TEXTS, "prompt"},
    "checkpoints": {*_TEXTS, "settings", "tree", "prompt"},
    "decode": {*_TEXTS, "settings", "tree", "prompt", "checkpoints"},
    "train": {*_TEXTS, "settings", "tree", "prompt", "checkpoints", "decode"},
    "model": _CORE,
    "served": _CORE,
    "finetune": _CORE,
    "corpus": {*_TEXTS, "prompt", "settings"},
    "pipeline": {*_CORE, "corpus", "served"},
    "annotate": {"errors", "texts", "settings", "checkpoints", "corpus", "pipeline", ""},
    "calibrate": {*_CORE, "corpus", "pipeline"},
    "learn": {*_CORE, "corpus", "pipeline"},
    "benchmark": {*_CORE, "corpus", ""},
    "cli": {*_CORE, *_ROOMS, ""},
    "__main__": {"cli"},
    "": {"model"},
}


@pytest.mark.parametrize("module", FILES)
def test_a_room_knows_only_those_below_it(module: str):
    room = room_of(module)
    assert rooms_of(imported(module)) <= {room, *MAY_IMPORT[room]}


@pytest.mark.parametrize("module", in_rooms("settings"))
def test_settings_know_of_prompts_only_their_wording(module: str):
    """As spaCy loads them with the factory, and what encodes prompts imports transformers."""
    prompts = {name for name in own(imported(module)) if room_of(name) == "prompt"}
    assert prompts == {f"{PACKAGE}.prompt.template"}


def test_no_module_imports_itself_by_way_of_others():
    graph = {module: sorted(own(imported(module)) & FILES.keys()) for module in FILES}
    finished: set[str] = set()

    def visit(module: str, way: list[str]) -> None:
        assert module not in way, " → ".join([*way[way.index(module) :], module])
        if module not in finished:
            for name in graph[module]:
                visit(name, [*way, module])
            finished.add(module)

    for module in graph:
        visit(module, [])


def entry_modules() -> set[str]:
    """The modules of all entry points but those of output formats: a model loads these, and is
    torch's already.
    """
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT / "setup.cfg", encoding="utf8")
    groups = parser["options.entry_points"].items()
    lines = [
        line
        for group, entries in groups
        if not group.startswith(f"{PACKAGE}_")
        for line in entries.strip().splitlines()
    ]
    return {line.partition(" = ")[2].partition(":")[0] for line in lines}


@pytest.mark.parametrize("module", sorted(entry_modules()))
def test_what_is_looked_up_by_name_is_light(module: str):
    """Neither it nor what it imports loads torch or transformers."""
    assert module in FILES
    loaded, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in loaded:
            continue
        loaded.add(name)
        if name in FILES:
            waiting += [each.name for each in imports_of(name) if each.is_at_load]
        waiting += [name.rpartition(".")[0]] if "." in name else []
    assert loaded.isdisjoint(["torch", "transformers"])


@pytest.mark.parametrize("module", [module for module in FILES if is_core(module)])
def test_the_core_knows_nothing_of_replays(module: str):
    # Messages are all in one place, those of the laboratory's commands as well.
    if module != f"{PACKAGE}.errors":
        assert "replay" not in FILES[module].read_text(encoding="utf8").lower()


def test_files_are_few():
    assert len(FILES) <= MOST_FILES


def test_files_are_short():
    texts = {module: path.read_text(encoding="utf8") for module, path in FILES.items()}
    # Messages belong together, however many there are.
    texts.pop(f"{PACKAGE}.errors")
    long = {module: text.count("\n") for module, text in texts.items()}
    assert {module: count for module, count in long.items() if count > MOST_LINES} == {}
