"""Sweeps: rows equal to single runs, refusals as rows, one run of a rule for all hardware, and rows that none beats."""

import csv
import doctest
import io
from functools import lru_cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import archsim.selection.rule_run
import mappers
import mappers.experiment.point
import mappers.experiment.sweep
from archsim import Deadlock, InputError, MappingError, load_design, load_model, load_selection
from archsim.report.rows import row as rows_of_sweeps
from mappers import Row, pareto, sweep

TOY, VIDEO = load_design("toy_retrieval"), load_model("toy_video")
PLAIN, LLM = load_design("toy"), load_model("toy_llm")
RESV, FULL = load_selection("resv"), load_selection("full")
LINK, RATIO = "units.pcie.bandwidth", "selection.settings.ratio"
LINKS, RATIOS = ["1 B/cycle", "3 B/cycle"], [0.1, 0.9]
TOKEN_BYTES, LAYERS, CACHED, FRAME = 2 * 2 * 2, 2, 32, 3  # key and value of a head of 2 in FP16, before a frame


def swept(over, *, selection=RESV, phase="frame", **asked):
    return sweep(TOY, VIDEO, phase=phase, over=over, selection=selection, **asked)


def test_each_row_is_the_run_of_its_variant_the_last_path_fastest():
    over = {"context": [8, 20], LINK: LINKS, RATIO: RATIOS, "option.prediction": ["this", "previous"]}
    rows = swept(over)
    assert [tuple(row.settings.values()) for row in rows] == list(product(*over.values()))
    assert all(list(row.settings) == list(over) for row in rows)
    for row in rows:
        context, link, ratio, prediction = row.settings.values()
        single = mappers.run(
            TOY.with_({LINK: link}), VIDEO, phase="frame", context=context,
            selection=RESV.with_({"settings.ratio": ratio}), options={"prediction": prediction},
        )  # fmt: skip
        assert row.problem is None
        assert row["cycles"] == single.cycles
        assert row["mass_recall"] == single.selected.mass_recall
        assert row["read_bytes.ssd"] == single.bytes_moved("ssd", "read")
        assert row.caveats == single.caveats
        assert str(rows.report(row)) == str(single)
    assert len({row["cycles"] for row in rows}) > 8


def test_measures_counted_by_hand():
    shares = [0.0, 0.25, 1.0]
    rows = swept({"selection.resident": shares}, selection=FULL, context=CACHED + FRAME)
    token = TOKEN_BYTES * LAYERS
    for share, row in zip(shares, rows, strict=True):
        report = rows.report(row)
        assert row["read_bytes.ssd"] == (1 - share) * CACHED * token
        assert row["read_bytes.dram"] == report.bytes_moved("dram", "read")
        assert row["written_bytes.dram"] == report.bytes_moved("dram", "written")
        assert row["utilization.pcie"] == report.units["pcie"].utilization
        assert (row["kept"], row["hit_rate"]) == (1.0, share)
        assert (row["mass_recall"], row["top_recall"], row["output_error"]) == (1.0, 1.0, 0.0)
        assert row["seconds"] == row["cycles"] / 1e6
        assert row["frames_per_second"] == 1 / row["seconds"]
        assert row["tokens_per_second"] == FRAME / row["seconds"]
        assert row["energy_joules"] is None


def test_what_the_phase_does_not_have_is_none():
    rows = sweep(PLAIN, LLM, phase="decode", over={"power": ["2 W"], "context": [3, 4]})
    assert [row["seconds"] for row in rows] == [726e-6, 758e-6]  # of test_generate.py; 32 cycles for another key
    for row in rows:
        assert row["energy_joules"] == 2 * row["seconds"]
        assert row["frames_per_second"] is None
        assert all(row[name] is None for name in rows_of_sweeps.OF_A_SELECTION)


def test_each_phase_is_swept():
    (row,) = sweep(PLAIN, LLM, phase="generate", over={"tokens": [4]}, prompt=2)
    assert row["cycles"] == mappers.run(PLAIN, LLM, phase="generate", prompt=2, tokens=4).cycles
    row, other = sweep(TOY, VIDEO, phase="question", over={"batch": [1, 2]}, prompt=2, context=9, engine="simpy")
    single = mappers.run(TOY, VIDEO, phase="question", prompt=2, context=9, batch=2)
    assert row["cycles"] < other["cycles"] == single.cycles
    (row,) = sweep(PLAIN, LLM, phase="attention", over={"mask": ["full"]}, prompt=2, context=2)
    assert row["cycles"] == mappers.run(PLAIN, LLM, phase="attention", prompt=2, context=2, mask="full").cycles
    (row,) = sweep(PLAIN, LLM, phase="decode", over={}, context=3)
    assert (row.settings, row["cycles"]) == ({}, 726)


