"""Several ops in one task: sections counted by hand, rows of the report, laws that break, and what is refused."""

from __future__ import annotations

import doctest
from dataclasses import replace
from typing import Any

import pytest

import archsim
import archsim.run.roofline
import archsim.run.shares
import dataflow.pattern
import dataflow.task
from archsim import Design, Report, ScheduleError
from archsim.files.document import read_text
from archsim.report.json import as_json
from archsim.run.shares import apportioned
from dataflow import FORMATS, Box, Graph, Pattern, Schedule, Section, Served, Task, Tensor, every, sequence, work
from dataflow.task import ONE_TILE

# 4 MACs a cycle: 3 rows of k = 8 into q of 4 columns, k and v of 2 each.
ROWS, K, WIDTHS = 3, 8, {"q": 4, "k": 2, "v": 2}
HAND = """\
name: hand
source: counted by hand
clock: 1 MHz
mapping: {order: time, tile: whole, buffers: 1, ahead: op}
units:
  mm: {kind: matmul_array, macs_per_cycle: 4}
  vec: {kind: vector, ops: [add, softmax], lanes: 1}
  ddr: {kind: memory, capacity: 1 MiB, bandwidth: 1 B/cycle}
"""
FP16 = FORMATS["fp16"]


def design(**changes: Any) -> Design:
    return Design.read(read_text(HAND, path="hand.yaml")).with_(changes)


def projections(layers: int = 1) -> Graph:
    graph = Graph("projections")
    graph.add_tensor(Tensor("x", (ROWS, K), FP16, "input"))
    for layer in range(layers):
        for name, n in WIDTHS.items():
            weight = graph.add_tensor(Tensor(f"{layer}.{name}.w", (n, K), FP16, "weight"))
            graph.add(f"{layer}.{name}", "matmul", ("x", weight), format=FP16)
    return graph


def columns(n: int, *, step: int, rows: int = 1) -> Box:
    return range(1), range(0, ROWS, rows), range(0, K, K), range(0, n, step)


def product(n: int, rows: int = 1) -> Any:
    return work("matmul", m=rows, k=K, n=n)


def served(name: str, tiles: tuple[Box, ...] = (), per_firing: Pattern[int] = ONE_TILE, *, layers: int = 1) -> Served:
    return Served(tuple(f"{layer}.{name}" for layer in range(layers)), tiles, per_firing)


def row_by_row(layers: int = 1) -> Task:
    """A firing for each row, which computes all columns of q, k and v of that row."""
    serves = tuple(served(name, (columns(n, step=n),), layers=layers) for name, n in WIDTHS.items())
    return Task("qkv", "mm", ROWS, every(product(8)), serves=serves)


def in_stretches(layers: int = 1) -> Task:
    """For each row two firings of q, then one of k, then one of v, each of two columns."""
    turns = {"q": sequence((1, 2), (0, 2)), "k": sequence((0, 2), (1, 1), (0, 1)), "v": sequence((0, 3), (1, 1))}
    serves = tuple(served(name, (columns(n, step=2),), turns[name], layers=layers) for name, n in WIDTHS.items())
    return Task("qkv", "mm", 4 * ROWS, every(product(2)), serves=serves)


def across_an_edge() -> Task:
    """For each row three firings of 3, 3 and 2 columns of q, k and v side by side; the second has q, k and k."""
    turns = {"q": sequence((1, 2), (0, 1)), "k": sequence((0, 1), (1, 1), (0, 1)), "v": sequence((0, 2), (1, 1))}
    serves = tuple(
        served(name, (columns(n, step=3 if name == "q" else 2),), turns[name]) for name, n in WIDTHS.items()
    )
    return Task("qkv", "mm", 3 * ROWS, sequence((product(3), 2), (product(2), 1)), serves=serves)


def schedule(task: Task, layers: int = 1) -> Schedule:
    size = sum(n * K * 2 for n in WIDTHS.values())
    load = Task("load", "ddr", 1, every(work("read", bytes=size)), role="weight", part="")
    return Schedule(projections(layers), "hand", "by hand", (Section("all", (load, task), (), layers),))


def rows(report: Report) -> list[tuple[str, str, int, int, int]]:
    return [(op.name, op.unit, op.start_cycle, op.end_cycle, op.busy_cycles) for op in report.ops]


