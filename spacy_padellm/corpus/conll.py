"""Read token-per-line corpora: a token and its tag on each line, a blank line after a sentence."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import Errors
from ..texts import AnnotatedText, Mention, Span, TokenizedText
from .lines import NumberedText, numbered_rows
from .options import DEFAULTS, ReadingOptions
from .tags import (
    PLAIN,
    SCHEME_NAMES,
    SCHEMES,
    Tag,
    are_nameless,
    are_plain,
    detect_scheme,
    entities_from_tags,
    first_illegal,
    split_tag,
)

# Ideographs, kana, and the punctuation and full-width forms written with them.
_UNSPACED = re.compile(
    "[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)


# Rows of CoNLL-U that are no words: the words that one token stands for ("1-2"), and words that the
# text lacks ("8.1").
_CONLLU_COLUMNS = 10
# The keys under which CoNLL-U's column MISC may have the tag of a named entity.
MISC_TAGS = ("NER", "ner", "NE", "Entity", "name")
_NO_WORD = re.compile(r"\d+[-.]\d+")
_NUMBER = re.compile(r"\d+([-.]\d+)?")
# The sentence and the token, as in WebAnno's TSV 1 and 2.
_DOUBLE_NUMBER = re.compile(r"\d+-\d+")


@dataclass(frozen=True)
class _Token:
    line: int
    text: str
    tag: Tag
    # Whether no space follows.
    is_joined: bool = False


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
    return parse_tagged(TaggedFile(path, options))


def parse_tagged(file: TaggedFile) -> list[NumberedText]:
    """Read the sentences of a file of tokens and tags.

    Args:
        file: The file.

    Raises:
        ValueError: As of `parse_conll`.
    """
    options = file.options
    if options.scheme not in SCHEME_NAMES:
        choices = {"value": options.scheme, "choices": SCHEME_NAMES}
        raise ValueError(Errors.P104.format(option="scheme", **choices))
    sentences = list(file.sentences())
    file.check_not_numbers(sentences)
    scheme = file.find_scheme(sentences) if options.scheme == "auto" else options.scheme
    scheme = "iob1" if scheme == PLAIN else scheme
    for sentence in sentences:
        file.check_tags(sentence, scheme)
    texts = [token.text for sentence in sentences for token in sentence]
    # With a character on each line, even Latin letters and digits have no spaces between them.
    by_character = all(len(text) == 1 for text in texts) and any(map(_UNSPACED.match, texts))
    return [(each[0].line, _annotate(each, spaced=not by_character)) for each in sentences]


def join_tokens(
    tokens: Sequence[str], *, spaced: bool = True, joined: Collection[int] = ()
) -> TokenizedText:
    """Join tokens to a text, with single spaces, but not beside a Chinese or Japanese character.

    Args:
        tokens: The tokens, none of them empty.
        spaced: Whether there are spaces at all.
        joined: The numbers of tokens that no space follows.
    """
    offsets: list[Span] = []
    text = ""
    for number, token in enumerate(tokens):
        is_joined = number - 1 in joined or not spaced
        if text and not (is_joined or _UNSPACED.match(text[-1]) or _UNSPACED.match(token[0])):
            text += " "
        offsets.append((len(text), len(text) + len(token)))
        text += token
    return TokenizedText(text, tuple(offsets))


def _annotate(sentence: _Sentence, *, spaced: bool) -> AnnotatedText:
    joined = {number for number, token in enumerate(sentence) if token.is_joined}
    source = join_tokens([token.text for token in sentence], spaced=spaced, joined=joined)
    mentions = tuple(
        Mention(source.tokens[first][0], source.tokens[end - 1][1], label)
        for first, end, label in entities_from_tags([token.tag for token in sentence])
    )
    return AnnotatedText(source, mentions, has_tokens=spaced)


def is_conllu(rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether rows are those of CoNLL-U: ten columns, with the number of a word first."""
    return bool(rows) and all(
        len(columns) == _CONLLU_COLUMNS and _NUMBER.fullmatch(columns[0]) for columns in rows
    )


def is_conllu_with_tags(rows: Iterable[tuple[int, Sequence[str]]]) -> bool:
    """Tell whether rows are those of CoNLL-U, with tags in the last column.

    Args:
        rows: Lines and columns. Rows without columns do not count.
    """
    words = [columns for _, columns in rows if columns]
    last = [columns[-1] for columns in words]
    marks = tuple(f"{key}=" for key in MISC_TAGS)
    in_misc = any(part.startswith(marks) for each in last for part in each.split("|"))
    alone = all(each == "_" or split_tag(each) for each in last) and any(map(split_tag, last))
    return is_conllu(words) and (in_misc or alone)