def test_selections_by_name_and_as_objects():
    half = RESV.with_({"settings.ratio": 0.5})
    rows = swept({"selection": ["full", half], "selection.resident": [0.25, 0.5]}, selection=None, context=20)
    assert [rows.report(row).selected.algorithm for row in rows] == ["full", "full", "resv", "resv"]
    for row in rows[2:]:
        resident = row.settings["selection.resident"]
        single = mappers.run(TOY, VIDEO, phase="frame", context=20, selection=half.with_({"resident": resident}))
        assert row["cycles"] == single.cycles
    assert [row.as_dict()["selection"] for row in rows] == ["full"] * 2 + ["resv (settings.ratio=0.5)"] * 2


def test_numbers_of_arrays():
    rows = swept({RATIO: np.linspace(0.25, 0.75, 2), "context": np.arange(19, 21)})
    assert [row.settings for row in rows] == [{RATIO: r, "context": c} for r in (0.25, 0.75) for c in (19, 20)]
    assert all(type(value) in (int, float) for row in rows for value in row.settings.values())
    assert all(row.problem is None for row in rows)


def test_what_is_refused_is_a_row_with_the_message_of_the_run():
    over = {LINK: ["1 B/cycle", "fast"], "selection": ["topk", "resv"], "selection.settings.tokens": [4]}
    rows = swept({**over, "units.dram.capacity": ["1 MiB", "1 KiB"]}, selection=None, context=20)
    assert len(rows) == 8
    assert rows[0].problem is None
    assert rows[0]["cycles"] > 0
    told = [row.problem for row in rows]
    assert told[1].startswith("'toy_video': 'dram' is to hold weight 1.7 kB, norm 100 B, lm_head 64 B, fetched 88 B; ")
    assert told[2] == told[3]
    assert told[2].startswith("selection 'resv': settings.tokens: unknown setting; ")
    assert {text.split(" with ")[0] for text in told[4:]} == {"designs/toy_retrieval.yaml"}
    for row in rows[1:]:
        assert (row.status, row.figures, row.caveats) == ("refused", {}, ())
        assert row["seconds"] is row["read_bytes.dram"] is None
    small, four = TOY.with_({"units.dram.capacity": "1 KiB"}), load_selection("topk").with_({"settings.tokens": 4})
    with pytest.raises(MappingError) as refused:
        mappers.run(small, VIDEO, phase="frame", context=20, selection=four)
    assert told[1] == str(refused.value)


def test_a_deadlock_is_a_row():
    machine, asked = load_design("streaming_machine"), {"prompt": 4, "context": 4, "mask": "full"}
    options = {"form": "naive", "heads": "sequential"}
    stuck, done = sweep(machine, LLM, phase="attention", over={"fifos.long": [3, 6]}, options=options, **asked)
    with pytest.raises(Deadlock) as deadlock:
        mappers.run(machine.with_({"fifos.long": 3}), LLM, phase="attention", options=options, **asked)
    assert (stuck.status, stuck.problem) == ("deadlock", str(deadlock.value))
    assert done["cycles"] > 0


def test_rows_make_a_table_of_plain_values():
    rows = swept({"units.dram.capacity": ["1 KiB", "1 MiB"], RATIO: [0.5]}, context=20)
    lines = rows.as_dicts()
    for line in lines:
        assert list(line) == list(lines[0])
        assert list(line)[:2] == ["units.dram.capacity", RATIO]
        assert {"seconds", "read_bytes.ssd", "utilization.pcie", "bottleneck"} < set(line)
        assert list(line)[-3:] == ["caveats", "status", "problem"]
        assert all(value is None or type(value) in (int, float, str) for value in line.values())
    assert lines[1]["read_bytes.ssd"] == rows[1]["read_bytes.ssd"]
    assert lines[1]["mass_recall"] == rows[1]["mass_recall"]
    assert (lines[0]["status"], lines[0]["problem"]) == ("refused", rows[0].problem)
    table = csv.DictWriter(io.StringIO(), lines[0])
    table.writerows(lines)


