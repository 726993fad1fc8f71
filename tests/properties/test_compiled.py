"""The compiled engine against the SimPy engine: whole results are equal, where a section is done and where it is stuck.

Most sections are made from seeds, which is fast; some are drawn by hypothesis, so that what differs shrinks. It is
counted that every class of section occurs. With -m heavy: 50,000 more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial
from random import Random
from typing import Any

import networkx as nx
import pytest
from drawn import Drawn, drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from made import made

from archsim.engine import attempt, simpy_engine
from archsim.engine.compiled.engine import run
from archsim.engine.deadlock.explain import explain
from archsim.engine.flat import Flat, flatten
from archsim.engine.result import SectionResult, Stuck
from dataflow.order import Repeat
from dataflow.pattern import Pattern
from dataflow.task import UNLIMITED

SOME = settings(max_examples=150, derandomize=True, deadline=None)
MANY = settings(max_examples=3_000, derandomize=True, deadline=None)
FEW, ALL = range(4_000), range(4_000, 52_000)


def agreed(flat: Flat, what: object = "") -> SectionResult | Stuck:
    """The SimPy engine's answer, which is that of the compiled one, with repeats skipped and with none."""
    expected = simpy_engine.run(flat)
    for skip in (True, False):
        found = run(flat, skip=skip)
        assert found == expected, f"{what}, skip={skip}: {found}\ninstead of {expected}\nin {flat}"
        assert isinstance(found, Stuck) or skip or found.skipped == 0
    return expected


def classes(flat: Flat, found: SectionResult | Stuck) -> dict[str, bool]:
    """Whether a section is an example of each class."""
    return {**_of_units(flat), **_of_streams(flat), **_of_result(found)}


def _of_units(flat: Flat) -> dict[str, bool]:
    orders = [(len(unit.tasks), unit.count, unit.order) for unit in flat.units]
    periods = [(len(task.runs), task.firings, sum(run.count for run in task.runs)) for task in flat.tasks]
    return {
        "shared, in order": any(n > 1 and order for n, _, order in orders),
        "shared, interleaved": any(order and len(order) > n > 1 for n, _, order in orders),
        "shared, first come": any(n > 1 and order is None for n, _, order in orders),
        "several servers, in order": any(count > 1 and order for _, count, order in orders),
        "several servers, first come": any(n > 1 and count > 1 and order is None for n, count, order in orders),
        "both arbitrations": len({order is None for _, _, order in orders}) > 1,
        "placed": any(unit.of != unit.name for unit in flat.units),
        "all units own": all(n == 1 for n, _, _ in orders),
        "latency": any(unit.latency_cycles for unit in flat.units),
        "gangs": any(unit.gang > 1 for unit in flat.units),
        "an order with repeats": any(isinstance(run, Repeat) for _, _, order in orders for run in order or ()),
        "repeats inside repeats": any(_nested(order) for _, _, order in orders for order in order or ()),
        "priorities": any(
            unit.order is None and len({flat.tasks[i].priority for i in unit.tasks}) > 1 for unit in flat.units
        ),
        "no cycles": any(run.cycles == 0 for task in flat.tasks for run in task.runs),
        "a period of several runs": any(n > 1 and firings > period for n, firings, period in periods),
        "a period cut by the end": any(firings % period for _, firings, period in periods),
        "one task": len(flat.tasks) == 1,
    }


def _nested(run: Any) -> bool:
    return isinstance(run, Repeat) and any(isinstance(inner, Repeat) for inner in run.runs)


def _of_streams(flat: Flat) -> dict[str, bool]:
    ends = [(s.producer, consumer) for s in flat.streams for consumer in s.consumers]
    graph = nx.MultiDiGraph(ends)
    trees = graph.number_of_nodes() - nx.number_weakly_connected_components(graph)
    cyclic = not nx.is_directed_acyclic_graph(graph)
    tokens = {n for task in flat.tasks for run in task.runs for _, n in (*run.takes, *run.gives)}
    return {
        "cycle": cyclic,
        "feeds itself": any(giver == taker for giver, taker in ends),
        "reconvergence": not cyclic and graph.number_of_edges() > trees,
        "fork": max((d for _, d in graph.out_degree()), default=0) > 1,
        "join": max((d for _, d in graph.in_degree()), default=0) > 1,
        "multi-rate": any(flat.tasks[giver].firings != flat.tasks[taker].firings for giver, taker in ends),
        "several tokens": max(tokens, default=0) > 1,
        "initial tokens": any(s.initial for s in flat.streams),
        "unlimited": any(s.depth == UNLIMITED for s in flat.streams),
        "no stream": not flat.streams,
        "broadcast": any(len(s.consumers) > 1 for s in flat.streams),
        "broadcast to three": any(len(s.consumers) > 2 for s in flat.streams),
        "nothing moves": any(_moved(flat, s) == 0 for s in range(len(flat.streams))),
    }


