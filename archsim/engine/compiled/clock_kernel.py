"""The clock kernel: what the SimPy engine does, compiled. Events in a heap; everything of one time, then the choices.

The answer does not depend on the order in which events of one time are handled, so the heap has no ties to break.
"""

from __future__ import annotations

from archsim.engine.compiled.clock_state import (
    AT,
    AWAY,
    CAUSE,
    CHANGED,
    CHOICES,
    CLIENTS,
    CLIENTS_END,
    CONSUMER,
    COUNT,
    CYCLES,
    DIRTY,
    END,
    EVENTS,
    FILLED,
    FIRED,
    FIRST_BLOCKED,
    FIRST_STARVED,
    FREE,
    FULL,
    GIVES,
    GIVES_END,
    HEAD,
    IDLE,
    IN_RUN,
    IN_TURN,
    LAST,
    LATENCY,
    LEAST_ROOM,
    LEFT,
    MARKED,
    NEXT,
    NOBODY,
    NOW,
    ORDER_END,
    PHASE,
    PLACE,
    PRODUCER,
    READY,
    ROOM,
    RUN_TASK,
    SERVES_FIRST_COME,
    SHORT,
    SINCE,
    SPANS,
    START,
    STATUS,
    TAKES,
    TAKES_END,
    TOKENS,
    TURN,
    UNIT,
    WAITING,
    WAITS_BLOCKED,
    WAITS_STARVED,
    WITHOUT_ROOM,
    WRAPPED,
    State,
)
from archsim.engine.compiled.machine_code import compiled, inlined
from archsim.engine.compiled.steady_state import Repeats, compare, count, look, watch, watches

SPANS_A_STEP = 4
# Nothing is left to happen; so many firings have started; the heap or the spans are full; what differs from the section
# that this one is like is over.
ENDED, PAUSED, CROWDED, ALIKE = range(4)


@compiled
def advance(q: State, repeats: Repeats, budget: int) -> int:
    """Runs until there is one of these to say; goes on if it is called again."""
    scalars = q.scalars
    limit = scalars[FIRED] + budget
    while True:
        if _crowded(q):
            return CROWDED
        if scalars[FIRED] >= limit:
            return PAUSED
        if scalars[DIRTY]:
            scalars[DIRTY] -= 1
            unit = q.dirty[scalars[DIRTY]]
            q.units[unit, MARKED] = 0
            _serve(q, unit)
        elif scalars[EVENTS] and q.events[0, 0] == scalars[NOW]:
            _happen(q)
        elif scalars[CHOICES]:
            scalars[CHOICES] -= 1
            unit = q.choices[scalars[CHOICES]]
            q.units[unit, MARKED] = 0
            _choose(q, unit)
        elif not scalars[EVENTS]:
            return ENDED
        else:
            if watches(q, repeats) and watch(q, repeats):
                return ALIKE
            if look(q, repeats):
                compare(q, repeats)
            scalars[WRAPPED] = 0
            scalars[NOW] = q.events[0, 0]


@compiled
def enter(q: State) -> None:
    """Sorts the clients of first-come units before anything has happened."""
    for unit in range(len(q.units)):
        if q.units[unit, SERVES_FIRST_COME]:
            for i in range(q.units[unit, CLIENTS], q.units[unit, CLIENTS_END]):
                _sort(q, q.clients[i, 0], unit)


@inlined
def _crowded(q: State) -> bool:
    """True where the next step may not find room for its event or its spans."""
    return q.scalars[EVENTS] >= len(q.events) - 1 or q.scalars[SPANS] + SPANS_A_STEP > len(q.spans) > 0


@inlined
def _happen(q: State) -> None:
    """The first event: a firing ends and frees its server and its inputs, or what it gave arrives."""
    now = q.scalars[NOW]
    code = _pop(q)
    run = code >> 1
    if code & 1:
        _deliver(q, run)
        return
    task = q.runs[run, RUN_TASK]
    unit = q.tasks[task, UNIT]
    q.tasks[task, END] = now
    _stall(q, unit, q.units[unit, CAUSE], now)
    q.units[unit, FREE] += 1
    for i in range(q.runs[run, TAKES], q.runs[run, TAKES_END]):
        stream = q.takes[i, 0]
        _note_room(q, stream, now)
        q.streams[stream, ROOM] += q.takes[i, 1]
        _notice(q, q.streams[stream, PRODUCER])
    if q.runs[run, GIVES_END] > q.runs[run, GIVES]:
        if q.units[unit, LATENCY]:
            _push(q, now + q.units[unit, LATENCY], code | 1)
        else:
            _deliver(q, run)
    _mark(q, unit)


@inlined
def _note_room(q: State, stream: int, now: int) -> None:
    """Before the room of a stream changes: what there was counts where it has lasted for any length of time."""
    if q.streams[stream, ROOM] < q.streams[stream, LEAST_ROOM] and q.streams[stream, FILLED] < now:
        q.streams[stream, LEAST_ROOM] = q.streams[stream, ROOM]


