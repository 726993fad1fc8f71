"""The tables of a report: their sums are those of the run, and frames and files read back to the same numbers."""

import csv
import json
import os
import sys
from fractions import Fraction

import pandas
import pytest
from pandas.testing import assert_frame_equal

import archsim
import mappers
from archsim.cli import DONE, main
from archsim.errors import InputError
from archsim.report.json import as_json
from archsim.report.report import Report
from archsim.report.tables import TABLES, TEXTS, rows_of
from reports import RUNS, report_of


@pytest.fixture(params=RUNS)
def report(request) -> Report:
    return report_of(request.param)


@pytest.fixture
def toy() -> Report:
    return report_of("toy")


def test_the_time_of_each_unit_adds_up(report):
    units = report.to_frame("units").set_index("name")
    causes = units[["busy_cycles", "starved_cycles", "blocked_cycles", "idle_cycles"]].sum(axis=1)
    assert list(causes) == [n * report.cycles for n in units["count"]]
    assert list(units.index) == list(report.units)
    assert list(units["utilization"]) == [u.busy_cycles / u.total_cycles for u in report.units.values()]


def test_the_parts_add_up_to_the_time(report):
    parts = report.to_frame("parts")
    assert sum(map(Fraction, report.parts.values())) == report.cycles
    assert parts["cycles"].sum() == pytest.approx(report.cycles, rel=1e-12)  # of floats, each rounded once
    assert parts["seconds"].sum() == pytest.approx(report.seconds, rel=1e-12)
    assert parts["share"].sum() == pytest.approx(1, rel=1e-12)


def test_the_traffic_adds_up_to_the_bytes_moved(report):
    traffic = report.to_frame("traffic")
    sums = traffic.groupby(["unit", "way"])["bytes"].sum()
    for memory in report.traffic:
        for way in ("read", "written"):
            assert sums.get((memory, way), 0) == report.bytes_moved(memory, way)
    moved = {unit: n for (unit, way), n in sums.items() if way == "moved"}
    assert moved == {unit: sum(roles.values()) for unit, roles in report.carried.items() if roles}
    assert sums.sum() > 0


def test_ops_are_those_of_the_report(report):
    ops = report.to_frame("ops")
    assert [*ops.itertuples(index=False, name=None)] == [
        (op.name, op.kind, op.unit, op.start_cycle, op.end_cycle, op.busy_cycles) for op in report.ops
    ]


@pytest.mark.parametrize("table", TABLES)
def test_numbers_are_numbers_and_text_is_text(table, report):
    frame = report.to_frame(table)
    assert tuple(frame.columns) == TABLES[table].columns
    assert list(frame.index) == list(range(len(frame)))
    for name in frame.columns:
        kind = frame[name].dtype
        if name in TEXTS:
            assert pandas.api.types.is_string_dtype(kind)
        elif name in ("utilization", "share", "seconds", "energy_joules") or (table, name) == ("parts", "cycles"):
            assert kind == "float64"
        else:
            assert kind == "int64", name


def test_energy_that_is_not_modelled_is_missing_and_not_zero(toy):
    assert all(unit.energy_joules is None for unit in toy.units.values())
    assert toy.to_frame("units")["energy_joules"].isna().all()
    assert {row["energy_joules"] for row in rows_of(toy, "units")} == {None}


def test_json_is_built_of_the_same_rows(report):
    told = as_json(report)
    assert told["ops"] == rows_of(report, "ops")
    for row in rows_of(report, "units"):
        assert {"name": row["name"], **told["units"][row["name"]]}.items() >= row.items()
    assert told["parts"] == {row["name"]: row["cycles"] for row in rows_of(report, "parts")}
    for row in rows_of(report, "traffic"):
        if row["way"] == "moved":
            assert told["channels"][row["unit"]]["by_role"][row["role"]] == row["bytes"]
        else:
            assert told["memories"][row["unit"]]["by_role"][f"{row['way']} {row['role']}"] == row["bytes"]


