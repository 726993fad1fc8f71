"""The engine against two accounts of the same sections that share no code with it: every integer is equal."""

from __future__ import annotations

import pytest
from drawn import Drawn, drawn
from hypothesis import given, settings
from oracles import CAUSES, Account, SlowClock, recurrence, run_untimed

from archsim import Deadlock
from archsim.engine import ENGINES, attempt, run
from archsim.engine.flat import flatten
from archsim.engine.result import SectionResult

SOME = settings(max_examples=300, derandomize=True, deadline=None)
MANY = settings(max_examples=5_000, derandomize=True, deadline=None)


def ran(case: Drawn, engine: str) -> SectionResult | Deadlock:
    try:
        return run(flatten(case.section, case.design), engine=engine)
    except Deadlock as deadlock:
        return deadlock


def firings_waiting(deadlock: Deadlock) -> dict[str, int]:
    """For each task that the message names, how many firings it has behind it."""
    return {wait.task: wait.firing - 1 for wait in (*deadlock.wait_cycle, *deadlock.others)}


def agrees_with_recurrence(case: Drawn, engine: str) -> None:
    times = recurrence(case.section, case.units)
    unfinished = {t.name: len(times.ends[t.name]) for t in case.section.tasks if len(times.ends[t.name]) < t.firings}
    result = ran(case, engine)
    if isinstance(result, Deadlock):
        assert firings_waiting(result) == unfinished != {}
        assert result.cycle == times.cycles
        return
    assert not unfinished
    assert result.cycles == times.cycles
    for name, task in result.tasks.items():
        assert (task.start_cycle, task.end_cycle) == (times.starts[name][0], times.ends[name][-1])
        held = sum(end - start for start, end in zip(times.starts[name], times.ends[name], strict=True))
        assert task.busy_cycles == held


def agrees_with_slow_clock(case: Drawn, engine: str) -> None:
    seen = SlowClock(case.section, case.units).run()
    assert seen.fired == run_untimed(case.section, case.units).counts
    result = ran(case, engine)
    if isinstance(result, Deadlock):
        assert seen.stuck
        assert result.cycle == seen.cycles
        firings = {t.name: t.firings for t in case.section.tasks}
        assert firings_waiting(result) == {t: n for t, n in seen.fired.items() if n < firings[t]}
        return
    assert not seen.stuck
    assert account_of(result) == seen


def account_of(result: SectionResult) -> Account:
    return Account(
        cycles=result.cycles,
        stuck=False,
        units={u: {c: getattr(r, f"{c}_cycles") for c in CAUSES} for u, r in result.units.items()},
        stalls={u: r.stalls for u, r in result.units.items()},
        starts={t: r.start_cycle for t, r in result.tasks.items()},
        ends={t: r.end_cycle for t, r in result.tasks.items()},
        peaks={s: r.peak for s, r in result.streams.items()},
    )


@pytest.mark.parametrize("engine", ENGINES)
@SOME
@given(case=drawn(own_units=True))
def test_starts_and_ends_solve_the_recurrence(case: Drawn, engine: str) -> None:
    agrees_with_recurrence(case, engine)


@pytest.mark.parametrize("engine", ENGINES)
@SOME
@given(case=drawn())
def test_every_total_is_that_of_the_slow_clock(case: Drawn, engine: str) -> None:
    agrees_with_slow_clock(case, engine)


@pytest.mark.parametrize("engine", ENGINES)
@SOME
@given(case=drawn(most_tasks=5))
def test_stalls_with_turns_are_those_of_the_slow_clock(case: Drawn, engine: str) -> None:
    seen = SlowClock(case.section, case.units, turns=True).run()
    found = attempt(flatten(case.section, case.design), engine=engine, turns=True)
    if isinstance(found, SectionResult):
        assert {name: unit.stalls for name, unit in found.units.items()} == seen.stalls
        assert {name: unit.idle_cycles for name, unit in found.units.items()} == {
            name: spent["idle"] for name, spent in seen.units.items()
        }


@pytest.mark.parametrize("engine", ENGINES)
@SOME
@given(case=drawn(arbitrations=("first_come",), most_tasks=5))
def test_first_come_is_that_of_the_slow_clock(case: Drawn, engine: str) -> None:
    agrees_with_slow_clock(case, engine)


@pytest.mark.heavy
@pytest.mark.parametrize("engine", ENGINES)
@MANY
@given(case=drawn(most_tasks=8))
def test_many_sections_agree_with_the_slow_clock(case: Drawn, engine: str) -> None:
    agrees_with_slow_clock(case, engine)


@pytest.mark.heavy
@pytest.mark.parametrize("engine", ENGINES)
@MANY
@given(case=drawn(own_units=True, most_tasks=8))
def test_many_sections_solve_the_recurrence(case: Drawn, engine: str) -> None:
    agrees_with_recurrence(case, engine)
