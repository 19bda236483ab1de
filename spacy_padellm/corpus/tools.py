"""The exports of annotation tools and libraries in JSON, record by record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..texts import TokenizedText
from .conll import join_tokens
from .options import ReadingOptions
from .records import Listed, Record, WrongRecordError

# Names that fields have in the wild, the usual ones first.
_TEXTS = ("text", "data", "sentence", "content", "document")
_DOCCANO = ("label", "labels", "entities")
_TAGS = ("ner_tags", "tags", "ner", "labels", "label", "fine_ner_tags")
_TOKENS = ("tokens", "words")
# Strings of a Label Studio task that are not its text.
_LABEL_STUDIO = ("annotation_id", "annotator", "created_at", "updated_at", "lead_time", "id")


def recognize(value: Any) -> str | None:
    """Recognize the format of a record; `None` if it is none of those read here."""
    if isinstance(value, list):
        is_pair = len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)
        return "spacy-v2" if is_pair and "entities" in value[1] else None
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("annotations"), list) and isinstance(value.get("data"), dict):
        return "label-studio"
    if "tokenized_text" in value and "ner" in value:
        return "gliner"
    text = _find_text(value)
    if text is not None and (_is_list_of(value.get("spans"), dict) or "_input_hash" in value):
        return "prodigy"
    if _find_results(value) is not None or {"annotation_id", "lead_time"} <= value.keys():
        return "label-studio"
    if text is not None and _find(value, _DOCCANO, _is_doccano) is not None:
        return "doccano"
    if _is_list_of(value.get("annotations"), list | None):
        return "spacy-v2"
    return "huggingface" if find_tagged(value) is not None else None


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


def _parse_doccano(options: ReadingOptions, value: Any) -> Record:
    text = _text_of(value)
    listed = []
    for each in _field(value, _DOCCANO, _is_doccano):
        if isinstance(each, dict):
            each = (each["start_offset"], each["end_offset"], each["label"])
        start, end, label = each
        listed.append(Listed(start, end, label))
    return Record(text, listed)


def _parse_prodigy(options: ReadingOptions, value: Any) -> Record | None:
    if value.get("answer", "accept") != "accept":
        # What was rejected or ignored says nothing of what is there.
        return None
    text = _text_of(value)
    listed = [
        Listed(each["start"], each["end"], each["label"]) for each in value.get("spans") or ()
    ]
    tokens = tuple((each["start"], each["end"]) for each in value.get("tokens") or ())
    # Such a question was about the spans that it shows, and not about the rest of the text.
    is_binary = value.get("_view_id") == "ner" or value.get("_is_binary") is True
    return Record(text, listed, tokens or None, unknown=is_binary)


def _parse_label_studio(options: ReadingOptions, value: Any) -> Record | None:
    results, fields = _find_results(value), value
    if results is None and "annotations" in value:
        made = [each for each in value["annotations"] if not each.get("was_cancelled")]
        if not made:
            return None
        # Several people may have annotated it.
        best = next((each for each in made if each.get("ground_truth")), made[0])
        results = [each["value"] for each in best["result"] if "labels" in each.get("value", {})]
        fields = value["data"]
    listed = [
        Listed(each["start"], each["end"], label, each.get("text"))
        for each in results or ()
        for label in each["labels"]
    ]
    # Users name the field of the text.
    strings = {
        name: each
        for name, each in fields.items()
        if isinstance(each, str) and name not in _LABEL_STUDIO
    }
    quoted = [each.quoted for each in listed if each.quoted is not None]
    texts = [each for each in strings.values() if all(part in each for part in quoted)]
    text = strings.get("text") or max(texts or strings.values(), key=len, default=None)
    if text is None:
        raise WrongRecordError("there is no text, such as data.text")
    return Record(text, listed)


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


def _is_doccano(value: Any) -> bool:
    return isinstance(value, list) and all(
        (isinstance(each, list) and [*map(type, each)] == [int, int, str])
        or (isinstance(each, dict) and {"start_offset", "end_offset", "label"} <= each.keys())
        for each in value
    )


def _find(value: Mapping[str, Any], names: Sequence[str], fits: Callable[[Any], bool]) -> Any:
    """Find the first of some fields that is there and has the right form; `None` if none is."""
    return next((value[name] for name in names if name in value and fits(value[name])), None)


def _field(value: Mapping[str, Any], names: Sequence[str], fits: Callable[[Any], bool]) -> Any:
    found = _find(value, names, fits)
    if found is None:
        raise WrongRecordError(f"it has none of the fields {', '.join(names)} in the right form")
    return found


def _find_text(value: Mapping[str, Any]) -> str | None:
    text: str | None = _find(value, _TEXTS, lambda each: isinstance(each, str))
    return text


def _text_of(value: Mapping[str, Any]) -> str:
    text = _find_text(value)
    if text is None:
        raise WrongRecordError(f"it has no text in any of the fields {', '.join(_TEXTS)}")
    return text


def _find_results(value: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Find the mentions in Label Studio's JSON-MIN, whose field the user has named."""
    for each in value.values():
        if (
            _is_list_of(each, dict)
            and each
            and all({"start", "end", "labels"} <= e.keys() for e in each)
        ):
            return list(each)
    return None


_PARSERS: dict[str, Callable[[ReadingOptions, Any], Record | None]] = {
    "doccano": _parse_doccano,
    "prodigy": _parse_prodigy,
    "label-studio": _parse_label_studio,
    "gliner": _parse_gliner,
    "spacy-v2": _parse_spacy_v2,
}
TOOLS = tuple(_PARSERS)
