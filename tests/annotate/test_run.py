from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

pytest.importorskip("spacy")
pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq
import spacy
from typer.testing import CliRunner

from spacy_padellm.annotate import shards
from spacy_padellm.annotate.annotator import Annotator
from spacy_padellm.annotate.inputs import Shard
from spacy_padellm.annotate.run import FAILED, MANIFEST, Job, annotate_corpus, hash_weights
from spacy_padellm.annotate.shards import RUNNING, ShardResult, ShardWorker
from spacy_padellm.checkpoints.saving import save_checkpoint
from spacy_padellm.cli.app import create_app
from tests.annotate.pipelines import rule_pipeline
from tests.trained import trained_lm


@dataclass
class HereEngine:
    """Runs shards in this process, one after the other; is killed before some shard."""

    stop_before: int | None = None
    backwards: bool = False
    ran: tuple[int, ...] = ()

    def run(self, worker: ShardWorker, shards: Sequence[Shard]) -> Iterator[ShardResult]:
        for shard in reversed(shards) if self.backwards else shards:
            if shard.number == self.stop_before:
                raise KeyboardInterrupt
            self.ran = (*self.ran, shard.number)
            yield worker(shard)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    rule_pipeline({"Ada": "PER", "Rome": "LOC"}, component="fails_on_no").to_disk(
        tmp_path / "rules"
    )
    return tmp_path / "rules"


@pytest.fixture
def job(rules: Path, tmp_path: Path) -> Job:
    """Ten records, in shards of three. The fifth fails."""
    records = [{"id": n, "text": f"Ada {n} in Rome", "kept": {"a": [n, "x"]}} for n in range(10)]
    records[4]["text"] = "Ada says no"
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return Job(str(path), tmp_path / "out", Annotator(str(rules)), shard_size=3)


def read_jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


def test_records_keep_all_fields(job: Job):
    outcome = annotate_corpus(job, HereEngine())
    assert (outcome.texts, outcome.written, outcome.failed) == (10, 9, 1)
    names = [f"part-0000{n}.jsonl" for n in range(4)]
    assert sorted(path.name for path in job.output.iterdir()) == [FAILED, MANIFEST, *names]
    found = [record for name in names for record in read_jsonl(job.output / name)]
    assert [record["id"] for record in found] == [n for n in range(10) if n != 4]
    assert found[0] == {
        "id": 0,
        "text": "Ada 0 in Rome",
        "kept": {"a": [0, "x"]},
        "entities": [
            {"start": 0, "end": 3, "label": "PER", "score": None},
            {"start": 9, "end": 13, "label": "LOC", "score": None},
        ],
    }
    (failed,) = read_jsonl(job.output / FAILED)
    assert failed == {
        "file": job.source,
        "row": 5,
        "error": "fails_on_no: RuntimeError: it says no",
        "record": {"id": 4, "text": "Ada says no", "kept": {"a": [4, "x"]}},
    }


def test_the_order_of_shards_does_not_matter(job: Job, tmp_path: Path):
    other = replace(job, output=tmp_path / "other")
    annotate_corpus(job, HereEngine())
    annotate_corpus(other, HereEngine(backwards=True))
    assert parts(job.output) == parts(other.output)
    assert (job.output / FAILED).read_bytes() == (other.output / FAILED).read_bytes()


