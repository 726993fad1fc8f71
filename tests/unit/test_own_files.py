"""What archsim writes takes the place of what it wrote before, when a cell is run again, and of no other file."""

import json
import os

import pytest

import mappers
from archsim.errors import InputError
from reports import report_of

OTHERS = {
    "nothing": b"",
    "text": b"mine",
    "broken JSON": b'{"design": "mine",',
    "deep JSON": b"[" * 100_000,
    "no text": b"\xff\xfe\x00PAR1",
    "other JSON": json.dumps({"traceEvents": [], "displayTimeUnit": "ns", "otherData": {"archsim": "mine"}}).encode(),
    "other rows": json.dumps([{"name": "mine"}]).encode(),
    "no rows": json.dumps(["name", "cycles"]).encode(),
    "other columns": b"name,kind,unit\na,b,c\n",
    "a page": b"<!DOCTYPE html><title>mine</title>",
}


@pytest.fixture(scope="module")
def report():
    return report_of("toy")


@pytest.fixture(scope="module")
def other():
    return mappers.run("toy", "toy_llm", phase="decode", context=5)


def trace(report, path, **options):
    report.trace(path, **options)


def save(report, path, **options):
    report.save(path, **options)


def save_ops(report, path, **options):
    report.save(path, table="ops", **options)


WRITES = {"trace.json": trace, "report.json": save, "page.html": save, "ops.json": save_ops, "ops.csv": save_ops,
          "ops.parquet": save_ops}  # fmt: skip


@pytest.fixture(params=WRITES)
def written(request, tmp_path):
    return WRITES[request.param], tmp_path / request.param


def test_what_an_earlier_call_wrote_is_replaced(written, report, other):
    write, path = written
    write(other, path)
    first = path.read_bytes()
    write(report, path)
    assert path.read_bytes() != first
    write(other, path)
    assert path.read_bytes() == first


def test_other_files_stay_unless_forced(written, report):
    write, path = written
    for name, content in OTHERS.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"is there already and no \w+ of archsim; .*give force=True"):
            write(report, path)
        assert path.read_bytes() == content, name
    write(report, path, force=True)
    write(report, path)
    assert os.listdir(path.parent) == [path.name]


def test_a_report_and_its_tables_take_the_place_of_each_other(report, tmp_path):
    path = tmp_path / "one.json"
    for write in (save, save_ops, save):
        write(report, path)
    report.save(tmp_path / "one.csv", table="ops")
    report.save(tmp_path / "one.csv", table="units")


def test_a_trace_and_a_report_do_not(report, tmp_path):
    path = tmp_path / "one.json"
    report.trace(path)
    for write in (save, save_ops):
        with pytest.raises(InputError, match=r"is there already and no (report|table) of archsim"):
            write(report, path)
    report.save(path, force=True)
    with pytest.raises(InputError, match="is there already and no trace of archsim"):
        report.trace(path)


def test_a_table_without_rows_is_one(tmp_path):
    import archsim
    from dataflow import Graph, Schedule, Section, Task, every, work

    task = Task("load", "ddr", 2, every(work("read", bytes=3)))
    hand = Schedule(Graph("by hand"), "toy", "by hand", (Section("one", (task,), ()),))
    report = archsim.simulate(hand, archsim.load_design("toy"))
    for form in ("json", "csv", "parquet"):
        for _ in range(2):
            report.save(tmp_path / f"ops.{form}", table="ops")


def test_what_the_command_prints_is_a_report_too(report, tmp_path, capsys):
    from archsim.cli import DONE, main

    assert main(["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "4", "--json"]) == DONE
    (tmp_path / "report.json").write_text(capsys.readouterr().out)
    report.save(tmp_path / "report.json")


def test_a_file_that_cannot_be_read_stays(report, tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    report.save(path)

    def unreadable(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_bytes", unreadable)
    with pytest.raises(InputError, match="is there already and no report of archsim"):
        report.save(path)
