"""The recurrence against the SimPy engine: whole results are equal, where a section is done and where it is stuck.

Sections are drawn shape by shape beside those that `drawn` makes, and it is counted that every class occurs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from math import lcm
from typing import Any

import networkx as nx
import pytest
from drawn import Drawn, drawn
from hypothesis import given, settings
from hypothesis import strategies as st

from archsim import Deadlock, InputError, load_design
from archsim.engine import attempt, run
from archsim.engine.flat import Flat, flatten
from archsim.engine.result import SectionResult, StreamResult, Stuck, TaskResult, UnitResult, Waiting
from dataflow import UNLIMITED, Pattern, Section, Stream, Task, every, sequence, work

LANE = {"kind": "vector", "ops": [], "lanes": 1}
IN_ORDER = {f"in {latency} {i}": {**LANE, "latency_cycles": latency} for latency in (0, 1, 4) for i in range(8)}
FIRST_COME = {f"first {i}": {**LANE, "latency_cycles": i % 3, "arbitration": "first_come"} for i in range(8)}
SHARED = {
    "two": {**LANE, "count": 2},
    "four": {**LANE, "count": 4, "arbitration": "first_come"},
    "places": {**LANE, "count": 2, "arbitration": "placed"},
}
LANES = load_design("toy").with_({"units": {**IN_ORDER, **FIRST_COME, **SHARED}})
Edge = tuple[int, int]


def both(flat: Flat) -> SectionResult | Stuck:
    """The recurrence's answer, which is the SimPy engine's."""
    found = attempt(flat, engine="recurrence")
    assert found == attempt(flat, engine="simpy")
    return found


def chain(draw: st.DrawFn) -> tuple[list[Edge], list[Edge]]:
    n = draw(st.integers(2, 6))
    return [(i, i + 1) for i in range(n - 1)], []


def fork_join(draw: st.DrawFn) -> tuple[list[Edge], list[Edge]]:
    """Several sources meet in one task, which feeds several others; no two ways lead to the same task."""
    sources, sinks = draw(st.integers(2, 3)), draw(st.integers(2, 3))
    return [*((i, sources) for i in range(sources)), *((sources, sources + 1 + i) for i in range(sinks))], []


def reconvergence(draw: st.DrawFn) -> tuple[list[Edge], list[Edge]]:
    """Ways of different lengths from task 0 to task 1."""
    edges, n = [], 2
    for inner in draw(st.lists(st.integers(0, 2), min_size=2, max_size=3)):
        edges += pairwise([0, *range(n, n + inner), 1])
        n += inner
    return edges, []


def loop(draw: st.DrawFn) -> tuple[list[Edge], list[Edge]]:
    """A ring, closed by a stream with initial tokens; some tasks feed themselves too."""
    n = draw(st.integers(1, 4))
    alone = draw(st.lists(st.integers(0, n - 1), max_size=1))
    return [(i, i + 1) for i in range(n - 1)], [(n - 1, 0), *((i, i) for i in alone)]


SHAPES = {"chain": chain, "fork and join": fork_join, "reconvergence": reconvergence, "cycle": loop}


@st.composite
def shaped(draw: st.DrawFn, shape: str, *, most_rounds: int = 8) -> Flat:
    """A section of this shape in rounds of 1 to 4 firings of each task, every task on a unit of its own."""
    onward, back = SHAPES[shape](draw)
    n = 1 + max(max(edge) for edge in (*onward, *back))
    rounds = draw(st.integers(1, most_rounds))
    rates = draw(st.lists(st.sampled_from([1, 1, 2, 3, 4]), min_size=n, max_size=n)) if draw(st.booleans()) else [1] * n
    units = draw(st.permutations([*IN_ORDER, *FIRST_COME]))[:n]
    takes: list[dict[str, Pattern[int]]] = [{} for _ in range(n)]
    gives: list[dict[str, Pattern[int]]] = [{} for _ in range(n)]
    streams = []
    for a, b in draw(st.permutations([*onward, *back])):
        name, tokens = f"s{len(streams)}", lcm(rates[a], rates[b])
        gives[a][name], taken = spread(draw, tokens, rates[a]), spread(draw, tokens, rates[b])
        takes[b][name] = taken
        least = max(value for pattern in (gives[a][name], taken) for value, _ in pattern)
        depth = least + draw(st.sampled_from([0, 1, tokens, 2 * tokens, UNLIMITED - least]))
        most = min(depth, 2 * tokens)
        initial = draw(st.sampled_from([1, most, most])) if (a, b) in back else draw(st.sampled_from([0, 0, 0, 1]))
        streams.append(Stream(name, depth, initial=initial))
    tasks = [
        Task(f"t{i}", unit, rounds * rates[i], holds(draw, least=int(unit in FIRST_COME)), takes[i], gives[i])
        for i, unit in enumerate(units)
    ]
    return flatten(Section(shape, tuple(tasks), tuple(streams)), LANES)


def spread(draw: st.DrawFn, tokens: int, firings: int) -> Pattern[int]:
    """So many tokens over the firings of a round: evenly, with the first or with the last."""
    even, first = every(tokens // firings), sequence((tokens, 1), (0, firings - 1))
    return draw(st.sampled_from([even, even, first, sequence((0, firings - 1), (tokens, 1))]))


def holds(draw: st.DrawFn, *, least: int) -> Pattern[Any]:
    """Cycles in one to three runs that repeat, the last of which the end of the task may cut."""
    runs = draw(st.lists(st.tuples(st.integers(least, 5), st.integers(1, 3)), min_size=1, max_size=3))
    return Pattern(tuple((work("copy", d=n), count) for n, count in runs))


def classes(flat: Flat, found: SectionResult | Stuck) -> set[str]:
    """What a section is an example of."""
    graph = nx.MultiDiGraph((s.producer, c) for s in flat.streams for c in s.consumers)
    cyclic = not nx.is_directed_acyclic_graph(graph)
    trees = graph.number_of_nodes() - nx.number_weakly_connected_components(graph)
    line = len(graph) > 2 and nx.is_weakly_connected(graph) and max(d for _, d in graph.degree()) == 2
    said = {
        "deadlock": isinstance(found, Stuck),
        "cycle": cyclic,
        "reconvergence": not cyclic and graph.number_of_edges() > trees,
        "chain": not cyclic and line and graph.number_of_edges() == trees,
        "fork and join": max((d for _, d in graph.out_degree()), default=0) > 1
        and max((d for _, d in graph.in_degree()), default=0) > 1,
        "multi-rate": any(
            flat.tasks[s.producer].firings != flat.tasks[c].firings for s in flat.streams for c in s.consumers
        ),
        "unlimited": any(s.depth == UNLIMITED for s in flat.streams),
        "latency": any(unit.latency_cycles for unit in flat.units),
        "no cycles": any(run.cycles == 0 for task in flat.tasks for run in task.runs),
        "starved": isinstance(found, SectionResult) and any(u.starved_cycles for u in found.units.values()),
        "blocked": isinstance(found, SectionResult) and any(u.blocked_cycles for u in found.units.values()),
    }
    return {name for name, holds in said.items() if holds}


def seen_over(strategy: st.SearchStrategy[Flat], examples: int) -> Counter[str]:
    """Both engines over so many examples, and how many of them are of each class."""
    seen: Counter[str] = Counter()

    @settings(max_examples=examples, derandomize=True, deadline=None)
    @given(strategy)
    def each(flat: Flat) -> None:
        seen.update(classes(flat, both(flat)))

    each()
    return seen


def flat_of(case: Drawn) -> Flat:
    return flatten(case.section, case.design)


@pytest.mark.parametrize("shape", SHAPES)
def test_sections_of_each_shape(shape: str) -> None:
    """Trees are seldom stuck: only where initial tokens leave too little room for a firing."""
    seen = seen_over(shaped(shape), 150)
    assert seen[shape] >= 75
    assert min(seen[what] for what in ("multi-rate", "unlimited", "latency", "no cycles", "starved", "blocked")) >= 15
    assert seen["deadlock"] >= (5 if shape in ("reconvergence", "cycle") else 1)


def test_sections_drawn_with_units_of_their_own() -> None:
    seen = seen_over(drawn(own_units=True).map(flat_of), 150)
    assert min(seen[what] for what in ("cycle", "reconvergence", "fork and join", "multi-rate", "deadlock")) >= 10


@pytest.mark.heavy
@pytest.mark.parametrize("shape", SHAPES)
def test_many_sections_of_each_shape(shape: str) -> None:
    seen_over(shaped(shape, most_rounds=60), 5_000)


@pytest.mark.heavy
def test_many_sections_drawn_with_units_of_their_own() -> None:
    seen_over(drawn(own_units=True, most_tasks=8).map(flat_of), 5_000)


def task(
    name: str,
    unit: str,
    firings: int,
    cycles: int,
    takes: Mapping[str, int] | None = None,
    gives: Mapping[str, int] | None = None,
) -> Task:
    """A task whose firings hold a unit of one lane for so many cycles each."""
    ends = ({s: every(n) for s, n in (tokens or {}).items()} for tokens in (takes, gives))
    return Task(name, unit, firings, every(work("copy", d=cycles)), *ends)


def flat_section(tasks: list[Task], streams: list[Stream] | None = None) -> Flat:
    return flatten(Section("x", tuple(tasks), tuple(streams or ())), LANES)


@pytest.mark.parametrize("depth, cycles", [(1, 10 + 30 + 20 + 49 * 50), (2, 10 + 30 * 50 + 20), (UNLIMITED, 1530)])
def test_stages_of_a_coarse_pipeline(depth: int, cycles: int) -> None:
    """The first tile passes every stage, each of the rest costs the slowest; one place couples neighbours: 30 + 20."""
    tasks = [
        task("load", "in 0 0", 50, 10, gives={"s": 1}),
        task("compute", "in 0 1", 50, 30, takes={"s": 1}, gives={"t": 1}),
        task("store", "in 0 2", 50, 20, takes={"t": 1}),
    ]
    found = both(flat_section(tasks, [Stream("s", depth), Stream("t", depth)]))
    assert isinstance(found, SectionResult)
    assert found.cycles == cycles
    assert found.streams["s"].peak == (depth if depth < 3 else 50 - (490 - 10) // 30)


def test_a_queue_without_end_is_filled_by_what_is_faster() -> None:
    """n tokens of a cycle each, n uses of k from 1 on: when the last place is taken, at n - 1, some uses have ended."""
    n, k = 100, 3
    units = {"in 0 0": UnitResult(n, (k - 1) * n + 1, {}),
             "in 0 1": UnitResult(k * n, 0, {("starved", "s"): 1})}  # fmt: skip
    tasks = [task("a", "in 0 0", n, 1, gives={"s": 1}), task("b", "in 0 1", n, k, takes={"s": 1})]
    assert both(flat_section(tasks, [Stream("s", UNLIMITED)])) == SectionResult(
        k * n + 1,
        2 * n,
        units,
        {"a": TaskResult(0, n, n), "b": TaskResult(1, k * n + 1, k * n)},
        {"s": StreamResult(n, n, n - (n - 2) // k)},
    )


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 6])
def test_a_place_is_held_from_the_start_of_one_end_to_the_end_of_the_other(depth: int) -> None:
    """1 cycle, 4 of latency, 1 of use: `depth` firings in 6 cycles."""
    tasks = [task("a", "in 4 0", 60, 1, gives={"s": 1}), task("b", "in 0 0", 60, 1, takes={"s": 1})]
    found = both(flat_section(tasks, [Stream("s", depth)]))
    assert isinstance(found, SectionResult)
    assert found.cycles == 59 // depth * 6 + 59 % depth + 6


def test_a_unit_that_waits_for_several_streams_names_the_first_that_it_lacks() -> None:
    """Tokens come at 2 and 5; the place in `u`, whose first token is used from 6 on for 9 cycles, at 15."""
    tasks = [
        task("p", "in 0 0", 2, 2, gives={"s": 1}), task("q", "in 0 1", 2, 5, gives={"t": 1}),
        task("c", "in 0 2", 2, 1, takes={"s": 1, "t": 1}, gives={"u": 1}), task("d", "in 0 3", 2, 9, takes={"u": 1}),
    ]  # fmt: skip
    found = both(flat_section(tasks, [Stream("s", 2), Stream("t", 2), Stream("u", 1)]))
    assert isinstance(found, SectionResult)
    waits = {("blocked", "u"): 5, ("starved", "s"): 2, ("starved", "t"): 3 + 4}
    assert found.units["in 0 2"] == UnitResult(2, 9, waits)
    assert found.cycles == 25


def test_firings_that_give_nothing_have_no_arrival() -> None:
    """Three firings of 2 cycles: what the first gives is seen at 2 + 4, the last ends at 6; with the second, at 8."""
    for tokens, cycles in ((sequence((1, 1), (0, 2)), 6), (sequence((0, 1), (1, 1), (0, 1)), 8)):
        giver = Task("a", "in 4 0", 3, every(work("copy", d=2)), {}, {"s": tokens})
        found = both(flat_section([giver, task("b", "in 0 0", 1, 0, takes={"s": 1})], [Stream("s", 1)]))
        assert isinstance(found, SectionResult)
        assert found.cycles == cycles


def test_a_task_may_feed_itself() -> None:
    """A sum that needs its last value, seen 4 cycles after the 3 of a firing; the last as well."""
    found = both(flat_section([task("a", "in 4 0", 5, 3, {"sum": 1}, {"sum": 1})], [Stream("sum", 2, initial=1)]))
    assert isinstance(found, SectionResult)
    assert found.units["in 4 0"] == UnitResult(15, 4, {("starved", "sum"): 16})
    assert found.streams["sum"] == StreamResult(5, 5, 2)


def test_where_it_is_stuck() -> None:
    """A sum of three on the way to `c`, of which the way past holds two: `a` stops at 2, the sum at 3."""
    sums = Task("b", "in 0 1", 6, every(work("copy", d=1)), {"s": every(1)}, {"t": sequence((0, 2), (1, 1))})
    joins = Task("c", "in 0 2", 6, every(work("copy", d=1)), {"t": sequence((1, 1), (0, 2)), "past": every(1)})
    flat = flat_section(
        [task("a", "in 0 0", 6, 1, gives={"s": 1, "past": 1}), sums, joins],
        [Stream("s", 2), Stream("t", 1), Stream("past", 2)],
    )
    assert both(flat) == Stuck(
        3,
        (
            Waiting(0, 2, "blocked", 2, 1, 2, 0, 2, ((2, 3),)),
            Waiting(1, 2, "starved", 0, 1, 0, 2, 0),
            Waiting(2, 0, "starved", 1, 1, 0, 1, 1),
        ),
    )
    with pytest.raises(Deadlock, match="section 'x' is in deadlock from cycle 3 on"):
        run(flat, engine="recurrence")


def test_units_that_are_shared_are_refused_all_at_once() -> None:
    tasks = [
        task("a", "in 0 0", 1, 1), task("b", "two", 1, 1), task("c", "in 0 0", 1, 1),
        task("d", "first 0", 1, 1), task("e", "four", 1, 1), task("f", "first 0", 1, 1), task("g", "first 0", 1, 1),
        task("h", "four", 1, 1), task("i", "in 0 1", 1, 1),
    ]  # fmt: skip
    with pytest.raises(InputError) as raised:
        attempt(flat_section(tasks), engine="recurrence")
    assert raised.value.problems == (
        "engine recurrence: tasks 'a' and 'c' share unit 'in 0 0'; it answers where every task has a unit of its own",
        "engine recurrence: tasks 'd', 'f' and 'g' share unit 'first 0'; it answers where every task has a unit of its "
        "own",
        "engine recurrence: unit 'two' of task 'b' has 2 servers; it answers where every unit has one",
        "engine recurrence: tasks 'e' and 'h' share unit 'four'; it answers where every task has a unit of its own",
        "engine recurrence: unit 'four' of tasks 'e' and 'h' has 4 servers; it answers where every unit has one",
    )
    with pytest.raises(InputError, match="tasks 'a' and 'c' share unit"):
        run(flat_section([tasks[0], tasks[2]]), engine="recurrence")


@pytest.mark.parametrize("units", [("in 0 0", "in 0 1"), ("first 0", "first 1"), ("places", "places")])
def test_tasks_with_a_server_each_are_taken(units: tuple[str, str]) -> None:
    flat = flat_section([task("a", units[0], 2, 3), task("b", units[1], 2, 4)])
    assert both(flat) == run(flat, engine="recurrence") == run(flat, engine="auto")
    assert run(flat, engine="recurrence").cycles == 8
