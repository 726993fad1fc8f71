"""Exact repeats: when the state equals an earlier one, but for time and firings left, whole periods are skipped.

The state alone decides what happens next: tokens and places, the next firing of each task, since when clients are
ready, when events under way are due. If all of that equals an earlier state, the section repeats what it did in
between, until a task ends its firings or a run of equal ones, or a unit its turns. The whole state is compared, number
by number, at the end of a time step: when a task of several runs begins its period again, and whenever one chosen task,
the anchor, has fired. A kept state is replaced once it is twice as old as the one before it (Brent, 1980).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from archsim.engine.compiled.clock_state import (  # isort: skip
    EVENTS, FIRED, IDLE, LAST, NOBODY, NOW, PHASE, READY, SKIPPED, WRAPPED, State,
)  # fmt: skip
from archsim.engine.compiled.machine_code import compiled, inlined
from archsim.engine.compiled.records import NUMBER, Record, record, table

EVENTS_KEPT = 128  # a state with more events under way is not kept: comparing events takes their number squared
LEAST_PERIODS = 4  # a task with fewer periods left gets no detector
LONGEST_WAIT = 2**14  # comparisons for which a state is kept at most; then the wait starts again at one
MOST_KEPT = 2**23  # numbers in all kept states together: 64 MiB
WORTH_SKIPPING = 64  # firings; fewer are run as fast
ADVANCE = 8  # rows that may be looked at before firings have paid for it, in multiples of the rows of a state
PAUSE = 16  # comparisons left out after a state that came back too late to skip anything
FAR = 2**62
OF_ANCHOR: Any = np.int64(0)  # the anchor's detector; not a plain 0, for which functions are compiled a second time
# When the state was kept, by time and by firings; its events; whether there is one; comparisons since; comparisons for
# which to keep it; the row that differed last, which is compared first.
DETECTOR = record(
    then=NUMBER, fired_then=NUMBER, under_way=NUMBER, valid=NUMBER, waited=NUMBER, wait=NUMBER, hint=NUMBER
)
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

    `of_task` gives a task's detector, 0 for none. `table` has a record for each detector. `watched` are tasks that
    differ from an earlier run. tasks, streams, units, repeats and events are the kept states, with event times from
    the state on.
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
    periods = np.bincount(state.runs["task"], weights=state.runs["count"])
    several = np.bincount(state.runs["task"]) > 1
    kept = (state.tasks, state.streams, state.units, state.repeats)
    most = MOST_KEPT // (sum(table.nbytes for table in kept) // 8 + 2 * EVENTS_KEPT)
    for task in np.flatnonzero(several & (state.tasks["left"] >= LEAST_PERIODS * periods))[:most] if on else ():
        used += 1
        of_task[task] = used
    used += 1 + (1 + MOST_AFTERS if watched else 0)  # detector 0; the snapshots before and after
    rows = len(state.tasks) + len(state.streams) + len(state.units)
    scalars = np.array([NOBODY, NOBODY, 0, -1, on, -ADVANCE * rows, rows, -1, 0], dtype=np.int64)
    # Allocated here once, as the kernels may allocate nothing.
    states = [np.empty((used, *kept.shape), dtype=kept.dtype) for kept in (*kept, state.events[:EVENTS_KEPT])]
    return Detectors(of_task, table(DETECTOR, used, wait=1), scalars, np.array(watched, dtype=np.int64), *states)


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
        or state.tasks[task].left != scalars[ANCHOR_LEFT]
        or scalars[ANCHOR_PHASE] != state.scalars[PHASE]
        or _anchor_is_stale(state, detectors)
    )


@inlined
def _anchor_is_stale(state: State, detectors: Detectors) -> bool:
    """True where so many firings have passed since the anchor's state was kept that it may never fire again."""
    return bool(state.scalars[FIRED] - detectors.scalars[ANCHOR_FIRED] > 1024 + 64 * detectors.table[0].wait)


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
        started += state.tasks[task].start != NOBODY
        done += state.tasks[task].left == 0
    over = done == len(detectors.watched)
    if (started and not over) or detectors.scalars[AFTERS] == MOST_AFTERS or state.scalars[EVENTS] > EVENTS_KEPT:
        return False
    which = len(detectors.table) + (AFTER + detectors.scalars[AFTERS] if over else BEFORE)
    _settle_stalls(state)
    _keep_state(state, detectors, which)
    detectors.table[which].valid = 1
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
        _reset(detectors, OF_ANCHOR)
    elif task == NOBODY or _anchor_is_stale(state, detectors):
        detectors.table[0].valid = 0
    elif state.tasks[task].left == scalars[ANCHOR_LEFT]:
        return
    _skip_or_keep(state, detectors, OF_ANCHOR)
    scalars[ANCHOR_LEFT] = state.tasks[scalars[ANCHOR]].left


