"""The report of a benchmark: Markdown for people, JSON for programs, and the environment."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import Errors
from .rows import Row, make_ratios

REPLAY = "replay"
CPUINFO = Path("/proc/cpuinfo")
_REPLAY_NOTE = (
    "What the decoders wrote was replayed from the gold mentions: costs are measured here, quality "
    "is not."
)
_RATIOS = {
    "latency_mean": "How many times slower than `tree`, by mean latency (below 1x is faster):",
    "latency_p50": "The same by median latency:",
}


@dataclass(frozen=True)
class _Column:
    """A column of the table.

    Args:
        header: Heading.
        value: Returns the column's value in a row; `None` for none.
        form: Format specification of the value.
    """

    header: str
    value: Callable[[Row], Any]
    form: str

    def cell(self, row: Row) -> str:
        value = self.value(row)
        return "–" if value is None else format(value, self.form)


def _tokens_per_distinct(row: Row) -> float | None:
    return row["tokens"] / row["distinct_tokens"] if row["distinct_tokens"] else None


_COLUMNS = (
    _Column("dataset", lambda row: row["dataset"], ""),
    _Column("decoder", lambda row: row["decoder"], ""),
    _Column("texts", lambda row: row["texts"], ",d"),
    _Column("too long", lambda row: row["too_long"] or None, ",d"),
    _Column("left out", lambda row: row["left_out"] or None, ",d"),
    _Column("passes", lambda row: row["passes"], ".2f"),
    _Column("tokens", lambda row: row["tokens"], ",.1f"),
    _Column("distinct tokens", lambda row: row["distinct_tokens"], ",.1f"),
    _Column("tokens/distinct", _tokens_per_distinct, ".2f"),
    _Column("mean ms", lambda row: row["latency_ms"]["mean"], ",.1f"),
    _Column("p50 ms", lambda row: row["latency_ms"]["p50"], ",.1f"),
    _Column("p95 ms", lambda row: row["latency_ms"]["p95"], ",.1f"),
    _Column("texts/s", lambda row: row["texts_per_s"], ",.2f"),
    _Column("peak MB", lambda row: row["peak_memory_mb"], ",.0f"),
    _Column("host %", lambda row: row["host_share"], ".1%"),
    _Column("floor %", lambda row: row["floor_share"], ".0%"),
    _Column("mentions_f", lambda row: row["mentions_f"], ".4f"),
    _Column("ents_f", lambda row: row["ents_f"], ".4f"),
    _Column("malformed", lambda row: row["malformed"], ".3f"),
    _Column("ungrounded", lambda row: row["ungrounded"], ".3f"),
)
# What a file of results must contain about the machine, and in each row.
_MACHINE = {"date", "torch", "cpu_threads", "device", "device_name", "dtype"}
_MEASURED = {"dataset", "decoder", "latency_ms"}
# The same for the rows of `evaluate`.
_EVALUATED = {"pipeline", "ours", "corpus", "texts_per_s", "ents_f"}
# Number of columns with names, aligned left, in the table of rows and in that of ratios.
_NAMES, _RATIO_NAMES = 2, 1


def to_markdown(rows: Sequence[Row], environment: Mapping[str, Any]) -> str:
    """Write the rows and their ratios as tables, and the environment as a line.

    Args:
        rows: Rows from `make_row`.
        environment: What they were measured on, from `describe_environment`.
    """
    columns = [c for c in _COLUMNS if any(c.value(row) is not None for row in rows)]
    cells = [[column.cell(row) for column in columns] for row in rows]
    parts = [to_table([column.header for column in columns], cells, _NAMES)]
    ratios = make_ratios(rows)
    for quantity, heading in _RATIOS.items() if ratios else ():
        parts += [heading, _ratio_table(ratios, quantity)]
    parts.append(_describe(environment))
    if environment.get(REPLAY):
        parts.append(_REPLAY_NOTE)
    return "\n\n".join(part for part in parts if part) + "\n"


def write_json(path: Path, rows: Sequence[Row], environment: Mapping[str, Any]) -> None:
    """Write rows, ratios and environment to a file, which appears only when it is complete.

    Args:
        path: The file.
        rows: Rows from `make_row`.
        environment: What they were measured on, from `describe_environment`.
    """
    content = {"rows": list(rows), "ratios": make_ratios(rows), "environment": dict(environment)}
    # The environment may contain paths, which become strings.
    text = json.dumps(content, ensure_ascii=False, indent=2, default=str) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    part_path = path.with_name(f"{path.name}.part")
    part_path.write_text(text, encoding="utf8")
    part_path.replace(path)


def is_evaluation(row: Mapping[str, Any]) -> bool:
    """Return whether a row is one of `evaluate`, not of `benchmark`."""
    return "pipeline" in row


def read_json(path: Path) -> tuple[list[Any], dict[str, Any]]:
    """Read the rows and the environment from a file that `benchmark` or `evaluate` wrote.

    Raises:
        ValueError: The file cannot be read, or is no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf8"))
        rows, environment = content["rows"], content["environment"]
        parts = [(row, _EVALUATED if is_evaluation(row) else _MEASURED) for row in rows]
        for part, keys in ((environment, _MACHINE), *parts):
            if missing := keys - part.keys():
                raise ValueError(f"{', '.join(sorted(missing))} is missing")
        return rows, environment
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(Errors.P421.format(path=path, error=error)) from error


