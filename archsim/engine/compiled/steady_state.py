"""Exact repeats: where the state is what it was, but for time and for firings left, whole periods are skipped.

What happens next follows from the state alone: tokens and places, which firings come next, what is ready for how long,
when what is under way will end. Where all of that is as it was a while ago, the section will do once more what it has
done since, and again, as long as no task comes to the end of its firings, of a run of equal ones, or of its turns.
Compared is the whole state, number by number, at the end of a time step: when a task of several runs begins them anew,
and whenever one chosen task has fired. A state is kept until it is twice as old as the one before (Brent, 1980).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from archsim.engine.compiled.clock_state import (
    AT,
    BLOCKED,
    CAUSE,
    CHANGED,
    CONSUMER,
    COUNT,
    EVENTS,
    FIRED,
    FREE,
    FULL,
    IDLE,
    IN_RUN,
    IN_TURN,
    LAST,
    LEFT,
    MOST_GIVEN,
    MOST_TAKEN,
    NOBODY,
    NOW,
    ORDER_END,
    PHASE,
    PRODUCER,
    READY,
    ROOM,
    RUN_TASK,
    SHORT,
    SINCE,
    SKIPPED,
    START,
    STARVED,
    STATUS,
    TOKENS,
    TURN,
    WRAPPED,
    State,
)
from archsim.engine.compiled.machine_code import compiled, inlined

EVENTS_KEPT = 128  # a state with more under way is not looked at
LEAST_PERIODS = 4  # a task with fewer is not waited for
LONGEST_WAIT = 2**14
MOST_KEPT = 2**23  # numbers in all kept states together: 64 MiB
WORTH_SKIPPING = 64  # firings; fewer are run as fast
ADVANCE = 8  # times the rows of the state may be looked at before firings have paid for it
PAUSE = 16  # looks left out after a state that came back too late
FAR = 2**62
THEN, FIRED_THEN, UNDER_WAY, VALID, WAITED, WAIT, HINT = range(7)  # columns of `detectors`
# Places in `anchor`: the task whose firings detector 0 waits for, and what else is counted once for all detectors.
ANCHOR, ANCHOR_LEFT, ANCHOR_FIRED, ANCHOR_PHASE, ON, SPENT, ROWS, WATCHED_PHASE, AFTERS = range(9)
MOST_AFTERS = 12  # what runs beside the watched tasks may end later; so many changes are waited for
# The last kept states, where tasks are watched: before one of them has started, and first when all are done, then
# whenever another task has started or is done.
BEFORE, AFTER = -MOST_AFTERS - 1, -MOST_AFTERS


class Repeats(NamedTuple):
    """The kept states, one for each detector: 0 looks whenever the anchor has fired, the others when their task wraps.

    `detector` gives a task's, 0 for none; `detectors` has when a state was kept, how many events were under way, how
    long to keep it and where the state differed last. tasks, streams, units and events (from now on) are those kept.
    """

    detector: np.ndarray
    detectors: np.ndarray
    anchor: np.ndarray
    watched: np.ndarray
    tasks: np.ndarray
    streams: np.ndarray
    units: np.ndarray
    events: np.ndarray


def repeats(q: State, *, on: bool, watched: tuple[int, ...] = ()) -> Repeats:
    """Detectors for a section, none where `on` is False; places for more states where tasks are watched."""
    detector = np.zeros(len(q.tasks), dtype=np.int64)
    found = 0
    periods = np.bincount(q.runs[:, RUN_TASK], weights=q.runs[:, COUNT])
    several = np.bincount(q.runs[:, RUN_TASK]) > 1
    most = MOST_KEPT // (q.tasks.size + q.streams.size + q.units.size + 2 * EVENTS_KEPT)
    for task in np.flatnonzero(several & (q.tasks[:, LEFT] >= LEAST_PERIODS * periods))[:most] if on else ():
        found += 1
        detector[task] = found
    found += 1 + (1 + MOST_AFTERS if watched else 0)  # detector 0; before and after
    detectors = np.zeros((found, 7), dtype=np.int64)
    detectors[:, WAIT] = 1
    rows = len(q.tasks) + len(q.streams) + len(q.units)
    anchor = np.array([NOBODY, NOBODY, 0, -1, on, -ADVANCE * rows, rows, -1, 0], dtype=np.int64)
    tasks, streams, units, events = (
        np.empty((found, *shape), dtype=np.int64)
        for shape in (q.tasks.shape, q.streams.shape, q.units.shape, (EVENTS_KEPT, 2))
    )
    return Repeats(detector, detectors, anchor, np.array(watched, dtype=np.int64), tasks, streams, units, events)


@inlined
def look(q: State, r: Repeats) -> bool:
    """At the end of a time step: True where it is time to compare, which `compare` does."""
    if not r.anchor[ON] or q.scalars[FIRED] < r.anchor[SPENT] or q.scalars[EVENTS] > EVENTS_KEPT:
        return False
    task = r.anchor[ANCHOR]
    return (
        q.scalars[WRAPPED] > 0
        or task == NOBODY
        or q.tasks[task, LEFT] != r.anchor[ANCHOR_LEFT]
        or r.anchor[ANCHOR_PHASE] != q.scalars[PHASE]
        or _waits_in_vain(q, r)
    )


@inlined
def _waits_in_vain(q: State, r: Repeats) -> bool:
    """True where so much else has been fired since the state was kept that the anchor may be one that fires no more."""
    return bool(q.scalars[FIRED] - r.anchor[ANCHOR_FIRED] > 1024 + 64 * r.detectors[0, WAIT])


@inlined
def watches(q: State, r: Repeats) -> bool:
    """At the end of a time step: True where a task has started or is done while some are watched; then `watch`."""
    return len(r.watched) > 0 and r.anchor[WATCHED_PHASE] != q.scalars[PHASE]


@compiled
def watch(q: State, r: Repeats) -> bool:
    """Keeps the state before a watched task has started, and some states when all are done: then it is True."""
    r.anchor[WATCHED_PHASE] = q.scalars[PHASE]
    started = done = 0
    for task in r.watched:
        started += q.tasks[task, START] != NOBODY
        done += q.tasks[task, LEFT] == 0
    over = done == len(r.watched)
    if (started and not over) or r.anchor[AFTERS] == MOST_AFTERS or q.scalars[EVENTS] > EVENTS_KEPT:
        return False
    which = len(r.detectors) + (AFTER + r.anchor[AFTERS] if over else BEFORE)
    _account(q)
    _keep(q, r, which)
    r.detectors[which, VALID] = 1
    r.anchor[AFTERS] += over
    return over


@compiled
def compare(q: State, r: Repeats) -> None:
    """Compares with what is kept where it is time to, and skips."""
    for i in range(q.scalars[WRAPPED]):
        detector = r.detector[q.wrapped[i]]
        if detector and _try(q, r, detector):
            return
    task = r.anchor[ANCHOR]
    if r.anchor[ANCHOR_PHASE] != q.scalars[PHASE]:
        r.anchor[ANCHOR_PHASE] = q.scalars[PHASE]
        _forget(r, 0)
    elif task == NOBODY or _waits_in_vain(q, r):
        r.detectors[0, VALID] = 0
    elif q.tasks[task, LEFT] == r.anchor[ANCHOR_LEFT]:
        return
    _try(q, r, 0)
    r.anchor[ANCHOR_LEFT] = q.tasks[r.anchor[ANCHOR], LEFT]


@compiled
def _try(q: State, r: Repeats, detector: int) -> bool:
    """Skips where the state is the kept one; else keeps it in the other's place when that is old enough."""
    mine = r.detectors[detector]
    r.anchor[SPENT] += 1
    if mine[VALID]:
        mine[WAITED] += 1
        if mine[WAITED] > 0 and _same(q, r, detector):
            periods = _periods(q, r, detector)
            if periods * (q.scalars[FIRED] - mine[FIRED_THEN]) >= WORTH_SKIPPING:
                _account(q)
                _skip(q, r, detector, periods)
                _forget(r, detector)
                _forget(r, 0)
                r.anchor[SPENT] = q.scalars[FIRED] - ADVANCE * r.anchor[ROWS]
                return True
            mine[WAITED] = -PAUSE
        if mine[WAITED] < mine[WAIT]:
            return False
        mine[WAIT] = 2 * mine[WAIT] if mine[WAIT] < LONGEST_WAIT else 1
    if detector == 0:
        r.anchor[ANCHOR], r.anchor[ANCHOR_FIRED] = q.scalars[LAST], q.scalars[FIRED]
    _account(q)
    _keep(q, r, detector)
    r.anchor[SPENT] += 2 * r.anchor[ROWS]
    mine[VALID], mine[WAITED] = 1, 0
    return False


