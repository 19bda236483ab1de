"""Token-per-line corpora: columns with a token and its tag, a blank line after each sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ..errors import Errors
from ..texts import AnnotatedText, Mention, TokenizedText
from .columns import numbered_rows
from .lines import NumberedText
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
    written: str


_Sentence = list[_Token]


def parse_conll(
    path: Path, *, scheme: str = "auto", token_column: int = 0, tag_column: int = -1
) -> list[NumberedText]:
    """Read a token-per-line file. The text of a sentence is its tokens, joined with single
    spaces but where Chinese or Japanese characters meet another token, and nowhere in a file
    of such text that has a character a line. See `numbered_rows` for what counts as a comment and
    `detect_scheme` for "auto". A row with an empty token holds no text: it's passed over if its
    tag is O.

    path (Path): The file.
    scheme (str): The tag scheme, one of `SCHEME_NAMES`. "iob1" also reads files which mix B- and
        I- at the start of entities.
    token_column (int): Column of the tokens, from 0, or from -1 at the end.
    tag_column (int): Column of the tags, likewise.
    RETURNS (List[NumberedText]): The sentences with the number of their first line.
    RAISES (ValueError): If a column is missing, a tag is none of the scheme or can't be where it
        is, or the tokens are numbers that count them.
    """
    if scheme not in SCHEME_NAMES:
        raise ValueError(Errors.P104.format(option="scheme", value=scheme, choices=SCHEME_NAMES))
    reader = _ConllFile(path, token_column, tag_column)
    sentences = list(reader.sentences())
    reader.check_not_numbers(sentences)
    name = reader.find_scheme(sentences) if scheme == "auto" else scheme
    for sentence in sentences:
        reader.check_tags(sentence, name)
    texts = [token.text for sentence in sentences for token in sentence]
    # A character a line: spaces between Latin letters and digits are not the text's own.
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
    """What the steps of reading one file share: where it is and which columns matter."""

    path: Path
    token_column: int
    tag_column: int

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
        self._check_columns(line, len(columns))
        written = columns[self.tag_column]
        tag = split_tag(written)
        if tag is None:
            self._fail_tag(line, written, "auto")
        text = columns[self.token_column]
        if not text and tag.prefix != "O":
            raise ValueError(Errors.P115.format(path=self.path, line=line, tag=written))
        return _Token(line, text, tag, written)

    def _check_columns(self, line: int, found: int) -> None:
        places = [
            column if column >= 0 else found + column
            for column in (self.token_column, self.tag_column)
        ]
        if min(places) < 0 or max(places) >= found or places[0] == places[1]:
            raise ValueError(
                Errors.P110.format(
                    path=self.path,
                    line=line,
                    found=found,
                    token_column=self.token_column,
                    tag_column=self.tag_column,
                )
            )

    def _fail_tag(self, line: int, tag: str, scheme: str) -> NoReturn:
        prefixes = "BIESLU" if scheme == "auto" else SCHEMES[scheme].prefixes
        raise ValueError(
            Errors.P111.format(
                path=self.path,
                line=line,
                tag=tag,
                scheme="any scheme" if scheme == "auto" else f"the scheme {scheme!r}",
                prefixes=", ".join(prefixes),
                tag_column=self.tag_column,
            )
        )

    def check_not_numbers(self, sentences: Sequence[_Sentence]) -> None:
        """Reject a token column that counts 0, 1, 2 or 1, 2, 3 throughout: it's the column of the
        token numbers, and reading it as text would go unnoticed."""
        if any(len(sentence) > 1 for sentence in sentences) and all(map(_is_count, sentences)):
            next_column = self.token_column + 1
            raise ValueError(
                Errors.P114.format(
                    path=self.path, token_column=self.token_column, next_column=next_column
                )
            )

    def find_scheme(self, sentences: Sequence[_Sentence]) -> str:
        name = detect_scheme([token.tag for token in sentence] for sentence in sentences)
        if name is None:
            tokens = [token for sentence in sentences for token in sentence]
            first = next(token for token in tokens if token.tag.prefix in ("L", "U"))
            raise ValueError(Errors.P113.format(path=self.path, line=first.line, tag=first.written))
        return name

    def check_tags(self, sentence: _Sentence, name: str) -> None:
        scheme = SCHEMES[name]
        for token in sentence:
            if token.tag.prefix not in scheme.prefixes + "O":
                self._fail_tag(token.line, token.written, name)
        illegal = first_illegal([token.tag for token in sentence], scheme.follows)
        if illegal is not None:
            self._fail_order(sentence, illegal, name)

    def _fail_order(self, sentence: _Sentence, illegal: int, scheme: str) -> NoReturn:
        written = ["the start", *(token.written for token in sentence), "the end"]
        line = sentence[min(illegal, len(sentence) - 1)].line
        raise ValueError(
            Errors.P112.format(
                path=self.path,
                line=line,
                tag=written[illegal + 1],
                previous=written[illegal],
                scheme=scheme,
            )
        )


def _is_count(sentence: _Sentence) -> bool:
    texts = [token.text for token in sentence]
    return any(texts == [str(first + n) for n in range(len(texts))] for first in (0, 1))
