"""The order kernel: the start and end of each firing without a clock, for sections in which every order is fixed.

A firing starts once the firing before it on its unit has ended, its tokens have arrived and its places are free. All of
these follow from ends of earlier firings, so a firing is computed as soon as those are known. This is the recurrence,
compiled, and extended to units that several tasks share in a fixed order.
"""

from __future__ import annotations

import numpy as np

from archsim.engine.compiled.machine_code import compiled, inlined
from archsim.engine.compiled.run_table import COUNT, CYCLES, GIVES, GIVES_END, NEXT, TAKES, TAKES_END
from archsim.engine.compiled.turns import FIRINGS, TASK, next_turn

from archsim.engine.compiled.order_state import (  # isort: skip
    ARRIVED, ARRIVED_END, AT, BLOCKED, DEPTH, EMPTIED, END, FILLED, FILLED_END, FIRED, FIRST, FREE_AT, FREED,
    FREED_END, GIVEN, IN_RUN, IN_TURN, INITIAL, LAST, LATENCY, LEFT, MASK, NEIGHBOURS, NEIGHBOURS_END, PEAK,
    QUEUED, RING, START, STARVED, TAKEN, TIME, TOKENS, TURN, TURN_END, TURN_OF, UNIT, WAITING, OrderState,
)  # fmt: skip

MOST_AT_ONCE = 2**16  # firings between two looks at the budget; a run of equal firings may have 10^12


@compiled
def work_off(state: OrderState, budget: int) -> bool:
    """Computes all firings that it can; False where it stops before, after about `budget` of them."""
    limit = state.scalars[FIRED] + budget
    while state.scalars[WAITING]:
        if state.scalars[FIRED] >= limit:
            return False
        unit = state.units[state.queue[state.scalars[FIRST]]]
        state.scalars[FIRST] += 1
        if state.scalars[FIRST] == len(state.queue):
            state.scalars[FIRST] = 0
        state.scalars[WAITING] -= 1
        unit[QUEUED] = 0
        goes_on = unit[TURN] < unit[TURN_END]
        while goes_on:
            task = state.tasks[unit[TURN_OF]]
            most = min(task[IN_RUN], unit[IN_TURN], MOST_AT_ONCE)
            n = _firings_possible(state, task, most)
            if not n:
                break
            _fire(state, unit, task, n)
            _advance(state, unit, task, n)
            for i in range(task[NEIGHBOURS], task[NEIGHBOURS_END]):
                _wake(state, state.neighbours[i])
            # Fewer than `most`: the unit waits for another one, which will wake it.
            goes_on = n == most and unit[TURN] < unit[TURN_END]
            if goes_on and state.scalars[FIRED] >= limit:
                # It waits for nobody, so nobody else would put it back into the queue.
                _wake(state, unit[TURN_OF])
                break
    # Starts after the last end are not looked at: they raise the level to its initial one at most, where PEAK began.
    for stream in range(len(state.streams)):
        _update_peak(state, stream)
    return True


@inlined
def _wake(state: OrderState, task: int) -> None:
    """Puts the task's unit into the queue, once, if it is this task's turn."""
    index = state.tasks[task, UNIT]
    unit = state.units[index]
    if not unit[QUEUED] and unit[TURN_OF] == task:
        unit[QUEUED] = 1
        place = state.scalars[FIRST] + state.scalars[WAITING]
        state.queue[place if place < len(state.queue) else place - len(state.queue)] = index
        state.scalars[WAITING] += 1