@compiled
def _forget(r: Repeats, detector: int) -> None:
    r.detectors[detector, VALID], r.detectors[detector, WAITED], r.detectors[detector, WAIT] = 0, 0, 1


@inlined
def count(q: State, cause: int, cycles: int) -> None:
    """Adds server-cycles to a cause."""
    streams = len(q.streams)
    if cause < streams:
        q.streams[cause, STARVED] += cycles
    else:
        q.streams[cause - streams, BLOCKED] += cycles


@compiled
def _account(q: State) -> None:
    """Brings the stalls of every unit up to now."""
    now = q.scalars[NOW]
    for unit in range(len(q.units)):
        if q.units[unit, CAUSE] != IDLE:
            count(q, q.units[unit, CAUSE], q.units[unit, FREE] * (now - q.units[unit, CHANGED]))
        q.units[unit, CHANGED] = now


@compiled
def _keep(q: State, r: Repeats, detector: int) -> None:
    """Keeps a copy of the state."""
    _copy(q.tasks, r.tasks[detector])
    _copy(q.streams, r.streams[detector])
    _copy(q.units, r.units[detector])
    now, events = q.scalars[NOW], q.scalars[EVENTS]
    mine = r.detectors[detector]
    mine[THEN], mine[FIRED_THEN], mine[UNDER_WAY] = now, q.scalars[FIRED], events
    for i in range(events):
        r.events[detector, i, 0] = q.events[i, 0] - now
        r.events[detector, i, 1] = q.events[i, 1]


