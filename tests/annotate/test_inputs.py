from __future__ import annotations

import json
import pickle
from datetime import datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("spacy")
pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq
import spacy
from spacy.tokens import DocBin

from spacy_padellm.annotate.inputs import cut, find_files
from spacy_padellm.annotate.reading import (
    LINE,
    TOKENS,
    ShardReader,
    infer_schema,
    to_python,
)

# Texts that contain what others take for the end of a line.
TEXTS = st.lists(st.text(st.characters(exclude_characters="\n\r", codec="utf-8"), max_size=9))


def write_jsonl(path: Path, records: list[dict[str, object]], end: str = "\n") -> Path:
    lines = [json.dumps(record, ensure_ascii=False) + end for record in records]
    path.write_bytes("".join(lines).encode())
    return path


def reader(field: str = "text") -> ShardReader:
    return ShardReader(field, "entities")


def read_all(path: Path, size: int) -> list[str]:
    """The texts of all shards of a file."""
    files, shards = cut([path], size)
    read = [reader().read(shard) for shard in shards]
    assert [shard.number for shard in shards] == list(range(len(shards)))
    assert all(0 < shard.count <= size for shard in shards)
    assert sum(shard.count for shard in shards) == files[0].records
    assert not any(records.failures for records in read)
    return [text for records in read for text in records.batch.column("text").to_pylist()]


@given(TEXTS, st.integers(1, 4), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_plain_text_is_read_whole(tmp_path_factory, texts, size, end, has_end):
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    content = end.join(texts) + (end if has_end and texts else "")
    path.write_bytes(content.encode())
    # What follows the last line end is a line only if there is something.
    expected = texts if has_end or not texts or texts[-1] else texts[:-1]
    # A byte order mark is not a part of the first text.
    expected = [each.removeprefix("\ufeff") if n == 0 else each for n, each in enumerate(expected)]
    assert read_all(path, size) == expected


@given(TEXTS, st.integers(1, 4), st.booleans())
def test_json_lines_are_read_whole(tmp_path_factory, texts, size, has_blanks):
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    write_jsonl(path, [{"text": text} for text in texts], "\n \n" if has_blanks else "\n")
    assert read_all(path, size) == texts


@given(TEXTS, st.integers(1, 4), st.integers(1, 5))
def test_parquet_is_read_whole(tmp_path_factory, texts, size, group):
    path = tmp_path_factory.mktemp("texts") / "texts.parquet"
    table = pa.table({"n": pa.array(range(len(texts)), pa.int16()), "text": pa.array(texts, "str")})
    pq.write_table(table, path, row_group_size=group)
    assert read_all(path, size) == texts


def test_shards_depend_on_the_input_alone(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": str(n)} for n in range(10)])
    first, second = cut([path], 4), cut([path], 4)
    assert first == second
    assert [(shard.first, shard.count) for shard in first[1]] == [(0, 4), (4, 4), (8, 2)]
    path.write_bytes(path.read_bytes().replace(b"9", b"8"))
    assert cut([path], 4)[0] != first[0]


def test_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"text": "Ada"}\n')
    reader().check(path)
    assert read_all(path, 9) == ["Ada"]


def test_docs_keep_their_tokens(tmp_path):
    nlp = spacy.blank("en")
    docs = [nlp(text) for text in ("Ada met Bob.", "It rained.", "No.")]
    path = tmp_path / "docs.spacy"
    DocBin(docs=docs).to_disk(path)
    _, shards = cut([path], 2)
    reading = reader()
    batches = [reading.read(shard).batch for shard in shards]
    assert [batch.num_rows for batch in batches] == [2, 1]
    assert batches[0].column("text").to_pylist() == ["Ada met Bob.", "It rained."]
    assert batches[0].column(TOKENS).to_pylist()[1] == [[0, 2], [3, 9], [9, 10]]


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_dataset_of_hugging_faces(tmp_path, is_stream):
    """As `save_to_disk` writes it: parts in Arrow's streaming format, listed in state.json."""
    names = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    for n, name in enumerate(names):
        table = pa.table({"text": [f"{n} {k}" for k in range(3)]})
        new = pa.ipc.new_stream if is_stream else pa.ipc.new_file
        with new(tmp_path / name, table.schema) as writer:
            writer.write_table(table)
    state = {"_data_files": [{"filename": name} for name in names]}
    (tmp_path / "state.json").write_text(json.dumps(state))
    (tmp_path / "dataset_info.json").write_text("{}")
    files = find_files(str(tmp_path))
    assert [path.name for path in files] == names
    assert read_all(files[1], 2) == ["1 0", "1 1", "1 2"]


def test_several_datasets_in_a_folder(tmp_path):
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(ValueError, match=r"\[P501\].*train.*test"):
        find_files(str(tmp_path))


def test_files_folders_and_globs(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "inner/c.jsonl", "_SUCCESS", ".b.jsonl.crc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"text": ""}\n')
    in_folder = [path.relative_to(tmp_path).as_posix() for path in find_files(str(tmp_path))]
    assert in_folder == ["a.jsonl", "b.jsonl", "inner/c.jsonl"]
    assert [path.name for path in find_files(f"{tmp_path}/*.jsonl")] == ["a.jsonl", "b.jsonl"]
    assert [path.name for path in find_files(f"{tmp_path}/**/c.jsonl")] == ["c.jsonl"]
    assert find_files(str(tmp_path / "b.jsonl")) == [tmp_path / "b.jsonl"]


def test_a_glob_in_a_folder_with_brackets(tmp_path, monkeypatch):
    folder = tmp_path / "[2024]"
    folder.mkdir()
    write_jsonl(folder / "a.jsonl", [{"text": "Ada"}])
    monkeypatch.chdir(folder)
    assert find_files("*.jsonl") == find_files("a.jsonl") == [folder / "a.jsonl"]


def test_what_is_in_the_output_is_left_out(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"text": "Ada"}])
    out = tmp_path / "out"
    out.mkdir()
    write_jsonl(out / "part-00000.jsonl", [{"text": "Ada"}])
    (out / "notes.txt").write_text("")
    for source in (str(tmp_path), str(tmp_path / "**" / "*")):
        assert find_files(source, out) == [tmp_path / "a.jsonl"]
    with pytest.raises(ValueError, match=r"\[P514\]"):
        find_files(str(out / "*.jsonl"), out)