@inlined
def _firings_possible(state: OrderState, task: np.ndarray, most: int) -> int:
    """How many firings of the task's run, `most` at most, have all their terms known."""
    run = state.runs[task[AT]]
    n = most
    for i in range(run[TAKES], run[TAKES_END]):
        row, each = state.streams[state.takes[i, 0]], state.takes[i, 1]
        there = row[GIVEN] - row[TAKEN]
        n = min(n, there if each == 1 else there // each)
    for i in range(run[GIVES], run[GIVES_END]):
        row, each = state.streams[state.gives[i, 0]], state.gives[i, 1]
        room = row[DEPTH] - row[GIVEN] + row[TAKEN]
        n = min(n, room if each == 1 else room // each)
    return n


@inlined
def _fire(state: OrderState, unit: np.ndarray, task: np.ndarray, n: int) -> None:
    """Computes the start and end of the next n firings of the task, each as early as its terms allow."""
    run = state.runs[task[AT]]
    takes, takes_end, gives, gives_end = run[TAKES], run[TAKES_END], run[GIVES], run[GIVES_END]
    cycles, latency = run[CYCLES], unit[LATENCY]
    end = unit[FREE_AT]
    first = end
    for i in range(n):
        # Inputs before outputs, in the order of the task: a term is charged only for what it adds to those before it.
        start = end
        for j in range(takes, takes_end):
            row = state.streams[state.takes[j, 0]]
            start = _wait(state.arrivals, row, row[TAKEN] + state.takes[j, 1], row[INITIAL], ARRIVED, STARVED, start)
        for j in range(gives, gives_end):
            row = state.streams[state.gives[j, 0]]
            needed = row[GIVEN] + state.gives[j, 1] - row[DEPTH]
            start = _wait(state.frees, row, needed, 0, FREED, BLOCKED, start)
        end = start + cycles
        if i == 0:
            first = start
        for j in range(takes, takes_end):
            _free(state, state.takes[j, 0], state.takes[j, 1], end)
        for j in range(gives, gives_end):
            _give(state, state.gives[j, 0], state.gives[j, 1], start, end + latency)
    # Peaks are kept up to date, as the rings have no room for the times of a whole run.
    for j in range(takes, takes_end):
        if state.streams[state.takes[j, 0], PEAK] < state.streams[state.takes[j, 0], DEPTH]:
            _update_peak(state, state.takes[j, 0])
    if task[START] < 0:
        task[START] = first
    task[END] = unit[FREE_AT] = end
    state.scalars[LAST] = max(state.scalars[LAST], end + latency if gives_end > gives else end)
    state.scalars[FIRED] += n


@inlined
def _wait(times: np.ndarray, row: np.ndarray, needed: int, had: int, place: int, cause: int, start: int) -> int:
    """The later of `start` and the time at which `needed` tokens are moved; the time between counts for the cause.

    The first `had` tokens are there at cycle 0.
    """
    if needed <= had:
        return start
    # `needed` never falls from one firing to the next, so the search goes on where the last one ended.
    i = row[place]
    while times[row[RING] + (i & row[MASK]), TOKENS] < needed:
        i += 1
    row[place] = i
    time = times[row[RING] + (i & row[MASK]), TIME]
    if time <= start:
        return start
    row[cause] += time - start
    return time


@inlined
def _free(state: OrderState, stream: int, tokens: int, end: int) -> None:
    row = state.streams[stream]
    place = row[RING] + (row[FREED_END] & row[MASK])
    row[TAKEN] += tokens
    row[FREED_END] += 1
    state.frees[place, TIME], state.frees[place, TOKENS] = end, row[TAKEN]


@inlined
def _give(state: OrderState, stream: int, tokens: int, start: int, arrival: int) -> None:
    row = state.streams[stream]
    ring, mask = row[RING], row[MASK]
    row[GIVEN] += tokens
    place = ring + (row[ARRIVED_END] & mask)
    row[ARRIVED_END] += 1
    state.arrivals[place, TIME], state.arrivals[place, TOKENS] = arrival, row[GIVEN]
    # A stream that has been full has its peak; its starts need no record any more.
    if row[PEAK] == row[DEPTH]:
        return
    last = row[FILLED_END] - 1
    if last < row[FILLED] or state.starts[ring + (last & mask), TIME] < start:
        last += 1
        row[FILLED_END] = last + 1
    place = ring + (last & mask)
    state.starts[place, TIME], state.starts[place, TOKENS] = start, row[GIVEN]


@inlined
def _update_peak(state: OrderState, stream: int) -> None:
    """Updates the most places taken after all events of one time, up to where both ends of the stream are known."""
    row = state.streams[stream]
    ring, mask = row[RING], row[MASK]
    filled, emptied = row[FILLED], row[EMPTIED]
    freed = state.frees[ring + ((emptied - 1) & mask), TOKENS] if emptied else 0
    while filled < row[FILLED_END] and emptied < row[FREED_END]:
        # Ends before starts of the same time: places that come free and are taken again at once count once.
        if state.frees[ring + (emptied & mask), TIME] <= state.starts[ring + (filled & mask), TIME]:
            freed = state.frees[ring + (emptied & mask), TOKENS]
            emptied += 1
        else:
            taken = state.starts[ring + (filled & mask), TOKENS] - freed
            filled += 1
            if taken > row[PEAK]:
                row[PEAK] = taken
    row[FILLED], row[EMPTIED] = filled, emptied


@inlined
def _advance(state: OrderState, unit: np.ndarray, task: np.ndarray, n: int) -> None:
    """Moves the task on by n firings, and the unit to its next turn where this one is over."""
    task[LEFT] -= n
    task[IN_RUN] -= n
    if not task[IN_RUN]:
        task[AT] = state.runs[task[AT], NEXT]
        task[IN_RUN] = state.runs[task[AT], COUNT]
    unit[IN_TURN] -= n
    if not unit[IN_TURN]:
        unit[TURN] = next_turn(state.order, state.repeats, unit[TURN])
        unit[TURN_OF] = -1
        if unit[TURN] < unit[TURN_END]:
            unit[TURN_OF], unit[IN_TURN] = state.order[unit[TURN], TASK], state.order[unit[TURN], FIRINGS]