def test_a_row_answers_by_name_and_refuses_what_it_has_not():
    row, refused = sweep(PLAIN, LLM, phase="decode", over={"context": [3, 1000]})
    assert (row["context"], row["cycles"], row["bottleneck"]) == (3, 726, "mm")
    with pytest.raises(InputError, match="no figure 'second'; did you mean 'seconds'"):
        row["second"]
    assert refused["seconds"] is refused["second"] is None


@pytest.fixture
def rule_runs(monkeypatch):
    """A list that gets an entry for each run of a rule; one run is kept at a time."""
    runs = []

    def counted(*given, **named):
        runs.append(1)
        return advance(*given, **named)

    advance = archsim.selection.rule_run.advance
    monkeypatch.setattr(archsim.selection.rule_run, "advance", counted)
    uncached = archsim.selection.rule_run._run_rule.__wrapped__
    monkeypatch.setattr(archsim.selection.rule_run, "_run_rule", lru_cache(maxsize=1)(uncached))
    return runs


HARDWARE = {
    LINK: [f"{n} B/cycle" for n in range(1, 6)],
    "units.dram.cache_region": ["64 B", "1 MiB"],
    "selection.resident": [0.0, 0.5],
    "option.layout": ["clustered", "scattered"],
}


def test_a_rule_runs_once_for_all_hardware(rule_runs):
    rows = swept(HARDWARE, context=20)
    assert len(rows) == 40
    assert not any(row.problem for row in rows)
    assert len(rule_runs) == 1


@pytest.mark.parametrize(
    "ruling", [{RATIO: [0.1, 0.5, 0.9]}, {"selection": ["resv", "infinigen"]}, {"context": [19, 20, 21]}]
)
def test_a_rule_runs_once_for_all_hardware_wherever_its_paths_stand(rule_runs, ruling):
    ((path, values),) = ruling.items()
    asked = {"context": 20} if path != "context" else {}
    base = {"selection": None if path == "selection" else RESV}
    over = {LINK: LINKS, **ruling, "batch": [1, 2]}
    rows = swept(over, **base, **asked)
    assert [tuple(row.settings.values()) for row in rows] == list(product(*over.values()))
    assert not any(row.problem for row in rows)
    assert len(rule_runs) == len(values)
    done = []
    again = sweep(TOY, VIDEO, phase="frame", over=over, progress=done.append, **base, **asked)
    assert [one.row.settings[path] for one in done] == [value for value in values for _ in range(len(LINKS) * 2)]
    assert [again.rows[one.place] for one in done] == [one.row for one in done]
    assert [str(row.settings) for row in again] == [str(row.settings) for row in rows]


@pytest.mark.parametrize(
    ("path", "values"),
    [("selection.resident", [0.0, 0.5]), ("selection.kept", [{"frame": 0.25}, {"frame": 0.5}])],
)
def test_a_rule_runs_once_for_what_does_not_change_it(rule_runs, path, values):
    rows = swept({path: values, RATIO: RATIOS}, context=20)
    assert not any(row.problem for row in rows)
    assert len({row["cycles"] for row in rows}) > 2
    assert len(rule_runs) == len(RATIOS)


@pytest.mark.parametrize(
    ("phase", "path", "asked"),
    [
        ("question", "prompt", {"context": 20}),
        ("generate", "tokens", {"prompt": 3}),
        ("generate", "prompt", {"tokens": 3}),
    ],
)
def test_rows_of_one_length_come_side_by_side(phase, path, asked):
    over = {LINK: LINKS, path: [2, 4]}
    done = []
    rows = sweep(TOY, VIDEO, phase=phase, over=over, selection=FULL, progress=done.append, **asked)
    assert not any(row.problem for row in rows)
    settings = [tuple(one.row.settings.values()) for one in done]
    assert settings == [(link, length) for length in (2, 4) for link in LINKS]


def test_a_fault_of_ours_is_a_row_and_is_told(monkeypatch, caplog):
    monkeypatch.setattr(mappers.experiment.point, "run", lambda *_, **__: 1 / 0)
    [row] = swept({"context": [8]})
    assert (row.status, row.problem) == ("fault", "internal fault: ZeroDivisionError: division by zero")
    assert "Traceback" in caplog.text


