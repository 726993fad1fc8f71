"""`archsim sweep`: rows in a store, a summary, tables for other programs, and progress on stderr."""

import csv
import json
import sqlite3
from pathlib import Path

import pytest

import mappers
from archsim.cli import FAULT, UNFIT, WRONG, main
from archsim.report.progress import SweepProgress
from archsim.report.rows.row import Row

SWEEP = """
design: toy
model: toy_llm
phase: decode
over:
  context: [3, 4, 1000]
  units.ddr.bandwidth: [1 B/cycle, 2 B/cycle]
least: seconds
constraints: {seconds: {at_most: 0.00075}}
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch, capsys):
    """Runs `archsim sweep toy.yaml` with these words in a folder of its own: its status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    Path("toy.yaml").write_text(SWEEP)

    def run(*words):
        status = main(["sweep", "toy.yaml", *words])
        return status, *capsys.readouterr()

    return run


def test_a_sweep_is_kept_and_summed_up(sweep):
    status, out, said = sweep("--jobs", "1")
    assert (status, said) == (0, "6 rows of this sweep are in toy.db\n")
    head, order, names, *lines = out.splitlines()
    assert head == "toy_llm on toy: 6 points, 3 done, 1 outside, 2 refused"
    assert order == "best first: least seconds"
    assert names.split() == ["#", "context", "units.ddr.bandwidth", "seconds", "status", "caveats", "problem"]
    assert [line.split()[0] for line in lines[:6]] == ["1", "3", "0", "2", "4", "5"]
    assert "seconds: 0.000758 is above 0.00075" in lines[3]
    assert sqlite3.connect("toy.db").execute("SELECT count(*) FROM rows").fetchone() == (6,)
    told = "store toy.db: has 6 rows; resume (--resume) goes on with them, or name another store\n"
    assert sweep() == (WRONG, "", told)
    assert sweep("--resume") == (0, out, said)
    assert sweep("--store", "other.db", "--jobs", "2") == (0, out, "6 rows of this sweep are in other.db\n")


def test_rows_for_other_programs(sweep):
    status, out, _ = sweep("--jobs", "1", "--json", "--export", "csv")
    assert status == 0
    rows = json.loads(out)
    with open("toy.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["status"] for row in table] == [row["status"] for row in rows]
    assert [float(row["seconds"]) for row in table[:4]] == [row["seconds"] for row in rows[:4]]
    assert table[4]["seconds"] == ""
    assert sweep("--resume", "--export", "json")[2].endswith("wrote toy.json\n")
    assert json.loads(Path("toy.json").read_text()) == rows
    pandas = pytest.importorskip("pandas")
    sweep("--resume", "--export", "parquet")
    frame = pandas.read_parquet("toy.parquet")
    assert list(frame["units.ddr.bandwidth"]) == [1e6, 2e6] * 3
    assert list(frame["seconds"][:4]) == [row["seconds"] for row in rows[:4]]


def test_a_table_that_cannot_be_written_takes_no_summary_away(sweep):
    Path("toy.csv").mkdir()
    status, out, said = sweep("--jobs", "1", "--export", "csv", "--force")
    assert status == WRONG
    assert out.startswith("toy_llm on toy: 6 points")
    assert "toy.csv" in said


def test_a_table_takes_the_place_of_nothing(sweep):
    Path("toy.csv").write_text("mine")
    told = "--export: toy.csv is there already; give --force to write over it, or move it away\n"
    assert sweep("--export", "csv") == (WRONG, "", told)
    assert sweep("--export", "csv", "--store", "a.csv")[2].startswith("--export: a.csv is the store; name another")
    assert Path("toy.csv").read_text() == "mine"
    assert not Path("toy.db").exists()
    assert sweep("--export", "csv", "--force", "--jobs", "1")[0] == 0
    assert Path("toy.csv").read_text().startswith("context,")


def test_a_sweep_of_which_no_point_fits_says_so_by_its_status(sweep):
    Path("toy.yaml").write_text(SWEEP.replace("[3, 4, 1000]", "[1000]"))
    assert sweep("--jobs", "1")[0] == UNFIT


def test_a_fault_ends_in_its_status(sweep, monkeypatch):
    monkeypatch.setattr("mappers.experiment.point.run", lambda *_, **__: 1 / 0)
    status, out, _ = sweep("--jobs", "1")
    assert status == FAULT
    assert "internal fault: ZeroDivisionError: division by zero" in out


def test_a_sweep_file_is_checked_and_described(sweep, capsys):
    assert main(["check", "toy.yaml"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "toy.yaml: sweep of toy_llm on toy, decode: grid, 6 points",
        "toy.yaml:   over context: 3 values, 3, 4, 1000",
        "toy.yaml:   over units.ddr.bandwidth: 2 values, 1 B/cycle, 2 B/cycle",
        "toy.yaml:   least seconds",
        "toy.yaml:   seconds at most 0.00075",
    ]
    assert main(["schema", "sweep"]) == 0
    assert "constraints" in capsys.readouterr().out


def test_a_file_from_python_is_the_same_sweep(sweep):
    sweep("--jobs", "1")
    done = []
    swept = mappers.sweep_file("toy.yaml", store="toy.db", resume=True, progress=done.append)
    assert all(one.stored for one in done)
    assert [row.status for row in swept] == ["done", "done", "outside", "done", "refused", "refused"]


def test_progress_counts_what_is_stored_apart(capsys, monkeypatch):
    now = iter(range(0, 1000, 2))
    monkeypatch.setattr("archsim.report.progress.time.monotonic", lambda: next(now))
    with SweepProgress(best_by="seconds", larger=False) as shown:
        shown.add(Row({"a": 1}, {"seconds": 3.0}), total=10, stored=True)
        assert shown.text() == "1 of 10 points; best seconds 3 at a=1"
        shown.add(Row({"a": 2}, status="refused", problem="no"), total=10, stored=False)
        shown.add(Row({"a": "\x1b[2J"}, {"seconds": 2.0}), total=10, stored=False)
        shown.add(Row({"a": 4}, {"seconds": 1.0}, status="outside", problem="no"), total=10, stored=False)
        text = shown.text()
    assert text.startswith("4 of 10 points; 1 refused; 1 outside; ")
    assert text.endswith("s left; best seconds 2 at a=\\x1b[2J")
    assert capsys.readouterr().err.count("\n") >= 1