@compiled
def _skip_or_keep(state: State, detectors: Detectors, detector: int) -> bool:
    """Skips periods and is True if the state equals the kept one; else keeps it instead if that is old enough."""
    scalars, row = detectors.scalars, detectors.table[detector]
    scalars[SPENT] += 1
    if row.valid:
        row.waited += 1
        if row.waited > 0 and _equals_kept(state, detectors, detector):
            periods = _periods_ahead(state, detectors, detector)
            if periods * (state.scalars[FIRED] - row.fired_then) >= WORTH_SKIPPING:
                # Stalls first: skipping multiplies the stalls of one period.
                _settle_stalls(state)
                _skip(state, detectors, detector, periods)
                _reset(detectors, detector)
                _reset(detectors, OF_ANCHOR)
                scalars[SPENT] = state.scalars[FIRED] - ADVANCE * scalars[ROWS]
                return True
            row.waited = -PAUSE
        if row.waited < row.wait:
            return False
        # Brent's cycle finding: with waits that double, a period of any length is found, up to the longest wait.
        row.wait = 2 * row.wait if row.wait < LONGEST_WAIT else 1
    if detector == OF_ANCHOR:
        # If this state comes again, the task that fired last fires again just before.
        scalars[ANCHOR], scalars[ANCHOR_FIRED] = state.scalars[LAST], state.scalars[FIRED]
    _settle_stalls(state)
    _keep_state(state, detectors, detector)
    scalars[SPENT] += 2 * scalars[ROWS]
    row.valid, row.waited = 1, 0
    return False


@compiled
def _reset(detectors: Detectors, detector: int) -> None:
    detectors.table[detector].valid, detectors.table[detector].waited, detectors.table[detector].wait = 0, 0, 1


@inlined
def add_stall(state: State, cause: int, cycles: int) -> None:
    """Adds server-cycles to a cause."""
    streams = len(state.streams)
    if cause < streams:
        state.streams[cause].starved += cycles
    elif cause < 2 * streams:
        state.streams[cause - streams].blocked += cycles
    else:
        state.units[cause - 2 * streams].turned += cycles


@compiled
def _settle_stalls(state: State) -> None:
    """Counts the stalls of every unit up to now."""
    now = state.scalars[NOW]
    for unit in range(len(state.units)):
        if state.units[unit].cause != IDLE:
            add_stall(state, state.units[unit].cause, state.units[unit].free * (now - state.units[unit].changed))
        state.units[unit].changed = now


@compiled
def _keep_state(state: State, detectors: Detectors, detector: int) -> None:
    """Copies the state into that of the detector."""
    _copy(state.tasks, detectors.tasks[detector])
    _copy(state.streams, detectors.streams[detector])
    _copy(state.units, detectors.units[detector])
    _copy(state.repeats, detectors.repeats[detector])
    now, events = state.scalars[NOW], state.scalars[EVENTS]
    row = detectors.table[detector]
    row.then, row.fired_then, row.under_way = now, state.scalars[FIRED], events
    for i in range(events):
        kept = detectors.events[detector, i]
        kept.time = state.events[i].time - now
        kept.run = state.events[i].run
        kept.arrives = state.events[i].arrives


@compiled
def _copy(table: np.ndarray, kept: np.ndarray) -> None:
    for i in range(len(table)):
        kept[i] = table[i]


