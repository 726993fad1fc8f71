"""The clock kernel: the SimPy engine's event loop, compiled.

Events lie in a heap by time. All events of one time are handled first, then first-come units choose. The answer does
not depend on the order of events of one time, so the heap breaks no ties.
"""

from __future__ import annotations

from archsim.engine.compiled.clock_state import (  # isort: skip
    AT, AWAY, CAUSE, CHANGED, CHOICES, CLIENTS, CLIENTS_END, CONSUMER, DIRTY, END, EVENTS, FILLED, FIRED,
    FIRST_BLOCKED, FIRST_STARVED, FREE, FULL, HEAD, IDLE, IN_RUN, IN_TURN, LAST, LATENCY, LEAST_ROOM, LEFT, MARKED,
    NOBODY, NOW, ORDER_END, PHASE, PLACE, PRIORITY, PRODUCER, READY, ROOM, SERVES_FIRST_COME, SHORT, SINCE, SPANS,
    START, STATUS, TOKENS, TURN, TURNS, UNIT, WAITING, WAITS_BLOCKED, WAITS_STARVED, WITHOUT_ROOM, WRAPPED, State,
)  # fmt: skip
from archsim.engine.compiled.machine_code import compiled, inlined
from archsim.engine.compiled.run_table import COUNT, CYCLES, GIVES, GIVES_END, NEXT, RUN_TASK, TAKES, TAKES_END
from archsim.engine.compiled.steady_state import Detectors, add_stall, compare, compare_due, keep_snapshot, snapshot_due
from archsim.engine.compiled.turns import FIRINGS, TASK, next_turn

SPANS_A_STEP = 4  # more than is recorded between two checks: a firing, the wait before it and the wait after it
# Nothing is left to happen; the budget of firings is used up; the heap or the spans are full; all tasks that differ
# from the earlier section have started their last firing, so that this one may go on as that one did.
ENDED, PAUSED, CROWDED, MAY_REJOIN = range(4)


@compiled
def advance(state: State, detectors: Detectors, budget: int) -> int:
    """Runs the section until one of the statuses above holds, and returns it; a further call goes on from there."""
    scalars = state.scalars
    limit = scalars[FIRED] + budget
    while True:
        # Before every step, so that none is left half done: only outside the kernel can tables grow or be emptied.
        if _crowded(state):
            return CROWDED
        # Here and not only where time passes: firings of zero cycles let none pass, and an interrupt has to be heard.
        if scalars[FIRED] >= limit:
            return PAUSED
        if scalars[DIRTY]:
            scalars[DIRTY] -= 1
            unit = state.dirty[scalars[DIRTY]]
            state.units[unit, MARKED] = 0
            _serve(state, unit)
        elif scalars[EVENTS] and state.events[0, 0] == scalars[NOW]:
            _handle_event(state)
        elif scalars[CHOICES]:
            # Last, when every event of this time has had its say on which clients are ready.
            scalars[CHOICES] -= 1
            unit = state.choices[scalars[CHOICES]]
            state.units[unit, MARKED] = 0
            _choose(state, unit)
        elif not scalars[EVENTS]:
            return ENDED
        else:
            if snapshot_due(state, detectors) and keep_snapshot(state, detectors):
                return MAY_REJOIN
            if compare_due(state, detectors):
                compare(state, detectors)
            scalars[WRAPPED] = 0
            scalars[NOW] = state.events[0, 0]


@compiled
def sort_clients(state: State) -> None:
    """Sorts the clients of first-come units into ready and waiting, before the first event."""
    for unit in range(len(state.units)):
        if state.units[unit, SERVES_FIRST_COME]:
            for i in range(state.units[unit, CLIENTS], state.units[unit, CLIENTS_END]):
                _sort_client(state, state.clients[i, 0], unit)


@inlined
def _crowded(state: State) -> bool:
    """True if the next step may find no room for its event or its spans."""
    return state.scalars[EVENTS] >= len(state.events) - 1 or state.scalars[SPANS] + SPANS_A_STEP > len(state.spans) > 0