@compiled
def _copy(table: np.ndarray, kept: np.ndarray) -> None:
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            kept[i, j] = table[i, j]


@compiled
def _same(q: State, r: Repeats, detector: int) -> bool:
    """True where the state is the kept one, but for time and for firings left."""
    if r.detectors[detector, UNDER_WAY] != q.scalars[EVENTS] or _differs(q, r, detector, r.detectors[detector, HINT]):
        return False
    for i in range(len(q.tasks) + len(q.streams) + len(q.units)):
        if _differs(q, r, detector, i):
            r.detectors[detector, HINT] = i
            r.anchor[SPENT] += i
            return False
    r.anchor[SPENT] += r.anchor[ROWS]
    return _same_events(q, r, detector)


@compiled
def _differs(q: State, r: Repeats, detector: int, i: int) -> bool:
    """True where the i-th task, stream or unit is not where it was."""
    tasks, streams = len(q.tasks), len(q.streams)
    if i < tasks:
        then, now = r.tasks[detector, i], q.tasks[i]
        if now[AT] != then[AT] or now[STATUS] != then[STATUS] or (now[LEFT] == 0) != (then[LEFT] == 0):
            return True
        if now[IN_RUN] != then[IN_RUN] and then[LEFT] - now[LEFT] != then[IN_RUN] - now[IN_RUN]:
            return True
        return now[STATUS] == READY and now[SINCE] - q.scalars[NOW] != then[SINCE] - r.detectors[detector, THEN]
    i -= tasks
    if i < streams:
        return _drifts_otherwise(r.streams[detector, i], q.streams[i], r.detectors[detector, THEN])
    then, now = r.units[detector, i - streams], q.units[i - streams]
    if now[FREE] != then[FREE] or (now[FREE] and now[CAUSE] != then[CAUSE]):
        return True
    return now[TURN] != then[TURN] and now[IN_TURN] != then[IN_TURN]


@compiled
def _drifts_otherwise(then: np.ndarray, now: np.ndarray, since: int) -> bool:
    """True where a stream holds more or fewer tokens than it did and a firing since lacked what it now has more of."""
    more = now[TOKENS] - then[TOKENS]
    if then[ROOM] - now[ROOM] != more:
        return True
    return (more > 0 and now[SHORT] > since) or (more < 0 and now[FULL] > since)


@compiled
def _same_events(q: State, r: Repeats, detector: int) -> bool:
    """True where what is under way ends and arrives as it would have then, each as often."""
    now, events = q.scalars[NOW], q.scalars[EVENTS]
    kept = r.events[detector]
    for i in range(events):
        more = 0
        for j in range(events):
            more += kept[j, 0] == kept[i, 0] and kept[j, 1] == kept[i, 1]
            more -= q.events[j, 0] - now == kept[i, 0] and q.events[j, 1] == kept[i, 1]
        if more:
            return False
    return True


