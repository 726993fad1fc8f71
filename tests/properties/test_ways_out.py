"""Deadlocks of drawn sections: an untimed run is stuck where the engine is, and no smaller change of depth will do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

import pytest
from drawn import Drawn, drawn
from hypothesis import event, given, settings
from hypothesis import strategies as st
from oracles import run_untimed as run_plainly

from archsim import Deadlock
from archsim.engine import ENGINES, attempt, run
from archsim.engine.deadlock.untimed import run_untimed
from archsim.engine.flat import flatten
from archsim.engine.result import Stuck
from dataflow.pattern import total
from dataflow.task import UNLIMITED

FEW = settings(max_examples=300, derandomize=True, deadline=None)
SOME = settings(max_examples=500, derandomize=True, deadline=None)
MANY = settings(max_examples=5_000, derandomize=True, deadline=None)


def fired_plainly(case: Drawn, depths: Mapping[str, int] | None = None) -> dict[str, int]:
    """Firings of each task in the plain untimed run, with these depths in place of the section's own."""
    streams = tuple(replace(s, depth=(depths or {}).get(s.name, s.depth)) for s in case.section.streams)
    return run_plainly(replace(case.section, streams=streams), case.units).counts


def ends(case: Drawn, depths: Mapping[str, int]) -> bool:
    return fired_plainly(case, depths) == {t.name: t.firings for t in case.section.tasks}


def explained(case: Drawn, engine: str = "auto") -> Deadlock | None:
    try:
        run(flatten(case.section, case.design), engine=engine)
    except Deadlock as deadlock:
        return deadlock
    return None


def is_stuck_where_the_engine_is(case: Drawn, engine: str) -> None:
    flat = flatten(case.section, case.design)
    state, result = run_untimed(flat), attempt(flat, engine=engine)
    assert dict(zip([t.name for t in flat.tasks], state.fired, strict=True)) == fired_plainly(case)
    assert state.finished == (not isinstance(result, Stuck))
    event("stuck" if isinstance(result, Stuck) else "finished")
    if isinstance(result, Stuck):
        assert state.waiting() == result.waiting


def enough(case: Drawn) -> dict[str, int]:
    """For each stream a depth that no run fills."""
    gives = {s: (pattern, t.firings) for t in case.section.tasks for s, pattern in t.gives.items()}
    return {s.name: s.initial + total(*gives[s.name]) for s in case.section.streams}


def smallest_change(case: Drawn) -> dict[str, int]:
    """By trying every depth of every stream: the single change by fewest tokens, then by name; none if none does."""
    most = enough(case)
    tried = [
        (more, s.name, s.depth + more)
        for s in case.section.streams
        for more in range(1, most[s.name] - s.depth + 1)
        if ends(case, {s.name: s.depth + more})
    ]
    return {name: depth for _, name, depth in sorted(tried)[:1]}


def has_the_smallest_way_out(case: Drawn, engine: str) -> str:
    """Checks what a drawn section says of itself; which kind of answer it was."""
    found = explained(case, engine)
    if found is None:
        return "no deadlock"
    out, single = found.way_out, smallest_change(case)
    if out is None:
        assert not ends(case, {s.name: UNLIMITED for s in case.section.streams})
        return "order"
    assert ends(case, out.depths)
    assert out.now == {s.name: s.depth for s in case.section.streams if s.name in out.depths}
    assert all(out.depths[name] > now for name, now in out.now.items())
    for name, depth in out.depths.items():
        assert not ends(case, {**out.depths, name: depth - 1})
    streams = tuple(replace(s, depth=out.depths.get(s.name, s.depth)) for s in case.section.streams)
    result = attempt(flatten(replace(case.section, streams=streams), case.design), engine=engine)
    assert not isinstance(result, Stuck)
    assert result.cycles == out.cycles
    if len(out.depths) == 1:
        assert out.depths == single
        return "one depth"
    assert not single
    return "several depths"


def waits_add_up(case: Drawn) -> None:
    """The first of the cycle sorts first in it, each waits for the next, and who waits at all is told once."""
    found = explained(case)
    if found is None:
        return
    names = [w.task for w in found.wait_cycle]
    assert names[0] == min(names)
    assert [w.waits_for for w in found.wait_cycle] == [*names[1:], names[0]]
    others = [w.task for w in found.others]
    assert others == sorted(others)
    fired = fired_plainly(case)
    waiting = {w.task: w.firing - 1 for w in (*found.wait_cycle, *found.others)}
    assert waiting == {t.name: fired[t.name] for t in case.section.tasks if fired[t.name] < t.firings}
    assert len(waiting) == len(names) + len(others)
    told = str(found).splitlines()
    assert all(f"  {w}" in told for w in (*found.wait_cycle, *found.others))


@pytest.mark.parametrize("engine", ENGINES)
@FEW
@given(case=drawn())
def test_an_untimed_run_is_stuck_where_the_engine_is(case: Drawn, engine: str) -> None:
    is_stuck_where_the_engine_is(case, engine)


def counted(check: Callable[[Drawn, str], str], engine: str, settings_: settings, **options: int) -> Counter[str]:
    """How often drawn sections had each kind of answer."""
    seen: Counter[str] = Counter()

    @settings_
    @given(case=drawn(**options))
    def checked(case: Drawn) -> None:
        seen[check(case, engine)] += 1

    checked()
    return seen


@pytest.mark.parametrize("engine", ENGINES)
def test_every_way_out_is_the_smallest(engine: str) -> None:
    seen = counted(has_the_smallest_way_out, engine, SOME)
    assert min(seen[kind] for kind in ("one depth", "several depths", "order")) >= 3, seen


@FEW
@given(case=drawn())
def test_what_waits_is_told_once_and_in_order(case: Drawn) -> None:
    waits_add_up(case)


@FEW
@given(case=drawn(arbitrations=("in_order",)), seed=st.integers(0, 10**6))
def test_the_order_of_a_listing_changes_no_word(case: Drawn, seed: int) -> None:
    """Where nothing competes; orders are written out, as a unit without one takes its tasks as listed."""
    random, section = Random(seed), case.section
    tasks, streams = list(section.tasks), list(section.streams)
    random.shuffle(tasks)
    random.shuffle(streams)
    orders = {unit: section.order_of(unit) for unit in {t.unit for t in tasks}}
    again = case.with_section(tasks=tuple(tasks), streams=tuple(streams), orders=orders)
    first, second = explained(case), explained(again)
    assert str(first) == str(second)
    event("the same deadlock" if first else "no deadlock")


@pytest.mark.heavy
@pytest.mark.parametrize("engine", ENGINES)
def test_many_ways_out_are_the_smallest(engine: str) -> None:
    counted(has_the_smallest_way_out, engine, MANY, most_tasks=8)


@pytest.mark.heavy
@pytest.mark.parametrize("engine", ENGINES)
@MANY
@given(case=drawn(most_tasks=8))
def test_many_untimed_runs_are_stuck_where_the_engine_is(case: Drawn, engine: str) -> None:
    is_stuck_where_the_engine_is(case, engine)
    waits_add_up(case)