@inlined
def _deliver(q: State, run: int) -> None:
    for i in range(q.runs[run, GIVES], q.runs[run, GIVES_END]):
        stream = q.gives[i, 0]
        q.streams[stream, TOKENS] += q.gives[i, 1]
        _notice(q, q.streams[stream, CONSUMER])


@inlined
def _notice(q: State, task: int) -> None:
    """A queue of this task changed, which may let it fire."""
    unit = q.tasks[task, UNIT]
    if q.units[unit, SERVES_FIRST_COME]:
        if q.tasks[task, STATUS] <= WAITS_BLOCKED:
            if q.tasks[task, STATUS] == WAITS_BLOCKED:
                q.units[unit, WITHOUT_ROOM] -= 1
            _sort(q, task, unit)
            _mark(q, unit)
    elif q.units[unit, FREE]:
        turn = q.units[unit, TURN]
        if turn < q.units[unit, ORDER_END] and q.order[turn, 0] == task:
            _mark(q, unit)


@inlined
def _mark(q: State, unit: int) -> None:
    """The unit will look for what it can start."""
    if not q.units[unit, MARKED]:
        q.units[unit, MARKED] = 1
        if q.units[unit, SERVES_FIRST_COME]:
            q.choices[q.scalars[CHOICES]] = unit
            q.scalars[CHOICES] += 1
        else:
            q.dirty[q.scalars[DIRTY]] = unit
            q.scalars[DIRTY] += 1


@inlined
def _serve(q: State, unit: int) -> None:
    """A unit in order starts what its order lets it."""
    while q.units[unit, FREE]:
        if _crowded(q):
            _mark(q, unit)
            return
        turn = q.units[unit, TURN]
        if turn == q.units[unit, ORDER_END]:
            _stall(q, unit, IDLE, q.scalars[NOW])
            return
        task = q.order[turn, 0]
        cause = _lacks(q, q.tasks[task, AT])
        if cause != IDLE:
            _stall(q, unit, cause, q.scalars[NOW])
            return
        _start(q, task, unit)
        q.units[unit, IN_TURN] -= 1
        if not q.units[unit, IN_TURN]:
            q.units[unit, TURN] = turn + 1
            if turn + 1 < q.units[unit, ORDER_END]:
                q.units[unit, IN_TURN] = q.order[turn + 1, 1]


@inlined
def _choose(q: State, unit: int) -> None:
    """A first-come unit starts ready firings, the longest ready first, ties by the task's place."""
    first = q.units[unit, CLIENTS]
    clients = q.units[unit, CLIENTS_END] - first
    while q.units[unit, FREE] and q.units[unit, WAITING]:
        if _crowded(q):
            _mark(q, unit)
            return
        task = q.clients[first + q.units[unit, HEAD], 1]
        q.units[unit, HEAD] += 1
        if q.units[unit, HEAD] == clients:
            q.units[unit, HEAD] = 0
        q.units[unit, WAITING] -= 1
        q.tasks[task, STATUS] = AWAY
        _start(q, task, unit)
        if q.tasks[task, LEFT]:
            _sort(q, task, unit)
    if q.units[unit, FREE]:
        _stall(q, unit, _why_free(q, unit), q.scalars[NOW])


@inlined
def _why_free(q: State, unit: int) -> int:
    """Why a server has nothing to do: the first client without room for a result, else the first without input."""
    blocked = q.units[unit, WITHOUT_ROOM] > 0
    wanted, first = (WAITS_BLOCKED, FIRST_BLOCKED) if blocked else (WAITS_STARVED, FIRST_STARVED)
    place, end = q.units[unit, first], q.units[unit, CLIENTS_END]
    while place < end and q.tasks[q.clients[place, 0], STATUS] != wanted:
        place += 1
    q.units[unit, first] = place
    return _lacks(q, q.tasks[q.clients[place, 0], AT]) if place < end else IDLE


@inlined
def _sort(q: State, task: int, unit: int) -> None:
    """Puts a client where its next firing belongs: ready from now on, or waiting."""
    cause = _lacks(q, q.tasks[task, AT])
    if cause == IDLE:
        now = q.scalars[NOW]
        q.tasks[task, STATUS] = READY
        q.tasks[task, SINCE] = now
        first = q.units[unit, CLIENTS]
        clients = q.units[unit, CLIENTS_END] - first
        place = q.units[unit, HEAD] + q.units[unit, WAITING]
        q.units[unit, WAITING] += 1
        for _ in range(q.units[unit, WAITING] - 1):
            before = q.clients[first + (place - 1) % clients, 1]
            if q.tasks[before, SINCE] < now or before < task:
                break
            q.clients[first + place % clients, 1] = before
            place -= 1
        q.clients[first + place % clients, 1] = task
    elif cause < len(q.streams):
        q.tasks[task, STATUS] = WAITS_STARVED
        q.units[unit, FIRST_STARVED] = min(q.units[unit, FIRST_STARVED], q.tasks[task, PLACE])
    else:
        q.tasks[task, STATUS] = WAITS_BLOCKED
        q.units[unit, FIRST_BLOCKED] = min(q.units[unit, FIRST_BLOCKED], q.tasks[task, PLACE])
        q.units[unit, WITHOUT_ROOM] += 1


