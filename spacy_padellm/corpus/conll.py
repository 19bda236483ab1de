"""Read token-per-line corpora: a token and its tag on each line, a blank line after a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import Errors
from ..texts import AnnotatedText, Mention, TokenizedText
from .lines import NumberedText, numbered_rows
from .options import DEFAULTS, ReadingOptions
from .tags import (
    SCHEME_NAMES,
    SCHEMES,
    Tag,
    detect_scheme,
    entities_from_tags,
    first_illegal,
    split_tag,
)

# Ideographs, kana, and the punctuation and full-width forms written with them.
_UNSPACED = re.compile(
    "[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)


@dataclass(frozen=True)
class _Token:
    line: int
    text: str
    tag: Tag


_Sentence = list[_Token]


def parse_conll(path: Path, options: ReadingOptions = DEFAULTS) -> list[NumberedText]:
    """Read a token-per-line file.

    The text of a sentence is its tokens joined with single spaces. No space goes beside a Chinese
    or Japanese character. If the file has such characters and all its tokens are single characters,
    there are no spaces at all. `numbered_rows` says which lines are comments. A row with an empty
    token is skipped if its tag is O.

    Args:
        path: The file.
        options: Tag scheme and columns.

    Returns:
        The sentences, each with the number of its first line.

    Raises:
        ValueError: The scheme is unknown, a column is missing, a tag is not of the scheme or not
            possible at its place, or the token column holds token numbers.
    """
    if options.scheme not in SCHEME_NAMES:
        choices = {"value": options.scheme, "choices": SCHEME_NAMES}
        raise ValueError(Errors.P104.format(option="scheme", **choices))
    file = _ConllFile(path, options)
    sentences = list(file.sentences())
    file.check_not_numbers(sentences)
    scheme = file.find_scheme(sentences) if options.scheme == "auto" else options.scheme
    for sentence in sentences:
        file.check_tags(sentence, scheme)
    texts = [token.text for sentence in sentences for token in sentence]
    # With a character on each line, even Latin letters and digits have no spaces between them.
    by_character = all(len(text) == 1 for text in texts) and any(map(_UNSPACED.match, texts))
    return [(each[0].line, _annotate(each, spaced=not by_character)) for each in sentences]


def _annotate(sentence: _Sentence, *, spaced: bool) -> AnnotatedText:
    offsets: list[tuple[int, int]] = []
    text = ""
    for token in sentence:
        if text and spaced and not (_UNSPACED.match(text[-1]) or _UNSPACED.match(token.text[0])):
            text += " "
        offsets.append((len(text), len(text) + len(token.text)))
        text += token.text
    mentions = tuple(
        Mention(offsets[first][0], offsets[end - 1][1], label)
        for first, end, label in entities_from_tags([token.tag for token in sentence])
    )
    return AnnotatedText(TokenizedText(text, tuple(offsets)), mentions)


@dataclass(frozen=True)
class _ConllFile:
    """A file that is being read, and the options to read it with."""

    path: Path
    options: ReadingOptions

    def error(self, message: str, **values: object) -> ValueError:
        """Build an error from a message of `Errors`, and fill in the path and the options."""
        return ValueError(message.format(**{"path": self.path, **vars(self.options), **values}))

    def tag_error(self, line: int, tag: str, scheme: str | None = None) -> ValueError:
        """Build the error for a tag that is not in a scheme, or not in any scheme."""
        name = "any scheme" if scheme is None else f"the scheme {scheme!r}"
        prefixes = ", ".join("BIESLU" if scheme is None else SCHEMES[scheme].prefixes)
        return self.error(Errors.P111, line=line, tag=tag, scheme=name, prefixes=prefixes)

    def sentences(self) -> Iterator[_Sentence]:
        sentence: _Sentence = []
        for line, columns in numbered_rows(self.path):
            if columns:
                token = self._parse_row(line, columns)
                sentence.extend([token] if token.text else [])
            elif sentence:
                yield sentence
                sentence = []
        if sentence:
            yield sentence

    def _parse_row(self, line: int, columns: Sequence[str]) -> _Token:
        found, wanted = len(columns), (self.options.token_column, self.options.tag_column)
        # Both columns must exist, and be different ones.
        if len({column % found for column in wanted if -found <= column < found}) < 2:
            raise self.error(Errors.P110, line=line, found=found)
        text, written = (columns[column] for column in wanted)
        tag = split_tag(written)
        if tag is None:
            raise self.tag_error(line, written)
        if not text and tag.prefix != "O":
            raise self.error(Errors.P115, line=line, tag=written)
        return _Token(line, text, tag)

    def check_not_numbers(self, sentences: Sequence[_Sentence]) -> None:
        """Reject a token column that counts 0, 1, 2 or 1, 2, 3 in every sentence.

        Such a column holds token numbers. Reading them as text would go unnoticed.
        """
        if any(len(sentence) > 1 for sentence in sentences) and all(map(_is_count, sentences)):
            raise self.error(Errors.P114, next_column=self.options.token_column + 1)

    def find_scheme(self, sentences: Sequence[_Sentence]) -> str:
        name = detect_scheme([token.tag for token in sentence] for sentence in sentences)
        if name is None:
            tokens = (token for sentence in sentences for token in sentence)
            first = next(token for token in tokens if token.tag.prefix in ("L", "U"))
            raise self.error(Errors.P113, line=first.line, tag=str(first.tag))
        return name

    def check_tags(self, sentence: _Sentence, name: str) -> None:
        scheme = SCHEMES[name]
        for token in sentence:
            if token.tag.prefix not in scheme.prefixes + "O":
                raise self.tag_error(token.line, str(token.tag), name)
        illegal = first_illegal([token.tag for token in sentence], scheme.follows)
        if illegal is not None:
            line = sentence[min(illegal, len(sentence) - 1)].line
            written = ["the start", *(str(token.tag) for token in sentence), "the end"]
            previous, tag = written[illegal : illegal + 2]
            raise self.error(Errors.P112, line=line, tag=tag, previous=previous, scheme=name)


def _is_count(sentence: _Sentence) -> bool:
    texts = [token.text for token in sentence]
    return any(texts == [str(first + n) for n in range(len(texts))] for first in (0, 1))