WRONG = {
    "units.pci.bandwidth: no 'pci' under 'units'; did you mean 'pcie'?": {"over": {"units.pci.bandwidth": [1]}},
    "units.pcie.bandwith: no 'bandwith' under 'units.pcie'; did you mean 'bandwidth'?": {
        "over": {"units.pcie.bandwith": [1]}
    },
    "clock.rate: 'clock' holds one value, not keys": {"over": {"clock.rate": [1]}},
    "clok: no 'clok' at the top; did you mean 'clock'?": {"over": {"clok": [1]}},
    "units.pcie.bandwidth: no values; give at least one": {"over": {LINK: []}},
    "units.pcie.bandwidth: expected a list of values, or a range such as {from: 1, to: 64}, got '1 B/cycle'\n"
    "context: expected a list of values, or a range such as {from: 1, to: 64}, got 20": {
        "over": {LINK: "1 B/cycle", "context": 20}
    },
    "selection.settngs.ratio: no 'settngs' at the top; did you mean 'settings'?": {
        "over": {"selection.settngs.ratio": [1]}
    },
    "selection.settings.ratio: no selection is given; give one, or a path 'selection' beside it": {
        "over": {RATIO: [1]}, "selection": None,
    },
    "selection: is given as one value and as values to sweep; give one of the two": {"over": {"selection": ["full"]}},
    "selection: no selection 'resvv'; did you mean 'resv'? (a path ends in .yaml)\n"
    "selection: expected a shipped name, a path or a Selection, got 3": {
        "over": {"selection": ["resvv", 3], RATIO: [1]}, "selection": None,
    },
    "option.predicton: mapper 'retrieval' has no such option; did you mean 'prediction'?": {
        "over": {"option.predicton": ["this"]}
    },
    "option.predicton: mapper 'tiled' has no such option; options are: mapping": {
        "over": {}, "options": {"predicton": "this"}, "mapper": "tiled", "selection": None,
    },
    "option.layout: is given as one value and as values to sweep; give one of the two": {
        "over": {"option.layout": ["clustered"]}, "options": {"layout": "clustered"},
    },
    "selection: mapper 'tiled' does not choose among cached keys\n"
    "selection.settings.ratio: mapper 'tiled' does not choose among cached keys": {
        "over": {RATIO: [1]}, "mapper": "tiled",
    },
    "unknown mapper 'tild'; mappers are: retrieval, spatial, table_lookup, tiled": {
        "over": {}, "mapper": "tild",
    },
    "context: is given as one value and as values to sweep; give one of the two": {"over": {"context": [8]}},
    "context: expected a whole number, got '8'\ncontext: expected a whole number, got true": {
        "over": {"context": ["8", True]}, "context": None,
    },
    "batch: expected a whole number, got 1.5": {"over": {}, "batch": 1.5},
    "phase frame takes --context: keys that the last token attends to, its own included": {"over": {}, "context": None},
    "phase frame takes --context, not --prompt": {"over": {"prompt": [8]}},
    "unknown phase 'fram'; did you mean 'frame'?": {
        "over": {}, "phase": "fram",
    },
    "sweep takes no 'contxt'; did you mean 'context'?": {"over": {}, "contxt": 8},
    "sweep takes no 'contxt'; did you mean 'context'?\n"
    "units.pcie.bandwidth: no values; give at least one\n"
    "phase frame takes --context: keys that the last token attends to, its own included\n"
    "units.pci.bandwidth: no 'pci' under 'units'; did you mean 'pcie'?\n"
    "selection.settngs: no 'settngs' at the top; did you mean 'settings'?\n"
    "option.predicton: mapper 'retrieval' has no such option; did you mean 'prediction'?": {
        "over": {LINK: [], "option.predicton": [1], "selection.settngs": [1], "units.pci.bandwidth": [1]},
        "contxt": 8, "context": None,
    },
}  # fmt: skip


@pytest.mark.parametrize(("message", "asked"), WRONG.items(), ids=[text.splitlines()[-1] for text in WRONG])
def test_what_no_combination_could_be_run_for_is_said_before_any_runs(message, asked, monkeypatch):
    monkeypatch.setattr(mappers.experiment.point, "run", None)
    with pytest.raises(InputError) as caught:
        sweep(TOY, VIDEO, **{"phase": "frame", "selection": RESV, "context": 20, **asked})
    assert str(caught.value) == message


def test_paths_that_are_not_written_but_may_be():
    over = {f"units.dram.energy.{way}": ["1 pJ", "2 pJ"] for way in ("read", "written")}
    rows = swept({**over, "selection.stream.seed": [1]}, context=20)
    assert not any(row.problem for row in rows)
    one, two = (rows.report(row).units["dram"].energy_joules for row in (rows[0], rows[-1]))
    assert two == 2 * one > 0