@inlined
def _handle_event(state: State) -> None:
    """Handles the first event: a firing ends and frees its server and its input places, or its tokens arrive."""
    now = state.scalars[NOW]
    code = _pop(state)
    run = code >> 1
    if code & 1:
        _deliver(state, run)
        return
    task = state.runs[run, RUN_TASK]
    unit = state.tasks[task, UNIT]
    state.tasks[task, END] = now
    # The cause goes on for one server more: the time up to now is counted with the old number.
    _stall(state, unit, state.units[unit, CAUSE], now)
    state.units[unit, FREE] += 1
    for i in range(state.runs[run, TAKES], state.runs[run, TAKES_END]):
        stream = state.takes[i, 0]
        _note_room(state, stream, now)
        state.streams[stream, ROOM] += state.takes[i, 1]
        _notice(state, state.streams[stream, PRODUCER])
    if state.runs[run, GIVES_END] > state.runs[run, GIVES]:
        if state.units[unit, LATENCY]:
            _push(state, now + state.units[unit, LATENCY], code | 1)
        else:
            _deliver(state, run)
    _mark(state, unit)


@inlined
def _note_room(state: State, stream: int, now: int) -> None:
    """Notes the room of a stream before it changes, if it has lasted for any time and is the least so far."""
    if state.streams[stream, ROOM] < state.streams[stream, LEAST_ROOM] and state.streams[stream, FILLED] < now:
        state.streams[stream, LEAST_ROOM] = state.streams[stream, ROOM]


@inlined
def _deliver(state: State, run: int) -> None:
    for i in range(state.runs[run, GIVES], state.runs[run, GIVES_END]):
        stream = state.gives[i, 0]
        state.streams[stream, TOKENS] += state.gives[i, 1]
        _notice(state, state.streams[stream, CONSUMER])


@inlined
def _notice(state: State, task: int) -> None:
    """Marks the task's unit if a change in one of the task's streams may let the task fire."""
    unit = state.tasks[task, UNIT]
    if state.units[unit, SERVES_FIRST_COME]:
        # Only what waits: a ready client stays ready, since nobody else takes its tokens or its places.
        if state.tasks[task, STATUS] <= WAITS_BLOCKED:
            if state.tasks[task, STATUS] == WAITS_BLOCKED:
                state.units[unit, WITHOUT_ROOM] -= 1
            _sort_client(state, task, unit)
            _mark(state, unit)
    elif state.units[unit, FREE]:
        turn = state.units[unit, TURN]
        if turn < state.units[unit, ORDER_END] and (state.order[turn, TASK] == task or state.scalars[TURNS]):
            _mark(state, unit)


@inlined
def _mark(state: State, unit: int) -> None:
    """Enters the unit in the list of those that have to look for firings to start, once."""
    if not state.units[unit, MARKED]:
        state.units[unit, MARKED] = 1
        if state.units[unit, SERVES_FIRST_COME]:
            state.choices[state.scalars[CHOICES]] = unit
            state.scalars[CHOICES] += 1
        else:
            state.dirty[state.scalars[DIRTY]] = unit
            state.scalars[DIRTY] += 1


@inlined
def _serve(state: State, unit: int) -> None:
    """Starts the firings that can start on a unit with a fixed order."""
    while state.units[unit, FREE]:
        # One step may start many firings; the unit stays marked and goes on once the tables have grown.
        if _crowded(state):
            _mark(state, unit)
            return
        turn = state.units[unit, TURN]
        if turn == state.units[unit, ORDER_END]:
            _stall(state, unit, IDLE, state.scalars[NOW])
            return
        task = state.order[turn, TASK]
        cause = _lacks(state, state.tasks[task, AT])
        if cause != IDLE:
            if state.scalars[TURNS] and _another_could(state, unit):
                cause = 2 * len(state.streams) + unit
            _stall(state, unit, cause, state.scalars[NOW])
            return
        _start(state, task, unit)
        state.units[unit, IN_TURN] -= 1
        if not state.units[unit, IN_TURN]:
            following = next_turn(state.order, state.repeats, turn)
            state.units[unit, TURN] = following
            if following < state.units[unit, ORDER_END]:
                state.units[unit, IN_TURN] = state.order[following, FIRINGS]


