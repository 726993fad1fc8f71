"""Exact repeats: when the state equals an earlier one, but for time and firings left, whole periods are skipped.

The state alone decides what happens next: tokens and places, the next firing of each task, since when clients are
ready, when events under way are due. If all of that equals an earlier state, the section repeats what it did in
between, until a task ends its firings or a run of equal ones, or a unit its turns. The whole state is compared, number
by number, at the end of a time step: when a task of several runs begins its period again, and whenever one chosen task,
the anchor, has fired. A kept state is replaced once it is twice as old as the one before it (Brent, 1980).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from archsim.engine.compiled.clock_state import (  # isort: skip
    AT, BLOCKED, CAUSE, CHANGED, CONSUMER, EVENTS, FIRED, FREE, FULL, IDLE, IN_RUN, IN_TURN, LAST, LEFT,
    MOST_GIVEN, MOST_TAKEN, NOBODY, NOW, ORDER_END, PHASE, PRODUCER, READY, REPEATS, REPEATS_END, ROOM,
    SERVES_FIRST_COME, SHORT, SINCE, SKIPPED, START, STARVED, STATUS, TOKENS, TURN, TURNED, WRAPPED, State,
)  # fmt: skip
from archsim.engine.compiled.machine_code import compiled, inlined
from archsim.engine.compiled.run_table import COUNT, RUN_TASK
from archsim.engine.compiled.turns import ROUNDS

EVENTS_KEPT = 128  # a state with more events under way is not kept: comparing events takes their number squared
LEAST_PERIODS = 4  # a task with fewer periods left gets no detector
LONGEST_WAIT = 2**14  # comparisons for which a state is kept at most; then the wait starts again at one
MOST_KEPT = 2**23  # numbers in all kept states together: 64 MiB
WORTH_SKIPPING = 64  # firings; fewer are run as fast
ADVANCE = 8  # rows that may be looked at before firings have paid for it, in multiples of the rows of a state
PAUSE = 16  # comparisons left out after a state that came back too late to skip anything
FAR = 2**62
# Columns of `table`: when the state was kept, by time and by firings; its events; whether there is one; comparisons
# since; comparisons for which to keep it; the row that differed last, which is compared first.
THEN, FIRED_THEN, UNDER_WAY, VALID, WAITED, WAIT, HINT = range(7)
# Places in `scalars`: the anchor, its firings left and the phase when it was last compared, and all firings when its
# state was kept; whether repeats are looked for; the firings that pay for all rows looked at; rows of a state; the
# phase of the last snapshot; snapshots kept after the watched tasks.
ANCHOR, ANCHOR_LEFT, ANCHOR_FIRED, ANCHOR_PHASE, ON, SPENT, ROWS, WATCHED_PHASE, AFTERS = range(9)
MOST_AFTERS = 12  # tasks beside the watched ones may differ for a while, so the first snapshot after may be too early
# Where tasks are watched, the last detectors hold snapshots: one from before any of them has started, then one when all
# of them have started their last firing and one whenever another task has started its first or last after that.
BEFORE, AFTER = -MOST_AFTERS - 1, -MOST_AFTERS


class Detectors(NamedTuple):
    """The detectors of periodic behaviour, each with the state it has kept: 0 is the anchor's, each other a task's.

    `of_task` gives a task's detector, 0 for none. `table` has a row for each detector. `watched` are tasks that differ
    from an earlier run. tasks, streams, units, repeats and events are the kept states, with event times from the state
    on.
    """

    of_task: np.ndarray
    table: np.ndarray
    scalars: np.ndarray
    watched: np.ndarray
    tasks: np.ndarray
    streams: np.ndarray
    units: np.ndarray
    repeats: np.ndarray
    events: np.ndarray


def make_detectors(state: State, *, on: bool, watched: tuple[int, ...] = ()) -> Detectors:
    """Detectors for a section at its start, idle if `on` is False; with room for snapshots if tasks are watched."""
    of_task = np.zeros(len(state.tasks), dtype=np.int64)
    used = 0
    periods = np.bincount(state.runs[:, RUN_TASK], weights=state.runs[:, COUNT])
    several = np.bincount(state.runs[:, RUN_TASK]) > 1
    kept = (state.tasks, state.streams, state.units, state.repeats)
    most = MOST_KEPT // (sum(table.size for table in kept) + 2 * EVENTS_KEPT)
    for task in np.flatnonzero(several & (state.tasks[:, LEFT] >= LEAST_PERIODS * periods))[:most] if on else ():
        used += 1
        of_task[task] = used
    used += 1 + (1 + MOST_AFTERS if watched else 0)  # detector 0; the snapshots before and after
    table = np.zeros((used, 7), dtype=np.int64)
    table[:, WAIT] = 1
    rows = len(state.tasks) + len(state.streams) + len(state.units)
    scalars = np.array([NOBODY, NOBODY, 0, -1, on, -ADVANCE * rows, rows, -1, 0], dtype=np.int64)
    # Allocated here once, as the kernels may allocate nothing.
    shapes = [*(table.shape for table in kept), (EVENTS_KEPT, 2)]
    states = [np.empty((used, *shape), dtype=np.int64) for shape in shapes]
    return Detectors(of_task, table, scalars, np.array(watched, dtype=np.int64), *states)


@inlined
def compare_due(state: State, detectors: Detectors) -> bool:
    """True at the end of a time step after which `compare` has something to do."""
    scalars = detectors.scalars
    # Comparing may take no longer than running: each row looked at has to be paid for by a firing.
    if not scalars[ON] or state.scalars[FIRED] < scalars[SPENT] or state.scalars[EVENTS] > EVENTS_KEPT:
        return False
    task = scalars[ANCHOR]
    return (
        state.scalars[WRAPPED] > 0
        or task == NOBODY
        or state.tasks[task, LEFT] != scalars[ANCHOR_LEFT]
        or scalars[ANCHOR_PHASE] != state.scalars[PHASE]
        or _anchor_is_stale(state, detectors)
    )


@inlined
def _anchor_is_stale(state: State, detectors: Detectors) -> bool:
    """True where so many firings have passed since the anchor's state was kept that it may never fire again."""
    return bool(state.scalars[FIRED] - detectors.scalars[ANCHOR_FIRED] > 1024 + 64 * detectors.table[0, WAIT])


