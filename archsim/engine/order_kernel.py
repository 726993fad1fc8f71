"""The order kernel: when each firing starts and ends, where every order is fixed, without a clock.

A firing starts when its unit has come to it, its tokens have arrived and its places are free, all of which are ends of
firings before it; units are worked off in whatever order their terms become known. The recurrence, compiled, and for
units that several tasks share in a fixed order.
"""

from __future__ import annotations

from archsim.engine.machine_code import compiled, inlined
from archsim.engine.order_state import (
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


@compiled
def work_off(q: OrderState, budget: int) -> bool:
    """Fires what can be fired; True when nothing more can, False when about so many firings are done."""
    limit = q.scalars[FIRED] + budget
    while q.scalars[WAITING]:
        if q.scalars[FIRED] >= limit:
            return False
        unit = q.queue[q.scalars[FIRST]]
        q.scalars[FIRST] += 1
        if q.scalars[FIRST] == len(q.queue):
            q.scalars[FIRST] = 0
        q.scalars[WAITING] -= 1
        q.units[unit, QUEUED] = 0
        goes_on = q.units[unit, TURN] < q.units[unit, TURN_END]
        while goes_on:
            task = q.units[unit, TURN_OF]
            most = min(q.tasks[task, IN_RUN], q.units[unit, IN_TURN])
            n = _possible(q, task, most)
            if not n:
                break
            _fire(q, unit, task, n)
            _advance(q, unit, task, n)
            for i in range(q.tasks[task, NEIGHBOURS], q.tasks[task, NEIGHBOURS_END]):
                _wake(q, q.neighbours[i])
            goes_on = n == most and q.units[unit, TURN] < q.units[unit, TURN_END]
    for stream in range(len(q.streams)):
        _peak(q, stream)
    return True


@inlined
def _wake(q: OrderState, task: int) -> None:
    """The task's unit may go on, if it is this task's turn."""
    unit = q.tasks[task, UNIT]
    if not q.units[unit, QUEUED] and q.units[unit, TURN_OF] == task:
        q.units[unit, QUEUED] = 1
        place = q.scalars[FIRST] + q.scalars[WAITING]
        q.queue[place if place < len(q.queue) else place - len(q.queue)] = unit
        q.scalars[WAITING] += 1


@inlined
def _possible(q: OrderState, task: int, most: int) -> int:
    """How many firings of the task's run, and no more, can follow one another with what is known."""
    run = q.tasks[task, AT]
    n = most
    for i in range(q.runs[run, TAKES], q.runs[run, TAKES_END]):
        stream, each = q.takes[i, 0], q.takes[i, 1]
        there = q.streams[stream, GIVEN] - q.streams[stream, TAKEN]
        n = min(n, there if each == 1 else there // each)
    for i in range(q.runs[run, GIVES], q.runs[run, GIVES_END]):
        stream, each = q.gives[i, 0], q.gives[i, 1]
        room = q.streams[stream, DEPTH] - q.streams[stream, GIVEN] + q.streams[stream, TAKEN]
        n = min(n, room if each == 1 else room // each)
    return n


@inlined
def _fire(q: OrderState, unit: int, task: int, n: int) -> None:
    """The times of so many firings, each as soon as the last of what it waits for is there."""
    run = q.tasks[task, AT]
    takes, takes_end = q.runs[run, TAKES], q.runs[run, TAKES_END]
    gives, gives_end = q.runs[run, GIVES], q.runs[run, GIVES_END]
    cycles, latency = q.runs[run, CYCLES], q.units[unit, LATENCY]
    end = q.units[unit, FREE_AT]
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
    if q.tasks[task, START] < 0:
        q.tasks[task, START] = first
    q.tasks[task, END] = q.units[unit, FREE_AT] = end
    q.scalars[LAST] = max(q.scalars[LAST], end + latency if gives_end > gives else end)
    q.scalars[FIRED] += n


@inlined
def _arrival(q: OrderState, stream: int, tokens: int, start: int) -> int:
    """When the last of the tokens is there, or the start if that is later; the time between is starved."""
    needed = q.streams[stream, TAKEN] + tokens
    if needed > q.streams[stream, INITIAL]:
        ring, mask, place = q.streams[stream, RING], q.streams[stream, MASK], q.streams[stream, ARRIVED]
        while q.arrivals[ring + (place & mask), TOKENS] < needed:
            place += 1
        q.streams[stream, ARRIVED] = place
        time = q.arrivals[ring + (place & mask), TIME]
        if time > start:
            q.streams[stream, STARVED] += time - start
            return time
    return start


@inlined
def _place(q: OrderState, stream: int, tokens: int, start: int) -> int:
    """When the last of the places is free, or the start if that is later; the time between is blocked."""
    needed = q.streams[stream, GIVEN] + tokens - q.streams[stream, DEPTH]
    if needed > 0:
        ring, mask, place = q.streams[stream, RING], q.streams[stream, MASK], q.streams[stream, FREED]
        while q.frees[ring + (place & mask), TOKENS] < needed:
            place += 1
        q.streams[stream, FREED] = place
        time = q.frees[ring + (place & mask), TIME]
        if time > start:
            q.streams[stream, BLOCKED] += time - start
            return time
    return start


@inlined
def _free(q: OrderState, stream: int, tokens: int, end: int) -> None:
    place = q.streams[stream, RING] + (q.streams[stream, FREED_END] & q.streams[stream, MASK])
    q.streams[stream, TAKEN] += tokens
    q.streams[stream, FREED_END] += 1
    q.frees[place, TIME], q.frees[place, TOKENS] = end, q.streams[stream, TAKEN]


@inlined
def _give(q: OrderState, stream: int, tokens: int, start: int, arrival: int) -> None:
    ring, mask = q.streams[stream, RING], q.streams[stream, MASK]
    q.streams[stream, GIVEN] += tokens
    place = ring + (q.streams[stream, ARRIVED_END] & mask)
    q.streams[stream, ARRIVED_END] += 1
    q.arrivals[place, TIME], q.arrivals[place, TOKENS] = arrival, q.streams[stream, GIVEN]
    if q.streams[stream, PEAK] == q.streams[stream, DEPTH]:
        return
    last = q.streams[stream, FILLED_END] - 1
    if last < q.streams[stream, FILLED] or q.starts[ring + (last & mask), TIME] < start:
        last += 1
        q.streams[stream, FILLED_END] = last + 1
    place = ring + (last & mask)
    q.starts[place, TIME], q.starts[place, TOKENS] = start, q.streams[stream, GIVEN]


@inlined
def _peak(q: OrderState, stream: int) -> None:
    """The most places taken once everything of one time has happened, as far as both ends are known."""
    ring, mask = q.streams[stream, RING], q.streams[stream, MASK]
    filled, emptied = q.streams[stream, FILLED], q.streams[stream, EMPTIED]
    freed = q.frees[ring + ((emptied - 1) & mask), TOKENS] if emptied else 0
    while filled < q.streams[stream, FILLED_END] and emptied < q.streams[stream, FREED_END]:
        if q.frees[ring + (emptied & mask), TIME] <= q.starts[ring + (filled & mask), TIME]:
            freed = q.frees[ring + (emptied & mask), TOKENS]
            emptied += 1
        else:
            taken = q.starts[ring + (filled & mask), TOKENS] - freed
            filled += 1
            if taken > q.streams[stream, PEAK]:
                q.streams[stream, PEAK] = taken
    q.streams[stream, FILLED], q.streams[stream, EMPTIED] = filled, emptied


@inlined
def _advance(q: OrderState, unit: int, task: int, n: int) -> None:
    """The task's next firing and the unit's next turn."""
    q.tasks[task, LEFT] -= n
    q.tasks[task, IN_RUN] -= n
    if not q.tasks[task, IN_RUN]:
        run = q.runs[q.tasks[task, AT], NEXT]
        q.tasks[task, AT], q.tasks[task, IN_RUN] = run, q.runs[run, COUNT]
    q.units[unit, IN_TURN] -= n
    if not q.units[unit, IN_TURN]:
        turn = q.units[unit, TURN] + 1
        q.units[unit, TURN] = turn
        if turn < q.units[unit, TURN_END]:
            q.units[unit, TURN_OF], q.units[unit, IN_TURN] = q.order[turn, 0], q.order[turn, 1]
        else:
            q.units[unit, TURN_OF] = -1
