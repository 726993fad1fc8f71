"""A section like one that has been run: it begins as that one did, and, once what differs is done, may end as it did.

Two sections are alike where only some tasks' firings differ. Until one of these tasks starts, both go the same way; and
where, once all of them are done, the states are equal but for time, they go the same way from there on. So the steps of
a generation, each with a token more in its cache, are run where they differ. Exact: whole states are compared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from archsim.engine.arrays import Arrays
from archsim.engine.compiled.clock_state import (
    AT,
    BLOCKED,
    CAUSE,
    CHOICES,
    CLIENTS,
    CLIENTS_END,
    DIRTY,
    END,
    EVENTS,
    FIRED,
    FREE,
    HEAD,
    IN_RUN,
    IN_TURN,
    LEAST_ROOM,
    LEFT,
    NOW,
    ORDER_END,
    READY,
    ROOM,
    SERVES_FIRST_COME,
    SINCE,
    SKIPPED,
    START,
    STARVED,
    STATUS,
    TOKENS,
    TURN,
    State,
)
from archsim.engine.compiled.outcome import Outcome
from archsim.engine.compiled.steady_state import AFTER, AFTERS, BEFORE, THEN, UNDER_WAY, VALID, Repeats
from archsim.engine.flat import Flat


class Earlier(NamedTuple):
    """A run that has come to its end, with the states that were kept in it."""

    flat: Flat
    packed: Arrays
    outcome: Outcome
    kept: Repeats | None


def changed_tasks(a: Arrays, b: Arrays) -> tuple[int, ...]:
    """The tasks that fire for other cycles or more or less often; none where the sections differ otherwise."""
    same = (
        a.tasks.shape == b.tasks.shape
        and np.array_equal(a.tasks[:, [0, 2, 3]], b.tasks[:, [0, 2, 3]])
        and np.array_equal(a.runs[:, 2:], b.runs[:, 2:])
        and np.array_equal(a.takes, b.takes)
        and np.array_equal(a.gives, b.gives)
        and np.array_equal(a.streams, b.streams)
        and np.array_equal(a.units, b.units)
        and np.array_equal(a.order[:, 0], b.order[:, 0])
    )
    if not same:
        return ()
    task_of = np.repeat(np.arange(len(a.tasks)), a.tasks[:, 3] - a.tasks[:, 2])
    runs = task_of[(a.runs[:, :2] != b.runs[:, :2]).any(axis=1)]
    firings = np.flatnonzero(a.tasks[:, 1] != b.tasks[:, 1])
    changed = np.unique(np.concatenate([runs, firings]))
    counted = np.isin(a.order[a.order[:, 1] != b.order[:, 1], 0], changed).all()
    return tuple(changed.tolist()) if counted else ()


def restore(q: State, r: Repeats, before: Earlier) -> bool:
    """Puts a new section where the earlier was before a task that differs had started; False where that is not kept."""
    kept = before.kept
    if kept is None or not np.array_equal(kept.watched, r.watched) or not kept.detectors[BEFORE, VALID]:
        return False
    fresh = q.tasks[r.watched][:, [LEFT, AT, IN_RUN]]
    firings = q.tasks[:, LEFT].sum()
    q.tasks[:], q.streams[:], q.units[:] = kept.tasks[BEFORE], kept.streams[BEFORE], kept.units[BEFORE]
    q.tasks[r.watched[:, None], [LEFT, AT, IN_RUN]] = fresh
    waiting = np.flatnonzero((q.units[:, TURN] < q.units[:, ORDER_END]) & (q.units[:, SERVES_FIRST_COME] == 0))
    waiting = waiting[np.isin(q.order[q.units[waiting, TURN], 0], r.watched)]
    q.units[waiting, IN_TURN] = q.order[q.units[waiting, TURN], 1]
    now, events = kept.detectors[BEFORE, [THEN, UNDER_WAY]]
    q.events[:events] = kept.events[BEFORE, :events]
    q.events[:events, 0] += now
    q.events[:events] = q.events[:events][np.argsort(q.events[:events, 0], kind="stable")]
    q.scalars[[NOW, EVENTS, DIRTY, CHOICES]] = now, events, 0, 0
    q.scalars[SKIPPED] = firings - q.tasks[:, LEFT].sum()
    for unit in np.flatnonzero(q.units[:, SERVES_FIRST_COME]):
        _line_up(q, q.units[unit])
    r.tasks[BEFORE], r.streams[BEFORE], r.units[BEFORE] = q.tasks, q.streams, q.units
    r.detectors[BEFORE], r.events[BEFORE] = kept.detectors[BEFORE], kept.events[BEFORE]
    return True


def _line_up(q: State, unit: np.ndarray) -> None:
    """The ring of a first-come unit's ready clients: the longest ready first, ties by the task's place."""
    tasks = q.clients[unit[CLIENTS] : unit[CLIENTS_END], 0]
    ready = tasks[q.tasks[tasks, STATUS] == READY]
    unit[HEAD] = 0
    q.clients[unit[CLIENTS] : unit[CLIENTS] + len(ready), 1] = ready[np.lexsort((ready, q.tasks[ready, SINCE]))]


def rejoin(packed: Arrays, q: State, r: Repeats, before: Earlier) -> Outcome | None:
    """The outcome of a section that from here on goes as the earlier did; None where it may go otherwise."""
    kept, old = before.kept, before.outcome
    at = AFTER + int(r.anchor[AFTERS]) - 1
    if kept is None or not np.array_equal(kept.watched, r.watched) or not kept.detectors[at, VALID]:
        return None
    then = int(kept.detectors[at, THEN])
    peak_then = packed.streams[:, 0] - kept.streams[at][:, LEAST_ROOM]
    peak = packed.streams[:, 0] - q.streams[:, LEAST_ROOM]
    # A higher peak came later, so it comes again; where none did, what there was after is known if it is no higher than
    # what there has been now. Room that is taken and not yet counted in least room is in ROOM, which is compared.
    seen = (old.peak > peak_then) | (peak >= peak_then)
    if not (seen.all() and _same(q, r, kept, at)):
        return None
    later = int(q.scalars[NOW]) - then
    ended, started = old.end > then, q.tasks[:, START] < 0
    fired = int(packed.tasks[:, 1].sum())
    return Outcome(
        old.cycle + later, fired, fired - int(q.scalars[FIRED]), np.zeros_like(old.left),
        np.where(started, old.start + later, q.tasks[:, START]), np.where(ended, old.end + later, q.tasks[:, END]),
        q.streams[:, STARVED] + old.starved - kept.streams[at][:, STARVED],
        q.streams[:, BLOCKED] + old.blocked - kept.streams[at][:, BLOCKED],
        np.where(old.peak > peak_then, np.maximum(peak, old.peak), peak),
    )  # fmt: skip


def _same(q: State, r: Repeats, kept: Repeats, at: int) -> bool:
    """True where the state is the one kept there but for time."""
    tasks, streams, units = kept.tasks[at], kept.streams[at], kept.units[at]
    left = q.tasks[:, LEFT] > 0
    ready = q.tasks[:, STATUS] == READY
    free = q.units[:, FREE] > 0
    turns = q.units[:, TURN] < q.units[:, ORDER_END]
    later = q.scalars[NOW] - kept.detectors[at, THEN]
    n = int(q.scalars[EVENTS])
    return bool(
        np.array_equal(q.tasks[:, [LEFT, STATUS]], tasks[:, [LEFT, STATUS]])
        and np.array_equal(q.tasks[left][:, [AT, IN_RUN]], tasks[left][:, [AT, IN_RUN]])
        and np.array_equal(q.tasks[ready, SINCE], tasks[ready, SINCE] + later)
        and np.array_equal(q.streams[:, [TOKENS, ROOM]], streams[:, [TOKENS, ROOM]])
        and np.array_equal(q.units[:, [FREE, TURN]], units[:, [FREE, TURN]])
        and np.array_equal(q.units[free, CAUSE], units[free, CAUSE])
        and np.array_equal(q.units[turns, IN_TURN], units[turns, IN_TURN])
        and n == kept.detectors[at, UNDER_WAY]
        and np.array_equal(_sorted(r.events[at, :n]), _sorted(kept.events[at, :n]))
    )


def _sorted(events: np.ndarray) -> np.ndarray:
    return events[np.lexsort((events[:, 1], events[:, 0]))]