@compiled
def _periods(q: State, r: Repeats, detector: int) -> int:
    """How many more periods pass before a task has no firing left or ends a run, a unit ends a turn or its turns.

    Where a stream fills, the last is left to be run, so that the least room is seen.
    """
    most, filling = FAR, False
    for i in range(len(q.tasks)):
        then, now = r.tasks[detector, i], q.tasks[i]
        fired = then[LEFT] - now[LEFT]
        if fired:
            most = min(most, (now[LEFT] - 1) // fired)
            if now[IN_RUN] != then[IN_RUN]:
                most = min(most, (now[IN_RUN] - 1) // fired)
    for i in range(len(q.streams)):
        then, now = r.streams[detector, i], q.streams[i]
        if now[TOKENS] != then[TOKENS]:
            filling = True
            most = min(most, _until_it_matters(q, r, detector, i))
    for i in range(len(q.units)):
        then, now = r.units[detector, i], q.units[i]
        passed = now[TURN] - then[TURN]
        if passed:
            most = min(most, _periods_in_order(q.order, then[TURN], now[TURN], now[ORDER_END], most))
        elif now[IN_TURN] != then[IN_TURN]:
            most = min(most, (now[IN_TURN] - 1) // (then[IN_TURN] - now[IN_TURN]))
    return most - 1 if filling else most


@compiled
def _until_it_matters(q: State, r: Repeats, detector: int, i: int) -> int:
    """How many periods a stream may fill or empty in without a firing lacking what none has lacked so far.

    Within a period the level may fall by all that is moved in it.
    """
    then, now = r.streams[detector, i], q.streams[i]
    more = now[TOKENS] - then[TOKENS]
    end, level, each = (PRODUCER, ROOM, MOST_GIVEN) if more > 0 else (CONSUMER, TOKENS, MOST_TAKEN)
    task = now[end]
    moved = (r.tasks[detector, task, LEFT] - q.tasks[task, LEFT] + 1) * now[each]
    return max((now[level] - moved) // abs(more), 0)


@compiled
def _periods_in_order(order: np.ndarray, then: int, now: int, end: int, most: int) -> int:
    """How often an order does, from one place on, what it did between another place and that one."""
    period, alike = now - then, 0
    while alike // period <= most and now + alike < end:
        if order[then + alike, 0] != order[now + alike, 0] or order[then + alike, 1] != order[now + alike, 1]:
            break
        alike += 1
    return max(alike - 1, 0) // period


@compiled
def _skip(q: State, r: Repeats, detector: int, periods: int) -> None:
    """Goes so many periods on; each task that fires in them has a firing left, which will set when it ended last."""
    later = periods * (q.scalars[NOW] - r.detectors[detector, THEN])
    for i in range(len(q.tasks)):
        then, now = r.tasks[detector, i], q.tasks[i]
        fired = periods * (then[LEFT] - now[LEFT])
        if now[IN_RUN] != then[IN_RUN]:
            now[IN_RUN] -= fired
        now[SINCE] += later
        if fired:
            now[LEFT] -= fired
            q.scalars[SKIPPED] += fired
    for i in range(len(q.streams)):
        more = q.streams[i, TOKENS] - r.streams[detector, i, TOKENS]
        q.streams[i, TOKENS] += periods * more
        q.streams[i, ROOM] -= periods * more
        for what in (STARVED, BLOCKED):
            q.streams[i, what] += periods * (q.streams[i, what] - r.streams[detector, i, what])
        for what in (SHORT, FULL):  # what lacked within the period lacked within the last
            if q.streams[i, what] > r.detectors[detector, THEN]:
                q.streams[i, what] += later
    for i in range(len(q.units)):
        then, now = r.units[detector, i], q.units[i]
        if now[TURN] != then[TURN]:
            now[TURN] += periods * (now[TURN] - then[TURN])
        else:
            now[IN_TURN] -= periods * (then[IN_TURN] - now[IN_TURN])
        now[CHANGED] += later
    for i in range(q.scalars[EVENTS]):
        q.events[i, 0] += later
    q.scalars[NOW] += later
