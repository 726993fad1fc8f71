"""The order kernel: when each firing starts and ends, where every order is fixed, without a clock.

A firing starts when its unit has come to it, its tokens have arrived and its places are free, all of which are ends of
firings before it; units are worked off in whatever order their terms become known. The recurrence, compiled, and for
units that several tasks share in a fixed order.
"""

from __future__ import annotations

import numpy as np

from archsim.engine.compiled.machine_code import compiled, inlined
from archsim.engine.compiled.order_state import (
    ARRIVED,
    ARRIVED_END,
    AT,
    BLOCKED,
    COUNT,
    CYCLES,
    DEPTH,
    EMPTIED,
    END,
    FILLED,
    FILLED_END,
    FIRED,
    FIRST,
    FREE_AT,
    FREED,
    FREED_END,
    GIVEN,
    GIVES,
    GIVES_END,
    IN_RUN,
    IN_TURN,
    INITIAL,
    LAST,
    LATENCY,
    LEFT,
    MASK,
    NEIGHBOURS,
    NEIGHBOURS_END,
    NEXT,
    PEAK,
    QUEUED,
    RING,
    START,
    STARVED,
    TAKEN,
    TAKES,
    TAKES_END,
    TIME,
    TOKENS,
    TURN,
    TURN_END,
    TURN_OF,
    UNIT,
    WAITING,
    OrderState,
)

MOST_AT_ONCE = 2**16  # firings of a run, so that the budget is looked at


@compiled
def work_off(q: OrderState, budget: int) -> bool:
    """Fires what can be fired; True when nothing more can, False when about so many firings are done."""
    limit = q.scalars[FIRED] + budget
    while q.scalars[WAITING]:
        if q.scalars[FIRED] >= limit:
            return False
        unit = q.units[_next(q)]
        unit[QUEUED] = 0
        goes_on = unit[TURN] < unit[TURN_END]
        while goes_on:
            task = q.tasks[unit[TURN_OF]]
            most = min(task[IN_RUN], unit[IN_TURN], MOST_AT_ONCE)
            n = _possible(q, task, most)
            if not n:
                break
            _fire(q, unit, task, n)
            _advance(q, unit, task, n)
            for i in range(task[NEIGHBOURS], task[NEIGHBOURS_END]):
                _wake(q, q.neighbours[i])
            goes_on = n == most and unit[TURN] < unit[TURN_END]
            if goes_on and q.scalars[FIRED] >= limit:
                _wake(q, unit[TURN_OF])
                break
    for stream in range(len(q.streams)):
        _peak(q, stream)
    return True


@inlined
def _next(q: OrderState) -> int:
    """The unit that has waited for longest."""
    unit = q.queue[q.scalars[FIRST]]
    q.scalars[FIRST] += 1
    if q.scalars[FIRST] == len(q.queue):
        q.scalars[FIRST] = 0
    q.scalars[WAITING] -= 1
    return unit


@inlined
def _wake(q: OrderState, task: int) -> None:
    """The task's unit may go on, if it is this task's turn."""
    index = q.tasks[task, UNIT]
    unit = q.units[index]
    if not unit[QUEUED] and unit[TURN_OF] == task:
        unit[QUEUED] = 1
        place = q.scalars[FIRST] + q.scalars[WAITING]
        q.queue[place if place < len(q.queue) else place - len(q.queue)] = index
        q.scalars[WAITING] += 1


