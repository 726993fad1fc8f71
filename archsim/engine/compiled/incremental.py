"""Runs only the part of a section that differs from an earlier run: for decode steps, the attention of each layer.

Two sections are comparable if they differ only in the firings of some tasks. Until one of these tasks starts, both runs
are equal. Once all of them are done, the rest is equal too if the states are equal but for time. Whole states are
compared, so the result is exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from archsim.engine.arrays import Arrays

from archsim.engine.compiled.clock_state import (  # isort: skip
    AT, BLOCKED, CAUSE, CHOICES, CLIENTS, CLIENTS_END, DIRTY, END, EVENTS, FIRED, FREE, HEAD, IN_RUN, IN_TURN,
    LEAST_ROOM, LEFT, NOW, ORDER_END, PRIORITY, READY, ROOM, SERVES_FIRST_COME, SINCE, SKIPPED, START, STARVED, STATUS,
    TOKENS, TURN, State,
)  # fmt: skip
from archsim.engine.compiled.steady_state import AFTER, AFTERS, BEFORE, THEN, UNDER_WAY, VALID, Detectors
from archsim.engine.flat import Flat


class Outcome(NamedTuple):
    """A run, by task (left, start, end), by stream (starved, blocked, peak) and by unit (turned), all int64.

    `turned` are waits of a unit in order while another firing could start, None where those are not told apart. `cycle`
    is the last cycle in which anything happened. `skipped` counts the firings that were not run one by one.
    """

    cycle: int
    skipped: int
    left: np.ndarray
    start: np.ndarray
    end: np.ndarray
    starved: np.ndarray
    blocked: np.ndarray
    peak: np.ndarray
    turned: np.ndarray | None = None


class EarlierRun(NamedTuple):
    """A run that came to its end; its detectors hold the snapshots, None if the order kernel ran it."""

    flat: Flat
    packed: Arrays
    outcome: Outcome
    detectors: Detectors | None


def changed_tasks(a: Arrays, b: Arrays) -> tuple[int, ...]:
    """The tasks whose cycles or numbers of firings differ; empty if the sections also differ in anything else."""
    same = (
        a.tasks.shape == b.tasks.shape
        and np.array_equal(a.tasks[:, [0, 2, 3, 4]], b.tasks[:, [0, 2, 3, 4]])
        and np.array_equal(a.runs[:, 2:], b.runs[:, 2:])
        and np.array_equal(a.takes, b.takes)
        and np.array_equal(a.gives, b.gives)
        and np.array_equal(a.streams, b.streams)
        and np.array_equal(a.units, b.units)
        and np.array_equal(a.order[:, 0], b.order[:, 0])
        and np.array_equal(a.repeats, b.repeats)
    )
    if not same:
        return ()
    task_of = np.repeat(np.arange(len(a.tasks)), a.tasks[:, 3] - a.tasks[:, 2])
    runs = task_of[(a.runs[:, :2] != b.runs[:, :2]).any(axis=1)]
    firings = np.flatnonzero(a.tasks[:, 1] != b.tasks[:, 1])
    changed = np.unique(np.concatenate([runs, firings]))
    # An order may differ only in how often the changed tasks fire.
    counted = np.isin(a.order[a.order[:, 1] != b.order[:, 1], 0], changed).all()
    return tuple(changed.tolist()) if counted else ()


def restore_before_change(state: State, detectors: Detectors, before: EarlierRun) -> bool:
    """Sets the state to the earlier run's last one before a changed task started; False if there is no snapshot."""
    kept = before.detectors
    if kept is None or not np.array_equal(kept.watched, detectors.watched) or not kept.table[BEFORE, VALID]:
        return False
    # What is new in the changed tasks, none of which has started in the snapshot.
    fresh = state.tasks[detectors.watched][:, [LEFT, AT, IN_RUN]]
    firings = state.tasks[:, LEFT].sum()
    state.tasks[:], state.streams[:], state.units[:] = kept.tasks[BEFORE], kept.streams[BEFORE], kept.units[BEFORE]
    state.repeats[:] = kept.repeats[BEFORE]
    state.tasks[detectors.watched[:, None], [LEFT, AT, IN_RUN]] = fresh
    # A unit in order whose turn has come to a changed task has the firings of that turn from the new order.
    units = state.units
    waiting = np.flatnonzero((units[:, TURN] < units[:, ORDER_END]) & (units[:, SERVES_FIRST_COME] == 0))
    waiting = waiting[np.isin(state.order[units[waiting, TURN], 0], detectors.watched)]
    units[waiting, IN_TURN] = state.order[units[waiting, TURN], 1]
    now, events = kept.table[BEFORE, [THEN, UNDER_WAY]]
    # A new state has room for more events than a snapshot holds; in sorted order they form a heap.
    state.events[:events] = kept.events[BEFORE, :events]
    state.events[:events, 0] += now
    state.events[:events] = state.events[:events][np.argsort(state.events[:events, 0], kind="stable")]
    state.scalars[[NOW, EVENTS, DIRTY, CHOICES]] = now, events, 0, 0
    state.scalars[SKIPPED] = firings - state.tasks[:, LEFT].sum()
    for unit in np.flatnonzero(units[:, SERVES_FIRST_COME]):
        _line_up_ready(state, units[unit])
    # The snapshot is handed on, as this run never passes that state: the next section may start from it too.
    detectors.tasks[BEFORE], detectors.streams[BEFORE], detectors.units[BEFORE] = state.tasks, state.streams, units
    detectors.repeats[BEFORE] = state.repeats
    detectors.table[BEFORE], detectors.events[BEFORE] = kept.table[BEFORE], kept.events[BEFORE]
    return True


