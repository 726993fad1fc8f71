"""Gangs of servers, broadcasts, repeating orders and priorities: each answer here was counted by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import pytest

from archsim import Deadlock, Design, MappingError, ScheduleError, load_design, simulate, size_fifos
from archsim.engine import ENGINES, run
from archsim.engine.compiled.engine import run as run_compiled
from archsim.engine.flat import flatten
from archsim.engine.result import SectionResult, UnitResult
from archsim.units import Unit
from archsim.units.unit import ceil_div, largest_share
from dataflow import Graph, Pattern, Repeat, Schedule, Section, Stream, Task, every, sequence, work
from dataflow.op import Work

Ends = Mapping[str, int | Pattern[int]]
ALL = (*ENGINES, "recurrence")


def design(**units: dict[str, Any]) -> Design:
    """Units of one lane, so that a firing of copy(d=n) takes n cycles."""
    lanes = {name: {"kind": "vector", "ops": [], "lanes": 1, **keys} for name, keys in units.items()}
    return load_design("toy").with_({"units": lanes})


def task(
    name: str, firings: int, cycles: int = 1, takes: Ends | None = None, gives: Ends | None = None, **fields: Any
) -> Task:
    """A task, on the unit of its own name unless another is given."""
    taken, given = (
        {s: every(n) if isinstance(n, int) else n for s, n in (ends or {}).items()} for ends in (takes, gives)
    )
    return Task(name, fields.pop("unit", name), firings, every(work("copy", d=cycles)), taken, given, **fields)


def multicast(depth: int, *, fast: int = 1, slow: int = 10, n: int = 8) -> Section:
    tasks = (
        task("source", n, gives={"s": 1}),
        task("fast", n, fast, takes={"s": 1}),
        task("slow", n, slow, takes={"s": 1}),
    )
    return Section("multicast", tasks, (Stream("s", depth, bytes_per_token=64),))


THREE = design(source={}, fast={}, slow={})


@pytest.mark.parametrize("engine", ALL)
@pytest.mark.parametrize("depth", [1, 2, 3, 8])
def test_a_slow_consumer_holds_the_fast_one_after_the_depth(engine: str, depth: int) -> None:
    """The slow consumer takes token i at 1 + 10 i and frees its place 10 later; the source waits for places."""
    found = run(flatten(multicast(depth), THREE), engine=engine)
    assert isinstance(found, SectionResult)
    # Firing i of the source starts when i - depth has come free: at 11 + 10 (i - depth), but not before i.
    starts = [i if i < depth else 11 + 10 * (i - depth) for i in range(8)]
    if depth == 1:  # the slow one waits for each token too: a period of 11
        starts = [11 * i for i in range(8)]
    assert found.tasks["source"].end_cycle == starts[-1] + 1
    assert found.tasks["fast"].end_cycle == starts[-1] + 2
    assert found.tasks["slow"].end_cycle == (11 * 8 if depth == 1 else 1 + 10 * 8)
    assert found.units["source"].blocked_cycles == starts[-1] - 7
    assert (found.streams["s"].given, found.streams["s"].taken, found.streams["s"].peak) == (8, 8, depth)


def test_a_broadcast_has_one_buffer() -> None:
    section = replace(multicast(3), tasks=(*multicast(3).tasks, task("third", 8, takes={"s": 1}, unit="third")))
    assert section.queues() == {"": 3 * 64}
    assert section.ends == {"s": ("source", ("fast", "slow", "third"))}
    on = design(source={}, fast={}, slow={}, third={})
    report = simulate(Schedule(Graph("hand"), "toy", "hand", (section,)), on)
    assert report.cycles == 1 + 10 * 8


def replayed(n: int, depth: int, rows: int = 2) -> Section:
    """A row of n tokens goes to a sum and, by the same stream, to a join that needs the sum first."""
    tasks = (
        task("row", n * rows, gives={"s": 1}),
        task("sum", n * rows, takes={"s": 1}, gives={"scale": sequence((0, n - 1), (1, 1))}),
        task("join", n * rows, takes={"scale": sequence((1, 1), (0, n - 1)), "s": 1}),
    )
    return Section("replayed", tasks, (Stream("s", depth, 4), Stream("scale", 2, 4)))


NORM = design(row={}, sum={}, join={})


@pytest.mark.parametrize("engine", ALL)
@pytest.mark.parametrize("n", [2, 4, 7])
def test_a_multicast_that_is_read_twice_needs_a_place_for_each_token_between(engine: str, n: int) -> None:
    for depth in range(1, n):
        with pytest.raises(Deadlock) as raised:
            run(flatten(replayed(n, depth), NORM), engine=engine)
        assert raised.value.cycle == depth + 1
        assert raised.value.way_out is not None
        assert raised.value.way_out.depths == {"s": n}
    assert run(flatten(replayed(n, n), NORM), engine=engine).cycles > 0


def test_the_message_names_the_consumer_that_is_behind() -> None:
    with pytest.raises(Deadlock) as raised:
        run(flatten(replayed(4, 3), NORM))
    assert str(raised.value) == (
        "section 'replayed' is in deadlock from cycle 4 on; each of these waits for the next:\n"
        "  'join' at firing 1 of 8 needs 1 token of 'scale', which holds 0; 'sum' gives it\n"
        "  'sum' at firing 4 of 8 needs 1 token of 's', which holds 0; 'row' gives it\n"
        "  'row' at firing 4 of 8 needs 1 place in 's' (depth 3), which holds 3 tokens and has 0 free; "
        "'join' frees them\n"
        "way out: stream 's': depth 4 instead of 3 lets it run to its end, in 15 cycles (verified by running it)"
    )


@pytest.mark.parametrize("n", [3, 5])
def test_the_minimal_depth_of_a_multicast_is_proven(n: int) -> None:
    given = Schedule(Graph("hand"), "toy", "hand", (replayed(n, n, rows=4),))
    sizes = size_fifos(given, NORM)
    (stream,) = (fifo for fifo in sizes.fifos if fifo.name.endswith("s"))
    # At full rate the next row comes in while this one leaves: a row, and the two tokens under way.
    at = [
        run(flatten(given.with_depths({"replayed: s": depth}).sections[0], NORM)).cycles
        for depth in (stream.minimal, stream.minimal - 1)
    ]
    assert at == [sizes.cycles, stream.proof]
    assert sizes.cycles == sizes.unbounded_cycles < stream.proof


class Columns(Unit):
    """An array whose servers split the columns of a product."""

    kinds = ("matmul",)
    kind: Literal["columns"] = "columns"

    def _cycles(self, work: Work) -> int:
        return work["n"]

    def _gang(self, work: Work, servers: int) -> Fraction | int:
        return self._cycles(largest_share(work, "n", servers))


@pytest.mark.parametrize(("n", "servers"), [(12, 4), (13, 4), (3, 4), (1000, 7)])
def test_servers_that_split_columns_take_the_largest_share(n: int, servers: int) -> None:
    assert Columns(count=servers).cycles(work("matmul", m=5, k=6, n=n), servers) == ceil_div(n, servers)


def test_a_kind_whose_firings_are_one_servers_refuses_a_gang() -> None:
    node = {"kind": "node", "ops": ["map"], "interval_cycles": 1, "count": 4}
    one = load_design("toy").with_({"units": {"u": node}}).units["u"]
    with pytest.raises(MappingError, match=r"a unit of kind node: a firing is done by one server, 2 are asked for"):
        one.cycles(work("map", mac=1, exp=0, flop=0), servers=2)


@pytest.mark.parametrize("engine", ALL)
def test_a_gang_on_a_shared_unit_is_all_of_its_servers(engine: str) -> None:
    """Four lanes together take 10 copies in 3 cycles; while one firing runs, all four are busy."""
    section = Section("x", (task("a", 5, 10, unit="u", servers=4),), ())
    found = run(flatten(section, design(u={"count": 4})), engine=engine)
    assert found.cycles == 5 * 3
    assert found.units["u"] == UnitResult(4 * 15, 0, {})


@pytest.mark.parametrize("engine", ALL)
def test_placed_tasks_have_servers_of_their_own(engine: str) -> None:
    """`a` takes 4 cycles on 3 servers, `b` 6 on 2: `b` waits for `a` once, then sets the pace; one server is idle."""
    tasks = (
        task("a", 4, 12, gives={"s": 1}, unit="u", servers=3),
        task("b", 4, 12, takes={"s": 1}, unit="u", servers=2),
    )
    on = design(u={"count": 6, "arbitration": "placed"})
    found = run(flatten(Section("x", tasks, (Stream("s", 2),)), on), engine=engine)
    assert found.cycles == 4 + 4 * 6
    assert found.units["u: a"].busy_cycles == 3 * 16
    assert found.units["u: b"] == UnitResult(2 * 24, 0, {("starved", "s"): 2 * 4})
    report = simulate(Schedule(Graph("hand"), "toy", "hand", (Section("x", tasks, (Stream("s", 2),)),)), on)
    unit = report.units["u"]
    assert (unit.count, unit.busy_cycles, unit.starved_cycles) == (6, 3 * 16 + 2 * 24, 8)
    assert unit.busy_cycles + unit.starved_cycles + unit.blocked_cycles + unit.idle_cycles == 6 * 28


@pytest.mark.parametrize(
    ("arbitration", "servers", "told"),
    [
        ("placed", (3, 2), "the tasks placed on unit 'u' take 5 servers; its count is 4"),
        ("in_order", (4, 1), "each of them takes one, or each takes all 4; asked are: 'a' 4, 'b' 1"),
        ("first_come", (2, 2), "each of them takes one, or each takes all 4; asked are: 'a' 2, 'b' 2"),
    ],
)
def test_servers_that_are_not_there_are_refused(arbitration: str, servers: tuple[int, int], told: str) -> None:
    tasks = tuple(task(name, 2, unit="u", servers=n) for name, n in zip("ab", servers, strict=True))
    with pytest.raises(ScheduleError) as raised:
        flatten(Section("x", tasks, ()), design(u={"count": 4, "arbitration": arbitration}))
    assert told in str(raised.value)


def interleaved(n: int, order: Any) -> Section:
    tasks = (task("scores", n, gives={"s": 1}, unit="u"), task("values", n, 2, takes={"s": 1}, unit="u"))
    return Section("x", tasks, (Stream("s", 2),), orders={"u": order})


@pytest.mark.parametrize("engine", ENGINES)
def test_an_order_with_repeats_is_the_order_written_out(engine: str) -> None:
    n = 50
    repeated = (("scores", 1), Repeat((("scores", 1), ("values", 1)), n - 1), ("values", 1))
    written = (("scores", 1), *((("scores", 1), ("values", 1)) * (n - 1)), ("values", 1))
    on = design(u={})
    found = run(flatten(interleaved(n, repeated), on), engine=engine)
    assert found == run(flatten(interleaved(n, written), on), engine=engine)
    assert found.cycles == 3 * n


def test_repeats_of_an_order_are_skipped_and_need_no_list() -> None:
    """250 million firings in turns: written out, the order alone would take gigabytes."""
    n = 125_000_000
    repeated = (("scores", 1), Repeat((("scores", 1), ("values", 1)), n - 1), ("values", 1))
    found = run_compiled(flatten(interleaved(n, repeated), design(u={})))
    assert isinstance(found, SectionResult)
    assert found.cycles == 3 * n
    assert found.firings - found.skipped < 1000


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("priority", "urgent_ends", "slices_end"), [(0, 13, 12), (1, 11, 13)])
def test_slices_fill_the_gaps_that_urgent_reads_leave(
    engine: str, priority: int, urgent_ends: int, slices_end: int
) -> None:
    """A memory reads 5 slices of 2 cycles, all wanted from the start, and 3 urgent cycles, one every 5.

    Urgent reads are ready at 0, 5 and 10, while slices run from 0, 2, 4 or 1, 3, 5: by age alone the first slice starts
    with the first urgent read, which has the later place. At priority 1 the slices wait for each urgent read.
    """
    tasks = (
        task("slices", 5, 2, unit="memory", priority=priority),
        task("clock", 3, 5, gives={"due": 1}),
        task("urgent", 3, 1, takes={"due": 1}, unit="memory"),
    )
    on = design(memory={"arbitration": "first_come"}, clock={})
    found = run(flatten(Section("x", tasks, (Stream("due", 4, initial=1),)), on), engine=engine)
    assert (found.tasks["urgent"].end_cycle, found.tasks["slices"].end_cycle) == (urgent_ends, slices_end)


def test_repeats_inside_repeats_have_an_end() -> None:
    order: Any = (("a", 1),)
    for _ in range(20):
        order = (Repeat(order, 1),)
    Section("x", (task("a", 1, unit="u"),), (), orders={"u": order})
    with pytest.raises(ScheduleError, match="has repeats inside repeats, more than 20 deep; fewer are expected"):
        Section("x", (task("a", 1, unit="u"),), (), orders={"u": (Repeat(order, 1),)})