def test_a_run_that_was_stopped_goes_on(job: Job, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        annotate_corpus(job, HereEngine(stop_before=2))
    assert len(read_jsonl(job.output / FAILED)) == 1
    # What a killed run may leave: a part without a line, half a line, half a file, a mark.
    (job.output / "part-00002.jsonl").write_text("half")
    with (job.output / MANIFEST).open("a") as manifest:
        manifest.write('{"shard": 2, "file": "part-00002.jso')
    (job.output / ".partial-part-00003.jsonl-1").write_text("half")
    (job.output / RUNNING).mkdir()
    (job.output / RUNNING / "3").write_text("2")
    engine = HereEngine()
    outcome = annotate_corpus(job, engine)
    assert engine.ran == (2, 3)
    assert (outcome.texts, outcome.failed, outcome.given_up) == (10, 1, [])
    whole = replace(job, output=tmp_path / "whole")
    annotate_corpus(whole, HereEngine())
    assert parts(job.output) == parts(whole.output)
    assert sorted(each.name for each in job.output.iterdir()) == sorted(
        each.name for each in whole.output.iterdir()
    )
    again = HereEngine()
    assert annotate_corpus(job, again) == outcome
    assert again.ran == ()


def test_a_folder_that_was_begun_with_something_else(job: Job, tmp_path: Path):
    annotate_corpus(job, HereEngine())
    before = parts(job.output)
    rule_pipeline({"Ada": "NAME"}).to_disk(tmp_path / "others")
    for other, changed in (
        (replace(job, annotator=Annotator(str(tmp_path / "others"))), "another model"),
        (
            replace(job, annotator=Annotator(job.annotator.model, entities_field="e")),
            "entities field 'e', not 'entities'",
        ),
        (replace(job, shard_size=4), "shard size 4, not 3"),
    ):
        with pytest.raises(ValueError, match=rf"\[P512\].*: {changed}\. Pass"):
            annotate_corpus(other, HereEngine())
    with open(job.source, "a") as file:
        file.write('{"text": "more"}\n')
    with pytest.raises(ValueError, match=r"\[P512\].*: another input"):
        annotate_corpus(job, HereEngine())
    assert parts(job.output) == before


def test_model_and_texts_may_move(job: Job, rules: Path, tmp_path: Path):
    annotate_corpus(job, HereEngine())
    (tmp_path / "elsewhere").mkdir()
    source = Path(job.source).rename(tmp_path / "elsewhere" / "in.jsonl")
    rules = rules.rename(tmp_path / "elsewhere" / "rules")
    job = replace(job, source=str(source), annotator=Annotator(str(rules)))
    engine = HereEngine()
    annotate_corpus(job, engine)
    assert engine.ran == ()
    # But not change.
    with open(rules / "entity_ruler" / "patterns.jsonl", "a") as file:
        file.write('{"label": "LOC", "pattern": "Paris"}\n')
    with pytest.raises(ValueError, match=r"\[P512\].*model"):
        annotate_corpus(job, HereEngine())


def test_a_folder_of_other_files_is_not_written_to(job: Job):
    job.output.mkdir()
    (job.output / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"\[P513\]"):
        annotate_corpus(job, HereEngine())
    assert [path.name for path in job.output.iterdir()] == ["notes.txt"]


def test_the_folder_of_the_texts_is_not_written_to(job: Job, tmp_path: Path):
    with pytest.raises(ValueError, match=r"\[P514\]"):
        annotate_corpus(replace(job, output=tmp_path), HereEngine())


def test_the_folder_of_a_dataset_is_not_written_to(job: Job, tmp_path: Path):
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    (folder / "data.arrow").touch()
    with pytest.raises(ValueError, match=r"\[P514\]"):
        annotate_corpus(replace(job, source=str(folder), output=folder), HereEngine())


def test_a_folder_without_results_can_still_be_of_another_model(job: Job):
    with pytest.raises(KeyboardInterrupt):
        annotate_corpus(job, HereEngine(stop_before=0))
    # A killed run may have written a part that is not in the manifest.
    (job.output / "part-00003.jsonl").write_text("")
    assert annotate_corpus(replace(job, shard_size=5), HereEngine()).failed == 1
    assert len(parts(job.output)) == 2


def test_the_manifest_says_where_records_come_from(job: Job):
    annotate_corpus(job, HereEngine())
    head, *entries = read_jsonl(job.output / MANIFEST)
    assert head["made_from"]["shard size"] == 3
    assert [(each["file"], each["input"], each["row"], each["texts"]) for each in entries] == [
        (f"part-0000{n}.jsonl", job.source, 3 * n + 1, min(3, 10 - 3 * n)) for n in range(4)
    ]


def test_two_runs_do_not_write_to_one_folder(job: Job):
    class Meanwhile(HereEngine):
        def run(self, worker: ShardWorker, shards: Sequence[Shard]) -> Iterator[ShardResult]:
            with pytest.raises(ValueError, match=r"\[P519\]"):
                annotate_corpus(job, HereEngine())
            yield from super().run(worker, shards)

    assert annotate_corpus(job, Meanwhile()).failed == 1
    assert not list(job.output.glob(".*"))


def test_nothing_is_begun_if_the_model_or_the_output_cannot_be(job: Job, tmp_path: Path):
    wrong = replace(job, annotator=Annotator("padellm_en_small:decod=tags"))
    with pytest.raises(ValueError, match=r"\[P426\].*decod"):
        annotate_corpus(wrong, HereEngine())
    with open(job.source, "a") as file:
        file.write('{"text": "x", "id": "ten"}\n')
    with pytest.raises(ValueError, match=r"\[P509\]"):
        annotate_corpus(replace(job, form="parquet"), HereEngine())
    assert not job.output.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"\[P417\]"):
        annotate_corpus(replace(job, output=tmp_path / "file" / "out"), HereEngine())