@inlined
def snapshot_due(state: State, detectors: Detectors) -> bool:
    """True at the end of a time step in which a task started its first or last firing, if tasks are watched."""
    return len(detectors.watched) > 0 and detectors.scalars[WATCHED_PHASE] != state.scalars[PHASE]


@compiled
def keep_snapshot(state: State, detectors: Detectors) -> bool:
    """Keeps the state if no watched task has started, and some states once all have started their last; then True."""
    detectors.scalars[WATCHED_PHASE] = state.scalars[PHASE]
    started = done = 0
    for task in detectors.watched:
        started += state.tasks[task, START] != NOBODY
        done += state.tasks[task, LEFT] == 0
    over = done == len(detectors.watched)
    if (started and not over) or detectors.scalars[AFTERS] == MOST_AFTERS or state.scalars[EVENTS] > EVENTS_KEPT:
        return False
    which = len(detectors.table) + (AFTER + detectors.scalars[AFTERS] if over else BEFORE)
    _settle_stalls(state)
    _keep_state(state, detectors, which)
    detectors.table[which, VALID] = 1
    detectors.scalars[AFTERS] += over
    return over


@compiled
def compare(state: State, detectors: Detectors) -> None:
    """Compares the state with those of the detectors that are due, and skips periods where it equals one."""
    for i in range(state.scalars[WRAPPED]):
        detector = detectors.of_task[state.wrapped[i]]
        if detector and _skip_or_keep(state, detectors, detector):
            return
    scalars = detectors.scalars
    task = scalars[ANCHOR]
    # A task that starts or ends changes what repeats, so the search begins anew.
    if scalars[ANCHOR_PHASE] != state.scalars[PHASE]:
        scalars[ANCHOR_PHASE] = state.scalars[PHASE]
        _reset(detectors, 0)
    elif task == NOBODY or _anchor_is_stale(state, detectors):
        detectors.table[0, VALID] = 0
    elif state.tasks[task, LEFT] == scalars[ANCHOR_LEFT]:
        return
    _skip_or_keep(state, detectors, 0)
    scalars[ANCHOR_LEFT] = state.tasks[scalars[ANCHOR], LEFT]


