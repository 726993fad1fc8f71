"""The compiled engine: the same integers as the SimPy engine's, in machine code, whole repeats skipped exactly.

Two kernels. The clock runs any section and skips what repeats; the order kernel is faster where every order is fixed,
and runs such sections where nothing repeats.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from archsim.engine import clock_kernel, clock_state, machine_code, order_kernel, order_state
from archsim.engine.arrays import Arrays, arrays, firings
from archsim.engine.clock_state import State
from archsim.engine.flat import Flat
from archsim.engine.game import after
from archsim.engine.repeats import repeats
from archsim.engine.result import SectionResult, StreamResult, Stuck, TaskResult, UnitResult
from archsim.engine.spans import Row, Span, spans_of
from dataflow.errors import ScheduleError

MOST = 2**62
FIRINGS_A_CALL = 1_000_000  # a fraction of a second, after which an interrupt is heard
PATIENCE = 8  # the clock tries to skip until it has run one firing in so many, if the order kernel can take over


class Outcome(NamedTuple):
    """What a kernel says of a section, by task and by stream; `cycle` is the last at which anything happened."""

    cycle: int
    fired: int
    skipped: int
    left: np.ndarray
    start: np.ndarray
    end: np.ndarray
    starved: np.ndarray
    blocked: np.ndarray
    peak: np.ndarray


def run(flat: Flat, *, skip: bool = True) -> SectionResult | Stuck:
    """One run of this section; Stuck when nothing can happen any more and firings are left.

    `skip` False runs every firing one by one. Raises ScheduleError where cycles or tokens could pass 2^62.
    """
    packed = _packed(flat)
    _warm()
    outcome = _outcome(packed, skip=skip)
    if outcome.left.any():
        fired = [task.firings - n for task, n in zip(flat.tasks, outcome.left.tolist(), strict=True)]
        return Stuck(outcome.cycle, after(flat, fired).waiting())
    return _result(flat, packed, outcome)


@cache
def _warm() -> None:
    machine_code.tell_if_cold()


def _outcome(packed: Arrays, *, skip: bool) -> Outcome:
    ordered = order_state.takes(packed)
    if skip or not ordered:
        patience = max(FIRINGS_A_CALL, int(packed.tasks[:, 1].sum()) // PATIENCE) if ordered else MOST
        outcome = _by_the_clock(packed, skip, patience)
        if outcome is not None:
            return outcome
    return _in_order(packed)


def spans(flat: Flat) -> list[Span]:
    """What each unit does when in a run of this section, as far as it gets; nothing is skipped."""
    packed = _packed(flat)
    _warm()
    rows: list[Row] = []
    for q, _ in _steps(clock_state.begin(packed, spans=True), skip=False):
        for unit, what, start, end, servers in q.spans[: q.scalars[clock_state.SPANS]].tolist():
            cause, of = _named(flat, what)
            rows.append((flat.units[unit].name, cause, of, start, end, servers))
        q.scalars[clock_state.SPANS] = 0
    return spans_of(rows)


def _named(flat: Flat, what: int) -> tuple[str, str]:
    """A span's cause and the task or stream that it is of."""
    if what < 0:
        return "busy", flat.tasks[clock_state.NOBODY - what].name
    late, stream = divmod(what, len(flat.streams))
    return "blocked" if late else "starved", flat.streams[stream].name


def _steps(q: State, *, skip: bool) -> Iterator[tuple[State, bool]]:
    """The state after each of the clock's calls, and whether it is the end."""
    clock_kernel.enter(q)
    seen = repeats(q, on=skip)
    while (status := clock_kernel.advance(q, seen, FIRINGS_A_CALL)) != clock_kernel.ENDED:
        yield q, False
        if status == clock_kernel.CROWDED and q.scalars[clock_state.EVENTS] >= len(q.events) - 1:
            q = q._replace(events=np.concatenate([q.events, np.zeros_like(q.events)]))
    yield q, True


def _by_the_clock(packed: Arrays, skip: bool, patience: int) -> Outcome | None:
    """The clock's answer; None where it has run so many firings one by one and is not done."""
    for q, ended in _steps(clock_state.begin(packed), skip=skip):
        if ended:
            break
        if q.scalars[clock_state.FIRED] >= patience:
            return None
    fired, skipped = int(q.scalars[clock_state.FIRED]), int(q.scalars[clock_state.SKIPPED])
    tasks, streams = q.tasks, q.streams
    return Outcome(
        int(q.scalars[clock_state.NOW]), fired + skipped, skipped,
        tasks[:, clock_state.LEFT], tasks[:, clock_state.START], tasks[:, clock_state.END],
        streams[:, clock_state.STARVED], streams[:, clock_state.BLOCKED],
        packed.streams[:, 0] - streams[:, clock_state.LEAST_ROOM],
    )  # fmt: skip


