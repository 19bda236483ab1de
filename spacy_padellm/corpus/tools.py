"""The exports of annotation tools and libraries in JSON, record by record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import Errors
from ..texts import TokenizedText
from .conll import join_tokens
from .lines import line_error, shorten
from .options import ReadingOptions
from .records import Listed, Record, WrongRecordError, is_quoted, is_within
from .tags import split_tag

# Names that fields have in the wild, the usual ones first.
_TEXTS = ("text", "data", "sentence", "content", "document")
_SPANS = ("label", "labels", "entities", "ents", "spans", "annotations")
_DOCCANO = _SPANS[:3]
_LABELS = ("label", "entity_group", "entity", "type", "tag")
# What says where a region of Label Studio is: in a text, or in a picture.
_PLACES = {"start", "x", "points", "rle"}
# Prodigy's views of text classification. Spans there show what a pattern matched.
_CLASSIFICATION = ("choice", "classification")
_TAGS = ("ner_tags", "tags", "ner", "labels", "label", "fine_ner_tags")
_TOKENS = ("tokens", "words")
# Strings of a Label Studio task that are not its text.
_LABEL_STUDIO = ("annotation_id", "annotator", "created_at", "updated_at", "lead_time", "id")
# Fields of programs whose files are not read → what they are, and what to do.
_FOREIGN = {
    "%TYPES": "It is UIMA CAS JSON, as of INCEpTION. Export it as WebAnno TSV 3",
    "documents": "It may be BioC. Convert it to brat, or to objects with text and entities",
    "paragraphs": "It is spaCy 2's JSON for training. Convert it with `spacy convert`",
    "rows": "It is an answer of the Hugging Face server. Write each row on a line of its own",
    "pattern": "These are patterns. Export annotated texts",
}


def recognize(value: Any) -> str | None:
    """Recognize the format of a record; `None` if it is none of those read here."""
    if isinstance(value, list):
        is_pair = len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)
        return "spacy-v2" if is_pair and "entities" in value[1] else None
    if not isinstance(value, dict):
        return None
    if isinstance(_find_made(value), list) and isinstance(value.get("data"), dict):
        return "label-studio"
    if "tokenized_text" in value and "ner" in value:
        return "gliner"
    text = _find_text(value)
    shown = value.get("spans")
    is_prodigy = _is_list_of(shown, dict) and all("label" in each for each in shown or ())
    if text is not None and (is_prodigy or "_input_hash" in value):
        return "prodigy"
    if _find_results(value) is not None or {"annotation_id", "lead_time"} <= value.keys():
        return "label-studio"
    if text is not None and (fields := _span_fields(value)):
        name, spans = fields[0]
        is_plain = any(isinstance(each, dict) and "start" in each for each in spans)
        return "spans" if is_plain or name not in _DOCCANO else "doccano"
    if _is_list_of(value.get("annotations"), list | None):
        return "spacy-v2"
    return "huggingface" if find_tagged(value) is not None else None


def unknown_fields(path: Path, line: int, value: Mapping[str, Any]) -> ValueError:
    """Build the error for an object of no format that is read."""
    remedy = next((each for name, each in _FOREIGN.items() if name in value), None)
    if isinstance(value.get("data"), dict):
        remedy = "It may be a task of Label Studio that nobody annotated. Export annotated ones"
    lists = [name for name, each in value.items() if each and _is_list_of(each, dict)]
    if all(isinstance(each, list | dict) for each in value.values()):
        # A data set by its columns or its parts.
        lists = list(value)
    if remedy is None and lists:
        names = " or ".join(map(repr, lists[:3]))
        remedy = (
            f"If its records are in {names}, write each of them on a line of its own. For a data "
            "set of Hugging Face: `dataset.to_json(OUT)`"
        )
    remedy = remedy or "Write objects with `text` and `entities`, or with `tokens` and `ner_tags`"
    return line_error(Errors.P138, path, line, keys=shorten(", ".join(value)), remedy=remedy)


def find_tagged(value: Any) -> tuple[list[str], list[Any]] | None:
    """Find tokens and their tags in a record of a Hugging Face dataset; `None` if it has none."""
    if not isinstance(value, dict):
        return None
    tokens = _find(value, _TOKENS, lambda each: _is_list_of(each, str))
    tags = _find(value, _TAGS, lambda each: _is_list_of(each, int | str))
    return None if tokens is None or tags is None else (tokens, tags)


def parse_value(name: str, options: ReadingOptions, value: Any) -> list[Record]:
    """Read the records in a value of a format.

    Args:
        name: The format, one of `TOOLS`.
        options: The names of tags.
        value: The value.

    Raises:
        WrongRecordError: The value is not as it should be. Other errors say so, too.
    """
    # The web tool NER Annotator writes all texts in one object, and null for those skipped.
    is_object = name == "spacy-v2" and isinstance(value, dict)
    parts = value["annotations"] if is_object else [value]
    parse = _PARSERS[name]
    return [record for part in parts if part if (record := parse(options, part)) is not None]


def _parse_spans(options: ReadingOptions, value: Any) -> Record:
    """Read a text and its mentions, as doccano and many programs write them."""
    text, fields = _text_of(value), _span_fields(value)
    if not fields:
        raise WrongRecordError(f"it has none of the fields {', '.join(_SPANS)} in the right form")
    if any(spans != fields[0][1] for _, spans in fields if spans):
        names = " and ".join(name for name, spans in fields if spans)
        raise WrongRecordError(f"it has mentions in {names}", "Keep those that are gold")
    listed = []
    for each in fields[0][1]:
        if isinstance(each, list):
            listed.append(Listed(*each))
        elif "start_offset" in each:
            listed.append(Listed(each["start_offset"], each["end_offset"], each["label"]))
        else:
            quoted = each.get("text")
            label = _label_of(each)
            is_quoted = isinstance(quoted, str)
            listed.append(Listed(each["start"], each["end"], label, quoted if is_quoted else None))
    tokens = value.get("tokens")
    if _is_list_of(tokens, str) and _count_tokens(text, tokens, listed):
        problem = "it's unclear whether the offsets count characters or tokens"
        raise WrongRecordError(problem, "Leave out the tokens if they count characters")
    has_offsets = _is_list_of(tokens, dict) and all({"start", "end"} <= e.keys() for e in tokens)
    places = [(each["start"], each["end"]) for each in tokens or ()] if has_offsets else []
    return Record(text, listed, tuple(places) or None)


def _label_of(span: Mapping[str, Any]) -> Any:
    names = [name for name in _LABELS if name in span]
    if "label" in names:
        return span["label"]
    if len(names) != 1:
        problem = f"{' and '.join(names) or 'nothing'} in {shorten(dict(span))} may be its label"
        raise WrongRecordError(problem, "Name the field of the label 'label'")
    if names == ["entity"] and split_tag(str(span["entity"])) is not None:
        problem = f"{span['entity']!r} is a tag of a piece of a word, and not a mention's label"
        remedy = "Run the Hugging Face pipeline with aggregation_strategy='simple'"
        raise WrongRecordError(problem, remedy)
    return span[names[0]]


def _count_tokens(text: str, tokens: Sequence[str], listed: Sequence[Listed]) -> bool:
    """Tell whether offsets that quote nothing may be those of tokens."""
    if not listed or any(each.quoted is not None or each.end > len(tokens) for each in listed):
        return False
    places = {place for each in listed for place in (each.start, each.end)}
    return any(text[max(place - 1, 0) : place + 1].isalnum() and place for place in places)


def _parse_prodigy(options: ReadingOptions, value: Any) -> Record | None:
    view = value.get("_view_id")
    is_classified = isinstance(value.get("label"), str) or {"options", "accept"} & value.keys()
    if view in _CLASSIFICATION or (is_classified and "spans" not in value):
        problem = "it is of Prodigy's text classification, and has no spans of entities"
        raise WrongRecordError(problem, "Export a dataset of ner.manual or spans.manual")
    if value.get("answer", "accept") != "accept":
        # What was rejected or ignored says nothing of what is there.
        return None
    text = _text_of(value)
    listed = [
        Listed(each["start"], each["end"], each["label"]) for each in value.get("spans") or ()
    ]
    tokens = tuple((each["start"], each["end"]) for each in value.get("tokens") or ())
    # Such a question was about the spans that it shows, and not about the rest of the text.
    is_binary = view == "ner" or value.get("_is_binary") is True
    return Record(text, listed, tokens or None, unknown=is_binary)


def _parse_label_studio(options: ReadingOptions, value: Any) -> Record | None:
    results, fields = _find_results(value), value
    made = _find_made(value)
    if results is None and made is not None:
        made = [each for each in made if not each.get("was_cancelled")]
        if not made:
            return None
        # Several people may have annotated it.
        best = next((each for each in made if each.get("ground_truth")), made[0])
        results = [each.get("value") or {} for each in best["result"]]
        fields = value["data"]
    listed = [each for region in results or () for each in _regions(region)]
    # Users name the field of the text.
    strings = {
        name: each
        for name, each in fields.items()
        if isinstance(each, str) and name not in _LABEL_STUDIO
    }
    quoted = [each.quoted for each in listed if each.quoted is not None]
    texts = [each for each in strings.values() if all(is_within(each, part) for part in quoted)]
    text = strings.get("text") or max(texts or strings.values(), key=len, default=None)
    if text is None:
        raise WrongRecordError("there is no text, such as data.text")
    if any("globalOffsets" in region for region in results or ()):
        _check_no_html(text, listed)
    return Record(text, listed)


def _regions(value: Mapping[str, Any]) -> list[Listed]:
    """Read a region of Label Studio, as often as it has labels."""
    kind = next((name for name in value if _is_labels(name, value[name])), None)
    if kind is None:
        # Choices, ratings and notes.
        return []
    place = value.get("globalOffsets", value)
    if kind not in ("labels", "hypertextlabels") or not {"start", "end"} <= place.keys():
        problem = f"a region of the type {kind!r} is not one of plain text"
        raise WrongRecordError(problem, "Leave out such regions, or label the text with <Labels>")
    return [Listed(place["start"], place["end"], each, value.get("text")) for each in value[kind]]


def _check_no_html(text: str, listed: Sequence[Listed]) -> None:
    """Check that offsets in a HyperText are those of the text that it shows."""
    for each in listed:
        found = text[each.start : each.end]
        if not is_quoted(found, each.quoted or "") if each.quoted else "<" in text:
            problem = f"the offsets of {shorten(each.quoted or each.label)} are not into the HTML "
            problem += "that the export has, but into the text that a browser shows"
            remedy = "Make plain text of it, and label that with <Text> and <Labels>"
            raise WrongRecordError(problem, remedy)


def _parse_gliner(options: ReadingOptions, value: Any) -> Record:
    # GLiNER's ends are the last token of a mention.
    mentions = [(start, end + 1, label) for start, end, label in value["ner"]]
    tokens = value["tokenized_text"]
    for start, end, label in mentions:
        if not 0 <= start < end <= len(tokens):
            problem = f"the mention {[start, end - 1, label]} is not among {len(tokens)} tokens"
            raise WrongRecordError(problem)
    return _of_tokens(tokens, mentions)


def _parse_spacy_v2(options: ReadingOptions, value: Any) -> Record:
    text, annotation = value
    listed = [Listed(start, end, label) for start, end, label in annotation["entities"]]
    return Record(text, listed)


def _of_tokens(tokens: Sequence[str], mentions: Sequence[tuple[int, int, str]]) -> Record:
    """Make a record of tokens and of mentions that are runs of tokens."""
    if not all(tokens):
        raise WrongRecordError("there is an empty token")
    source: TokenizedText = join_tokens(tokens)
    listed = [
        Listed(source.tokens[first][0], source.tokens[end - 1][1], label)
        for first, end, label in mentions
    ]
    return Record(source.text, listed, source.tokens)


def _is_list_of(value: Any, kind: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def _span_fields(value: Mapping[str, Any]) -> list[tuple[str, list[Any]]]:
    """List the fields that have mentions, those that have any first."""
    groups = value.get("spans")
    # spaCy writes span groups by their names.
    groups = groups if isinstance(groups, dict) else {}
    named = {f"spans.{name}": each for name, each in groups.items()}
    fields = [(name, each) for name, each in {**value, **named}.items() if _are_spans(each)]
    fields = [field for field in fields if field[0] in (*_SPANS, *named)]
    return sorted(fields, key=lambda field: not field[1])


def _are_spans(value: Any) -> bool:
    return isinstance(value, list) and all(
        (isinstance(each, list) and [*map(type, each)] == [int, int, str])
        or (isinstance(each, dict) and {"start_offset", "end_offset", "label"} <= each.keys())
        or (isinstance(each, dict) and {"start", "end"} <= each.keys())
        for each in value
    )


def _find(value: Mapping[str, Any], names: Sequence[str], fits: Callable[[Any], bool]) -> Any:
    """Find the first of some fields that is there and has the right form; `None` if none is."""
    return next((value[name] for name in names if name in value and fits(value[name])), None)


def _find_text(value: Mapping[str, Any]) -> str | None:
    text: str | None = _find(value, _TEXTS, lambda each: isinstance(each, str))
    return text


def _text_of(value: Mapping[str, Any]) -> str:
    text = _find_text(value)
    if text is None:
        raise WrongRecordError(f"it has no text in any of the fields {', '.join(_TEXTS)}")
    return text


def _find_made(value: Mapping[str, Any]) -> list[Any] | None:
    """Find the annotations of a task of Label Studio. Old versions call them completions."""
    found: list[Any] | None = _find(value, ("annotations", "completions"), _is_list)
    return found


def _find_results(value: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Find the mentions in Label Studio's JSON-MIN, whose fields the user has named."""
    fields = [each for each in value.values() if each and _is_list_of(each, dict)]
    found = [
        region
        for each in fields
        if any(_PLACES & e.keys() and _is_labels(name, e[name]) for e in each for name in e)
        for region in each
    ]
    return found or None


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_labels(name: str, value: Any) -> bool:
    return name.endswith("labels") and bool(value) and _is_list_of(value, str)


_PARSERS: dict[str, Callable[[ReadingOptions, Any], Record | None]] = {
    "doccano": _parse_spans,
    "spans": _parse_spans,
    "prodigy": _parse_prodigy,
    "label-studio": _parse_label_studio,
    "gliner": _parse_gliner,
    "spacy-v2": _parse_spacy_v2,
}
TOOLS = tuple(_PARSERS)
# Why records of a format may have no texts.
WHY_NONE = {
    "prodigy": "all answers are reject or ignore",
    "label-studio": "no task has an annotation that was not cancelled, and predictions aren't read",
    "spacy-v2": "all are null, as texts that were skipped are",
}