@inlined
def _possible(q: OrderState, task: np.ndarray, most: int) -> int:
    """How many firings of the task's run, and no more, can follow one another with what is known."""
    run = q.runs[task[AT]]
    n = most
    for i in range(run[TAKES], run[TAKES_END]):
        at, each = q.streams[q.takes[i, 0]], q.takes[i, 1]
        there = at[GIVEN] - at[TAKEN]
        n = min(n, there if each == 1 else there // each)
    for i in range(run[GIVES], run[GIVES_END]):
        at, each = q.streams[q.gives[i, 0]], q.gives[i, 1]
        room = at[DEPTH] - at[GIVEN] + at[TAKEN]
        n = min(n, room if each == 1 else room // each)
    return n


@inlined
def _fire(q: OrderState, unit: np.ndarray, task: np.ndarray, n: int) -> None:
    """The times of so many firings, each as soon as the last of what it waits for is there."""
    run = q.runs[task[AT]]
    takes, takes_end, gives, gives_end = run[TAKES], run[TAKES_END], run[GIVES], run[GIVES_END]
    cycles, latency = run[CYCLES], unit[LATENCY]
    end = unit[FREE_AT]
    first = end
    for i in range(n):
        start = end
        for j in range(takes, takes_end):
            start = _arrival(q, q.takes[j, 0], q.takes[j, 1], start)
        for j in range(gives, gives_end):
            start = _place(q, q.gives[j, 0], q.gives[j, 1], start)
        end = start + cycles
        if i == 0:
            first = start
        for j in range(takes, takes_end):
            _free(q, q.takes[j, 0], q.takes[j, 1], end)
        for j in range(gives, gives_end):
            _give(q, q.gives[j, 0], q.gives[j, 1], start, end + latency)
    for j in range(takes, takes_end):
        if q.streams[q.takes[j, 0], PEAK] < q.streams[q.takes[j, 0], DEPTH]:
            _peak(q, q.takes[j, 0])
    if task[START] < 0:
        task[START] = first
    task[END] = unit[FREE_AT] = end
    q.scalars[LAST] = max(q.scalars[LAST], end + latency if gives_end > gives else end)
    q.scalars[FIRED] += n


@inlined
def _arrival(q: OrderState, stream: int, tokens: int, start: int) -> int:
    """When the last of the tokens is there, or the start if that is later; the time between is starved."""
    at = q.streams[stream]
    return _when(q.arrivals, at, at[TAKEN] + tokens, at[INITIAL], ARRIVED, STARVED, start)


@inlined
def _place(q: OrderState, stream: int, tokens: int, start: int) -> int:
    """When the last of the places is free, or the start if that is later; the time between is blocked."""
    at = q.streams[stream]
    return _when(q.frees, at, at[GIVEN] + tokens - at[DEPTH], 0, FREED, BLOCKED, start)


@inlined
def _when(times: np.ndarray, at: np.ndarray, needed: int, had: int, place: int, cause: int, start: int) -> int:
    """The time from which so many tokens have been moved, or the start; what is had at first is never waited for."""
    if needed <= had:
        return start
    i = at[place]
    while times[at[RING] + (i & at[MASK]), TOKENS] < needed:
        i += 1
    at[place] = i
    time = times[at[RING] + (i & at[MASK]), TIME]
    if time <= start:
        return start
    at[cause] += time - start
    return time


@inlined
def _free(q: OrderState, stream: int, tokens: int, end: int) -> None:
    at = q.streams[stream]
    place = at[RING] + (at[FREED_END] & at[MASK])
    at[TAKEN] += tokens
    at[FREED_END] += 1
    q.frees[place, TIME], q.frees[place, TOKENS] = end, at[TAKEN]


@inlined
def _give(q: OrderState, stream: int, tokens: int, start: int, arrival: int) -> None:
    at = q.streams[stream]
    ring, mask = at[RING], at[MASK]
    at[GIVEN] += tokens
    place = ring + (at[ARRIVED_END] & mask)
    at[ARRIVED_END] += 1
    q.arrivals[place, TIME], q.arrivals[place, TOKENS] = arrival, at[GIVEN]
    if at[PEAK] == at[DEPTH]:
        return
    last = at[FILLED_END] - 1
    if last < at[FILLED] or q.starts[ring + (last & mask), TIME] < start:
        last += 1
        at[FILLED_END] = last + 1
    place = ring + (last & mask)
    q.starts[place, TIME], q.starts[place, TOKENS] = start, at[GIVEN]


@inlined
def _peak(q: OrderState, stream: int) -> None:
    """The most places taken once everything of one time has happened, as far as both ends are known."""
    at = q.streams[stream]
    ring, mask = at[RING], at[MASK]
    filled, emptied = at[FILLED], at[EMPTIED]
    freed = q.frees[ring + ((emptied - 1) & mask), TOKENS] if emptied else 0
    while filled < at[FILLED_END] and emptied < at[FREED_END]:
        if q.frees[ring + (emptied & mask), TIME] <= q.starts[ring + (filled & mask), TIME]:
            freed = q.frees[ring + (emptied & mask), TOKENS]
            emptied += 1
        else:
            taken = q.starts[ring + (filled & mask), TOKENS] - freed
            filled += 1
            if taken > at[PEAK]:
                at[PEAK] = taken
    at[FILLED], at[EMPTIED] = filled, emptied


@inlined
def _advance(q: OrderState, unit: np.ndarray, task: np.ndarray, n: int) -> None:
    """The task's next firing and the unit's next turn."""
    task[LEFT] -= n
    task[IN_RUN] -= n
    if not task[IN_RUN]:
        task[AT] = q.runs[task[AT], NEXT]
        task[IN_RUN] = q.runs[task[AT], COUNT]
    unit[IN_TURN] -= n
    if not unit[IN_TURN]:
        unit[TURN] += 1
        unit[TURN_OF] = -1
        if unit[TURN] < unit[TURN_END]:
            unit[TURN_OF], unit[IN_TURN] = q.order[unit[TURN], 0], q.order[unit[TURN], 1]