def _line_up_ready(state: State, unit: np.ndarray) -> None:
    """Fills the ring of a first-come unit's ready clients: by priority, longest ready first, then by place."""
    # Snapshots hold no rings: a ready client's place follows from since when it has been ready.
    tasks = state.clients[unit[CLIENTS] : unit[CLIENTS_END], 0]
    ready = tasks[state.tasks[tasks, STATUS] == READY]
    unit[HEAD] = 0
    served = np.lexsort((ready, state.tasks[ready, SINCE], state.tasks[ready, PRIORITY]))
    state.clients[unit[CLIENTS] : unit[CLIENTS] + len(ready), 1] = ready[served]


def rejoin(packed: Arrays, state: State, detectors: Detectors, before: EarlierRun) -> Outcome | None:
    """The outcome of a section that goes on as the earlier run did from here; None if it may go on differently."""
    kept, old = before.detectors, before.outcome
    at = AFTER + int(detectors.scalars[AFTERS]) - 1
    if kept is None or not np.array_equal(kept.watched, detectors.watched) or not kept.table[at, VALID]:
        return None
    then = int(kept.table[at, THEN])
    peak_then = packed.streams[:, 0] - kept.streams[at][:, LEAST_ROOM]
    peak = packed.streams[:, 0] - state.streams[:, LEAST_ROOM]
    # A peak that the earlier run reached after its snapshot comes again. If it came before, the rest is only known not
    # to exceed it, which is enough if this run has reached as much. Room not yet noted in LEAST_ROOM is in ROOM.
    seen = (old.peak > peak_then) | (peak >= peak_then)
    if not (seen.all() and _states_match(state, detectors, kept, at)):
        return None
    later = int(state.scalars[NOW]) - then
    tasks = state.tasks
    ended, starts_later = old.end > then, tasks[:, START] < 0
    return Outcome(
        old.cycle + later, int(packed.tasks[:, 1].sum() - state.scalars[FIRED]), np.zeros_like(old.left),
        np.where(starts_later, old.start + later, tasks[:, START]), np.where(ended, old.end + later, tasks[:, END]),
        state.streams[:, STARVED] + old.starved - kept.streams[at][:, STARVED],
        state.streams[:, BLOCKED] + old.blocked - kept.streams[at][:, BLOCKED],
        np.where(old.peak > peak_then, np.maximum(peak, old.peak), peak),
    )  # fmt: skip


def _states_match(state: State, detectors: Detectors, kept: Detectors, at: int) -> bool:
    """True where the state equals the snapshot `at` but for time."""
    tasks, streams, units = kept.tasks[at], kept.streams[at], kept.units[at]
    # Only what decides how the run goes on: not the place of a task that is done nor the cause of a busy unit.
    left = state.tasks[:, LEFT] > 0
    ready = state.tasks[:, STATUS] == READY
    free = state.units[:, FREE] > 0
    turns = state.units[:, TURN] < state.units[:, ORDER_END]
    later = state.scalars[NOW] - kept.table[at, THEN]
    n = int(state.scalars[EVENTS])
    return bool(
        np.array_equal(state.tasks[:, [LEFT, STATUS]], tasks[:, [LEFT, STATUS]])
        and np.array_equal(state.tasks[left][:, [AT, IN_RUN]], tasks[left][:, [AT, IN_RUN]])
        and np.array_equal(state.tasks[ready, SINCE], tasks[ready, SINCE] + later)
        and np.array_equal(state.streams[:, [TOKENS, ROOM]], streams[:, [TOKENS, ROOM]])
        and np.array_equal(state.units[:, [FREE, TURN]], units[:, [FREE, TURN]])
        and np.array_equal(state.units[free, CAUSE], units[free, CAUSE])
        and np.array_equal(state.repeats, kept.repeats[at])
        and np.array_equal(state.units[turns, IN_TURN], units[turns, IN_TURN])
        and n == kept.table[at, UNDER_WAY]
        and np.array_equal(_sorted_events(detectors.events[at, :n]), _sorted_events(kept.events[at, :n]))
    )


def _sorted_events(events: np.ndarray) -> np.ndarray:
    return events[np.lexsort((events[:, 1], events[:, 0]))]