def test_a_firing_of_several_ops_is_shared_by_their_columns() -> None:
    """3 firings of 8 x 8 / 4 = 16 cycles, half of each for q, a quarter for k and for v; beside a load of 128."""
    report = archsim.simulate(schedule(row_by_row()), design())
    assert report.units["mm"].busy_cycles == 48
    assert rows(report) == [("0.q", "mm", 0, 48, 24), ("0.k", "mm", 0, 48, 12), ("0.v", "mm", 0, 48, 12)]
    assert [op["busy_cycles"] for op in as_json(report)["ops"]] == [24, 12, 12]
    assert [op["name"] for op in as_json(report)["ops"]] == ["0.q", "0.k", "0.v"]


def test_firings_of_one_op_after_another_are_its_own() -> None:
    """A firing is 2 x 8 / 4 = 4 cycles: 6 of q, 3 of k, 3 of v."""
    report = archsim.simulate(schedule(in_stretches()), design())
    assert rows(report) == [("0.q", "mm", 0, 48, 24), ("0.k", "mm", 0, 48, 12), ("0.v", "mm", 0, 48, 12)]


def test_the_firings_of_a_gang_are_shared_by_what_they_take() -> None:
    """Four lanes add 40 elements in 10 cycles, for q, then four times one element in a cycle, for k."""
    lanes = {"kind": "vector", "ops": ["add"], "lanes": 1, "count": 4}
    on = archsim.load_design("toy").with_({"units": {"u": lanes}})
    q = Served(("q",), ((range(1), range(0, 40, 40)),), sequence((1, 1), (0, 4)))
    k = Served(("k",), ((range(1), range(0, 4, 1)),), sequence((0, 1), (1, 4)))
    adds = sequence((work("add", rows=1, d=40), 1), (work("add", rows=1, d=1), 4))
    for servers, expected in ((1, [40, 4]), (4, [10, 4])):
        fused = Task("qk", "u", 5, adds, serves=(q, k), servers=servers)
        assert archsim.run.shares.shared(sum(expected), fused, Graph("g"), on) == expected


def test_a_tile_across_the_edge_of_two_ops_is_shared() -> None:
    """Firings of 6, 6 and 4 cycles: q has the first and a third of the second, k the rest of it, v the last."""
    report = archsim.simulate(schedule(across_an_edge()), design())
    assert [busy for *_, busy in rows(report)] == [3 * (6 + 2), 3 * 4, 3 * 4]


def test_each_repetition_has_ops_of_its_own() -> None:
    report = archsim.simulate(schedule(row_by_row(2), layers=2), design())
    assert report.cycles == 2 * 128
    assert rows(report) == [
        ("0.q", "mm", 0, 48, 24), ("0.k", "mm", 0, 48, 12), ("0.v", "mm", 0, 48, 12),
        ("1.q", "mm", 128, 176, 24), ("1.k", "mm", 128, 176, 12), ("1.v", "mm", 128, 176, 12),
    ]  # fmt: skip


def test_ops_without_tiles_share_by_their_own_work() -> None:
    """A single firing of everything, 3 x 8 x 8 / 5 = 38.4 cycles, rounded up to 39: 19.5, 9.75 and 9.75."""
    whole = Task("qkv", "mm", 1, every(product(8, ROWS)), serves=tuple(map(served, WIDTHS)))
    report = archsim.simulate(schedule(whole), design(**{"units.mm.macs_per_cycle": 5}))
    assert [busy for *_, busy in rows(report)] == [19, 10, 10]
    assert report.units["mm"].busy_cycles == 39


def test_ops_of_two_kinds_have_the_cycles_of_their_firings_not_their_operations() -> None:
    """A softmax is 5 operations an element and a sum is 1; a lane does an element of either in a cycle."""
    graph = Graph("two kinds")
    for name in ("x", "y"):
        graph.add_tensor(Tensor(name, (2, 6), FP16, "input"))
    graph.add("sum", "add", ("x", "y"), format=FP16)
    graph.add("weights", "softmax", ("y",), format=FP16)
    row = ((range(2), range(0, 6, 6)),)
    serves = (Served(("sum",), row, sequence((1, 1), (0, 1))), Served(("weights",), row, sequence((0, 1), (1, 1))))
    runs = sequence((work("add", rows=1, d=6), 1), (work("softmax", rows=1, d=6), 1))
    task = Task("both", "vec", 4, runs, serves=serves)
    report = archsim.simulate(Schedule(graph, "hand", "by hand", (Section("all", (task,), ()),)), design())
    assert rows(report) == [("sum", "vec", 0, 24, 12), ("weights", "vec", 0, 24, 12)]


@pytest.mark.parametrize("total", [0, 1, 7, 48, 10**15 + 1])
@pytest.mark.parametrize("weights", [[1], [1, 1], [3, 0, 4], [0, 0, 0], [5, 7, 11, 13]])
def test_parts_add_up_and_are_less_than_one_off(total: int, weights: list[int]) -> None:
    parts = apportioned(total, weights)
    assert sum(parts) == total
    whole = sum(weights)
    if whole:
        assert all(abs(part * whole - total * weight) < whole for part, weight in zip(parts, weights, strict=True))