def test_fields_with_the_name_of_the_tokens_of_docs(tmp_path):
    DocBin(docs=[spacy.blank("en")("Ada")]).to_disk(tmp_path / "a.spacy")
    with pytest.raises(ValueError, match=r"\[P508\].*'tokens'.*--entities-field"):
        ShardReader("text", "tokens").check(tmp_path / "a.spacy")
    with pytest.raises(ValueError, match=r"\[P522\].*'tokens'.*--text-field"):
        ShardReader("tokens", "entities").check(tmp_path / "a.spacy")


def test_files_that_cannot_be_found_or_told(tmp_path):
    with pytest.raises(ValueError, match=r"\[P502\] There is no file .*missing"):
        find_files(str(tmp_path / "missing.jsonl"))
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "README").write_text("")
    with pytest.raises(ValueError, match=r"\[P503\].*README"):
        find_files(str(tmp_path))
    (tmp_path / "README").rename(tmp_path / "b.txt")
    with pytest.raises(ValueError, match=r"\[P504\].*a\.jsonl.*b\.txt"):
        find_files(str(tmp_path))


def test_line_ends_of_old_macs(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"Ada\rBob\r")
    with pytest.raises(ValueError, match=r"\[P506\] Line 1"):
        cut([path], 9)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.spacy"])
def test_files_that_are_damaged(tmp_path, name):
    (tmp_path / name).write_bytes(b"no such thing")
    with pytest.raises(ValueError, match=rf"\[P\d+\].*{name}"):
        cut([tmp_path / name], 9)
    if name != "a.spacy":
        with pytest.raises(ValueError, match=rf"\[P505\].*{name}"):
            reader().check(tmp_path / name)


@pytest.mark.parametrize("count", [0, 2, 4])
@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.spacy"])
def test_files_that_change_meanwhile(tmp_path, name, count):
    def write(number: int) -> None:
        texts = [f"Ada {n}" for n in range(number)]
        if name.endswith(".spacy"):
            DocBin(docs=map(spacy.blank("en"), texts)).to_disk(tmp_path / name)
            return
        table = pa.table({"text": pa.array(texts, pa.string())})
        if name.endswith(".parquet"):
            pq.write_table(table, tmp_path / name)
            return
        with pa.ipc.new_file(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table)

    write(3)
    shards = cut([tmp_path / name], 2)[1]
    write(count)
    last = reader().read(shards[1]) if count == 4 else None
    if last is not None:
        # Rows behind the last one of before belong to no shard.
        assert last.batch.num_rows == 1
        return
    with pytest.raises(ValueError, match=r"\[P505\].*other records"):
        reader().read(shards[1])


