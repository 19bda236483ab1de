"""Read the files of brat (a text and its `.ann`) and of WebAnno and INCEpTION (TSV 3)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from ..errors import Errors, Warnings
from ..texts import AnnotatedText, Mention, Span, TokenizedText
from .lines import NumberedText, line_error, numbered_lines, shorten
from .records import Listed, Record, is_quoted, place_records

BRAT_SUFFIX = ".ann"
WEBANNO_MARK = "#FORMAT=WebAnno TSV 3"
# T1, its label and offsets, and the text at them. A mention in several pieces has several pairs.
_BRAT_MENTION = re.compile(r"T\S*\t(\S+) ([\d ;]+)\t(.*)")
# A row of TSV 3: sentence and token, offsets, the token, then a column for each feature.
_TSV_TOKEN = re.compile(r"\d+-\d+")
# A value and the number of the annotation that it belongs to.
_TSV_VALUE = re.compile(r"(?P<value>.*?)(?:\[(?P<number>\d+)\])?")
_TSV_ESCAPES = re.compile(r"\\(.)")
_NAMED_ENTITY = "NamedEntity"
# Layers that INCEpTION brings, such as POS, lemmas and chunks, are no entities.
_BUILT_IN = "de.tudarmstadt.ukp.dkpro.core.api."
_CHUNK = "chunk.Chunk"
# Number of mentions that a warning names.
_EXAMPLES = 5
# The begins of the header's lines of layers: of spans, chains and relations.
_LAYERS = ("#T_SP=", "#T_CH=", "#T_RL=")


def parse_brat(path: Path) -> list[NumberedText]:
    """Read the mentions of a `.ann` file and the text beside it, or all such files of a folder.

    A mention in several pieces becomes one from the first to the last, if nothing but space is
    between them. If there is other text, it is unknown there whether there are mentions of its
    label, and a warning says so. Hidden files are left out.

    Raises:
        ValueError: There is no text or no mention, or a mention is not at its offsets.
    """
    parts = [path]
    if path.is_dir():
        found = sorted(path.rglob(f"*{BRAT_SUFFIX}"))
        parts = [
            part
            for part in found
            if not any(name.startswith(".") for name in part.relative_to(path).parts)
        ]
        if not parts:
            raise ValueError(Errors.P105.format(path=path))
    split: list[str] = []
    texts = [each for part in parts for each in _parse_pair(part, split)]
    if split:
        examples = ", ".join(split[:_EXAMPLES]) + (", ..." if len(split) > _EXAMPLES else "")
        message = Warnings.W102.format(count=len(split), path=path, examples=examples)
        warnings.warn(message, stacklevel=2)
    return texts


def _parse_pair(path: Path, split: list[str]) -> list[NumberedText]:
    """Read a `.ann` file and its text. Note what is in pieces."""
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        raise ValueError(Errors.P127.format(path=path, text=beside))
    text = "\n".join(line for _, line in numbered_lines(beside))
    with_returns = beside.read_bytes().decode("utf-8-sig")
    try:
        texts, notes = _place_brat(path, with_returns)
    except ValueError:
        if text == with_returns:
            raise
        # Some tools count line ends of Windows as one character.
        texts, notes = _place_brat(path, text)
    split += notes
    return texts


def _place_brat(path: Path, text: str) -> tuple[list[NumberedText], list[str]]:
    listed, hulls, notes = [], [], []
    for line, content in numbered_lines(path):
        if not content.startswith("T"):
            # Relations, events, attributes and notes.
            continue
        match = _BRAT_MENTION.fullmatch(content)
        if match is None:
            problem = f"{shorten(content)} is not a number, a label, offsets and the text at them"
            raise line_error(Errors.P125, path, line, problem=problem)
        label, offsets, quoted = match.groups()
        pieces = [tuple(map(int, each.split())) for each in offsets.split(";")]
        if any(len(piece) != 2 for piece in pieces):
            problem = f"{shorten(offsets)} are no pairs of offsets"
            raise line_error(Errors.P125, path, line, problem=problem)
        # brat joins pieces with a space, and writes a space for a line break.
        found = " ".join(text[start:end] for start, end in pieces).replace("\n", " ")
        quotation = None if is_quoted(found, quoted) else quoted
        hull = Listed(min(pieces)[0], max(end for _, end in pieces), label, quotation)
        if any(text[a[1] : b[0]].strip() for a, b in pairwise(sorted(pieces))):
            hulls.append(hull)
            notes.append(f"{shorten(quoted)} ({label}, {path.name}, line {line})")
        else:
            listed.append(hull)
    return place_records(path, [(1, Record(text, listed, hulls=hulls))]), notes


def parse_webanno(path: Path, *, with_chunks: bool = False) -> list[NumberedText]:
    """Read a file of WebAnno or INCEpTION in the format TSV 3.

    The mentions are those of the layer of named entities, or of the only layer of the user's own.
    If there is none of these, as an export lacks layers without annotation, the texts have no
    mentions.

    Args:
        path: The file.
        with_chunks: Whether mentions may be chunks, if no other layer may have them.

    Raises:
        ValueError: A row is malformed, or there are several layers, and none of named entities.
    """
    columns = _find_columns(path, with_chunks=with_chunks)
    texts: list[NumberedText] = []
    sentence = _Sentence(0)
    for line, content in numbered_lines(path):
        if content.startswith("#Text="):
            texts += sentence.finish(path)
            sentence = _Sentence(line)
        elif content and not content.startswith("#"):
            sentence.add(path, line, content.split("\t"), columns)
    return [*texts, *sentence.finish(path)]


def _find_columns(path: Path, *, with_chunks: bool) -> tuple[int | None, int]:
    """Find the column with the label, if any, and the number of columns, from the header.

    Each layer has a column for each of its features, or one if it has none. A chain has two: for
    its elements and for their links. A relation has one more, for where it begins.
    """
    layers: list[tuple[str, str, list[str]]] = []
    for _, content in numbered_lines(path):
        if content.startswith(_LAYERS):
            name, *features = content[6:].split("|")
            kind = content[3:5]
            # A slot feature has a column for its role and one for its target.
            layers.append((kind, name, features or [""]))
        elif content and not content.startswith("#"):
            break
    spans = [place for place, (kind, _, _) in enumerate(layers) if kind == "SP"]
    named = [place for place in spans if layers[place][1].endswith(_NAMED_ENTITY)]
    own = [place for place in spans if not layers[place][1].startswith(_BUILT_IN)]
    chunks = [place for place in spans if with_chunks and layers[place][1].endswith(_CHUNK)]
    chosen = named or own or chunks
    if len(chosen) > 1:
        names = ", ".join(layers[place][1] for place in chosen)
        raise ValueError(Errors.P128.format(path=path, names=names))
    widths = [2 if kind == "CH" else len(features) for kind, _, features in layers]
    if not chosen:
        return None, 3 + sum(widths)
    features = layers[chosen[0]][2]
    value = features.index("value") if "value" in features else 0
    return 3 + sum(widths[: chosen[0]]) + value, 3 + sum(widths)


class _Sentence:
    """A sentence of TSV 3 while it is read."""

    def __init__(self, line: int) -> None:
        self.line = line
        self._text = ""
        self._tokens: list[Span] = []
        # Where the last token begins and ends, in the units that offsets count.
        self._last = (0, 0)
        # The places of each annotation, by its label and number.
        self._found: dict[tuple[str, str | int], list[Span]] = {}

    def add(
        self, path: Path, line: int, row: Sequence[str], columns: tuple[int | None, int]
    ) -> None:
        """Add the row of a token, or of a part of the last token."""
        try:
            start, end = map(int, row[1].split("-"))
            token, values = row[2], "" if columns[0] is None else row[columns[0]]
        except (ValueError, IndexError) as error:
            problem = f"it is not a row of TSV 3 ({error})"
            raise line_error(Errors.P125, path, line, problem=problem) from error
        # A row ends with a tab.
        if len([*row[:-1], *filter(None, row[-1:])]) != columns[1]:
            values_ = {"found": len(row), "width": columns[1]}
            raise line_error(Errors.P124, path, line, **values_)
        if _TSV_TOKEN.fullmatch(row[0]):
            # Offsets count UTF-16 units. Those in characters follow from the tokens and their gaps.
            self._text += " " * (start - self._last[1] if self._tokens else 0)
            place = (len(self._text), len(self._text) + len(token))
            self._text += token
            self._last = (start, end)
            self._tokens.append(place)
        else:
            # A part of a token, such as 1-2.1.
            begin = self._tokens[-1][0] + start - self._last[0] if self._tokens else 0
            place = (begin, begin + len(token))
        for each in values.split("|"):
            match = _TSV_VALUE.fullmatch(each)
            if match is None or match["value"] in ("_", ""):
                continue
            label = _TSV_ESCAPES.sub(r"\1", match["value"])
            # Without a number it is a mention of one token.
            self._found.setdefault((label, match["number"] or line), []).append(place)

    def finish(self, path: Path) -> Iterator[NumberedText]:
        """Yield the sentence, if it has tokens."""
        if not self._tokens:
            return
        mentions = sorted(
            Mention(min(places)[0], max(end for _, end in places), label)
            for (label, _), places in self._found.items()
        )
        if nameless := [each for each in mentions if each.label == "*"]:
            quoted = shorten(self._text[nameless[0].start : nameless[0].end])
            problem = f"the mention {quoted} has no value"
            raise line_error(Errors.P125, path, self.line, problem=problem)
        source = TokenizedText(self._text, tuple(self._tokens))
        yield self.line, AnnotatedText(source, tuple(mentions))
