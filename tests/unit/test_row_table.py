"""Rows as columns and files: numbers in base units, counted by hand on toy, and equal to what a design reads."""

import csv
import doctest
import json
import math
import sys
from fractions import Fraction

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archsim.report.rows.number
import archsim.report.rows.row
from archsim import InputError, load_design
from archsim.design.written import number_of, unit_of, written_at
from archsim.report.rows.file import export
from archsim.report.rows.row import Row
from archsim.report.rows.table import column, frame
from mappers import sweep

TOY, KV260, MACHINE = load_design("toy"), load_design("tellme_kv260"), load_design("streaming_machine")
BANDWIDTH, LATENCY, MACS = "units.ddr.bandwidth", "units.ddr.latency_cycles", "units.mm.macs_per_cycle"


def swept(over, **asked):
    same = {} if "context" in over else {"context": 3}
    return sweep("toy", "toy_llm", phase="decode", over=over, **same, **asked)


# Toy has a clock of 1 MHz.
WRITTEN = [
    (TOY, "clock", "250 MHz", 250e6, "Hz"),
    (TOY, BANDWIDTH, "8 GB/s", 8e9, "B/s"),
    (TOY, BANDWIDTH, "3 B/cycle", 3e6, "B/s"),
    (TOY, BANDWIDTH, "fast", None, "B/s"),
    (TOY, BANDWIDTH, 8, None, "B/s"),
    (TOY, MACS, 28, 28e6, "MAC/s"),
    (TOY, MACS, "1 GMAC/s", 1e9, "MAC/s"),
    (TOY, "units.ddr.capacity", "36 KiB", 36864, "B"),
    (TOY, LATENCY, 15, 15, "cycles"),
    (TOY, LATENCY, "60 us", 60, "cycles"),
    (TOY, LATENCY, "1500 ns", 2, "cycles"),
    (TOY, "units.ddr.request_overhead", "1500 ns", 1.5, "cycles"),
    (TOY, "units.ddr.count", 2, 2, "count"),
    (TOY, "units.ddr.count", "inf", math.inf, "count"),
    (TOY, "units.ddr.energy.read", "20 pJ", 20e-12, "J"),
    (TOY, "power", "2 W", 2.0, "W"),
    (KV260, "links.input.token_bits", "1 B", 8, "bit"),
    (KV260, "links.input.depth", 0, None, "count"),
    (MACHINE, "fifos.long", 6, 6, "count"),
]


@pytest.mark.parametrize(("design", "path", "value", "number", "unit"), WRITTEN)
def test_a_written_setting_as_a_number_counted_by_hand(design, path, value, number, unit):
    clock = {"clock": value} if path == "clock" else {}
    one = column([Row({path: value, **clock}, status="refused")], path, design)
    assert (one.numbers, one.unit) == ((number,), unit)
    assert number is not None or one.text(0) == str(value)
    assert one.is_numeric


@pytest.mark.parametrize(
    "path", ["name", "mapper", "units", "units.ddr", "units.ddr.kind", "units.ddr.energy", "units.nope.rate", "context",
             "selection.settings.ratio", "option.prediction", "resources.used.tlmm.lut"],
)  # fmt: skip
def test_what_is_no_quantity_of_the_design_is_a_plain_value(path):
    assert written_at(KV260, path) is None


def test_rates_are_per_second_by_the_clock_of_the_point():
    over = {"clock": ["1 MHz", "2 MHz", "soon"], BANDWIDTH: ["3 B/cycle", "3 MB/s"]}
    rows = swept(over)
    assert column(rows, BANDWIDTH, TOY).numbers == (3e6, 3e6, 6e6, 3e6, None, None)
    assert column(rows, "clock", TOY).numbers == (1e6, 1e6, 2e6, 2e6, None, None)
    assert column(rows, "clock", TOY).text(5) == "soon"
    assert column(rows, BANDWIDTH).numbers == (None,) * 6  # text stays text without a design
    assert column(rows, BANDWIDTH, TOY).keys[0] == column(rows, BANDWIDTH, TOY).keys[1]


def test_a_name_that_no_row_has():
    with pytest.raises(InputError) as caught:
        column(swept({"context": [3]}), "second")
    assert str(caught.value) == "no figure or setting 'second'; did you mean 'seconds'?"


def test_the_frame_counted_by_hand():
    rows = swept({"context": [3, 1000], BANDWIDTH: ["1 B/cycle", "fast"]})
    found = rows.to_frame()
    assert list(found["context"]) == [3, 3, 1000, 1000]
    assert found["context"].dtype == "int64"
    assert list(found[BANDWIDTH].fillna(-1)) == [1e6, -1, 1e6, -1]
    assert found["seconds"].iloc[0] == 726e-6  # of test_generate.py
    assert found["seconds"].isna().tolist() == [False, True, True, True]
    assert list(found["status"]) == ["done", "refused", "refused", "refused"]
    assert list(found["problem"]) == [row.problem for row in rows]
    assert list(found["caveats"]) == ["; ".join(row.caveats) for row in rows]
    assert [found.attrs["units"][name] for name in (BANDWIDTH, "seconds", "read_bytes.ddr")] == ["B/s", "s", "B"]
    assert "context" not in found.attrs["units"]
    figures = [name for name in rows[0].figures if name != "bottleneck"]
    assert {found[name].dtype.kind for name in figures} <= {"i", "f"}
    assert list(found.columns) == list(rows.as_dicts()[0])


