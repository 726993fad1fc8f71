"""Where a run's time goes, by the parts under way, counted by hand."""

import pytest

import archsim
from dataflow import FORMATS, Graph, Schedule, Section, Served, Stream, Task, Tensor, every, work

UNITS = {name: {"kind": "vector", "ops": [], "lanes": 1} for name in ("ua", "ub", "uc")}


@pytest.mark.parametrize("latency, waiting", [(0, {}), (7, {"waiting": 7 * 2})])
def test_parts_share_the_cycles_in_which_they_are_under_way_together(latency, waiting):
    """a 0-3, then after the latency b for 2; c beside both from 0 to 1. All of it twice."""
    design = archsim.load_design("toy").with_({"units": {**UNITS, "ua": {**UNITS["ua"], "latency_cycles": latency}}})
    tasks = (
        Task("a", "ua", 1, every(work("copy", d=3)), gives={"s": every(1)}, part="first"),
        Task("b", "ub", 1, every(work("copy", d=2)), takes={"s": every(1)}, part="second"),
        Task("c", "uc", 1, every(work("copy", d=1)), part="second"),
    )
    section = Section("x", tasks, (Stream("s", 1),), repeat=2)
    report = archsim.simulate(Schedule(Graph("none"), "toy", "none", (section,)), design)
    assert report.cycles == 2 * (3 + latency + 2)
    # Both in the first cycle, half of it each; then the first alone, and in the end the second.
    assert report.parts == {"first": 2 * (0.5 + 2), "second": 2 * (0.5 + 2), **waiting}


def test_servers_repetitions_and_sections_without_the_unit_add_up():
    """Three firings of 3 on two servers take 6, twice; then another unit is alone for 5."""
    design = archsim.load_design("toy").with_({"units": {**UNITS, "ua": {**UNITS["ua"], "count": 2}}})
    shared = Section("x", (Task("a", "ua", 3, every(work("copy", d=3))),), (), repeat=2)
    other = Section("y", (Task("b", "ub", 1, every(work("copy", d=5))),), ())
    report = archsim.simulate(Schedule(Graph("none"), "toy", "none", (shared, other)), design)
    assert (report.cycles, report.firings, report.lower_bound_cycles) == (2 * 6 + 5, 2 * 3 + 1, 2 * 5 + 5)
    unit = report.units["ua"]
    assert (unit.busy_cycles, unit.idle_cycles) == (2 * 9, 2 * 3 + 2 * 5)
    assert unit.busiest_cycles == 9  # 4 1/2 a server, twice: rounded up once
    assert report.units["ub"].idle_cycles == 2 * 6
    assert report.bottleneck == "ua"


def test_an_op_is_timed_by_its_computing_tasks():
    """Twice: a read of 8 until 8, then a row on ua until 12 and one on ub, of two lanes, until 14."""
    units = {"ua": {**UNITS["ua"], "ops": ["add"]}, "ub": {**UNITS["ub"], "ops": ["add"], "lanes": 2}}
    ddr = {"kind": "memory", "capacity": "1 MiB", "bandwidth": "1 B/cycle"}
    design = archsim.load_design("toy").with_({"units": {**units, "ddr": ddr}})
    graph = Graph("sums")
    for name in ("x", "y"):
        graph.add_tensor(Tensor(name, (2, 4), FORMATS["fp16"], "input"))
    for name in ("first", "second"):
        graph.add(name, "add", ("x", "y"), format=FORMATS["fp16"])
    row, serves = every(work("add", rows=1, d=4)), (Served(("first", "second")),)
    tasks = (
        Task("read", "ddr", 1, every(work("read", bytes=8)), gives={"s": every(1)}, serves=serves),
        Task("a", "ua", 1, row, takes={"s": every(1)}, gives={"t": every(1)}, serves=serves),
        Task("b", "ub", 1, row, takes={"t": every(1)}, serves=serves),
    )
    section = Section("x", tasks, (Stream("s", 3), Stream("t", 3)), repeat=2)
    report = archsim.simulate(Schedule(graph, "toy", "none", (section,)), design)
    assert [(op.name, op.unit, op.start_cycle, op.end_cycle, op.busy_cycles) for op in report.ops] == [
        ("first", "ua", 8, 14, 6), ("second", "ua", 14 + 8, 14 + 14, 6),
    ]  # fmt: skip
    assert report.peaks == {"x: s": (1, 3, 0), "x: t": (1, 3, 0)}


@pytest.mark.parametrize(
    "stream, starved, blocked",
    [
        ("a > b", "input from a (75%)", "room before b (50%)"),
        ("a done > b", "a to finish (75%)", "room before b (50%)"),
        ("queue", "input in queue (75%)", "room in queue (50%)"),
    ],
)
def test_the_text_says_what_a_unit_waits_for_whatever_its_stream_is_called(stream, starved, blocked):
    """Three firings of 3 cycles give to three of 1; then three of 1 to three of 3.

    The one place is taken from the start of a to the end of b, so each token takes 4 cycles of 12: b waits 3 of each 4,
    a waits 3 for its second and its third token.
    """
    design = archsim.load_design("toy").with_({"units": UNITS})

    def row_of(unit, a, b):
        tasks = (
            Task("a", "ua", 3, every(work("copy", d=a)), gives={stream: every(1)}),
            Task("b", "ub", 3, every(work("copy", d=b)), takes={stream: every(1)}),
        )
        section = Section("x", tasks, (Stream(stream, 1),))
        report = archsim.simulate(Schedule(Graph("g"), "toy", "hand", (section,)), design)
        return next(line for line in str(report).splitlines() if line.startswith(unit))

    assert starved in row_of("ub", 3, 1), row_of("ub", 3, 1)
    assert blocked in row_of("ua", 1, 3), row_of("ua", 1, 3)