@compiled
def _skip_or_keep(state: State, detectors: Detectors, detector: int) -> bool:
    """Skips periods and is True if the state equals the kept one; else keeps it instead if that is old enough."""
    scalars, row = detectors.scalars, detectors.table[detector]
    scalars[SPENT] += 1
    if row[VALID]:
        row[WAITED] += 1
        if row[WAITED] > 0 and _equals_kept(state, detectors, detector):
            periods = _periods_ahead(state, detectors, detector)
            if periods * (state.scalars[FIRED] - row[FIRED_THEN]) >= WORTH_SKIPPING:
                # Stalls first: skipping multiplies the stalls of one period.
                _settle_stalls(state)
                _skip(state, detectors, detector, periods)
                _reset(detectors, detector)
                _reset(detectors, 0)
                scalars[SPENT] = state.scalars[FIRED] - ADVANCE * scalars[ROWS]
                return True
            row[WAITED] = -PAUSE
        if row[WAITED] < row[WAIT]:
            return False
        # Brent's cycle finding: with waits that double, a period of any length is found, up to the longest wait.
        row[WAIT] = 2 * row[WAIT] if row[WAIT] < LONGEST_WAIT else 1
    if detector == 0:
        # If this state comes again, the task that fired last fires again just before.
        scalars[ANCHOR], scalars[ANCHOR_FIRED] = state.scalars[LAST], state.scalars[FIRED]
    _settle_stalls(state)
    _keep_state(state, detectors, detector)
    scalars[SPENT] += 2 * scalars[ROWS]
    row[VALID], row[WAITED] = 1, 0
    return False


@compiled
def _reset(detectors: Detectors, detector: int) -> None:
    detectors.table[detector, VALID], detectors.table[detector, WAITED], detectors.table[detector, WAIT] = 0, 0, 1


@inlined
def add_stall(state: State, cause: int, cycles: int) -> None:
    """Adds server-cycles to a cause."""
    streams = len(state.streams)
    if cause < streams:
        state.streams[cause, STARVED] += cycles
    elif cause < 2 * streams:
        state.streams[cause - streams, BLOCKED] += cycles
    else:
        state.units[cause - 2 * streams, TURNED] += cycles


@compiled
def _settle_stalls(state: State) -> None:
    """Counts the stalls of every unit up to now."""
    now = state.scalars[NOW]
    for unit in range(len(state.units)):
        if state.units[unit, CAUSE] != IDLE:
            add_stall(state, state.units[unit, CAUSE], state.units[unit, FREE] * (now - state.units[unit, CHANGED]))
        state.units[unit, CHANGED] = now


@compiled
def _keep_state(state: State, detectors: Detectors, detector: int) -> None:
    """Copies the state into that of the detector."""
    _copy(state.tasks, detectors.tasks[detector])
    _copy(state.streams, detectors.streams[detector])
    _copy(state.units, detectors.units[detector])
    _copy(state.repeats, detectors.repeats[detector])
    now, events = state.scalars[NOW], state.scalars[EVENTS]
    row = detectors.table[detector]
    row[THEN], row[FIRED_THEN], row[UNDER_WAY] = now, state.scalars[FIRED], events
    for i in range(events):
        detectors.events[detector, i, 0] = state.events[i, 0] - now
        detectors.events[detector, i, 1] = state.events[i, 1]


@compiled
def _copy(table: np.ndarray, kept: np.ndarray) -> None:
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            kept[i, j] = table[i, j]


@compiled
def _equals_kept(state: State, detectors: Detectors, detector: int) -> bool:
    """True where the state is the kept one, but for time and for firings left."""
    row, scalars = detectors.table[detector], detectors.scalars
    # The row that differed last time most likely differs again, so most comparisons end here.
    if row[UNDER_WAY] != state.scalars[EVENTS] or _row_differs(state, detectors, detector, row[HINT]):
        return False
    for i in range(len(state.tasks) + len(state.streams) + len(state.units)):
        if _row_differs(state, detectors, detector, i):
            row[HINT] = i
            scalars[SPENT] += i
            return False
    scalars[SPENT] += scalars[ROWS]
    return _same_events(state, detectors, detector)