def test_the_json_of_a_report_is_that_of_the_command(toy, tmp_path, capsys):
    assert main(["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "4", "--json"]) == DONE
    printed = capsys.readouterr().out
    told = json.loads(printed)
    assert told.pop("asked")["fields"] == {"context": 4}
    assert told == json.loads(toy.to_json()) == as_json(toy)
    toy.save(tmp_path / "report.json")
    assert (tmp_path / "report.json").read_text() == toy.to_json() + "\n"


@pytest.mark.parametrize("table", TABLES)
def test_files_read_back_to_the_same_numbers(table, report, tmp_path):
    frame = report.to_frame(table)
    for form in ("csv", "parquet", "json"):
        report.save(tmp_path / f"one.{form}", table=table)
    assert_frame_equal(pandas.read_parquet(tmp_path / "one.parquet"), frame)
    read = pandas.read_csv(tmp_path / "one.csv", keep_default_na=False, na_values={"energy_joules": [""]})
    assert_frame_equal(read, frame, check_exact=True)
    assert json.loads((tmp_path / "one.json").read_text()) == rows_of(report, table)


def test_the_ops_of_a_folder_are_the_same_file(toy, tmp_path, capsys):
    decode = ["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "4"]
    assert main([*decode, "--output", str(tmp_path / "run")]) == DONE
    toy.save(tmp_path / "ops.csv", table="ops")
    assert (tmp_path / "ops.csv").read_bytes() == (tmp_path / "run" / "ops.csv").read_bytes()


def test_names_with_commas_and_quotes_come_back(tmp_path):
    from dataflow import Graph, Schedule, Section, Task, every, work

    design = archsim.load_design("toy")
    name = 'load, "all" of it'
    task = Task(name, "ddr", 2, every(work("read", bytes=3)), part=name)
    hand = Schedule(Graph("by hand"), "toy", "by hand", (Section("one", (task,), ()),))
    report = archsim.simulate(hand, design)
    report.save(tmp_path / "parts.csv", table="parts")
    with open(tmp_path / "parts.csv", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == [name]
    assert len(report.to_frame("ops")) == 0
    assert report.to_frame("ops")["busy_cycles"].dtype == "int64"
    report.save(tmp_path / "ops.csv", table="ops")
    assert (tmp_path / "ops.csv").read_text() == ",".join(TABLES["ops"].columns) + "\n"


def test_equal_reports_give_equal_bytes(toy, tmp_path):
    again = mappers.run("toy", "toy_llm", phase="decode", context=4)
    for one, folder in ((toy, tmp_path / "a"), (again, tmp_path / "b")):
        folder.mkdir()
        one.save(folder / "report.json")
        one.save(folder / "units.csv", table="units")
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
               for name in os.listdir(tmp_path / "a"))  # fmt: skip


def test_a_file_that_cannot_be_written_leaves_what_was_there(toy, tmp_path, monkeypatch):
    place = tmp_path / "report.json"
    toy.save(place)
    before = place.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"report.json': cannot be written: No space left on device"):
        toy.save(place)
    assert place.read_bytes() == before
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_folder_is_no_file(toy, tmp_path):
    (tmp_path / "ops.csv").mkdir()
    with pytest.raises(InputError, match=r"ops.csv': cannot be written: is a directory; name a file in it"):
        toy.save(tmp_path / "ops.csv", table="ops")
    assert os.listdir(tmp_path / "ops.csv") == []


def test_without_the_libraries_the_way_to_them_is_said(toy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"^save: .parquet needs pyarrow.*; pip install 'archsim\[tables\]'"):
        toy.save(tmp_path / "ops.parquet", table="ops")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"^to_frame: needs pandas.*; pip install 'archsim\[tables\]'"):
        toy.to_frame("ops")
    with pytest.raises(InputError, match=r"^save '.*ops.parquet': needs pandas"):
        toy.save(tmp_path / "ops.parquet", table="ops")
    toy.save(tmp_path / "ops.csv", table="ops")  # which needs neither
    assert os.listdir(tmp_path) == ["ops.csv"]