def test_fused_ops_are_one_op_of_the_roofline() -> None:
    """At 64 MACs a cycle and a launch of none, a row of 8 x 8 takes 1 cycle; q, k and v alone would take 3."""
    one_row = replace(row_by_row(), firings=1)
    graph = Graph("row")
    graph.add_tensor(Tensor("x", (1, K), FP16, "input"))
    for name, n in WIDTHS.items():
        weight = graph.add_tensor(Tensor(f"{name}.w", (n, K), FP16, "weight"))
        graph.add(f"0.{name}", "matmul", ("x", weight), format=FP16)
    tiles = {name: ((range(1), range(1), range(0, K, K), range(0, n, n)),) for name, n in WIDTHS.items()}
    one_row = replace(one_row, serves=tuple(served(name, tiles[name]) for name in WIDTHS))
    fast = design(**{"units.mm.macs_per_cycle": 64, "units.ddr.bandwidth": "1 KiB/cycle"})
    report = archsim.simulate(replace(schedule(one_row), graph=graph), fast)
    assert report.cycles == 1
    assert report.roofline == (1, "mm")


def refused(make: Any) -> list[str]:
    with pytest.raises(ScheduleError) as raised:
        make()
    return [problem.removeprefix("section 'all': ") for problem in raised.value.problems]


def without(task: Task, name: str) -> Task:
    return replace(task, serves=tuple(each for each in task.serves if each.ops != (f"0.{name}",)))


def changed(task: Task, name: str, **changes: Any) -> Task:
    serves = (replace(each, **changes) if each.ops == (f"0.{name}",) else each for each in task.serves)
    return replace(task, serves=tuple(serves))


@pytest.mark.parametrize(
    "task, told",
    [
        (replace(row_by_row(), serves="0.q"), "serves are '0.q'; a tuple of Served"),
        (replace(row_by_row(), serves=("0.q",)), "serves are a list with '0.q'; a tuple of Served"),
        (replace(row_by_row(), serves=(Served("0.q"),)), "ops are '0.q'; a tuple of names, one a repetition,"),
        (changed(row_by_row(), "k", per_firing=2), "per_firing of op '0.k' is 2; a Pattern such as every(...)"),
        (changed(row_by_row(), "k", per_firing=every(1.5)), "tiles a firing of op '0.k' are 1.5; a whole number"),
    ],
)
def test_serves_of_another_type_are_refused(task: Task, told: str) -> None:
    assert refused(lambda: schedule(task)) == [f"task 'qkv': {told} is expected"]


@pytest.mark.parametrize(
    "task, told",
    [
        (changed(row_by_row(), "k", ops=("0.q",)), "names op '0.q' twice; one Served has all tiles of an op"),
        (changed(row_by_row(), "k", ops=("0.k", "1.k")), "names 2 ops for 1 repetitions"),
        (
            changed(row_by_row(), "k", tiles=()),
            "has tiles of op '0.q' and none of op '0.k'; of several ops each has its tiles, or none has",
        ),
        (
            changed(row_by_row(), "k", tiles=(columns(2, step=1),)),
            "has 3 computing firings and 6 tiles of op '0.k'; each firing computes one tile",
        ),
        (
            changed(in_stretches(), "k", tiles=(columns(2, step=1),)),
            "has 6 tiles of op '0.k' and computes 3 in 12 computing firings; per_firing says how many each firing "
            "computes",
        ),
        (
            changed(in_stretches(), "k", per_firing=sequence((-1, 1), (2, 1))),
            "computes a negative number of tiles of op '0.k' in a firing",
        ),
        (
            changed(in_stretches(), "v", per_firing=sequence((0, 1), (1, 1), (0, 2))),
            "computing firing 3 of 0 to 11 computes no tile of its ops",
        ),
    ],
)  # fmt: skip
def test_slices_that_do_not_fit_the_firings_are_refused(task: Task, told: str) -> None:
    (problem,) = refused(lambda: schedule(task))
    assert problem in (f"task 'qkv' {told}", f"task 'qkv': {told}")


