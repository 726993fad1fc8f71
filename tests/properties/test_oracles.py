"""The engine against two accounts of the same sections that share no code with it: every integer is equal."""

from __future__ import annotations

from random import Random

import pytest
from drawn import Drawn, drawn
from hypothesis import given, settings
from made import made
from oracles import CAUSES, Account, Plain, SlowClock, recurrence, run_untimed

from archsim import Deadlock
from archsim.engine import ENGINES, attempt, run
from archsim.engine.flat import flatten
from archsim.engine.result import SectionResult, Stuck

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
    seen = SlowClock(Plain(case.section), case.units).run()
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
    seen = SlowClock(Plain(case.section), case.units, turns=True).run()
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


def agrees_on_made(seed: int) -> bool:
    """Both engines with the slow clock on a section made from a seed; whether it comes to its end."""
    flat = made(Random(seed))
    units = {
        u.name: {
            "count": u.count, "latency_cycles": u.latency_cycles,
            "arbitration": "first_come" if u.order is None else "in_order",
        }
        for u in flat.units
    }  # fmt: skip
    seen = SlowClock(Plain.of_flat(flat), units).run()
    gangs = {u.name: u.gang for u in flat.units}
    for name, causes in seen.units.items():
        seen.units[name] = {cause: gangs[name] * n for cause, n in causes.items()}
        seen.stalls[name] = {cause: gangs[name] * n for cause, n in seen.stalls[name].items()}
    for engine in ENGINES:
        found = attempt(flat, engine=engine)
        if isinstance(found, Stuck):
            assert (seen.stuck, seen.cycles) == (True, found.cycle), (seed, engine)
            assert seen.fired == dict(
                {t.name: t.firings for t in flat.tasks}, **{flat.tasks[w.task].name: w.firing for w in found.waiting}
            ), (seed, engine)
        else:
            assert account_of(found) == seen, (seed, engine)
    return not seen.stuck


def test_made_sections_agree_with_the_slow_clock() -> None:
    ended = sum(map(agrees_on_made, range(4_000)))
    assert 1_000 < ended < 3_500


@pytest.mark.heavy
def test_many_made_sections_agree_with_the_slow_clock() -> None:
    for seed in range(4_000, 54_000):
        agrees_on_made(seed)
