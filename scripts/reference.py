"""Generate the reference pages from the code, as a hook of mkdocs."""

from __future__ import annotations

import configparser
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import griffe
import srsly
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from thinc.api import Config

from spacy_padellm.cli.app import create_app
from spacy_padellm.corpus.options import ReadingOptions
from spacy_padellm.errors import Errors, Warnings
from spacy_padellm.pipeline.factory import DEFAULT_CONFIG, make_padellm_ner

ROOT = Path(__file__).parent.parent
GROUPS = {
    "spacy_architectures": "Architectures",
    "spacy_scorers": "Scorers",
    "spacy_readers": "Readers",
    "spacy_batchers": "Batchers",
    "spacy_misc": "Templates and augmentation",
}
# Parameters that spaCy passes, which are not settings.
NOT_SETTINGS = {"nlp", "name"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of `docs/`."""
    pages = {
        "configuration": write_configuration,
        "architectures": write_architectures,
        "command-line": write_commands,
        "errors": write_errors,
    }
    for name, write in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=write()))
    return files


def write_configuration() -> str:
    """Return the page of the component's settings, with their defaults and meanings."""
    defaults = Config().from_str(DEFAULT_CONFIG)["padellm_ner"]
    meanings = read_arguments(make_padellm_ner)
    rows = [
        (f"`{name}`", write_default(defaults[name]), meanings[name])
        for name in inspect.signature(make_padellm_ner).parameters
        if name not in NOT_SETTINGS
    ]
    return "\n\n".join(
        [
            "# Configuration",
            'The settings of `nlp.add_pipe("padellm_ner", config={...})`, or of the block '
            "`[components.padellm_ner]` in a config file. `null` in a config is `None` in Python.",
            write_table(("setting", "default", "meaning"), rows),
            "The settings of `model` are those of its [architecture](architectures.md). What a "
            "checkpoint was trained with is in its [`padellm.json`](file-formats.md#padellmjson).",
        ]
    )


def write_architectures() -> str:
    """Return the page of the registered functions that a config can name."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf8")
    parts = ["# Architectures and other registered functions"]
    for group, title in GROUPS.items():
        parts.append(f"## {title}")
        for line in setup["options.entry_points"][group].strip().splitlines():
            name, _, target = (word.strip() for word in line.partition("="))
            module, _, function = target.partition(":")
            found = getattr(importlib.import_module(module), function)
            parts.append(f"### {name}")
            parts.append(read_summary(found))
            # A reader's options are described once, where they are defined.
            meanings = {**read_arguments(ReadingOptions), **read_arguments(found)}
            rows = [
                (f"`{key}`", write_default(parameter.default), meanings[key])
                for key, parameter in inspect.signature(found).parameters.items()
            ]
            if rows:
                parts.append(write_table(("argument", "default", "meaning"), rows))
    return "\n\n".join(parts)


def write_commands() -> str:
    """Return the page of the commands, with their arguments and options."""
    parts = [
        "# Command line",
        "`python -m spacy padellm`, `padellm` and `python -m spacy_padellm` have the same "
        "commands. The last two run without spaCy, too.",
    ]
    group = typer.main.get_command(create_app())
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        parts += [f"## {name}", inspect.cleandoc(command.help or "")]
        rows = []
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                spelled, default = parameter.metavar or (parameter.name or "").upper(), ""
            else:
                spelled = ", ".join([*parameter.opts, *parameter.secondary_opts])
                # A flag is off unless it is given.
                no_default = parameter.default in (None, False, [], ())
                value = getattr(parameter.default, "value", parameter.default)
                default = "" if no_default else f"`{value}`"
            default = "required" if parameter.required else default
            rows.append((f"`{spelled}`", default, getattr(parameter, "help", None) or ""))
        parts.append(write_table(("argument or option", "default", "meaning"), rows))
    return "\n\n".join(parts)


def write_errors() -> str:
    """Return the page of all error and warning codes."""
    parts = [
        "# Error and warning codes",
        "Words in braces stand for what is found at the place.",
    ]
    for table, title in ((Errors, "Errors"), (Warnings, "Warnings")):
        parts.append(f"## {title}")
        for code in sorted(name for name in vars(table) if re.fullmatch(r"[A-Z]\d{3}", name)):
            message = getattr(table, code).partition("] ")[2]
            parts.append(
                f"### {code}\n\n{write_text(message.replace('{{', '{').replace('}}', '}'))}"
            )
    return "\n\n".join(parts)


def read_summary(function: Callable[..., Any]) -> str:
    """Return the part of a function's docstring before its sections."""
    return "\n\n".join(str(section.value) for section in _sections(function, "text"))


def read_arguments(function: Callable[..., Any]) -> dict[str, str]:
    """Return the meaning of each argument, from a function's docstring."""
    return {
        argument.name: " ".join(argument.description.split())
        for section in _sections(function, "parameters")
        for argument in section.value
    }


def _sections(function: Callable[..., Any], kind: str) -> Iterator[Any]:
    docstring = griffe.Docstring(inspect.getdoc(function) or "")
    for section in docstring.parse("google", warnings=False):
        if section.kind.value == kind:
            yield section


def write_default(value: Any) -> str:
    """Write the default of a setting or an argument in the form of a config."""
    if value is inspect.Parameter.empty:
        return "required"
    if isinstance(value, dict):  # A block is shown as the function that it names.
        (value,) = (each for key, each in value.items() if key.startswith("@"))
    return f"`{srsly.json_dumps(value)}`"


def write_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Write a Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(_escape(r"\|", " ".join(cell.split())) for cell in line) + " |"
        for line in lines
    )


def write_text(text: str) -> str:
    """Escape a message so that Markdown shows it unchanged."""
    # Markdown has no backslash for `<`.
    return _escape("<", _escape(r"[>\[\]*_#]", text), "&lt;").replace("\n", "  \n")


def _escape(pattern: str, text: str, replacement: str = r"\\\g<0>") -> str:
    """Replace what a pattern matches, by default put a backslash before it. Code stays as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(pattern, replacement, part) for part in parts
    )
