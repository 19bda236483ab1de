from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sentencepiece
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from tokenizers import Tokenizer

from spacy_padellm.checkpoints.conversion.sentencepiece_model import convert_sentencepiece
from tests.sample_texts import CHINESE, ENGLISH, NASTY
from tests.sentencepiece_models import baichuan_model, train

NORMAL, USER_DEFINED, UNUSED = 1, 4, 5
# Few letters, so that most of what may merge does, in many ways.
TEXTS = [*ENGLISH, *CHINESE, "aab abab baa aaab bbaba ab aabb abba  aa a   b aaaaab " * 3]


def plain(**changes: Any) -> bytes:
    """A model of these texts."""
    defaults = {"vocab_size": 460, "add_dummy_prefix": False, "remove_extra_whitespaces": False}
    return train(TEXTS, **{**defaults, **changes})


MODELS: dict[str, Callable[[], bytes]] = {
    "baichuan": baichuan_model,
    "dummy-prefix": lambda: plain(add_dummy_prefix=True),
    "symbols": lambda: plain(user_defined_symbols=["\n", "ab", "aba", "▁▁", "<x>", "b\n", "é"]),
    "symbols-behind-prefix": lambda: plain(
        add_dummy_prefix=True, user_defined_symbols=["\n", "ab", "aba", "▁▁", "<x>", "b\n", "é"]
    ),
    "spaces-removed": lambda: plain(
        add_dummy_prefix=True, remove_extra_whitespaces=True, user_defined_symbols=["ab", "\n"]
    ),
    "spaces-removed-no-prefix": lambda: plain(remove_extra_whitespaces=True),
    "no-bytes": lambda: plain(byte_fallback=False, vocab_size=200),
    "across-spaces": lambda: plain(
        add_dummy_prefix=True, split_by_whitespace=False, split_by_unicode_script=False
    ),
    "runs-of-spaces": lambda: with_runs_of_spaces(plain(add_dummy_prefix=True)),
    "nmt-nfkc": lambda: plain(
        add_dummy_prefix=True, remove_extra_whitespaces=True, normalization_rule_name="nmt_nfkc"
    ),
}


def edited(model: bytes, *pieces: tuple[str, float, int]) -> bytes:
    """With more pieces: string, score, kind."""
    proto = ModelProto.FromString(model)
    known = {piece.piece for piece in proto.pieces}
    for piece, score, kind in pieces:
        if piece not in known:
            proto.pieces.add(piece=piece, score=score, type=kind)
    return proto.SerializeToString()


def with_runs_of_spaces(model: bytes) -> bytes:
    """As Llama-2 has them, all of the same score, in no order."""
    return edited(model, *(("▁" * n, -1e9, NORMAL) for n in (2, 4, 8, 5, 3, 7, 6)))


class Pair(NamedTuple):
    """A fast tokenizer, and SentencePiece with the same model."""

    fast: Tokenizer
    processor: SentencePieceProcessor

    def found(self, texts: list[str]) -> list[list[int]]:
        return [e.ids for e in self.fast.encode_batch(texts, add_special_tokens=False)]

    def may_differ(self, text: str) -> bool:
        """Whether it is one symbol alone, with a space before it in SentencePiece only."""
        normalize = self.fast.normalizer.normalize_str
        added = {token.content for token in self.fast.get_added_tokens_decoder().values()}
        return normalize("x") != "x" and normalize(text) in added


def read(path: Path) -> Tokenizer:
    return convert_sentencepiece(path.read_bytes(), path)


def convert(model: bytes, folder: Path) -> Pair:
    path = folder / "tokenizer.model"
    path.write_bytes(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast = read(path)
    # User text never becomes a special token, in SentencePiece anyway.
    fast.encode_special_tokens = True
    return Pair(fast, SentencePieceProcessor(model_proto=model))


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return convert(MODELS[request.param](), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def llama2(tmp_path_factory: pytest.TempPathFactory, shared_tokenizers: Path) -> Pair:
    model = (shared_tokenizers / "llama2" / "tokenizer.model").read_bytes()
    return convert(model, tmp_path_factory.mktemp("llama2"))


# No combining marks, see below.
PARTS = [
    "a",
    "b",
    "ab",
    "aab",
    " ",
    "  ",
    "\n",
    "\t",
    "▁",
    "<x>",
    "é",
    "1",
    "12",
    "人",
    "名称",
    "😀",
]
PARTS += ["Ａ", "…", "\u3000", "\xa0", "㌔", "ﬁ", "\x00", "\ufffd", "<0x0A>", "<unk>", *NASTY]
texts = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)
few_letters = st.text("ab ", max_size=25)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=150)
@given(text=texts | few_letters)
def test_ids_are_those_of_sentencepiece(pair, text):
    assume(not pair.may_differ(text))
    assert pair.found([text]) == [pair.processor.encode(text)]


@settings(max_examples=150)
@given(text=texts | few_letters | any_text)
def test_ids_of_llama_2(llama2, text):
    assert llama2.found([text]) == [llama2.processor.encode(text)]


@settings(max_examples=100)
@given(text=any_text)
def test_ids_of_any_text_that_stays_as_it_is(text, tmp_path_factory):
    pair = convert(baichuan_model(), tmp_path_factory.getbasetemp())
    assert pair.found([text]) == [pair.processor.encode(text)]


