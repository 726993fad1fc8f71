"""The order kernel: the start and end of each firing without a clock, for sections in which every order is fixed.

A firing starts once the firing before it on its unit has ended, its tokens have arrived and its places are free. All of
these follow from ends of earlier firings, so a firing is computed as soon as those are known. This is the recurrence,
compiled, and extended to units that several tasks share in a fixed order.
"""

from __future__ import annotations

import numpy as np

from archsim.engine.compiled.machine_code import compiled, inlined
from archsim.engine.compiled.order_state import FIRED, FIRST, LAST, NOBODY, WAITING, OrderState
from archsim.engine.compiled.records import Record
from archsim.engine.compiled.turns import next_turn

MOST_AT_ONCE = 2**16  # firings between two looks at the budget; a run of equal firings may have 10^12


@compiled
def work_off(state: OrderState, budget: int) -> bool:
    """Computes all firings that it can; False where it stops before, after about `budget` of them."""
    scalars = state.scalars
    limit = scalars[FIRED] + budget
    while scalars[WAITING]:
        if scalars[FIRED] >= limit:
            return False
        unit = state.units[state.queue[scalars[FIRST]]]
        scalars[FIRST] += 1
        if scalars[FIRST] == len(state.queue):
            scalars[FIRST] = 0
        scalars[WAITING] -= 1
        unit.queued = 0
        goes_on = unit.task != NOBODY
        while goes_on:
            task = state.tasks[unit.task]
            most = min(task.in_run, unit.in_turn, MOST_AT_ONCE)
            n = _firings_possible(state, task, most)
            if not n:
                break
            _fire(state, unit, task, n)
            _advance(state, unit, task, n)
            for i in range(task.neighbours, task.neighbours_end):
                _wake(state, state.neighbours[i])
            # Fewer than `most`: the unit waits for another one, which will wake it.
            goes_on = n == most and unit.task != NOBODY
            if goes_on and scalars[FIRED] >= limit:
                # It waits for nobody, so nobody else would put it back into the queue.
                _wake(state, unit.task)
                break
    # Starts after the last end are not looked at: they raise the level to its initial one at most, where PEAK began.
    for i in range(len(state.streams)):
        _update_peak(state, state.streams[i])
    return True


@inlined
def _wake(state: OrderState, task: int) -> None:
    """Puts the task's unit into the queue, once, if it is this task's turn."""
    index = state.tasks[task].unit
    unit = state.units[index]
    if not unit.queued and unit.task == task:
        unit.queued = 1
        place = state.scalars[FIRST] + state.scalars[WAITING]
        state.queue[place if place < len(state.queue) else place - len(state.queue)] = index
        state.scalars[WAITING] += 1


@inlined
def _firings_possible(state: OrderState, task: Record, most: int) -> int:
    """How many firings of the task's run, `most` at most, have all their terms known."""
    run = state.runs[task.at]
    n = most
    for i in range(run.takes, run.takes_end):
        take = state.takes[i]
        stream = state.streams[take.stream]
        there = stream.given - stream.taken
        n = min(n, there if take.tokens == 1 else there // take.tokens)
    for i in range(run.gives, run.gives_end):
        give = state.gives[i]
        stream = state.streams[give.stream]
        room = stream.depth - stream.given + stream.taken
        n = min(n, room if give.tokens == 1 else room // give.tokens)
    return n


@inlined
def _fire(state: OrderState, unit: Record, task: Record, n: int) -> None:
    """Computes the start and end of the next n firings of the task, each as early as its terms allow."""
    run = state.runs[task.at]
    takes, takes_end, gives, gives_end = run.takes, run.takes_end, run.gives, run.gives_end
    cycles, latency = run.cycles, unit.latency
    end = unit.free_at
    first = end
    for i in range(n):
        # Inputs before outputs, in the order of the task: a term is charged only for what it adds to those before it.
        start = end
        for j in range(takes, takes_end):
            stream = state.streams[state.takes[j].stream]
            last = stream.taken + state.takes[j].tokens - 1
            # The first portions are there at cycle 0.
            if last >= stream.initial:
                time = _times(state, stream, last).arrived
                if time > start:
                    stream.starved += time - start
                    start = time
        for j in range(gives, gives_end):
            stream = state.streams[state.gives[j].stream]
            last = stream.given + state.gives[j].tokens - 1 - stream.depth
            if last >= 0:
                time = _times(state, stream, last).freed
                if time > start:
                    stream.blocked += time - start
                    start = time
        end = start + cycles
        if i == 0:
            first = start
        for j in range(takes, takes_end):
            stream = state.streams[state.takes[j].stream]
            for _ in range(state.takes[j].tokens):
                _times(state, stream, stream.taken).freed = end
                stream.taken += 1
        for j in range(gives, gives_end):
            stream = state.streams[state.gives[j].stream]
            for _ in range(state.gives[j].tokens):
                times = _times(state, stream, stream.given)
                times.arrived = end + latency
                times.filled = start
                stream.given += 1
    # Peaks are kept up to date, as the rings have no room for the times of a whole run.
    for j in range(takes, takes_end):
        _update_peak(state, state.streams[state.takes[j].stream])
    if task.start < 0:
        task.start = first
    task.end = end
    unit.free_at = end
    state.scalars[LAST] = max(state.scalars[LAST], end + latency if gives_end > gives else end)
    state.scalars[FIRED] += n


@inlined
def _times(state: OrderState, stream: Record, portion: int) -> Record:
    """The record of the stream's `portion`-th portion, counted from the first initial one."""
    return state.times[np.uint64(stream.ring + (portion & stream.mask))]


@inlined
def _update_peak(state: OrderState, stream: Record) -> None:
    """Updates the most places taken after all events of one time, up to where both ends of the stream are known."""
    seen, peak = stream.seen, stream.peak
    # Each portion takes a place; one more than `peak` are taken then if the portion `peak` before it still has its own.
    # A place that comes free at the time at which another one is taken counts as free: ends come before starts.
    while peak < stream.depth and seen < stream.given and seen - peak < stream.taken:
        if seen >= peak and _times(state, stream, seen - peak).freed > _times(state, stream, seen).filled:
            peak += 1
        else:
            seen += 1
    stream.seen = seen
    stream.peak = peak


@inlined
def _advance(state: OrderState, unit: Record, task: Record, n: int) -> None:
    """Moves the task on by n firings, and the unit to its next turn where this one is over."""
    task.left -= n
    task.in_run -= n
    if not task.in_run:
        task.at = state.runs[task.at].following
        task.in_run = state.runs[task.at].count
    unit.in_turn -= n
    if not unit.in_turn:
        unit.turn = next_turn(state.order, state.repeats, unit.turn)
        unit.task = NOBODY
        if unit.turn < unit.turn_end:
            unit.task = state.order[unit.turn].task
            unit.in_turn = state.order[unit.turn].firings