def test_mappers_are_swept_by_the_path_of_the_design():
    over = {"mapper": ["tiled", "retrieval"], "option.layout": ["scattered"], RATIO: [0.5]}
    rows = sweep(TOY.with_({"mapper": "tiled"}), VIDEO, phase="frame", over=over, selection=RESV, context=20)
    assert "mapper 'tiled' has no option 'layout'" in rows[0].problem
    assert rows.report(rows[1]).options["layout"] == "scattered"


def test_rows_have_the_same_keys_where_designs_have_other_memories():
    units = TOY.document.data["units"]
    fewer = {name: unit for name, unit in units.items() if name not in ("pcie", "ssd")}
    over = {"units": [units, fewer], "tiers": [["buffer", "dram", "pcie", "ssd"], ["buffer", "dram"]]}
    rows = swept(over, selection=FULL, context=20)
    assert [row.problem is None for row in rows] == [True, True, False, True]
    assert {tuple(line) for line in rows.as_dicts()} == {tuple(rows.as_dicts()[0])}
    assert "read_bytes.ssd" not in rows[3].figures


def row_of(seconds, kept, energy):
    figures = {
        "seconds": seconds, "frames_per_second": 1 / seconds if seconds else None, "tokens_per_second": None,
        "energy_joules": energy, "kept": kept, "mass_recall": kept, "read_bytes.dram": seconds, "bottleneck": "dram",
    }  # fmt: skip
    return Row({}, figures)


def test_pareto_counted_by_hand():
    refused = Row({}, status="refused", problem="no")
    fast, slow, worse, good = (row_of(*one) for one in ((1, 0.2, 5), (4, 0.9, None), (5, 0.9, 1), (3, 0.5, 5)))
    rows = [fast, slow, worse, good, refused]
    same = row_of(3, 0.5, 5)
    assert pareto([*rows, same], least=["seconds"], most=["mass_recall"]) == [fast, slow, good, same]
    assert pareto(rows, least=["seconds"]) == pareto(rows, most=["frames_per_second"]) == [fast]
    assert pareto(rows, least=["read_bytes.dram"], most=["kept"]) == [fast, slow, good]
    assert pareto(rows, least=["energy_joules"], most=["mass_recall"]) == [worse]
    assert pareto(rows, least="seconds", most="tokens_per_second") == []
    assert pareto([refused], least=["seconds"]) == pareto([], least=["read_bytes.dram"]) == []
    outside = Row({}, {**fast.figures, "seconds": 0.5}, status="outside", problem="seconds: 0.5 is below 1")
    assert pareto([outside, fast], least=["seconds"]) == [fast]


MEASURE = st.none() | st.integers(0, 3)


@given(st.lists(st.tuples(st.integers(0, 3), MEASURE, MEASURE), max_size=12))
def test_pareto_is_what_no_other_beats(points):
    """By the definition, each against each."""
    rows = [row_of(*point) for point in points]
    asked = [i for i, point in enumerate(points) if None not in point]

    def beats(one, other):
        pairs = [(one[0], other[0]), (-one[1], -other[1]), (one[2], other[2])]
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    expected = [i for i in asked if not any(beats(points[j], points[i]) for j in asked)]
    found = pareto(rows, least=["seconds", "energy_joules"], most=["kept"])
    assert [id(row) for row in found] == [id(rows[i]) for i in expected]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"least": ["second"]}, "unknown figure 'second'; did you mean 'seconds'?"),
        ({"most": ["read_bytes.ssd"]}, "unknown figure 'read_bytes.ssd'; did you mean 'read_bytes.dram'?"),
        ({"most": ["bottleneck"]}, "unknown figure 'bottleneck'; figures are: seconds, frames_per_second, "
         "tokens_per_second, energy_joules, kept, mass_recall, read_bytes.dram"),
        ({"least": ["kept"], "most": ["kept"]}, "kept: is named twice; name it once"),
        ({}, "least, most: no figure is named; name at least one"),
    ],
)
def test_measures_that_there_are_not(named, message):
    with pytest.raises(InputError) as caught:
        pareto([row_of(1, 1, 1)], **named)
    assert str(caught.value) == message


def test_examples():
    assert doctest.testmod(mappers.experiment.sweep).failed == 0