def test_a_record_that_cannot_be_read_fails_alone(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [
        b'{"text": "Ada"}',
        b'{"text": "Bob"',
        b'["Cy"]',
        b'{"text": 4}',
        b'{"other": "Di"}',
        b'{"text": "\xff"}',
        b'{"text": "\\ud800"}',
        b'{"text": "Eve", "entities": []}',
        b'{"text": "Flo"}',
        b"[" * 100_000,
    ]
    path.write_bytes(b"\n".join(lines))
    (shard,) = cut([path], 20)[1]
    records = reader().read(shard)
    assert records.batch.column("text").to_pylist() == ["Ada", "Flo"]
    assert records.rows == [1, 9]
    assert [failure.row for failure in records.failures] == [*range(2, 9), 10]
    reasons = [failure.error for failure in records.failures]
    for reason, part in zip(
        reasons,
        ["delimiter", "list", "int", "missing", "utf-8", "surrogate", "already", "recursion"],
        strict=True,
    ):
        assert part in reason
    assert records.failures[0].record == '{"text": "Bob"'
    assert records.failures[3].record == {"other": "Di"}
    assert records.failures[4].record == '{"text": "\\xff"}'


def test_a_byte_order_mark_alone_is_no_record(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf\n{"text": "Ada"}\n')
    inputs, (shard,) = cut([path], 5)
    assert inputs[0].records == shard.count == 1
    assert reader().read(shard).rows == [2]


def test_fields_are_checked_ahead(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"body": "Ada", "entities": 1}])
    with pytest.raises(ValueError, match=r"\[P507\].*'text'.*body, entities"):
        reader().check(path)
    with pytest.raises(ValueError, match=r"\[P508\].*'entities'"):
        reader("body").check(path)
    table = pa.table({"body": ["Ada"]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"\[P507\].*body"):
        reader().check(tmp_path / "a.parquet")
    reader("body").check(tmp_path / "a.parquet")


@pytest.mark.parametrize("content", ["", "\n", "\ufeff", "\ufeff\n \n"])
def test_an_empty_file_has_no_fields(tmp_path, content):
    (tmp_path / "a.jsonl").write_text(content, encoding="utf8")
    reader().check(tmp_path / "a.jsonl")
    assert cut([tmp_path / "a.jsonl"], 9)[1] == []


@pytest.mark.parametrize(
    "content", ['[{"text": "Ada"}]', '{\n"text": "Ada"\n}', "Ada", "[" * 9**5], ids=len
)
def test_json_that_is_not_on_lines(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=r"\[P510\].*jq"):
        reader().check(tmp_path / "a.json")


def test_types_of_fields(tmp_path):
    records = [
        {"text": "a", "n": 1, "some": None},
        {"text": "b", "n": 2.5},
        {"text": "c", "some": "x"},
    ]
    path = write_jsonl(tmp_path / "a.jsonl", records)
    schema = infer_schema(cut([path], 1)[1], reader())
    assert schema == pa.schema([("text", "str"), ("n", pa.float64()), ("some", "str")])
    write_jsonl(path, [{"text": "a", "n": 1}, {"text": "b", "n": "two"}])
    for size in (1, 2):
        with pytest.raises(ValueError, match=r"\[P509\].*--to jsonl"):
            infer_schema(cut([path], size)[1], reader())
    # It is no number of those with fractions.
    write_jsonl(path, [{"text": "a", "n": 1.5}, {"text": "b", "n": 2**53 + 1}])
    for size in (1, 2):
        with pytest.raises(ValueError, match=r"\[P509\].*--to jsonl"):
            infer_schema(cut([path], size)[1], reader())
    for record in ({"text": "a", "n": {}}, {"text": "a", "n": "\ud800"}):
        path.write_text(json.dumps(record))
        with pytest.raises(ValueError, match=r"\[P509\].*--to jsonl"):
            infer_schema(cut([path], 1)[1], reader())


def test_a_reader_is_pickled_without_what_it_read(tmp_path):
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"text": ["Ada" * 10_000]}), path)
    reading = reader()
    reading.read(cut([path], 1)[1][0])
    assert len(pickle.dumps(reading)) < 1000
    assert LINE not in reading.read(cut([path], 1)[1][0]).batch.schema.names


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (pa.scalar(1_000, pa.timestamp("ns")), datetime(1970, 1, 1, microsecond=1)),
        (pa.scalar(1, pa.timestamp("ns", "UTC")), "1970-01-01T00:00:00.000000001Z"),
        (pa.scalar(2_000, pa.duration("ns")), timedelta(microseconds=2)),
        (pa.scalar(2, pa.duration("ns")), "2 ns"),
        (pa.scalar(3_000, pa.time64("ns")), time(microsecond=3)),
        (pa.scalar(3, pa.time64("ns")), "00:00:00.000000003"),
        (pa.scalar([{"at": 1_000}], pa.list_(pa.struct({"at": pa.duration("ns")}))), None),
        (pa.array([1_000], pa.timestamp("ns")).dictionary_encode()[0], None),
        (pa.scalar(None, pa.timestamp("ns")), "none"),
        (pa.scalar(1.5), 1.5),
        (pa.scalar({"a": [1, None]}), {"a": [1, None]}),
    ],
)
def test_values_are_the_same_with_and_without_pandas(value, expected):
    found = to_python(value)
    if expected is None:
        found = found[0]["at"] if isinstance(found, list) else found
        assert type(found) in (datetime, timedelta)
    else:
        assert found == (None if expected == "none" else expected)
        assert type(found) in (datetime, timedelta, time, str, float, dict, type(None))