REAL = [*ENGLISH, *CHINESE, *NASTY, "a" * 500, " " * 70, " " * 33 + "a" + " " * 40]


def test_real_texts(pair):
    same = [text for text in REAL if not pair.may_differ(text)]
    assert pair.found(same) == pair.processor.encode(same)


def test_real_texts_and_llama_2(llama2):
    assert llama2.found(REAL) == llama2.processor.encode(REAL)


def test_decoding(pair):
    for text in (*ENGLISH, *CHINESE, "a\nb", "\n\n", "<x> ab"):
        ids = pair.processor.encode(text)
        assert pair.fast.decode(ids) == pair.processor.decode(ids).replace(" ⁇ ", "<unk>")


def test_every_piece_is_a_token_of_the_same_id(pair):
    pieces = [pair.processor.id_to_piece(i) for i in range(pair.processor.get_piece_size())]
    assert [pair.fast.id_to_token(i) for i in range(pair.fast.get_vocab_size())] == pieces


def test_it_comes_back_from_json(pair):
    again = Pair(Tokenizer.from_str(pair.fast.to_str()), pair.processor)
    texts = [*ENGLISH, *CHINESE, "a\nb", "\n\n", "x  <x> ab▁▁"]
    assert again.found(texts) == pair.processor.encode(texts)


def test_a_text_of_one_symbol_gets_no_space_before_it(tmp_path):
    """What `convert_sentencepiece` says about it."""
    pair = convert(plain(add_dummy_prefix=True, user_defined_symbols=["<x>"]), tmp_path)
    symbol, space = (pair.processor.piece_to_id(piece) for piece in ("<x>", "▁"))
    assert pair.processor.encode("<x>") == [space, symbol]
    assert pair.found(["<x>", "<x>a"])[0] == [symbol]
    assert pair.found(["<x><x>", "<x>a"]) == pair.processor.encode(["<x><x>", "<x>a"])


def test_symbols_with_spaces_are_never_found(tmp_path):
    """SentencePiece has replaced the spaces by then."""
    pair = convert(edited(plain(), ("a b", 0, USER_DEFINED)), tmp_path)
    assert pair.found(["a b", "aa bb"]) == pair.processor.encode(["a b", "aa bb"])
    assert pair.processor.piece_to_id("a b") not in pair.found(["a b"])[0]


def test_control_symbols_are_special(tmp_path):
    fast = convert(baichuan_model(), tmp_path).fast
    special = {i for i, token in fast.get_added_tokens_decoder().items() if token.special}
    assert [fast.id_to_token(i) for i in sorted(special)] == ["<s>", "</s>", "<SEP>", "<CLS>"]


def test_ids_that_differ_after_all_are_warned_of(tmp_path):
    """Merges of the same score: SentencePiece takes the leftmost, which no order of merges says."""
    tied = [("wx", -9.0), ("vw", -9.0), ("xz", -10.0), ("vwxz", -11.0)]
    letters = [(letter, -99.0, NORMAL) for letter in "vwxz"]
    model = edited(plain(), *((piece, score, NORMAL) for piece, score in tied), *letters)
    (tmp_path / "tokenizer.model").write_bytes(model)
    message = r"\[W060\].*tokenizer\.model.*on 1 of \d+ texts, e\.g\. on 'vwxz\\nvwxz'"
    with pytest.warns(UserWarning, match=message):
        read(tmp_path / "tokenizer.model")


@pytest.mark.parametrize(
    "model, reason",
    [
        (lambda: b"no model", "parsing"),
        (lambda: b"", ""),
        (lambda: plain(model_type="unigram"), "of the type UNIGRAM, not BPE"),
        (lambda: plain(treat_whitespace_as_suffix=True), "spaces elsewhere"),
        (lambda: edited(plain(), ("aaaab", 0, UNUSED)), "marked as unused"),
        (
            lambda: edited(plain(remove_extra_whitespaces=True), ("a b", 0, USER_DEFINED)),
            "symbols have spaces",
        ),
        (
            lambda: plain(remove_extra_whitespaces=True, user_defined_symbols=["▁▁"]),
            "changes its own symbol '▁▁'",
        ),
        (
            lambda: plain(normalization_rule_name="nfkc", user_defined_symbols=["ＡＢ"]),
            "changes its own symbol 'ＡＢ'",
        ),
    ],
)
def test_models_that_are_not_converted(model, reason, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(model())
    with pytest.raises(ValueError, match=rf"(?s)\[P063\].*tokenizer\.model.*{reason}.*type BPE"):
        read(tmp_path / "tokenizer.model")


@pytest.mark.parametrize("package", ["sentencepiece", "sentencepiece.sentencepiece_model_pb2"])
def test_without_sentencepiece_or_protobuf(package, tmp_path, monkeypatch):
    (tmp_path / "tokenizer.model").write_bytes(baichuan_model())
    monkeypatch.delattr(sentencepiece, "sentencepiece_model_pb2")
    monkeypatch.setitem(sys.modules, package, None)
    message = r"\[P061\].*tokenizer\.model.*pip install -e '\.\[sentencepiece\]'"
    with pytest.raises(ImportError, match=message):
        read(tmp_path / "tokenizer.model")