@compiled
def _equals_kept(state: State, detectors: Detectors, detector: int) -> bool:
    """True where the state is the kept one, but for time and for firings left."""
    row, scalars = detectors.table[detector], detectors.scalars
    # The row that differed last time most likely differs again, so most comparisons end here.
    if row.under_way != state.scalars[EVENTS] or _row_differs(state, detectors, detector, row.hint):
        return False
    for i in range(len(state.tasks) + len(state.streams) + len(state.units)):
        if _row_differs(state, detectors, detector, i):
            row.hint = i
            scalars[SPENT] += i
            return False
    scalars[SPENT] += scalars[ROWS]
    return _same_events(state, detectors, detector)


@compiled
def _row_differs(state: State, detectors: Detectors, detector: int, i: int) -> bool:
    """True where the i-th row, counted over tasks, streams and units, is not as it was."""
    tasks, streams, since = len(state.tasks), len(state.streams), detectors.table[detector].then
    if i < tasks:
        then, now = detectors.tasks[detector, i], state.tasks[i]
        if now.at != then.at or now.status != then.status or (now.left == 0) != (then.left == 0):
            return True
        # Within one run the place may advance by what was fired: the firings are equal. Across runs it may not.
        if now.in_run != then.in_run and then.left - now.left != then.in_run - now.in_run:
            return True
        # How long a client has been ready decides who is served first; for other clients the time means nothing.
        return now.status == READY and now.since - state.scalars[NOW] != then.since - since
    i -= tasks
    if i < streams:
        return _drift_matters(detectors.streams[detector, i], state.streams[i], since)
    then, now = detectors.units[detector, i - streams], state.units[i - streams]
    if now.free != then.free or (now.free and now.cause != then.cause):
        return True
    if not now.first_come and now.repeats < now.repeats_end:
        rounds = _rounds_changed(state, detectors, detector, now)
        return now.turn != then.turn or rounds > 1 or (rounds == 1 and now.in_turn != then.in_turn)
    # At another entry of the order as much of it must be left as of the kept one; `_periods_ahead` compares entries.
    return now.turn != then.turn and now.in_turn != then.in_turn


@compiled
def _rounds_changed(state: State, detectors: Detectors, detector: int, unit: Record) -> int:
    """How many repeats of a unit's order have another number of rounds left.

    With one, the unit is in the same place of a later round: repeats inside it were gone through as a whole, and none
    around it has come to its next round.
    """
    changed = 0
    for i in range(unit.repeats, unit.repeats_end):
        changed += state.repeats[i].rounds != detectors.repeats[detector, i].rounds
    return changed


@compiled
def _drift_matters(then: Record, now: Record, since: int) -> bool:
    """True where a stream holds more or fewer tokens than it did, and that could change which firings can start.

    More tokens change nothing if no firing lacked tokens since then, fewer nothing if none lacked places. Whether the
    level runs out later is for `_periods_of_drift`.
    """
    more = now.tokens - then.tokens
    if then.room - now.room != more:
        return True
    return (more > 0 and now.short > since) or (more < 0 and now.full > since)


@compiled
def _same_events(state: State, detectors: Detectors, detector: int) -> bool:
    """True where the events under way are those kept, at the same times from now, each as often."""
    now, events = state.scalars[NOW], state.scalars[EVENTS]
    kept = detectors.events[detector]
    # Heaps of the same events may be arranged differently, so each event is counted in both.
    for i in range(events):
        more = 0
        for j in range(events):
            more += kept[j].time == kept[i].time and _same_event(kept[j], kept[i])
            more -= state.events[j].time - now == kept[i].time and _same_event(state.events[j], kept[i])
        if more:
            return False
    return True


@inlined
def _same_event(a: Record, b: Record) -> bool:
    """True where both are of the same firings, at whatever time."""
    return bool(a.run == b.run and a.arrives == b.arrives)