@compiled
def _another_could(state: State, unit: int) -> bool:
    """True where a firing of a unit in order could start, which is not in turn if that one could not."""
    for i in range(state.units[unit, CLIENTS], state.units[unit, CLIENTS_END]):
        task = state.clients[i, 0]
        if state.tasks[task, LEFT] and _lacks(state, state.tasks[task, AT]) == IDLE:
            return True
    return False


@inlined
def _choose(state: State, unit: int) -> None:
    """Starts ready firings on a first-come unit: by priority, then the longest ready, then by place in the schedule."""
    first = state.units[unit, CLIENTS]
    clients = state.units[unit, CLIENTS_END] - first
    while state.units[unit, FREE] and state.units[unit, WAITING]:
        if _crowded(state):
            _mark(state, unit)
            return
        task = state.clients[first + state.units[unit, HEAD], 1]
        state.units[unit, HEAD] += 1
        if state.units[unit, HEAD] == clients:
            state.units[unit, HEAD] = 0
        state.units[unit, WAITING] -= 1
        state.tasks[task, STATUS] = AWAY
        _start(state, task, unit)
        if state.tasks[task, LEFT]:
            _sort_client(state, task, unit)
    if state.units[unit, FREE]:
        _stall(state, unit, _why_free(state, unit), state.scalars[NOW])


@inlined
def _why_free(state: State, unit: int) -> int:
    """The cause for which a server is free: of the first client without room, else of the first without input."""
    blocked = state.units[unit, WITHOUT_ROOM] > 0
    wanted, first = (WAITS_BLOCKED, FIRST_BLOCKED) if blocked else (WAITS_STARVED, FIRST_STARVED)
    # The search begins where the last one ended, as no client before that place waits for this cause. To look through
    # all clients each time was slower.
    place, end = state.units[unit, first], state.units[unit, CLIENTS_END]
    while place < end and state.tasks[state.clients[place, 0], STATUS] != wanted:
        place += 1
    state.units[unit, first] = place
    return _lacks(state, state.tasks[state.clients[place, 0], AT]) if place < end else IDLE


@inlined
def _sort_client(state: State, task: int, unit: int) -> None:
    """Enters a client as ready from now on, or as waiting, by what its next firing lacks."""
    cause = _lacks(state, state.tasks[task, AT])
    if cause == IDLE:
        now = state.scalars[NOW]
        state.tasks[task, STATUS] = READY
        state.tasks[task, SINCE] = now
        first = state.units[unit, CLIENTS]
        clients = state.units[unit, CLIENTS_END] - first
        place = state.units[unit, HEAD] + state.units[unit, WAITING]
        state.units[unit, WAITING] += 1
        # Insertion from the end of the ring: of its priority the others have been ready for as long or longer, so there
        # it moves only past those that are ready since now and come later in the schedule.
        for _ in range(state.units[unit, WAITING] - 1):
            before = state.clients[first + (place - 1) % clients, 1]
            behind = state.tasks[before, PRIORITY] - state.tasks[task, PRIORITY]
            if behind < 0 or (behind == 0 and (state.tasks[before, SINCE] < now or before < task)):
                break
            state.clients[first + place % clients, 1] = before
            place -= 1
        state.clients[first + place % clients, 1] = task
    elif cause < len(state.streams):
        state.tasks[task, STATUS] = WAITS_STARVED
        state.units[unit, FIRST_STARVED] = min(state.units[unit, FIRST_STARVED], state.tasks[task, PLACE])
    else:
        state.tasks[task, STATUS] = WAITS_BLOCKED
        state.units[unit, FIRST_BLOCKED] = min(state.units[unit, FIRST_BLOCKED], state.tasks[task, PLACE])
        state.units[unit, WITHOUT_ROOM] += 1


@inlined
def _lacks(state: State, run: int) -> int:
    """The cause for which the next firing of this run waits, inputs before outputs; IDLE if it lacks nothing."""
    for i in range(state.runs[run, TAKES], state.runs[run, TAKES_END]):
        if state.streams[state.takes[i, 0], TOKENS] < state.takes[i, 1]:
            # For the detectors: while a stream fills, states repeat only if no firing has lacked tokens there.
            state.streams[state.takes[i, 0], SHORT] = state.scalars[NOW]
            return state.takes[i, 0]
    for i in range(state.runs[run, GIVES], state.runs[run, GIVES_END]):
        if state.streams[state.gives[i, 0], ROOM] < state.gives[i, 1]:
            state.streams[state.gives[i, 0], FULL] = state.scalars[NOW]
            return len(state.streams) + state.gives[i, 0]
    return IDLE


