"""The clock kernel: the SimPy engine's event loop, compiled.

Events lie in a heap by time. All events of one time are handled first, then first-come units choose. The answer does
not depend on the order of events of one time, so the heap breaks no ties.
"""

from __future__ import annotations

from archsim.engine.compiled.clock_state import (  # isort: skip
    AWAY, CHOICES, DIRTY, EVENTS, FIRED, IDLE, LAST, NOBODY, NOW, PHASE, READY, SPANS, TURNS, WAITS_BLOCKED,
    WAITS_STARVED, WRAPPED, State,
)  # fmt: skip
from archsim.engine.compiled.machine_code import compiled, inlined
from archsim.engine.compiled.steady_state import Detectors, add_stall, compare, compare_due, keep_snapshot, snapshot_due
from archsim.engine.compiled.turns import next_turn

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
            state.units[unit].marked = 0
            _serve(state, unit)
        elif scalars[EVENTS] and state.events[0].time == scalars[NOW]:
            _handle_event(state)
        elif scalars[CHOICES]:
            # Last, when every event of this time has had its say on which clients are ready.
            scalars[CHOICES] -= 1
            unit = state.choices[scalars[CHOICES]]
            state.units[unit].marked = 0
            _choose(state, unit)
        elif not scalars[EVENTS]:
            return ENDED
        else:
            if snapshot_due(state, detectors) and keep_snapshot(state, detectors):
                return MAY_REJOIN
            if compare_due(state, detectors):
                compare(state, detectors)
            scalars[WRAPPED] = 0
            scalars[NOW] = state.events[0].time


@compiled
def sort_clients(state: State) -> None:
    """Sorts the clients of first-come units into ready and waiting, before the first event."""
    for i in range(state.scalars[CHOICES]):
        unit = state.choices[i]
        for j in range(state.units[unit].clients, state.units[unit].clients_end):
            _sort_client(state, state.clients[j].task, unit)


@inlined
def _crowded(state: State) -> bool:
    """True if the next step may find no room for its event or its spans."""
    return state.scalars[EVENTS] >= len(state.events) - 1 or state.scalars[SPANS] + SPANS_A_STEP > len(state.spans) > 0


@inlined
def _handle_event(state: State) -> None:
    """Handles the first event: a firing ends and frees its server and its input places, or its tokens arrive."""
    now = state.scalars[NOW]
    run, arrives = _pop(state)
    if arrives:
        _deliver(state, run)
        return
    task = state.runs[run].task
    unit = state.tasks[task].unit
    state.tasks[task].end = now
    # The cause goes on for one server more: the time up to now is counted with the old number.
    _stall(state, unit, state.units[unit].cause, now)
    state.units[unit].free += 1
    for i in range(state.runs[run].takes, state.runs[run].takes_end):
        stream = state.takes[i].stream
        _note_room(state, stream, now)
        state.streams[stream].room += state.takes[i].tokens
        _notice(state, state.streams[stream].producer)
    if state.runs[run].gives_end > state.runs[run].gives:
        if state.units[unit].latency:
            _push(state, now + state.units[unit].latency, run, 1)
        else:
            _deliver(state, run)
    _mark(state, unit)


@inlined
def _note_room(state: State, stream: int, now: int) -> None:
    """Notes the room of a stream before it changes, if it has lasted for any time and is the least so far."""
    if state.streams[stream].room < state.streams[stream].least_room and state.streams[stream].filled < now:
        state.streams[stream].least_room = state.streams[stream].room


@inlined
def _deliver(state: State, run: int) -> None:
    for i in range(state.runs[run].gives, state.runs[run].gives_end):
        stream = state.gives[i].stream
        state.streams[stream].tokens += state.gives[i].tokens
        _notice(state, state.streams[stream].consumer)


@inlined
def _notice(state: State, task: int) -> None:
    """Marks the task's unit if a change in one of the task's streams may let the task fire."""
    unit = state.tasks[task].unit
    if state.units[unit].first_come:
        # Only what waits: a ready client stays ready, since nobody else takes its tokens or its places.
        if state.tasks[task].status <= WAITS_BLOCKED:
            if state.tasks[task].status == WAITS_BLOCKED:
                state.units[unit].without_room -= 1
            _sort_client(state, task, unit)
            if state.units[unit].free:
                _mark(state, unit)
    elif state.units[unit].free:
        turn = state.units[unit].turn
        if turn < state.units[unit].order_end and (state.order[turn].task == task or state.scalars[TURNS]):
            _mark(state, unit)