@compiled
def _periods_ahead(state: State, detectors: Detectors, detector: int) -> int:
    """How many more periods pass before a task ends its firings or a run, or a unit a turn or its turns.

    Where a stream fills or empties, the last period is left to be run one by one, so that its least room is seen.
    """
    most, drifts = FAR, False
    for i in range(len(state.tasks)):
        then, now = detectors.tasks[detector, i], state.tasks[i]
        fired = then.left - now.left
        if fired:
            # One firing is left over: a task without any behaves differently.
            most = min(most, (now.left - 1) // fired)
            if now.in_run != then.in_run:
                most = min(most, (now.in_run - 1) // fired)
    for i in range(len(state.streams)):
        then, now = detectors.streams[detector, i], state.streams[i]
        if now.tokens != then.tokens:
            drifts = True
            most = min(most, _periods_of_drift(state, detectors, detector, i))
    for i in range(len(state.repeats)):
        passed = detectors.repeats[detector, i].rounds - state.repeats[i].rounds
        if passed:
            most = min(most, (state.repeats[i].rounds - 1) // passed)
    for i in range(len(state.units)):
        then, now = detectors.units[detector, i], state.units[i]
        passed = now.turn - then.turn
        if passed:
            most = min(most, _periods_in_order(state.order, then.turn, now.turn, now.order_end, most))
        elif now.in_turn != then.in_turn:
            most = min(most, (now.in_turn - 1) // (then.in_turn - now.in_turn))
    return most - 1 if drifts else most


@compiled
def _periods_of_drift(state: State, detectors: Detectors, detector: int, i: int) -> int:
    """For how many periods a stream may go on filling or emptying before a firing can lack places or tokens there.

    Within a period the level may fall by all that is moved in it.
    """
    then, now = detectors.streams[detector, i], state.streams[i]
    more = now.tokens - then.tokens
    if more > 0:
        task, level, each = now.producer, now.room, now.most_given
    else:
        task, level, each = now.consumer, now.tokens, now.most_taken
    # One firing more than the period has: the next one has to find its places or tokens too.
    moved = (detectors.tasks[detector, task].left - state.tasks[task].left + 1) * each
    return max((level - moved) // abs(more), 0)


@compiled
def _periods_in_order(order: np.ndarray, then: int, now: int, end: int, most: int) -> int:
    """How often the entries of an order from `then` to `now` come again from `now` on."""
    period, alike = now - then, 0
    while alike // period <= most and now + alike < end:
        before, after = order[then + alike], order[now + alike]
        if before.task != after.task or before.firings != after.firings:
            break
        alike += 1
    # The entry in which the last period stops has to be equal too, hence one less.
    return max(alike - 1, 0) // period


@compiled
def _skip(state: State, detectors: Detectors, detector: int, periods: int) -> None:
    """Moves the state on by this many periods.

    Each task that fires in them has a firing left, which will set when its last one ended.
    """
    since = detectors.table[detector].then
    later = periods * (state.scalars[NOW] - since)
    for i in range(len(state.tasks)):
        then, now = detectors.tasks[detector, i], state.tasks[i]
        fired = periods * (then.left - now.left)
        if now.in_run != then.in_run:
            now.in_run -= fired
        now.since += later
        if fired:
            now.left -= fired
            state.scalars[SKIPPED] += fired
    for i in range(len(state.streams)):
        then, now = detectors.streams[detector, i], state.streams[i]
        more = periods * (now.tokens - then.tokens)
        now.tokens += more
        now.room -= more
        now.starved += periods * (now.starved - then.starved)
        now.blocked += periods * (now.blocked - then.blocked)
        # What lacked within the period lacked within each that is skipped. Left behind, the time would look older than
        # states that other detectors keep, and a drift that matters would pass for one that does not.
        if now.short > since:
            now.short += later
        if now.full > since:
            now.full += later
    for i in range(len(state.repeats)):
        state.repeats[i].rounds -= periods * (detectors.repeats[detector, i].rounds - state.repeats[i].rounds)
    for i in range(len(state.units)):
        then, now = detectors.units[detector, i], state.units[i]
        if now.turn != then.turn:
            now.turn += periods * (now.turn - then.turn)
        else:
            now.in_turn -= periods * (then.in_turn - now.in_turn)
        if not now.first_come:
            now.turned += periods * (now.turned - then.turned)
        now.changed += later
    # All events move by the same time, so the heap stays a heap.
    for i in range(state.scalars[EVENTS]):
        state.events[i].time += later
    state.scalars[NOW] += later