def _in_order(packed: Arrays) -> Outcome:
    q = order_state.begin(packed)
    while not order_kernel.work_off(q, FIRINGS_A_CALL):
        pass
    tasks, streams = q.tasks, q.streams
    return Outcome(
        int(q.scalars[order_state.LAST]), int(q.scalars[order_state.FIRED]), 0,
        tasks[:, order_state.LEFT], tasks[:, order_state.START], tasks[:, order_state.END],
        streams[:, order_state.STARVED], streams[:, order_state.BLOCKED], streams[:, order_state.PEAK],
    )  # fmt: skip


def _packed(flat: Flat) -> Arrays:
    """The section as arrays. Raises ScheduleError where a number could pass 2^62; looks closely where one may."""
    try:
        a = arrays(flat)
    except OverflowError:
        _refuse_what_overflows(flat)
        raise
    longest = float(a.runs[:, 1].max()) + float(a.units[:, 1].max())
    cycles = longest * float(a.units[:, 0].max()) * a.tasks[:, 1].sum(dtype=float)
    tokens = float(max(a.takes[:, 1].max(initial=1), a.gives[:, 1].max(initial=1))) * float(a.tasks[:, 1].max())
    if max(cycles, tokens) > MOST / 2 or a.streams[:, 0].max(initial=0) > MOST:
        _refuse_what_overflows(flat)
    return a


def _refuse_what_overflows(flat: Flat) -> None:
    """Raises ScheduleError for every number that could pass 2^62.

    Time passes only while a firing is held or what it gives is on its way: the sum of both over all firings bounds it.
    """
    servers = max(unit.count for unit in flat.units)
    cycles = sum(task.busy_cycles + task.firings * flat.units[task.unit].latency_cycles for task in flat.tasks)
    tokens = (task.firings * n for task in flat.tasks for run in task.runs for _, n in (*run.takes, *run.gives))
    counted = (
        ("server-cycles", cycles * servers),
        ("firings of a task", max(task.firings for task in flat.tasks)),
        ("tokens of a task", max(tokens, default=0)),
        ("places of a stream", max((stream.depth for stream in flat.streams), default=0)),
        ("servers of a unit", servers),
    )
    found = [
        f"section '{flat.section}': up to {n:,} {what}; the compiled engine counts to 2^62 = {MOST:,}; make them "
        "fewer, or take --engine simpy"
        for what, n in counted
        if n > MOST
    ]
    if found:
        raise ScheduleError(found)


def _result(flat: Flat, packed: Arrays, outcome: Outcome) -> SectionResult:
    times = firings(packed)
    busy = np.add.reduceat(times * packed.runs[:, 1], packed.tasks[:, 2]).tolist()
    moved = np.zeros(len(flat.streams), dtype=np.int64)
    given = np.repeat(times, packed.runs[:, 5] - packed.runs[:, 4]) * packed.gives[:, 1]
    np.add.at(moved, packed.gives[:, 0], given)
    start, end, peak = outcome.start.tolist(), outcome.end.tolist(), outcome.peak.tolist()
    return SectionResult(
        outcome.cycle,
        outcome.fired,
        _units(flat, outcome, busy),
        {task.name: TaskResult(*row) for task, *row in zip(flat.tasks, start, end, busy, strict=True)},
        {s.name: StreamResult(n, n, most) for s, n, most in zip(flat.streams, moved.tolist(), peak, strict=True)},
        outcome.skipped,
    )


def _units(flat: Flat, outcome: Outcome, busy: list[int]) -> dict[str, UnitResult]:
    stalls: list[dict[tuple[str, str], int]] = [{} for _ in flat.units]
    for i, cycles in _positive(outcome.starved):
        stream = flat.streams[i]
        stalls[flat.tasks[stream.consumer].unit]["starved", stream.name] = cycles
    for i, cycles in _positive(outcome.blocked):
        stream = flat.streams[i]
        stalls[flat.tasks[stream.producer].unit]["blocked", stream.name] = cycles
    units = {}
    for unit, waits in zip(flat.units, stalls, strict=True):
        worked = sum(busy[task] for task in unit.tasks)
        starved = sum(n for (cause, _), n in waits.items() if cause == "starved")
        blocked = sum(waits.values()) - starved
        idle = unit.count * outcome.cycle - worked - starved - blocked
        units[unit.name] = UnitResult(worked, starved, blocked, idle, dict(sorted(waits.items())))
    return units


def _positive(cycles: np.ndarray) -> list[tuple[int, int]]:
    where = np.flatnonzero(cycles)
    return list(zip(where.tolist(), cycles[where].tolist(), strict=True))
