"""Spans: alike from both engines, and their sums are the account of every unit."""

from __future__ import annotations

import pytest
from drawn import Drawn, drawn
from hypothesis import given, settings

from archsim import InputError, load_design
from archsim.engine import ENGINES, attempt, spans, starts
from archsim.engine.flat import Flat, flatten
from archsim.engine.result import Stuck
from archsim.engine.spans import Span
from dataflow import Section, Stream, Task, every, work

LANE = {"kind": "vector", "ops": [], "lanes": 1}


@settings(max_examples=300, derandomize=True, deadline=None)
@given(case=drawn())
def test_spans_add_up_to_the_account_of_each_unit(case: Drawn) -> None:
    flat = flatten(case.section, case.design)
    found = spans(flat, engine="simpy")
    assert found == spans(flat, engine="compiled")
    result = attempt(flat, engine="simpy")
    if isinstance(result, Stuck):
        return
    for name, unit in result.units.items():
        mine = [span for span in found if span.unit == name]
        sums: dict[tuple[str, str], int] = {}
        for span in mine:
            key = (span.cause, "" if span.cause == "busy" else span.of)
            sums[key] = sums.get(key, 0) + span.server_cycles
        assert sums.pop(("busy", ""), 0) == unit.busy_cycles
        assert sums == unit.stalls


@settings(max_examples=300, derandomize=True, deadline=None)
@given(case=drawn())
def test_starts_are_those_of_the_spans(case: Drawn) -> None:
    flat = flatten(case.section, case.design)
    found = [starts(flat, most=10**6, engine=engine) for engine in ENGINES]
    assert [one.first for one in found] == [(0,) * len(flat.tasks)] * 2
    seen = [[of.tolist() for of in one.cycles] for one in found]
    assert seen[0] == seen[1]
    long: dict[str, list[int]] = {task.name: [] for task in flat.tasks}
    for span in spans(flat, engine="simpy"):
        if span.cause == "busy":
            long[span.of].append(span.start)
    for task, cycles in zip(flat.tasks, seen[0], strict=True):
        takes_time = [run.cycles > 0 for run in task.runs for _ in range(run.count)]
        timed = [at for i, at in enumerate(cycles) if takes_time[i % len(takes_time)]]
        assert timed == long[task.name]
        assert len(cycles) <= task.firings


def test_of_a_long_run_the_last_starts_are_kept() -> None:
    flat = flat_of(100_000, 2)
    whole, last = (starts(flat, most=most, engine="compiled") for most in (10**6, 1000))
    assert whole.first == (0, 0)
    assert all(1000 <= len(cycles) < 100_000 for cycles in last.cycles)
    for task in (0, 1):
        assert last.cycles[task].tolist() == whole.cycles[task].tolist()[last.first[task] :]
        assert last.first[task] + len(last.cycles[task]) == len(whole.cycles[task]) == 100_000


def flat_of(firings: int, depth: int) -> Flat:
    """A task of 1 cycle a firing that feeds one of 3."""
    design = load_design("toy").with_({"units": {"u": LANE, "v": LANE}})
    a = Task("a", "u", firings, every(work("copy", d=1)), {}, {"s": every(1)})
    b = Task("b", "v", firings, every(work("copy", d=3)), {"s": every(1)}, {})
    return flatten(Section("x", (a, b), (Stream("s", depth),)), design)


@pytest.mark.parametrize("engine", ENGINES)
def test_spans_counted_by_hand(engine: str) -> None:
    """With one place the second firing waits from 1 until the first use has ended at 4, and its token is used at 5."""
    assert spans(flat_of(2, 1), engine=engine) == [
        Span("u", 0, 1, "busy", "a", 1), Span("u", 1, 4, "blocked", "s", 1), Span("u", 4, 5, "busy", "a", 1),
        Span("v", 0, 1, "starved", "s", 1), Span("v", 1, 4, "busy", "b", 1), Span("v", 4, 5, "starved", "s", 1),
        Span("v", 5, 8, "busy", "b", 1),
    ]  # fmt: skip


def test_more_spans_than_are_recorded_in_one_call() -> None:
    flat = flat_of(40_000, 1)
    assert spans(flat, engine="compiled") == spans(flat, engine="simpy")


def test_an_engine_that_records_none() -> None:
    with pytest.raises(InputError, match="spans are recorded by the engines compiled, simpy, not by 'recurrence'"):
        spans(flat_of(1, 1), engine="recurrence")