@pytest.mark.parametrize("make", [row_by_row, in_stretches])
def test_an_op_that_is_missing_or_of_no_graph_is_told(make: Any) -> None:
    others = replace(row_by_row(), serves=without(row_by_row(), "k").serves)
    told = refused(lambda: archsim.simulate(schedule(others), design()))
    # The columns of k are still paid for, so q and v hold more than their work.
    assert [problem.split(": ", 1)[1] for problem in told] == [
        "mac: op '0.q' asks 96, its tiles in tasks of several ops do 128",
        "mac: op '0.v' asks 48, its tiles in tasks of several ops do 64",
        "op '0.k' is served by no task",
    ]
    foreign = changed(make(), "k", ops=("0.kk",))
    told = refused(lambda: archsim.simulate(schedule(foreign), design()))
    assert [problem.split(": ", 1)[1] for problem in told] == [
        "a task serves op '0.kk', which graph 'projections' does not have", "op '0.k' is served by no task",
    ]  # fmt: skip


def test_a_slice_that_is_double_breaks_the_law_of_each_op_though_the_sum_is_right() -> None:
    """Of 2 columns of q that k computes instead, no sum over all ops tells."""
    wide = (columns(2, step=2), columns(2, step=2))
    turns = {"q": sequence((1, 1), (0, 3)), "k": sequence((0, 1), (1, 2), (0, 1))}
    less = changed(in_stretches(), "q", tiles=wide[:1], per_firing=turns["q"])
    task = changed(less, "k", tiles=wide, per_firing=turns["k"])
    told = refused(lambda: archsim.simulate(schedule(task), design()))
    assert [problem.split(": ", 1)[1] for problem in told] == [
        "mac: op '0.q' asks 96, its tiles in tasks of several ops do 48",
        "mac: op '0.k' asks 48, its tiles in tasks of several ops do 96",
    ]


def test_a_firing_too_few_is_told_with_its_op() -> None:
    """The last firing of each row, and with it v, is left out."""
    lost = replace(without(in_stretches(), "v"), firings=3 * ROWS)
    turns = {"q": sequence((1, 2), (0, 1)), "k": sequence((0, 2), (1, 1))}
    for name, pattern in turns.items():
        lost = changed(lost, name, per_firing=pattern)
    told = refused(lambda: archsim.simulate(schedule(lost), design()))
    assert told[0].endswith(
        "mac: scheduled 144, the graph with what is recomputed and skipped asks 192; op '0.v' asks 48, its tasks do 0"
    )
    assert told[-1].endswith("op '0.v' is served by no task")


def test_a_load_of_several_ops_serves_them_and_leaves_their_rows_to_what_computes() -> None:
    made = schedule(row_by_row())
    (section,) = made.sections
    load = replace(section.tasks[0], serves=tuple(map(served, WIDTHS)))
    loaded = replace(made, sections=(replace(section, tasks=(load, *section.tasks[1:])),))
    assert rows(archsim.simulate(loaded, design())) == rows(archsim.simulate(made, design()))


def test_of_ops_without_tiles_nobody_says_whose_work_is_lost() -> None:
    lost = Task("qkv", "mm", 1, every(product(7, ROWS)), serves=tuple(map(served, WIDTHS)))
    (told,) = refused(lambda: archsim.simulate(schedule(lost), design()))
    assert told.endswith("mac: scheduled 168, the graph with what is recomputed and skipped asks 192")


def test_attention_under_two_masks_may_share_a_firing() -> None:
    """One sees 3 pairs of a query and a key, the other 4: as many places, not as much work. The sum is checked."""
    graph = Graph("masks")
    for name in "qkv":
        graph.add_tensor(Tensor(name, (2, 2), FP16, "input"))
    heads = {"batch": 1, "heads": 1, "kv_heads": 1}
    for name, causal in (("masked", True), ("whole", False)):
        graph.add(name, "attention", tuple("qkv"), format=FP16, causal=causal, **heads)
    box = (range(1), range(1), range(0, 2, 2), range(0, 2, 2))
    pairs = every(work("attention", heads=7, queries=1, keys=1, qk_dim=2))
    task = Task("both", "vec", 1, pairs, serves=(Served(("masked",), (box,)), Served(("whole",), (box,))))
    toy = archsim.load_design("toy")
    unit = next(name for name, unit in toy.units.items() if "attention" in unit.does)
    task = replace(task, unit=unit)
    report = archsim.simulate(Schedule(graph, "toy", "by hand", (Section("all", (task,), ()),)), toy)
    assert sum(op.busy_cycles for op in report.ops) == report.units[unit].busy_cycles == report.cycles


@pytest.mark.parametrize("module", [dataflow.pattern, dataflow.task, archsim.run.shares, archsim.run.roofline])
def test_examples_of_docstrings(module: Any) -> None:
    found = doctest.testmod(module)
    assert (found.failed, found.attempted > 0) == (0, True)