@compiled
def _row_differs(state: State, detectors: Detectors, detector: int, i: int) -> bool:
    """True where the i-th row, counted over tasks, streams and units, is not as it was."""
    tasks, streams, since = len(state.tasks), len(state.streams), detectors.table[detector, THEN]
    if i < tasks:
        then, now = detectors.tasks[detector, i], state.tasks[i]
        if now[AT] != then[AT] or now[STATUS] != then[STATUS] or (now[LEFT] == 0) != (then[LEFT] == 0):
            return True
        # Within one run the place may advance by what was fired: the firings are equal. Across runs it may not.
        if now[IN_RUN] != then[IN_RUN] and then[LEFT] - now[LEFT] != then[IN_RUN] - now[IN_RUN]:
            return True
        # How long a client has been ready decides who is served first; for other clients the time means nothing.
        return now[STATUS] == READY and now[SINCE] - state.scalars[NOW] != then[SINCE] - since
    i -= tasks
    if i < streams:
        return _drift_matters(detectors.streams[detector, i], state.streams[i], since)
    then, now = detectors.units[detector, i - streams], state.units[i - streams]
    if now[FREE] != then[FREE] or (now[FREE] and now[CAUSE] != then[CAUSE]):
        return True
    if not now[SERVES_FIRST_COME] and now[REPEATS] < now[REPEATS_END]:
        rounds = _rounds_changed(state, detectors, detector, now)
        return now[TURN] != then[TURN] or rounds > 1 or (rounds == 1 and now[IN_TURN] != then[IN_TURN])
    # At another entry of the order as much of it must be left as of the kept one; `_periods_ahead` compares entries.
    return now[TURN] != then[TURN] and now[IN_TURN] != then[IN_TURN]


@compiled
def _rounds_changed(state: State, detectors: Detectors, detector: int, unit: np.ndarray) -> int:
    """How many repeats of a unit's order have another number of rounds left.

    With one, the unit is in the same place of a later round: repeats inside it were gone through as a whole, and none
    around it has come to its next round.
    """
    changed = 0
    for i in range(unit[REPEATS], unit[REPEATS_END]):
        changed += state.repeats[i, ROUNDS] != detectors.repeats[detector, i, ROUNDS]
    return changed


@compiled
def _drift_matters(then: np.ndarray, now: np.ndarray, since: int) -> bool:
    """True where a stream holds more or fewer tokens than it did, and that could change which firings can start.

    More tokens change nothing if no firing lacked tokens since then, fewer nothing if none lacked places. Whether the
    level runs out later is for `_periods_of_drift`.
    """
    more = now[TOKENS] - then[TOKENS]
    if then[ROOM] - now[ROOM] != more:
        return True
    return (more > 0 and now[SHORT] > since) or (more < 0 and now[FULL] > since)


@compiled
def _same_events(state: State, detectors: Detectors, detector: int) -> bool:
    """True where the events under way are those kept, at the same times from now, each as often."""
    now, events = state.scalars[NOW], state.scalars[EVENTS]
    kept = detectors.events[detector]
    # Heaps of the same events may be arranged differently, so each event is counted in both.
    for i in range(events):
        more = 0
        for j in range(events):
            more += kept[j, 0] == kept[i, 0] and kept[j, 1] == kept[i, 1]
            more -= state.events[j, 0] - now == kept[i, 0] and state.events[j, 1] == kept[i, 1]
        if more:
            return False
    return True