def describe_environment(
    device: str, dtype: str, *, cpuinfo: Path = CPUINFO, **extra: Any
) -> dict[str, Any]:
    """Describe what a benchmark is run on.

    Args:
        device: The model's device, such as `"cuda:0"`.
        dtype: The dtype of its weights.
        cpuinfo: The file in which the system describes its CPU.
        **extra: Other entries, such as the checkpoint or `replay=True`.

    Returns:
        Date, versions, machine, device and the other entries.
    """
    import torch

    cpu = _cpu_name(cpuinfo)
    is_cuda = torch.device(device).type == "cuda"
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "spacy_padellm": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "platform": platform.platform(),
        "cpu": cpu,
        "cpu_threads": torch.get_num_threads(),
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if is_cuda else cpu,
        "dtype": dtype,
        **extra,
    }


def _cpu_name(cpuinfo: Path) -> str | None:
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or None


def to_table(header: Sequence[str], cells: Sequence[Sequence[str]], names: int) -> str:
    """Write a table as Markdown.

    Args:
        header: Headings.
        cells: The cells below them, line by line.
        names: Number of columns with names, which are aligned left.
    """
    rule = ["---"] * names + ["---:"] * (len(header) - names)
    lines = (" | ".join(each.replace("|", r"\|") for each in line) for line in (header, *cells))
    written = [f"| {line} |" for line in lines]
    return "\n".join([written[0], f"| {' | '.join(rule)} |", *written[1:]])


def _ratio_table(ratios: Sequence[Mapping[str, Any]], quantity: str) -> str:
    datasets = list(dict.fromkeys(ratio["dataset"] for ratio in ratios))
    decoders = dict.fromkeys(ratio["decoder"] for ratio in ratios)
    values = {(each["decoder"], each["dataset"]): each[quantity] for each in ratios}
    cells = [
        [decoder, *(_times(values.get((decoder, dataset))) for dataset in datasets)]
        for decoder in decoders
    ]
    return to_table(["decoder", *datasets], cells, _RATIO_NAMES)


def _times(ratio: float | None) -> str:
    if ratio is None:
        return "–"
    return f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.2f}x"


def _describe(environment: Mapping[str, Any]) -> str:
    shown = {n: v for n, v in environment.items() if v is not None and n != REPLAY}
    return "Environment: " + "; ".join(f"{name} {value}" for name, value in shown.items())
