"""Exit status, text and JSON of the command line; no tracebacks."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

import archsim.run.schedule_run
from archsim.cli import DEADLOCK, DONE, FAULT, INTERRUPTED, OUTSIDE, WRONG, main
from archsim.errors import Deadlock

DECODE = ["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "3"]
KEYS = {
    "design", "model", "phase", "prompt", "context", "batch", "clock_hz", "cycles", "seconds", "tokens",
    "tokens_per_second", "lower_bound_cycles", "bottleneck", "energy_joules", "power_watts", "units", "memories", "ops",
    "coverage", "assumed", "engine", "version",
}  # fmt: skip
UNIT_KEYS = {"kind", "busy_cycles", "starved_cycles", "blocked_cycles", "idle_cycles", "utilization", "energy_joules"}
OP_KEYS = {"name", "kind", "unit", "start_cycle", "end_cycle", "busy_cycles"}


def said(capsys, *arguments, status=DONE):
    assert main([*arguments]) == status
    return capsys.readouterr()


def test_json_has_the_promised_keys(capsys):
    data = json.loads(said(capsys, *DECODE, "--json").out)
    assert set(data) >= KEYS
    assert all(set(unit) >= UNIT_KEYS for unit in data["units"].values())
    assert all(set(op) == OP_KEYS for op in data["ops"])
    assert set(data["memories"]["ddr"]) >= {"read_bytes", "written_bytes"}
    assert set(data["coverage"]) >= {"mapped", "approximated"}
    assert data["energy_joules"] is None
    assert data["units"]["mm"]["energy_joules"] is None
    assert (data["cycles"], data["context"], data["prompt"]) == (726, 3, None)


def test_text_fits_a_screen_and_says_what_is_assumed(capsys):
    text = said(capsys, "simulate", "tellme_kv260", "bitnet_b158_large", "--phase", "decode", "--context", "4").out
    assert len(text.splitlines()) <= 50
    for word in ("time", "throughput", "energy", "busiest", "starved", "ddr read", "175,279,104", "assumed", "fitted"):
        assert word in text


def test_a_folder_of_results_is_the_same_each_time(tmp_path, capsys):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        said(capsys, *DECODE, "--output", str(folder), "--set", "units.mm.macs_per_cycle=2")
    names = {"summary.json", "ops.csv", "design.yaml", "mapping.yaml", "manifest.json"}
    assert {p.name for p in folders[0].iterdir()} == names
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    manifest = json.loads((folders[0] / "manifest.json").read_text())
    assert set(manifest) >= {"versions", "outputs", "seed", "inputs"}
    assert all(len(read["sha256"]) == 64 for read in manifest["inputs"].values())
    assert len((folders[0] / "ops.csv").read_text().splitlines()) > 40
    again = said(capsys, "simulate", str(folders[0] / "design.yaml"), *DECODE[2:], "--json").out
    assert json.loads(again)["units"] == json.loads((folders[0] / "summary.json").read_text())["units"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    error = said(capsys, *DECODE, "--output", str(tmp_path / "taken" / "x"), status=WRONG).err
    assert "cannot be written" in error


def test_a_trace_is_written_beside_the_report(tmp_path, capsys):
    path = tmp_path / "trace.json"
    told = said(capsys, *DECODE, "--trace", str(path), "--json")
    assert told.err == f"wrote {path}: all firings of the first repetition of each section; later ones are equal\n"
    trace, report = json.loads(path.read_text()), json.loads(told.out)
    assert trace["otherData"]["cycles"] == report["cycles"]
    part = said(capsys, *DECODE, "--trace", str(path), "--trace-window", "10..30 us").err  # over the earlier trace
    assert part == f"wrote {path}: all firings of cycles 10 to 30\n"
    # What is wrong with a window of a run is known after the run, whose report is not lost.
    late = said(capsys, *DECODE, "--trace", str(path), "--trace-window", "1 s..", status=WRONG)
    assert late.out.startswith("toy")
    assert late.err == "trace: window: begins at cycle 1,000,000; the run ends at cycle 726 (726 us)\n"


def test_set_changes_the_result(capsys):
    plain = json.loads(said(capsys, *DECODE, "--json").out)
    fast = json.loads(said(capsys, *DECODE, "--json", "--set", "units.mm.macs_per_cycle=4").out)
    assert fast["cycles"] < plain["cycles"]


PUBLISHED = """
design: toy
model: toy_llm
source: counted by hand
points:
  time: {metric: seconds, phase: decode, tokens: 3, value: %s, conditions: none, mark: paper, tolerance: 0.01}
"""


@pytest.mark.parametrize("value, status", [("726 us", DONE), ("740 us", OUTSIDE)])
def test_compare_tells_by_its_status(value, status, tmp_path, capsys):
    path = tmp_path / "published.yaml"
    path.write_text(PUBLISHED % value)
    out = said(capsys, "compare", str(path), status=status).out
    assert value in out
    rows = json.loads(said(capsys, "compare", str(path), "--json", status=status).out)
    assert [row["holds"] for row in rows] == [status == DONE]


@pytest.mark.parametrize("what", ["designs", "models", "published", "kinds", "mappers"])
def test_lists(what, capsys):
    assert said(capsys, "list", what).out.strip()


@pytest.mark.parametrize("path", [[], ["memory"], ["units.table_lookup"], ["model"], ["published"], ["links"]])
def test_schema_in_text_and_json(path, capsys):
    assert "required" in said(capsys, "schema", *path).out
    assert "properties" in json.loads(said(capsys, "schema", *path, "--json").out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["simulate"],
        ["simulate", "toy", "toy_llm"],
        [*DECODE[:-1], "many"],
        ["check"],
        [*DECODE, "--nope"],
    ],
)
def test_a_wrong_command_line_is_told_in_a_line_or_two(arguments, capsys):
    error = said(capsys, *arguments, status=WRONG).err
    assert "Traceback" not in error
    assert 0 < len(error.splitlines()) <= 3


@pytest.mark.parametrize(
    "error, status",
    [
        (Deadlock("a waits for b, b waits for a"), DEADLOCK),
        (KeyboardInterrupt(), INTERRUPTED),
        (ZeroDivisionError(), FAULT),
    ],
)
def test_what_goes_wrong_inside_has_a_status_of_its_own(error, status, capsys, monkeypatch):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr("mappers.experiment.run.simulate", broken)
    err = said(capsys, *DECODE, status=status).err
    assert ("Traceback" in err) == (status == FAULT)


def test_the_installed_command_starts_from_anywhere(tmp_path):
    command = [sys.executable, "-m", "archsim", "check", "toy"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_run_is_checked_against_the_laws(monkeypatch, capsys):
    bound = archsim.run.schedule_run.bound
    monkeypatch.setattr(archsim.run.schedule_run, "bound", lambda *of: replace(bound(*of), cycles=10**9))
    assert "fewer than the lower bound" in said(capsys, *DECODE, status=FAULT).err