@compiled
def _periods_ahead(state: State, detectors: Detectors, detector: int) -> int:
    """How many more periods pass before a task ends its firings or a run, or a unit a turn or its turns.

    Where a stream fills or empties, the last period is left to be run one by one, so that its least room is seen.
    """
    most, drifts = FAR, False
    for i in range(len(state.tasks)):
        then, now = detectors.tasks[detector, i], state.tasks[i]
        fired = then[LEFT] - now[LEFT]
        if fired:
            # One firing is left over: a task without any behaves differently.
            most = min(most, (now[LEFT] - 1) // fired)
            if now[IN_RUN] != then[IN_RUN]:
                most = min(most, (now[IN_RUN] - 1) // fired)
    for i in range(len(state.streams)):
        then, now = detectors.streams[detector, i], state.streams[i]
        if now[TOKENS] != then[TOKENS]:
            drifts = True
            most = min(most, _periods_of_drift(state, detectors, detector, i))
    for i in range(len(state.repeats)):
        passed = detectors.repeats[detector, i, ROUNDS] - state.repeats[i, ROUNDS]
        if passed:
            most = min(most, (state.repeats[i, ROUNDS] - 1) // passed)
    for i in range(len(state.units)):
        then, now = detectors.units[detector, i], state.units[i]
        passed = now[TURN] - then[TURN]
        if passed:
            most = min(most, _periods_in_order(state.order, then[TURN], now[TURN], now[ORDER_END], most))
        elif now[IN_TURN] != then[IN_TURN]:
            most = min(most, (now[IN_TURN] - 1) // (then[IN_TURN] - now[IN_TURN]))
    return most - 1 if drifts else most


@compiled
def _periods_of_drift(state: State, detectors: Detectors, detector: int, i: int) -> int:
    """For how many periods a stream may go on filling or emptying before a firing can lack places or tokens there.

    Within a period the level may fall by all that is moved in it.
    """
    then, now = detectors.streams[detector, i], state.streams[i]
    more = now[TOKENS] - then[TOKENS]
    end, level, each = (PRODUCER, ROOM, MOST_GIVEN) if more > 0 else (CONSUMER, TOKENS, MOST_TAKEN)
    task = now[end]
    # One firing more than the period has: the next one has to find its places or tokens too.
    moved = (detectors.tasks[detector, task, LEFT] - state.tasks[task, LEFT] + 1) * now[each]
    return max((now[level] - moved) // abs(more), 0)


@compiled
def _periods_in_order(order: np.ndarray, then: int, now: int, end: int, most: int) -> int:
    """How often the entries of an order from `then` to `now` come again from `now` on."""
    period, alike = now - then, 0
    while alike // period <= most and now + alike < end:
        if order[then + alike, 0] != order[now + alike, 0] or order[then + alike, 1] != order[now + alike, 1]:
            break
        alike += 1
    # The entry in which the last period stops has to be equal too, hence one less.
    return max(alike - 1, 0) // period


@compiled
def _skip(state: State, detectors: Detectors, detector: int, periods: int) -> None:
    """Moves the state on by this many periods.

    Each task that fires in them has a firing left, which will set when its last one ended.
    """
    since = detectors.table[detector, THEN]
    later = periods * (state.scalars[NOW] - since)
    for i in range(len(state.tasks)):
        then, now = detectors.tasks[detector, i], state.tasks[i]
        fired = periods * (then[LEFT] - now[LEFT])
        if now[IN_RUN] != then[IN_RUN]:
            now[IN_RUN] -= fired
        now[SINCE] += later
        if fired:
            now[LEFT] -= fired
            state.scalars[SKIPPED] += fired
    for i in range(len(state.streams)):
        more = state.streams[i, TOKENS] - detectors.streams[detector, i, TOKENS]
        state.streams[i, TOKENS] += periods * more
        state.streams[i, ROOM] -= periods * more
        for what in (STARVED, BLOCKED):
            state.streams[i, what] += periods * (state.streams[i, what] - detectors.streams[detector, i, what])
        # What lacked within the period lacked within each that is skipped. Left behind, the time would look older than
        # states that other detectors keep, and a drift that matters would pass for one that does not.
        for what in (SHORT, FULL):
            if state.streams[i, what] > since:
                state.streams[i, what] += later
    for i in range(len(state.repeats)):
        state.repeats[i, ROUNDS] -= periods * (detectors.repeats[detector, i, ROUNDS] - state.repeats[i, ROUNDS])
    for i in range(len(state.units)):
        then, now = detectors.units[detector, i], state.units[i]
        if now[TURN] != then[TURN]:
            now[TURN] += periods * (now[TURN] - then[TURN])
        else:
            now[IN_TURN] -= periods * (then[IN_TURN] - now[IN_TURN])
        if not now[SERVES_FIRST_COME]:
            now[TURNED] += periods * (now[TURNED] - then[TURNED])
        now[CHANGED] += later
    # All events move by the same time, so the heap stays a heap.
    for i in range(state.scalars[EVENTS]):
        state.events[i, 0] += later
    state.scalars[NOW] += later