@dataclass(frozen=True)
class TaggedFile:
    """A file of tokens and tags, and the options to read it with.

    Args:
        path: The file.
        options: Tag scheme and columns.
    """

    path: Path
    options: ReadingOptions

    def error(self, message: str, **values: object) -> ValueError:
        """Build an error from a message of `Errors`, and fill in the path and the options."""
        return ValueError(message.format(**{"path": self.path, **vars(self.options), **values}))

    def tag_error(self, line: int, tag: str, scheme: str | None = None) -> ValueError:
        """Build the error for a tag that is not in a scheme, or not in any scheme."""
        name = "any scheme" if scheme is None else f"the scheme {scheme!r}"
        prefixes = ", ".join("BIESLUM" if scheme is None else SCHEMES[scheme].prefixes)
        return self.error(Errors.P111, line=line, tag=tag, scheme=name, prefixes=prefixes)

    def sentences(self) -> Iterator[_Sentence]:
        sentence: _Sentence = []
        width = 0
        rows = list(self.rows())
        is_numbered = is_conllu([columns for _, columns in rows if columns])
        is_default = self.options.columns == (0, -1)
        has_tags = is_default and is_numbered and is_conllu_with_tags(rows)
        is_plain = self.is_plain(rows)
        for line, columns in rows:
            if is_numbered and columns and _NO_WORD.fullmatch(columns[0]):
                continue
            if columns:
                width = width or len(columns)
                if has_tags:
                    token = self._parse_conllu(line, columns)
                else:
                    token = self._parse_row(line, columns, width, is_plain=is_plain)
                sentence.extend([token] if token.text else [])
            elif sentence:
                yield sentence
                sentence = []
        if sentence:
            yield sentence

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Read the rows. One without columns ends a sentence."""
        return numbered_rows(self.path)

    def _parse_conllu(self, line: int, columns: Sequence[str]) -> _Token:
        """Read a row of CoNLL-U. Its tag is the last column, or in it as `NER=B-PER`."""
        written, is_joined = columns[-1], False
        if split_tag(written) is None:
            misc = dict(each.partition("=")[::2] for each in written.split("|"))
            written = next((misc[key] for key in MISC_TAGS if key in misc), "O")
            is_joined = misc.get("SpaceAfter") == "No"
        tag = split_tag(written)
        if tag is None:
            raise self.tag_error(line, written)
        return _Token(line, columns[1], tag, is_joined)

    def is_plain(self, rows: Iterable[tuple[int, Sequence[str]]]) -> bool:
        """Tell whether the tags are labels without prefixes."""
        column, scheme = self.options.tag_column, self.options.scheme
        written = (columns[column] for _, columns in rows if -len(columns) <= column < len(columns))
        return scheme == PLAIN or (scheme == "auto" and are_plain(written))

    def _parse_row(
        self, line: int, columns: Sequence[str], width: int, *, is_plain: bool
    ) -> _Token:
        found, wanted = len(columns), (self.options.token_column, self.options.tag_column)
        # Both columns must exist, and be different ones.
        if len({column % found for column in wanted if -found <= column < found}) < 2:
            raise self.error(Errors.P110, line=line, found=found)
        # A token with a space in it would move its tag to another column.
        if found != width:
            raise self.error(Errors.P124, line=line, found=found, width=width)
        text, written = (columns[column] for column in wanted)
        tag = Tag("I", written) if is_plain and written != "O" else split_tag(written)
        if tag is None and are_nameless([written, "B", "O"]):
            raise self.error(Errors.P136, line=line, tag=written)
        if tag is None:
            raise self.tag_error(line, written)
        if not text and tag.prefix != "O":
            raise self.error(Errors.P115, line=line, tag=written)
        return _Token(line, text, tag)

    def check_not_numbers(self, sentences: Sequence[_Sentence]) -> None:
        """Reject a token column that counts tokens, in each sentence or on, or names sentences.

        Reading numbers as text would go unnoticed.
        """
        if all(len(sentence) == 1 for sentence in sentences):
            return
        columns = [[token.text for token in sentence] for sentence in sentences]
        whole = [text for column in columns for text in column]
        is_double = all(map(_DOUBLE_NUMBER.fullmatch, whole))
        # Each sentence repeats its own name.
        names = [column[0] for column in columns if len(set(column)) == 1]
        are_names = len(columns) > 1 and len(set(names)) == len(columns)
        if is_double or are_names or _is_count(whole) or all(map(_is_count, columns)):
            what = "the ids of sentences" if are_names else "token numbers"
            next_column = self.options.token_column + 1
            raise self.error(Errors.P114, what=what, next_column=next_column)

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


def _is_count(texts: Sequence[str]) -> bool:
    return any(texts == [str(first + n) for n in range(len(texts))] for first in (0, 1))