@inlined
def _mark(state: State, unit: int) -> None:
    """Enters the unit in the list of those that have to look for firings to start, once."""
    if not state.units[unit].marked:
        state.units[unit].marked = 1
        if state.units[unit].first_come:
            state.choices[state.scalars[CHOICES]] = unit
            state.scalars[CHOICES] += 1
        else:
            state.dirty[state.scalars[DIRTY]] = unit
            state.scalars[DIRTY] += 1


@inlined
def _serve(state: State, unit: int) -> None:
    """Starts the firings that can start on a unit with a fixed order."""
    while state.units[unit].free:
        turn = state.units[unit].turn
        if turn == state.units[unit].order_end:
            _stall(state, unit, IDLE, state.scalars[NOW])
            return
        task = state.order[turn].task
        cause = _lacks(state, state.tasks[task].at)
        if cause != IDLE:
            if state.scalars[TURNS] and _another_could(state, unit):
                cause = 2 * len(state.streams) + unit
            _stall(state, unit, cause, state.scalars[NOW])
            return
        _start(state, task, unit)
        state.units[unit].in_turn -= 1
        if not state.units[unit].in_turn:
            following = next_turn(state.order, state.repeats, turn)
            state.units[unit].turn = following
            if following < state.units[unit].order_end:
                state.units[unit].in_turn = state.order[following].firings
        # One step may start many firings; the unit stays marked and goes on once the tables have grown.
        if state.units[unit].free and _crowded(state):
            _mark(state, unit)
            return


@compiled
def _another_could(state: State, unit: int) -> bool:
    """True where a firing of a unit in order could start, which is not in turn if that one could not."""
    for i in range(state.units[unit].clients, state.units[unit].clients_end):
        task = state.clients[i].task
        if state.tasks[task].left and _lacks(state, state.tasks[task].at) == IDLE:
            return True
    return False


@inlined
def _choose(state: State, unit: int) -> None:
    """Starts ready firings on a first-come unit: by priority, then the longest ready, then by place in the schedule."""
    first = state.units[unit].clients
    clients = state.units[unit].clients_end - first
    while state.units[unit].free and state.units[unit].waiting:
        task = state.clients[first + state.units[unit].head].ready
        state.units[unit].head += 1
        if state.units[unit].head == clients:
            state.units[unit].head = 0
        state.units[unit].waiting -= 1
        state.tasks[task].status = AWAY
        _start(state, task, unit)
        if state.tasks[task].left:
            _sort_client(state, task, unit)
        if state.units[unit].free and _crowded(state):
            _mark(state, unit)
            return
    if state.units[unit].free:
        _stall(state, unit, _why_free(state, unit), state.scalars[NOW])


@inlined
def _why_free(state: State, unit: int) -> int:
    """The cause for which a server is free: of the first client without room, else of the first without input."""
    row = state.units[unit]
    end = row.clients_end
    # The search begins where the last one ended, as no client before that place waits for this cause. To look through
    # all clients each time was slower.
    if row.without_room:
        place = row.first_blocked = _first_that(state, WAITS_BLOCKED, row.first_blocked, end)
    else:
        place = row.first_starved = _first_that(state, WAITS_STARVED, row.first_starved, end)
    return _lacks(state, state.tasks[state.clients[place].task].at) if place < end else IDLE


@inlined
def _first_that(state: State, status: int, place: int, end: int) -> int:
    """The first client from this place on that has this status."""
    while place < end and state.tasks[state.clients[place].task].status != status:
        place += 1
    return place


@inlined
def _sort_client(state: State, task: int, unit: int) -> None:
    """Enters a client as ready from now on, or as waiting, by what its next firing lacks."""
    cause = _lacks(state, state.tasks[task].at)
    if cause == IDLE:
        now = state.scalars[NOW]
        state.tasks[task].status = READY
        state.tasks[task].since = now
        first = state.units[unit].clients
        clients = state.units[unit].clients_end - first
        place = state.units[unit].head + state.units[unit].waiting
        state.units[unit].waiting += 1
        # Insertion from the end of the ring: of its priority the others have been ready for as long or longer, so there
        # it moves only past those that are ready since now and come later in the schedule.
        for _ in range(state.units[unit].waiting - 1):
            before = state.clients[first + (place - 1) % clients].ready
            behind = state.tasks[before].priority - state.tasks[task].priority
            if behind < 0 or (behind == 0 and (state.tasks[before].since < now or before < task)):
                break
            state.clients[first + place % clients].ready = before
            place -= 1
        state.clients[first + place % clients].ready = task
    elif cause < len(state.streams):
        state.tasks[task].status = WAITS_STARVED
        state.units[unit].first_starved = min(state.units[unit].first_starved, state.tasks[task].place)
    else:
        state.tasks[task].status = WAITS_BLOCKED
        state.units[unit].first_blocked = min(state.units[unit].first_blocked, state.tasks[task].place)
        state.units[unit].without_room += 1