@inlined
def _lacks(q: State, run: int) -> int:
    """The first thing that a firing waits for, as a cause; IDLE where it lacks nothing."""
    for i in range(q.runs[run, TAKES], q.runs[run, TAKES_END]):
        if q.streams[q.takes[i, 0], TOKENS] < q.takes[i, 1]:
            q.streams[q.takes[i, 0], SHORT] = q.scalars[NOW]
            return q.takes[i, 0]
    for i in range(q.runs[run, GIVES], q.runs[run, GIVES_END]):
        if q.streams[q.gives[i, 0], ROOM] < q.gives[i, 1]:
            q.streams[q.gives[i, 0], FULL] = q.scalars[NOW]
            return len(q.streams) + q.gives[i, 0]
    return IDLE


@inlined
def _start(q: State, task: int, unit: int) -> None:
    """The task's next firing starts: takes tokens and output places, and ends after its cycles."""
    now = q.scalars[NOW]
    run = q.tasks[task, AT]
    for i in range(q.runs[run, TAKES], q.runs[run, TAKES_END]):
        q.streams[q.takes[i, 0], TOKENS] -= q.takes[i, 1]
    for i in range(q.runs[run, GIVES], q.runs[run, GIVES_END]):
        stream = q.gives[i, 0]
        _note_room(q, stream, now)
        q.streams[stream, ROOM] -= q.gives[i, 1]
        q.streams[stream, FILLED] = now
    if q.tasks[task, START] < 0:
        q.tasks[task, START] = now
        q.scalars[PHASE] += 1
    _stall(q, unit, q.units[unit, CAUSE], now)
    q.units[unit, FREE] -= 1
    q.tasks[task, LEFT] -= 1
    if not q.tasks[task, LEFT]:
        q.scalars[PHASE] += 1
    q.scalars[LAST] = task
    q.tasks[task, IN_RUN] -= 1
    if not q.tasks[task, IN_RUN]:
        following = q.runs[run, NEXT]
        q.tasks[task, AT] = following
        q.tasks[task, IN_RUN] = q.runs[following, COUNT]
        if following <= run and following != run:
            q.wrapped[q.scalars[WRAPPED]] = task
            q.scalars[WRAPPED] = min(q.scalars[WRAPPED] + 1, q.wrapped.size - 1)
    q.scalars[FIRED] += 1
    _record(q, unit, NOBODY - task, now, now + q.runs[run, CYCLES], 1)
    _push(q, now + q.runs[run, CYCLES], run << 1)


@inlined
def _stall(q: State, unit: int, cause: int, now: int) -> None:
    """From now on the free servers wait for this cause; the time since the last change goes to the one before."""
    before = q.units[unit, CAUSE]
    if before != IDLE:
        count(q, before, q.units[unit, FREE] * (now - q.units[unit, CHANGED]))
        _record(q, unit, before, q.units[unit, CHANGED], now, q.units[unit, FREE])
    q.units[unit, CHANGED] = now
    q.units[unit, CAUSE] = cause


@inlined
def _record(q: State, unit: int, what: int, start: int, end: int, servers: int) -> None:
    """Notes a span, where they are recorded."""
    if len(q.spans) and end > start and servers:
        place = q.scalars[SPANS]
        q.scalars[SPANS] += 1
        q.spans[place, 0], q.spans[place, 1] = unit, what
        q.spans[place, 2], q.spans[place, 3], q.spans[place, 4] = start, end, servers


@inlined
def _push(q: State, time: int, code: int) -> None:
    """Adds an event; the first of the heap comes first."""
    place = q.scalars[EVENTS]
    q.scalars[EVENTS] = place + 1
    while place:
        above = (place - 1) >> 1
        if q.events[above, 0] <= time:
            break
        q.events[place, 0] = q.events[above, 0]
        q.events[place, 1] = q.events[above, 1]
        place = above
    q.events[place, 0] = time
    q.events[place, 1] = code


@inlined
def _pop(q: State) -> int:
    """Takes the first event off the heap."""
    code = q.events[0, 1]
    size = q.scalars[EVENTS] - 1
    q.scalars[EVENTS] = size
    time, last = q.events[size, 0], q.events[size, 1]
    place = 0
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and q.events[below + 1, 0] < q.events[below, 0]:
            below += 1
        if q.events[below, 0] >= time:
            break
        q.events[place, 0] = q.events[below, 0]
        q.events[place, 1] = q.events[below, 1]
        place = below
    q.events[place, 0] = time
    q.events[place, 1] = last
    return code