@inlined
def _start(state: State, task: int, unit: int) -> None:
    """Starts the task's next firing, which takes tokens and output places now and ends after its cycles."""
    now = state.scalars[NOW]
    run = state.tasks[task, AT]
    for i in range(state.runs[run, TAKES], state.runs[run, TAKES_END]):
        state.streams[state.takes[i, 0], TOKENS] -= state.takes[i, 1]
    for i in range(state.runs[run, GIVES], state.runs[run, GIVES_END]):
        stream = state.gives[i, 0]
        _note_room(state, stream, now)
        state.streams[stream, ROOM] -= state.gives[i, 1]
        state.streams[stream, FILLED] = now
    if state.tasks[task, START] < 0:
        state.tasks[task, START] = now
        state.scalars[PHASE] += 1
    _stall(state, unit, state.units[unit, CAUSE], now)
    state.units[unit, FREE] -= 1
    state.tasks[task, LEFT] -= 1
    if not state.tasks[task, LEFT]:
        state.scalars[PHASE] += 1
    state.scalars[LAST] = task
    state.tasks[task, IN_RUN] -= 1
    if not state.tasks[task, IN_RUN]:
        following = state.runs[run, NEXT]
        state.tasks[task, AT] = following
        state.tasks[task, IN_RUN] = state.runs[following, COUNT]
        if following <= run and following != run:
            # Within one time a task may wrap again and again in zero cycles; a full list only misses a comparison.
            state.wrapped[state.scalars[WRAPPED]] = task
            state.scalars[WRAPPED] = min(state.scalars[WRAPPED] + 1, state.wrapped.size - 1)
    state.scalars[FIRED] += 1
    _record(state, unit, NOBODY - task, now, now + state.runs[run, CYCLES], 1)
    _push(state, now + state.runs[run, CYCLES], run << 1)


@inlined
def _stall(state: State, unit: int, cause: int, now: int) -> None:
    """Counts the time since the last change for the old cause; from now on free servers wait for the new one."""
    before = state.units[unit, CAUSE]
    if before != IDLE:
        add_stall(state, before, state.units[unit, FREE] * (now - state.units[unit, CHANGED]))
        _record(state, unit, before, state.units[unit, CHANGED], now, state.units[unit, FREE])
    state.units[unit, CHANGED] = now
    state.units[unit, CAUSE] = cause


@inlined
def _record(state: State, unit: int, what: int, start: int, end: int, servers: int) -> None:
    """Records a span, if spans are recorded at all and it has a length."""
    if len(state.spans) and end > start and servers:
        place = state.scalars[SPANS]
        state.scalars[SPANS] += 1
        state.spans[place, 0], state.spans[place, 1] = unit, what
        state.spans[place, 2], state.spans[place, 3], state.spans[place, 4] = start, end, servers


@inlined
def _push(state: State, time: int, code: int) -> None:
    """Adds an event to the heap, which has the earliest one at its root."""
    place = state.scalars[EVENTS]
    state.scalars[EVENTS] = place + 1
    while place:
        above = (place - 1) >> 1
        if state.events[above, 0] <= time:
            break
        state.events[place, 0] = state.events[above, 0]
        state.events[place, 1] = state.events[above, 1]
        place = above
    state.events[place, 0] = time
    state.events[place, 1] = code


@inlined
def _pop(state: State) -> int:
    """Removes the earliest event from the heap and returns its code."""
    code = state.events[0, 1]
    size = state.scalars[EVENTS] - 1
    state.scalars[EVENTS] = size
    time, last = state.events[size, 0], state.events[size, 1]
    place = 0
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and state.events[below + 1, 0] < state.events[below, 0]:
            below += 1
        if state.events[below, 0] >= time:
            break
        state.events[place, 0] = state.events[below, 0]
        state.events[place, 1] = state.events[below, 1]
        place = below
    state.events[place, 0] = time
    state.events[place, 1] = last
    return code