@inlined
def _lacks(state: State, run: int) -> int:
    """The cause for which the next firing of this run waits, inputs before outputs; IDLE if it lacks nothing."""
    for i in range(state.runs[run].takes, state.runs[run].takes_end):
        if state.streams[state.takes[i].stream].tokens < state.takes[i].tokens:
            # For the detectors: while a stream fills, states repeat only if no firing has lacked tokens there.
            state.streams[state.takes[i].stream].short = state.scalars[NOW]
            return state.takes[i].stream
    for i in range(state.runs[run].gives, state.runs[run].gives_end):
        if state.streams[state.gives[i].stream].room < state.gives[i].tokens:
            state.streams[state.gives[i].stream].full = state.scalars[NOW]
            return len(state.streams) + state.gives[i].stream
    return IDLE


@inlined
def _start(state: State, task: int, unit: int) -> None:
    """Starts the task's next firing, which takes tokens and output places now and ends after its cycles."""
    now = state.scalars[NOW]
    run = state.tasks[task].at
    for i in range(state.runs[run].takes, state.runs[run].takes_end):
        state.streams[state.takes[i].stream].tokens -= state.takes[i].tokens
    for i in range(state.runs[run].gives, state.runs[run].gives_end):
        stream = state.gives[i].stream
        _note_room(state, stream, now)
        state.streams[stream].room -= state.gives[i].tokens
        state.streams[stream].filled = now
    if state.tasks[task].start < 0:
        state.tasks[task].start = now
        state.scalars[PHASE] += 1
    _stall(state, unit, state.units[unit].cause, now)
    state.units[unit].free -= 1
    state.tasks[task].left -= 1
    if not state.tasks[task].left:
        state.scalars[PHASE] += 1
    state.scalars[LAST] = task
    state.tasks[task].in_run -= 1
    if not state.tasks[task].in_run:
        following = state.runs[run].following
        state.tasks[task].at = following
        state.tasks[task].in_run = state.runs[following].count
        if following <= run and following != run:
            # Within one time a task may wrap again and again in zero cycles; a full list only misses a comparison.
            state.wrapped[state.scalars[WRAPPED]] = task
            state.scalars[WRAPPED] = min(state.scalars[WRAPPED] + 1, state.wrapped.size - 1)
    state.scalars[FIRED] += 1
    _record(state, unit, NOBODY - task, now, now + state.runs[run].cycles, 1)
    _push(state, now + state.runs[run].cycles, run, 0)


@inlined
def _stall(state: State, unit: int, cause: int, now: int) -> None:
    """Counts the time since the last change for the old cause; from now on free servers wait for the new one."""
    before = state.units[unit].cause
    if before != IDLE:
        add_stall(state, before, state.units[unit].free * (now - state.units[unit].changed))
        _record(state, unit, before, state.units[unit].changed, now, state.units[unit].free)
    state.units[unit].changed = now
    state.units[unit].cause = cause


@inlined
def _record(state: State, unit: int, what: int, start: int, end: int, servers: int) -> None:
    """Records a firing, or a wait that has a length, if spans are recorded at all."""
    if len(state.spans) and servers and (what < 0 or end > start):
        place = state.scalars[SPANS]
        state.scalars[SPANS] += 1
        state.spans[place, 0], state.spans[place, 1] = unit, what
        state.spans[place, 2], state.spans[place, 3], state.spans[place, 4] = start, end, servers


@inlined
def _push(state: State, time: int, run: int, arrives: int) -> None:
    """Adds an event to the heap, which has the earliest one at its root."""
    place = state.scalars[EVENTS]
    state.scalars[EVENTS] = place + 1
    while place:
        above = (place - 1) >> 1
        if state.events[above].time <= time:
            break
        state.events[place] = state.events[above]
        place = above
    event = state.events[place]
    event.time = time
    event.run = run
    event.arrives = arrives


@inlined
def _pop(state: State) -> tuple[int, int]:
    """Removes the earliest event from the heap and returns its run, and whether tokens arrive."""
    run, arrives = state.events[0].run, state.events[0].arrives
    size = state.scalars[EVENTS] - 1
    state.scalars[EVENTS] = size
    last = state.events[size]
    place = 0
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and state.events[below + 1].time < state.events[below].time:
            below += 1
        if state.events[below].time >= last.time:
            break
        state.events[place] = state.events[below]
        place = below
    state.events[place] = last
    return run, arrives
