"""The laws of the event model over drawn sections and designs."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from drawn import Drawn, copies, drawn
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import run_untimed

from archsim import Deadlock
from archsim.engine import run
from archsim.engine.flat import flatten
from archsim.engine.result import SectionResult
from archsim.run.bound import section_bound

FEW = settings(max_examples=100, derandomize=True, deadline=None)
MANY = settings(max_examples=5_000, derandomize=True, deadline=None)


def ran(case: Drawn) -> SectionResult | None:
    """The result of the engine; None where the section is in deadlock. Any other error is a fault."""
    try:
        return run(flatten(case.section, case.design))
    except Deadlock:
        return None


def check_totals(case: Drawn) -> None:
    result = ran(case)
    assert result is not None
    assert result.firings == sum(t.firings for t in case.section.tasks)
    for name, unit in result.units.items():
        four = (unit.busy_cycles, unit.starved_cycles, unit.blocked_cycles, unit.idle_cycles)
        assert min(four) >= 0
        assert sum(four) == case.units[name]["count"] * result.cycles
        assert sum(unit.stalls.values()) == unit.starved_cycles + unit.blocked_cycles
        on_it = [t.name for t in case.section.tasks if t.unit == name]
        servers = {t.name: t.servers for t in case.section.tasks}
        assert unit.busy_cycles == sum(servers[t] * result.tasks[t].busy_cycles for t in on_it)
    for stream in case.section.streams:
        moved = result.streams[stream.name]
        assert moved.given == moved.taken
        assert stream.initial <= moved.peak <= stream.depth
    for task in result.tasks.values():
        assert 0 <= task.start_cycle <= task.end_cycle <= result.cycles


@FEW
@given(drawn())
def test_time_and_tokens_add_up(case: Drawn) -> None:
    assume(ran(case))
    check_totals(case)


@FEW
@given(drawn())
def test_no_run_is_faster_than_the_lower_bound(case: Drawn) -> None:
    result = ran(case)
    assume(result)
    assert result is not None
    assert result.cycles >= section_bound(flatten(case.section, case.design))


@FEW
@given(drawn())
def test_a_section_deadlocks_where_no_order_in_time_could_fire_it(case: Drawn) -> None:
    """Whether a section can go on does not depend on time: a game without a clock knows it."""
    game = run_untimed(case.section, case.units)
    finishes = game.counts == {t.name: t.firings for t in case.section.tasks}
    assert (ran(case) is not None) == finishes


@FEW
@given(drawn())
def test_two_runs_are_identical(case: Drawn) -> None:
    assert ran(case) == ran(case)


def listed_otherwise(case: Drawn, random: Random) -> Drawn:
    """The same section with tasks, streams and units in another order, every order of firings kept.

    Tasks on units that serve first come keep their order among themselves, which decides ties.
    """
    section = case.section
    first_come = {name for name, unit in case.units.items() if unit["arbitration"] == "first_come"}
    tasks = list(section.tasks)
    random.shuffle(tasks)
    ranked = iter([t for t in section.tasks if t.unit in first_come])
    tasks = [next(ranked) if t.unit in first_come else t for t in tasks]
    streams = list(section.streams)
    random.shuffle(streams)
    units = list(case.units.items())
    random.shuffle(units)
    return Drawn(with_orders(case, tasks=tuple(tasks), streams=tuple(streams)).section, dict(units))


def with_orders(case: Drawn, **changes: object) -> Drawn:
    """The same with every order written out."""
    fixed = {t.unit for t in case.section.tasks if case.units[t.unit]["arbitration"] == "in_order"}
    return case.with_section(orders={u: case.section.order_of(u) for u in fixed}, **changes)


@FEW
@given(drawn(), st.integers(0, 10**6))
def test_the_order_of_a_listing_changes_nothing(case: Drawn, seed: int) -> None:
    assert ran(listed_otherwise(case, Random(seed))) == ran(case)


def assert_never_slower(less: Drawn, case: Drawn) -> None:
    before, after = ran(case), ran(less)
    if before is not None:
        assert after is not None, "it could go on and now it cannot"
        assert after.cycles <= before.cycles


@FEW
@given(drawn(arbitrations=("in_order",)), st.data())
def test_a_deeper_stream_is_never_slower(case: Drawn, data: st.DataObject) -> None:
    assume(case.section.streams)
    which = data.draw(st.integers(0, len(case.section.streams) - 1))
    more = data.draw(st.integers(1, 3))
    streams = [replace(s, depth=s.depth + more * (i == which)) for i, s in enumerate(case.section.streams)]
    assert_never_slower(case.with_section(streams=tuple(streams)), case)


@FEW
@given(drawn(arbitrations=("in_order",)), st.data())
def test_a_faster_unit_is_never_slower(case: Drawn, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(case.units)))
    faster = data.draw(st.sampled_from([{"lanes": 2}, {"lanes": 4}, {"latency_cycles": 0}]))
    assert_never_slower(replace(case, units={**case.units, name: {**case.units[name], **faster}}), case)


@FEW
@given(drawn(arbitrations=("in_order",)), st.data())
def test_less_work_is_never_slower(case: Drawn, data: st.DataObject) -> None:
    """One firing takes a cycle less; the order of firings is fixed."""
    which = data.draw(st.integers(0, len(case.section.tasks) - 1))
    task = case.section.tasks[which]
    cycles = [task.work.at(i).extents[0] for i in range(task.firings)]
    assume(max(cycles))
    cycles[data.draw(st.sampled_from([i for i, n in enumerate(cycles) if n]))] -= 1
    tasks = [replace(t, work=copies(cycles)) if i == which else t for i, t in enumerate(case.section.tasks)]
    assert_never_slower(with_orders(case, tasks=tuple(tasks)), case)


@pytest.mark.heavy
@MANY
@given(drawn(most_tasks=8), st.integers(0, 10**6))
def test_the_laws_over_many_sections(case: Drawn, seed: int) -> None:
    result = ran(case)
    assert ran(listed_otherwise(case, Random(seed))) == result
    if result is not None:
        check_totals(case)
        assert result.cycles >= section_bound(flatten(case.section, case.design))