def _moved(flat: Flat, stream: int) -> int:
    task = flat.tasks[flat.streams[stream].producer]
    given = Pattern(tuple((dict(run.gives).get(stream, 0), run.count) for run in task.runs))
    return sum(n * times for n, times in given.counted(task.firings))


def _of_result(found: SectionResult | Stuck) -> dict[str, bool]:
    causes = {w.cause for w in found.waiting} if isinstance(found, Stuck) else set()
    units = list(found.units.values()) if isinstance(found, SectionResult) else []
    return {
        "deadlock": isinstance(found, Stuck),
        "deadlock by turn": "turn" in causes,
        "deadlock by room": "blocked" in causes,
        "starved": any(unit.starved_cycles for unit in units),
        "blocked": any(unit.blocked_cycles for unit in units),
        "waits for several streams": any(len(unit.stalls) > 2 for unit in units),
        "no time at all": isinstance(found, SectionResult) and found.cycles == 0,
    }


LEAST = 240
RARE = {"repeats inside repeats": 50, "nothing moves": 40, "no time at all": 4}


def seen_over(seeds: Iterable[int], *, most_tasks: int) -> Counter[str]:
    """Both engines over the sections of these seeds, and how many of them are of each class."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        flat = made(Random(seed), most_tasks=most_tasks)
        seen.update(classes(flat, agreed(flat, f"made(Random({seed}), most_tasks={most_tasks})")))  # adds False as 0
    return seen


def test_made_sections() -> None:
    """Six in a hundred at least are of each class, but for those that are rare by nature."""
    seen = seen_over(FEW, most_tasks=6)
    assert len(seen) == 37
    assert not {what: n for what, n in seen.items() if n < RARE.get(what, LEAST)}, seen


def test_waits_for_a_turn() -> None:
    """Told apart, they are the same on both engines, where periods are skipped too."""
    told = 0
    for seed in range(600):
        flat = made(Random(seed), rounds=40 if seed % 3 == 0 else None)
        expected = simpy_engine.run(flat, turns=True)
        assert run(flat, turns=True) == run(flat, turns=True, skip=False) == expected, seed
        told += isinstance(expected, SectionResult) and any(("turn", "") in u.stalls for u in expected.units.values())
    assert told >= 40


def test_made_sections_are_all_different() -> None:
    """Seeds do not repeat themselves, apart from sections of a task or two without streams."""
    assert len({made(Random(seed)) for seed in range(1_000)}) > 950


@SOME
@given(case=drawn())
def test_drawn_sections(case: Drawn) -> None:
    agreed(flatten(case.section, case.design))


@SOME
@given(random=st.randoms(use_true_random=False))
def test_made_sections_that_shrink(random: Random) -> None:
    agreed(made(random, most_tasks=4))


@pytest.mark.parametrize("firings", [1, 2, 5])
def test_runs_in_parts(firings: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that pauses for interrupts every few firings, and that soon gives up waiting for repeats, ends the same."""
    for module in ("engine", "clock"):
        monkeypatch.setattr(f"archsim.engine.compiled.{module}.FIRINGS_A_CALL", firings)
    seen_over(range(500), most_tasks=6)


def test_a_deadlock_is_explained_in_the_same_words() -> None:
    """Its cause, its wait cycle and the way out, which each engine verifies by a run of its own."""
    told: Counter[int | None] = Counter()
    for seed in range(400):
        flat = made(Random(seed))
        stuck = run(flat)
        if isinstance(stuck, Stuck):
            first, second = (explain(flat, stuck, partial(attempt, engine=engine)) for engine in ("compiled", "simpy"))
            assert str(first) == str(second), seed
            told[len(first.way_out.depths) if first.way_out else None] += 1
    assert min(told[1], told[2], told[None]) >= 5, told


@pytest.mark.heavy
@pytest.mark.parametrize("part, most_tasks", [(0, 3), (1, 6), (2, 9), (3, 14)])
def test_many_made_sections(part: int, most_tasks: int) -> None:
    seen_over(ALL[part::4], most_tasks=most_tasks)


@pytest.mark.heavy
@MANY
@given(case=drawn(most_tasks=8))
def test_many_drawn_sections(case: Drawn) -> None:
    agreed(flatten(case.section, case.design))
