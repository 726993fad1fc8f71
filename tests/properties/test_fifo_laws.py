"""Minimal FIFO depths over drawn sections: they reach the target, and one place less of any does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drawn import Drawn, copies, drawn
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from archsim import Deadlock, FifoSizes, size_fifos
from archsim.engine import run
from archsim.engine.flat import flatten
from dataflow import UNLIMITED, Graph, Schedule, Section

FEW = settings(max_examples=60, derandomize=True, deadline=None)
MANY = settings(max_examples=2_000, derandomize=True, deadline=None)
IN_ORDER = ("in_order",)


def scheduled(case: Drawn, shared: list[int] | None = None) -> Schedule:
    """The section as a schedule; streams with the same number in `shared` lie in one queue."""
    streams = case.section.streams
    if shared:
        named = zip(streams, shared, strict=False)
        streams = tuple(replace(s, fifo=f"queue {n}", bytes_per_token=1 + n) for s, n in named)
    return Schedule(Graph("drawn"), "toy", "drawn", (replace(case.section, streams=streams),))


def cycles_at(section: Section, case: Drawn) -> int | None:
    """Cycles of one run; None where it deadlocks."""
    try:
        return run(flatten(section, case.design)).cycles
    except Deadlock:
        return None


def taking_time(case: Drawn) -> Drawn:
    """The same with firings of zero cycles given one."""
    tasks = []
    for task in case.section.tasks:
        cycles = [max(1, task.work.at(i).extents[0]) for i in range(task.firings)]
        tasks.append(replace(task, work=copies(cycles)))
    return case.with_section(tasks=tuple(tasks))


def unbounded(case: Drawn) -> int | None:
    streams = tuple(replace(s, depth=UNLIMITED) for s in case.section.streams)
    return cycles_at(replace(case.section, streams=streams), case)


def check(sizes: FifoSizes, schedule: Schedule, case: Drawn) -> None:
    """What the answer says, run again on sections with other depths."""
    (section,) = schedule.sections
    queue_of = {stream.name: name for name, streams in schedule.fifos().items() for stream in streams}

    def cycles(depths: dict[str, int]) -> int | None:
        streams = tuple(replace(s, depth=depths[queue_of[s.name]]) for s in section.streams)
        return cycles_at(replace(section, streams=streams), case)

    depths = {fifo.name: fifo.minimal for fifo in sizes.fifos}
    assert cycles(depths) == sizes.cycles <= sizes.target_cycles
    assert sizes.unbounded_cycles == unbounded(case)
    assert sizes.cycles_now == cycles_at(section, case)
    for fifo in sizes.fifos:
        assert fifo.floor <= fifo.minimal
        if fifo.minimal > fifo.floor:
            took = cycles({**depths, fifo.name: fifo.minimal - 1})
            assert took is None or took > sizes.target_cycles
            assert fifo.proof == ("deadlock" if took is None else took)
        if fifo.short:
            given_depths = {s.name: s.depth for s in section.streams}
            mine = {s.name: max(fifo.depth, fifo.minimal) for s in fifo.streams}
            streams = tuple(replace(s, depth={**given_depths, **mine}[s.name]) for s in section.streams)
            assert fifo.alone_cycles == cycles_at(replace(section, streams=streams), case)
        else:
            assert fifo.alone_cycles is None


def check_full_rate(case: Drawn, shared: list[int]) -> None:
    assume(unbounded(case) is not None)
    schedule = scheduled(case, shared)
    check(size_fifos(schedule, case.design), schedule, case)


def check_slack(case: Drawn, slack: int) -> None:
    """With cycles to spare no more bytes are needed."""
    least = unbounded(case)
    assume(least is not None and case.section.streams)
    assert least is not None
    schedule = scheduled(case)
    full = size_fifos(schedule, case.design)
    some = size_fifos(schedule, case.design, target=least + slack)
    assert some.bytes <= full.bytes
    check(some, schedule, case)


SHARED = st.one_of(st.just([]), st.lists(st.integers(0, 2), min_size=12, max_size=12))
SLACK = st.sampled_from([1, 2, 5, 20])


@FEW
@given(drawn(arbitrations=IN_ORDER), SHARED)
def test_sizes_reach_what_unlimited_queues_do_and_one_less_does_not(case: Drawn, shared: list[int]) -> None:
    check_full_rate(case, shared)


@FEW
@given(drawn(arbitrations=IN_ORDER))
def test_in_order_no_queue_is_deeper_than_its_peak(case: Drawn) -> None:
    """And the sizes take what the unbounded run takes, not less. Firings of no time leave no trace in a peak."""
    case = taking_time(case)
    assume(unbounded(case) is not None)
    sizes = size_fifos(scheduled(case), case.design)
    assert sizes.cycles == sizes.unbounded_cycles
    assert all(fifo.minimal <= max(fifo.peak, fifo.floor) for fifo in sizes.fifos)
    assert not sizes.first_come


@FEW
@given(drawn(arbitrations=IN_ORDER), SLACK)
def test_cycles_to_spare_save_bytes(case: Drawn, slack: int) -> None:
    check_slack(case, slack)


@FEW
@given(drawn(arbitrations=("first_come",)), SHARED)
def test_the_proof_holds_where_units_serve_first_come(case: Drawn, shared: list[int]) -> None:
    check_full_rate(case, shared)


@FEW
@given(drawn(arbitrations=("first_come",)), SLACK)
def test_cycles_to_spare_save_bytes_where_units_serve_first_come(case: Drawn, slack: int) -> None:
    check_slack(case, slack)


@pytest.mark.heavy
@MANY
@given(drawn(most_tasks=8), SHARED, SLACK)
def test_the_sizes_of_many_sections(case: Drawn, shared: list[int], slack: int) -> None:
    check_full_rate(case, shared)
    check_slack(case, slack)