def test_a_model_that_cannot_be_loaded_fails_no_text(job: Job):
    lost = Annotator("padellm_en_small:model.device=cuda:99")
    with pytest.raises(ValueError, match=r"\[P045\].*cuda:99"):
        annotate_corpus(replace(job, annotator=lost), HereEngine())
    assert len(read_jsonl(job.output / MANIFEST)) == 1


def test_relative_paths(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The folder may be another where the work is done."""
    monkeypatch.chdir(tmp_path)
    relative = Job("in.jsonl", Path("out"), Annotator("rules"), shard_size=3)

    class Elsewhere(HereEngine):
        def run(self, worker: ShardWorker, shards: Sequence[Shard]) -> Iterator[ShardResult]:
            monkeypatch.chdir("/")
            yield from super().run(worker, shards)

    assert annotate_corpus(relative, Elsewhere()).failed == 1
    assert len(parts(tmp_path / "out")) == 4


def test_a_pipeline_that_is_missing(job: Job, tmp_path: Path):
    missing = replace(job, annotator=Annotator(str(tmp_path / "missing")))
    with pytest.raises(ValueError, match=r"\[P515\].*missing"):
        annotate_corpus(missing, HereEngine())
    assert not job.output.exists()


def test_an_empty_file(job: Job):
    Path(job.source).write_text("")
    job = replace(job, source=str(Path(job.source).rename(Path(job.source).with_suffix(".txt"))))
    outcome = annotate_corpus(job, HereEngine())
    assert (outcome.texts, outcome.failed) == (0, 0)
    assert [path.name for path in job.output.iterdir()] == [MANIFEST]


def test_parquet_keeps_its_types(job: Job, tmp_path: Path):
    table = pa.table(
        {
            "text": pa.array(["Ada", None, "in Rome", "no"], pa.large_string()),
            "n": pa.array([1, 2, 3, 4], pa.int8()),
            "at": pa.array([0, 1, 2, 3], pa.timestamp("s")),
            "raw": pa.array([b"\xff", None, b"", b""], pa.binary()),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=2)
    # Parquet has no seconds.
    table = pq.read_table(tmp_path / "in.parquet")
    job = replace(job, source=str(tmp_path / "in.parquet"))
    assert annotate_corpus(job, HereEngine()).failed == 2
    found = pa.concat_tables(map(pq.read_table, sorted(job.output.glob("part-*.parquet"))))
    assert found.drop_columns("entities").equals(table.take([0, 2]))
    labels = [[entity["label"] for entity in each] for each in found["entities"].to_pylist()]
    assert labels == [["PER"], ["LOC"]]
    failed = read_jsonl(job.output / FAILED)
    assert [(each["row"], each["record"]["at"]) for each in failed] == [
        (2, "1970-01-01T00:00:01"),
        (4, "1970-01-01T00:00:03"),
    ]


def test_parquet_to_json_lines(job: Job, tmp_path: Path):
    columns = {
        "text": ["Ada"],
        "raw": [b"\xff"],
        "f": [float("nan")],
        "at": pa.array([1], pa.duration("s")),
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    annotate_corpus(replace(job, source=str(tmp_path / "in.parquet"), form="jsonl"), HereEngine())
    (record,) = read_jsonl(job.output / "part-00000.jsonl")
    assert record["raw"] == "/w==" and record["f"] is None and record["at"] == "0:00:01"
    assert len(record["entities"]) == 1


def test_json_lines_to_parquet(job: Job, tmp_path: Path):
    records = [{"text": "Ada", "n": 1}, {"text": "Rome", "n": None, "x": {"y": [1]}}, {"text": "?"}]
    path = tmp_path / "typed.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    annotate_corpus(replace(job, source=str(path), form="parquet", shard_size=1), HereEngine())
    files = sorted(job.output.glob("part-*.parquet"))
    schemas = {str(pq.read_schema(path)) for path in files}
    assert len(files) == 3 and len(schemas) == 1
    found = pa.concat_tables(map(pq.read_table, files)).to_pylist()
    assert [each["n"] for each in found] == [1, None, None]
    assert [each["x"] for each in found] == [None, {"y": [1]}, None]
    assert [len(each["entities"]) for each in found] == [1, 1, 0]


def test_plain_text_has_a_record_for_each_line(job: Job, tmp_path: Path):
    (tmp_path / "in.txt").write_text("Ada\n\nRome\n")
    annotate_corpus(replace(job, source=str(tmp_path / "in.txt")), HereEngine())
    found = read_jsonl(job.output / "part-00000.jsonl")
    assert [each["text"] for each in found] == ["Ada", "", "Rome"]


def test_no_record_ends_the_run(job: Job, tmp_path: Path):
    """Whatever is in it: it is written, or it fails alone."""
    path = tmp_path / "odd.jsonl"
    lines = [
        '{"text": "Ada"}',
        '{"text": "\\ud800"}',
        '{"text": "Rome", "user": "\\ud83d"}',
        "[" * 9**5,
    ]
    path.write_text("\n".join(lines))
    outcome = annotate_corpus(replace(job, source=str(path)), HereEngine())
    assert (outcome.texts, outcome.failed) == (4, 2)
    found = [row for part in sorted(job.output.glob("part-*")) for row in read_jsonl(part)]
    assert [(row["text"], row.get("user")) for row in found] == [("Ada", None), ("Rome", "\ud83d")]
    failed = read_jsonl(job.output / FAILED)
    assert [each["row"] for each in failed] == [2, 4]
    assert failed[0]["record"] == {"text": "\ud800"}


def odd_rows() -> pa.Table:
    """Values that Python has no type for, and a text that is not UTF-8."""
    text = pa.array([b"Ada", b"\xff", b"Rome"]).view(pa.string())
    columns = {
        "nanoseconds": pa.array([1, 2, 3], pa.timestamp("ns")),
        "year 10000": pa.array([2_932_897] * 3, pa.date32()),
        "nested": pa.array([[{"at": 1}], None, []], pa.list_(pa.struct({"at": pa.duration("ns")}))),
        "other": pa.array([b"x", b"y", b"\xff"]).view(pa.string()),
        "no number": pa.array([float("nan"), float("inf"), 1.5]),
    }
    return pa.table({"text": text, **columns})


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_no_row_ends_the_run(job: Job, tmp_path: Path, form):
    path = tmp_path / "odd.parquet"
    pq.write_table(odd_rows(), path)
    outcome = annotate_corpus(replace(job, source=str(path), form=form), HereEngine())
    assert (outcome.texts, outcome.failed) == (3, 1)
    (failed,) = read_jsonl(job.output / FAILED)
    assert failed["row"] == 2 and "utf-8" in failed["error"]
    assert failed["record"]["text"] == r"\xff" and failed["record"]["no number"] is None
    if form == "parquet":
        found = pq.read_table(job.output / "part-00000.parquet")
        # What is no number equals nothing.
        kept = found.drop_columns(["entities", "no number"])
        assert kept.equals(pq.read_table(path).drop_columns("no number").take([0, 2]))
        return
    first, last = read_jsonl(job.output / "part-00000.jsonl")
    assert first["nanoseconds"] == "1970-01-01T00:00:00.000000001"
    assert first["year 10000"] == "10000-01-01" and first["nested"] == [{"at": "1 ns"}]
    assert (first["no number"], last["no number"]) == (None, 1.5)
    assert last["other"] == r"\xff"


def test_numbers_that_json_lacks_become_null(job: Job, tmp_path: Path):
    path = tmp_path / "odd.jsonl"
    path.write_text(
        '{"text": "Ada", "x": [1e999, NaN], "user": "\\ud83d"}\n{"text": 1, "x": NaN}\n'
    )
    annotate_corpus(replace(job, source=str(path)), HereEngine())
    content = (job.output / "part-00000.jsonl").read_text() + (job.output / FAILED).read_text()
    assert "NaN" not in content and "Infinity" not in content
    (record,) = read_jsonl(job.output / "part-00000.jsonl")
    assert record["x"] == [None, None] and record["user"] == "\ud83d"


def test_types_that_parquet_lacks(job: Job, tmp_path: Path):
    table = pa.table({"text": ["Ada"], "x": pa.array([{}], pa.struct([]))})
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ValueError, match=r"\[P509\].*a\.arrow.*--to jsonl"):
        annotate_corpus(replace(job, source=str(tmp_path / "a.arrow")), HereEngine())
    assert not job.output.exists()


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.spacy"])
def test_a_damaged_file_is_named(job: Job, tmp_path: Path, name):
    (tmp_path / name).write_bytes(b"no such thing")
    with pytest.raises(ValueError, match=rf"\[P\d+\].*{name}"):
        annotate_corpus(replace(job, source=str(tmp_path / name)), HereEngine())


def test_an_output_folder_among_the_texts(job: Job, tmp_path: Path):
    (tmp_path / "texts").mkdir()
    Path(job.source).rename(tmp_path / "texts" / "in.jsonl")
    inner = replace(job, source=str(tmp_path / "texts"), output=tmp_path / "texts" / "out")
    with pytest.raises(KeyboardInterrupt):
        annotate_corpus(inner, HereEngine(stop_before=2))
    engine = HereEngine()
    assert annotate_corpus(inner, engine).texts == 10
    assert engine.ran == (2, 3)


@pytest.mark.parametrize("tokens", [["Ada"], [1], [[9, 1]], None])
def test_columns_of_any_name_are_kept(tmp_path: Path, tokens):
    rules = tmp_path / "rules"
    rule_pipeline({"Ada": "PER"}).to_disk(rules)
    record = {"text": "Ada", "tokens": tokens, "error": "none", "failed": 1}
    pq.write_table(pa.Table.from_pylist([record]), tmp_path / "in.parquet")
    command = [
        "annotate",
        str(tmp_path / "in.parquet"),
        str(tmp_path / "out"),
        "--model",
        str(rules),
    ]
    done = CliRunner().invoke(create_app(), command)
    assert done.exit_code == 0, done.output
    (found,) = pq.read_table(tmp_path / "out" / "part-00000.parquet").to_pylist()
    assert found.pop("entities")[0]["label"] == "PER"
    assert found == record


def test_a_part_appears_only_when_it_is_whole(job: Job, monkeypatch: pytest.MonkeyPatch):
    def fail(record: dict) -> str:
        if record.get("id") == 1:
            raise OSError("no space left")
        return json.dumps(record) + "\n"

    monkeypatch.setattr(shards, "to_line", fail)
    with pytest.raises(OSError, match="no space left"):
        annotate_corpus(job, HereEngine())
    assert not parts(job.output)


def test_a_part_that_is_missing_is_made_again(job: Job):
    annotate_corpus(job, HereEngine())
    before = parts(job.output)
    (job.output / "part-00001.jsonl").unlink()
    engine = HereEngine()
    outcome = annotate_corpus(job, engine)
    assert engine.ran == (1,) and outcome.failed == 1
    assert parts(job.output) == before


def test_weights_outside_the_pipeline_belong_to_the_model(job: Job, tmp_path: Path):
    lm, settings = trained_lm()
    save_checkpoint(tmp_path / "weights", lm, settings)
    nlp = spacy.blank("en")
    model = {"name": str(tmp_path / "weights"), "save_weights": False}
    nlp.add_pipe("padellm_ner", config={"model": model})
    nlp.to_disk(tmp_path / "small")
    other = replace(job, annotator=Annotator(str(tmp_path / "small")))
    annotate_corpus(other, HereEngine())
    (tmp_path / "weights" / "more").write_text("changed")
    with pytest.raises(ValueError, match=r"\[P512\].*another model"):
        annotate_corpus(other, HereEngine())


def test_other_files_with_weights(tmp_path: Path):
    """A GGUF file, and the model that an adapter belongs to."""
    lm, settings = trained_lm()
    adapter, base, gguf = (tmp_path / name for name in ("adapter", "base", "model.gguf"))
    save_checkpoint(base, lm, settings)
    save_checkpoint(adapter, lm, settings)
    gguf.write_bytes(b"GGUF")
    described = {"base_model_name_or_path": str(base), "peft_type": "LORA"}
    (adapter / "adapter_config.json").write_text(json.dumps(described))
    for name, expected in ((adapter, [adapter, base]), (gguf, [gguf])):
        nlp = spacy.blank("en")
        model = {"name": str(name), "save_weights": False}
        nlp.add_pipe("padellm_ner", config={"model": model, "labels": ["PER"]})
        pipeline = tmp_path / f"of-{name.name}"
        pipeline.mkdir()
        nlp.config.to_disk(pipeline / "config.cfg")
        assert Annotator(str(pipeline)).find_weights() == expected
    before = hash_weights([gguf])
    gguf.write_bytes(b"GGUF, another")
    assert hash_weights([gguf]) != before


def test_the_driver_reads_no_weights(tmp_path: Path):
    """It may have neither the memory nor the device for them."""
    lm, settings = trained_lm()
    save_checkpoint(tmp_path / "weights", lm, settings)
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner", config={"model": {"name": str(tmp_path / "weights")}})
    nlp.to_disk(tmp_path / "saved")
    annotator = Annotator(str(tmp_path / "saved"), device="cuda:99")
    assert annotator.find_weights() == []
    with pytest.raises(ValueError, match=r"\[P045\]"):
        annotator.load()
    with pytest.raises(ValueError, match=r"\[P426\].*wrong"):
        Annotator(f"{tmp_path / 'saved'}:wrong=1").find_weights()


def test_a_model_that_kills_its_process_when_it_is_loaded(job: Job, tmp_path: Path):
    """A cluster may start processes anew again and again."""
    worker = ShardWorker(job.annotator, tmp_path, "jsonl")
    (tmp_path / RUNNING).mkdir()
    (tmp_path / RUNNING / "0-loading").write_text("3")
    shard = Shard(0, job.source, "jsonl", 0, 1)
    with pytest.raises(OSError, match=r"\[P511\]"):
        worker(shard)


def test_an_input_that_shrinks_meanwhile(job: Job):
    class Shrinks(HereEngine):
        def run(self, worker: ShardWorker, shards: Sequence[Shard]) -> Iterator[ShardResult]:
            Path(job.source).write_text("")
            yield from super().run(worker, shards)

    with pytest.raises(ValueError, match=r"\[P505\].*shorter"):
        annotate_corpus(job, Shrinks())
