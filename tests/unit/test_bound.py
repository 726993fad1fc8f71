"""The lower bound counted by hand: the busiest unit, the longest chain, and what may not be counted on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from archsim import load_design
from archsim.engine import run
from archsim.engine.flat import flatten
from archsim.engine.memo import Memo
from archsim.run.bound import bound, lower_bound, section_bound
from dataflow import Graph, Pattern, Schedule, Section, Stream, Task, every, sequence, work

Ends = Mapping[str, int | Pattern[int]]


def task(name: str, unit: str, cycles: list[int], takes: Ends | None = None, gives: Ends | None = None) -> Task:
    """A task with a firing for each entry of `cycles`."""
    works = Pattern(tuple((work("copy", d=n), 1) for n in cycles))
    taken, given = (
        {s: every(n) if isinstance(n, int) else n for s, n in (ends or {}).items()} for ends in (takes, gives)
    )
    return Task(name, unit, len(cycles), works, taken, given)


def bound_and_cycles(units: Mapping[str, Mapping[str, Any]], tasks: list[Task], *streams: Stream) -> tuple[int, int]:
    written = {name: {"kind": "vector", "ops": [], "lanes": 1, **keys} for name, keys in units.items()}
    flat = flatten(Section("x", tuple(tasks), streams), load_design("toy").with_({"units": written}))
    return section_bound(flat), run(flat).cycles


TWO: dict[str, dict[str, Any]] = {"ua": {}, "ub": {}}


def test_one_task_is_bound_by_its_firings() -> None:
    assert bound_and_cycles({"u": {}}, [task("a", "u", [3, 1, 3])]) == (7, 7)


def test_a_shared_unit_is_bound_by_all_its_work() -> None:
    assert bound_and_cycles({"u": {}}, [task("a", "u", [3, 1]), task("b", "u", [5])]) == (9, 9)


@pytest.mark.parametrize("count, bound, cycles", [(1, 10, 10), (2, 5, 6), (3, 4, 4)])
def test_servers_share_the_work(count: int, bound: int, cycles: int) -> None:
    """5 firings of 2: ten server-cycles."""
    assert bound_and_cycles({"u": {"count": count}}, [task("a", "u", [2] * 5)]) == (bound, cycles)


def test_a_chain_starts_with_its_first_token_and_ends_after_its_last() -> None:
    """Producer slower: 4 x 3, latency 2, then one use. Consumer slower: 3, latency 2, then 4 x 5."""
    units = {"ua": {"latency_cycles": 2}, "ub": {}}
    tasks = [task("a", "ua", [3] * 4, gives={"s": 1}), task("b", "ub", [1] * 4, takes={"s": 1})]
    assert bound_and_cycles(units, tasks, Stream("s", 9)) == (15, 15)
    tasks = [task("a", "ua", [3] * 4, gives={"s": 1}), task("b", "ub", [5] * 4, takes={"s": 1})]
    assert bound_and_cycles(units, tasks, Stream("s", 9)) == (25, 25)


@pytest.mark.parametrize("depth, cycles", [(1, 20), (2, 14), (3, 14)])
def test_depth_is_not_part_of_the_bound(depth: int, cycles: int) -> None:
    tasks = [task("a", "ua", [3] * 4, gives={"s": 1}), task("b", "ub", [2] * 4, takes={"s": 1})]
    assert bound_and_cycles(TWO, tasks, Stream("s", depth)) == (14, cycles)


@pytest.mark.parametrize(
    "needed, bound",
    [(1, 2 + 9), (2, 2 + 5 + 9), (3, 2 + 5 + 2 + 9), (6, 3 * 7 + 9)],
)
def test_the_first_firing_waits_for_the_tokens_it_needs(needed: int, bound: int) -> None:
    """The producer gives a token in cycles 2, 7, 9, 14, 16, 21; the consumer needs `needed` of them for work of 9."""
    tasks = [
        task("a", "ua", [2, 5] * 3, gives={"s": 1}),
        task("b", "ub", [9] + [0] * (6 - needed), takes={"s": sequence((needed, 1), (1, 6 - needed))}),
    ]
    found, cycles = bound_and_cycles(TWO, tasks, Stream("s", 9))
    assert found == max(bound, 21)
    assert cycles == max(bound, 21)


def test_tokens_given_now_and_then_are_found_in_their_period() -> None:
    """One token with every third firing of 2 cycles; the consumer first needs two: 12 cycles, then its own 10."""
    tasks = [
        task("a", "ua", [2] * 6, gives={"s": sequence((0, 2), (1, 1))}),
        task("b", "ub", [10], takes={"s": 2}),
    ]
    assert bound_and_cycles(TWO, tasks, Stream("s", 2)) == (22, 22)


def test_work_after_the_last_token_is_not_waited_for() -> None:
    """The token comes with the first of four firings; the consumer of 3 cycles ends long before the producer."""
    tasks = [
        task("a", "ua", [2] * 4, gives={"s": sequence((1, 1), (0, 3))}),
        task("b", "ub", [3], takes={"s": 1}),
    ]
    assert bound_and_cycles(TWO, tasks, Stream("s", 1)) == (8, 8)


def test_work_before_the_last_token_is_waited_for() -> None:
    """Tokens come at 1 and, after two firings of 9 that give none, at 20; the last is used for a cycle."""
    tasks = [
        task("a", "ua", [1, 9, 9, 1], gives={"s": sequence((1, 1), (0, 2), (1, 1))}),
        task("b", "ub", [1, 1], takes={"s": 1}),
    ]
    assert bound_and_cycles(TWO, tasks, Stream("s", 1)) == (21, 21)


def test_the_last_of_several_servers_may_end_before_the_first() -> None:
    """Firings of 100 and 1 start together; only the second gives. The consumer runs from 1 to 61."""
    tasks = [
        task("a", "ua", [100, 1], gives={"s": sequence((0, 1), (1, 1))}),
        task("b", "ub", [60], takes={"s": 1}),
    ]
    found, cycles = bound_and_cycles({"ua": {"count": 2}, "ub": {}}, tasks, Stream("s", 1))
    assert cycles == 100
    assert found == 61


def test_several_servers_give_all_tokens_no_sooner_than_their_work() -> None:
    """Four firings of 6 on two servers end at 12; then one firing of 5 that needs all four."""
    tasks = [task("a", "ua", [6] * 4, gives={"s": 1}), task("b", "ub", [5], takes={"s": 4})]
    assert bound_and_cycles({"ua": {"count": 2}, "ub": {}}, tasks, Stream("s", 4)) == (17, 17)


def test_initial_tokens_bind_nothing() -> None:
    tasks = [task("a", "ua", [7], gives={"s": 1}), task("b", "ub", [5], takes={"s": 1})]
    assert bound_and_cycles(TWO, tasks, Stream("s", 2, initial=1)) == (7, 7)


def test_a_loop_is_bound_by_its_busiest_unit() -> None:
    """a needs no token for its first firing, so the loop lives without initial tokens: 3 + 4 + 3 cycles."""
    tasks = [
        task("a", "ua", [3, 3], takes={"back": sequence((0, 1), (1, 1))}, gives={"s": sequence((1, 1), (0, 1))}),
        task("b", "ub", [4], takes={"s": 1}, gives={"back": 1}),
    ]
    assert bound_and_cycles(TWO, tasks, Stream("s", 1), Stream("back", 1)) == (6, 10)


def test_sections_follow_one_another_as_often_as_they_repeat() -> None:
    sections = (
        Section("x", (task("a", "vec", [3, 4]),), (), repeat=3),
        Section("y", (task("b", "vec", [5]),), ()),
    )
    assert lower_bound(Schedule(Graph("g"), "toy", "by hand", sections), load_design("toy")) == 26


@pytest.mark.parametrize(
    "changed",
    [
        task("a", "ua", [3, 1, 1, 5], gives={"s": 1}),
        task("a", "ua", [7, 1], gives={"s": 2}),
        task("b", "ub", [1, 1], takes={"s": Pattern(((3, 1), (1, 1)))}),
        task("b", "ub", [9], takes={"s": 4}),
    ],
)
def test_a_bound_after_another_is_the_bound_anew(changed: Task) -> None:
    """Of two tasks joined by a stream either changes; what the other one lends to the chain changes with it."""
    units = {name: {"kind": "vector", "ops": [], "lanes": 1} for name in ("ua", "ub")}
    design = load_design("toy").with_({"units": units})
    tasks = (task("a", "ua", [1, 1, 1, 1], gives={"s": 1}), task("b", "ub", [2, 2, 2, 2], takes={"s": 1}))
    section = Section("x", tasks, (Stream("s", 9),))
    again = section.with_tasks({changed.name: changed})
    memo = Memo()
    before = flatten(section, design, memo)
    bound(before, memo)
    flat = flatten(again, design, memo)
    assert flat == flatten(again, design)
    assert bound(flat, memo) == bound(flat)
    assert bound(flat).cycles != bound(before).cycles


@pytest.mark.parametrize("units", [("ua", "ub"), ("ub", "ub")])
def test_a_bound_after_one_of_other_streams_or_units_is_the_bound_anew(units: tuple[str, str]) -> None:
    design = load_design("toy").with_({"units": {n: {"kind": "vector", "ops": [], "lanes": 1} for n in ("ua", "ub")}})
    before, after = (
        Section(
            "x",
            (task("a", one, [3, 3], gives={"s": 1}), task("b", two, [2, 2], takes={"s": 1})),
            (Stream("s", 9, initial=initial),),
        )
        for one, two, initial in (("ua", "ub", 2), (*units, 0))
    )
    memo = Memo()
    earlier = bound(flatten(before, design, memo), memo)
    flat = flatten(after, design, memo)
    assert bound(flat, memo) == bound(flat)
    assert bound(flat).cycles != earlier.cycles