def test_a_frame_of_no_rows_and_of_mixed_values():
    assert list(frame([]).columns) == ["caveats", "status", "problem"]
    found = frame([Row({"option.x": 3, "big": 2**70}), Row({"option.x": "auto", "big": 10**400}), Row({})])
    assert found["option.x"].tolist() == [3, "auto", None]
    assert found["big"].tolist()[:2] == [2.0**70, math.inf]


AMOUNTS = {
    BANDWIDTH: st.integers(1, 10**6).map(lambda n: f"{n} MB/s") | st.integers(1, 999).map(lambda n: f"{n} B/cycle"),
    "units.ddr.capacity": st.integers(1, 10**6).map(lambda n: f"{n} KiB"),
    LATENCY: st.integers(0, 99) | st.integers(0, 99).map(lambda n: f"{n} us"),
    MACS: st.integers(1, 99) | st.integers(1, 99).map(lambda n: f"{n} GMAC/s"),
    "units.ddr.count": st.integers(1, 9),
}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.fixed_dictionaries(AMOUNTS), max_size=5),
    st.sampled_from(["1 MHz", "250 MHz", "333.5 kHz"]),
)
def test_a_number_is_what_the_variant_reads_times_the_clock(points, clock):
    rows = [Row({"clock": clock, **point}) for point in points]
    found = frame(rows, TOY)
    assert len(found) == len(rows)
    for i, row in enumerate(rows):
        variant = TOY.with_(row.settings)
        assert found["clock"][i] == variant.clock
        for path in AMOUNTS:
            _, unit, name = path.split(".")
            read = getattr(variant.units[unit], name)
            per_second = Fraction(read) * (variant.clock if unit_of(written_at(TOY, path)).endswith("/s") else 1)
            assert found[path][i] == float(per_second)
            assert number_of(written_at(TOY, path), row.settings[path], variant.clock) == float(per_second)


@pytest.fixture
def rows():
    return swept({BANDWIDTH: ["1 B/cycle", "2 B/cycle", "fast"], "power": ["2 W"]})


def test_csv_and_json_have_settings_as_written(rows, tmp_path):
    rows.export(tmp_path / "rows.json")
    rows.export(str(tmp_path / "rows.csv"))
    assert json.loads((tmp_path / "rows.json").read_text()) == rows.as_dicts()
    with (tmp_path / "rows.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    texts = [{key: "" if value is None else str(value) for key, value in line.items()} for line in rows.as_dicts()]
    assert lines == texts
    assert [line[BANDWIDTH] for line in lines] == ["1 B/cycle", "2 B/cycle", "fast"]


def test_equal_sweeps_give_equal_bytes(rows, tmp_path):
    again = swept({BANDWIDTH: ["1 B/cycle", "2 B/cycle", "fast"], "power": ["2 W"]})
    for name in ("one.csv", "one.json"):
        rows.export(tmp_path / name)
        before = (tmp_path / name).read_bytes()
        again.export(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


def test_parquet_is_the_frame(rows, tmp_path):
    rows.export(tmp_path / "rows.parquet")
    found = pandas.read_parquet(tmp_path / "rows.parquet")
    # Text that is missing reads back as NaN, in a type of pandas' own.
    same = found.astype(object).where(found.notna(), None), rows.to_frame().astype(object)
    pandas.testing.assert_frame_equal(same[0], same[1].where(same[1].notna(), None))
    assert found.attrs["units"][BANDWIDTH] == "B/s"
    export([Row({"option.x": 3}), Row({"option.x": "auto"}), Row({})], tmp_path / "mixed.parquet")
    assert pandas.read_parquet(tmp_path / "mixed.parquet")["option.x"].tolist()[:2] == ["3", "auto"]


@pytest.mark.parametrize("name", ["none.csv", "none.json", "none.parquet"])
def test_no_rows_make_a_file_too(name, tmp_path):
    export([], tmp_path / name)
    assert (tmp_path / name).stat().st_size > 0


def test_what_json_does_not_have_is_text(tmp_path):
    export([Row({"ratio": math.nan}, {"seconds": math.inf})], tmp_path / "odd.json")
    assert json.loads((tmp_path / "odd.json").read_text())[0]["ratio"] == "nan"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rows.xlsx", "export 'rows.xlsx': has the suffix '.xlsx'; one of .csv, .json, .parquet names the form"),
        ("rows", "export 'rows': has no suffix; one of .csv, .json, .parquet names the form"),
        ("no/rows.csv", "export 'no/rows.csv': cannot be written: there is no folder 'no'; make it first"),
        ("file/rows.csv", "export 'file/rows.csv': cannot be written: Not a directory"),
        ("folder.csv", "export 'folder.csv': cannot be written: is a directory; name a file in it"),
        ("\0.csv", "export '\\x00.csv': cannot be written: a name cannot hold a null character"),
    ],
)
def test_what_cannot_be_exported_is_said(rows, name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError) as caught:
        rows.export(name)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["rows.csv", "rows.json", "rows.parquet"])
def test_a_file_that_is_not_finished_leaves_the_former(rows, name, tmp_path, monkeypatch):
    path = tmp_path / name
    path.write_text("former")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("archsim.files.whole.os.replace", full)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        rows.export(path)
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_without_the_libraries_the_way_to_them_is_said(rows, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pyarrow, which is not installed; pip install 'archsim\[tables\]'"):
        rows.export(tmp_path / "rows.parquet")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pandas, which is not installed; pip install 'archsim\[tables\]'"):
        rows.to_frame()
    rows.export(tmp_path / "rows.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize("module", [archsim.report.rows.row, archsim.report.rows.number])
def test_examples(module):
    assert doctest.testmod(module).failed == 0
