"""Runs only the part of a section that differs from an earlier run: for decode steps, the attention of each layer.

Two sections are comparable if they differ only in the firings of some tasks. Until one of these tasks starts, both runs
are equal. Once all of them are done, the rest is equal too if the states are equal but for time. Whole states are
compared, so the result is exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from archsim.engine.arrays import Arrays
from archsim.engine.compiled.clock_state import CHOICES, DIRTY, EVENTS, FIRED, NOW, READY, SKIPPED, State
from archsim.engine.compiled.steady_state import AFTER, AFTERS, BEFORE, Detectors
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
    if kept is None or not np.array_equal(kept.watched, detectors.watched) or not kept.table["valid"][BEFORE]:
        return False
    # What is new in the changed tasks, none of which has started in the snapshot.
    fresh = state.tasks[detectors.watched]
    firings = state.tasks["left"].sum()
    state.tasks[:], state.streams[:], state.units[:] = kept.tasks[BEFORE], kept.streams[BEFORE], kept.units[BEFORE]
    state.repeats[:] = kept.repeats[BEFORE]
    for name in ("left", "at", "in_run"):
        state.tasks[name][detectors.watched] = fresh[name]
    # A unit in order whose turn has come to a changed task has the firings of that turn from the new order.
    units, turn = state.units, state.units["turn"]
    waiting = np.flatnonzero((turn < units["order_end"]) & (units["first_come"] == 0))
    waiting = waiting[np.isin(state.order["task"][turn[waiting]], detectors.watched)]
    units["in_turn"][waiting] = state.order["firings"][turn[waiting]]
    now, events = (int(kept.table[name][BEFORE]) for name in ("then", "under_way"))
    # A new state has room for more events than a snapshot holds; in sorted order they form a heap.
    state.events[:events] = kept.events[BEFORE, :events]
    state.events["time"][:events] += now
    state.events[:events] = state.events[:events][np.argsort(state.events["time"][:events], kind="stable")]
    state.scalars[[NOW, EVENTS, DIRTY, CHOICES]] = now, events, 0, 0
    state.scalars[SKIPPED] = firings - state.tasks["left"].sum()
    for unit in np.flatnonzero(units["first_come"]):
        _line_up_ready(state, units[unit])
    # The snapshot is handed on, as this run never passes that state: the next section may start from it too.
    detectors.tasks[BEFORE], detectors.streams[BEFORE], detectors.units[BEFORE] = state.tasks, state.streams, units
    detectors.repeats[BEFORE] = state.repeats
    detectors.table[BEFORE], detectors.events[BEFORE] = kept.table[BEFORE], kept.events[BEFORE]
    return True


def _line_up_ready(state: State, unit: np.ndarray) -> None:
    """Fills the ring of a first-come unit's ready clients: by priority, longest ready first, then by place."""
    # Snapshots hold no rings: a ready client's place follows from since when it has been ready.
    first = unit["clients"]
    clients = state.clients["task"][first : unit["clients_end"]]
    ready = clients[state.tasks["status"][clients] == READY]
    unit["head"] = 0
    served = np.lexsort((ready, state.tasks["since"][ready], state.tasks["priority"][ready]))
    state.clients["ready"][first : first + len(ready)] = ready[served]


def rejoin(packed: Arrays, state: State, detectors: Detectors, before: EarlierRun) -> Outcome | None:
    """The outcome of a section that goes on as the earlier run did from here; None if it may go on differently."""
    kept, old = before.detectors, before.outcome
    at = AFTER + int(detectors.scalars[AFTERS]) - 1
    if kept is None or not np.array_equal(kept.watched, detectors.watched) or not kept.table["valid"][at]:
        return None
    then = int(kept.table["then"][at])
    peak_then = packed.streams[:, 0] - kept.streams["least_room"][at]
    peak = packed.streams[:, 0] - state.streams["least_room"]
    # A peak that the earlier run reached after its snapshot comes again. If it came before, the rest is only known not
    # to exceed it, which is enough if this run has reached as much. Room not yet noted in LEAST_ROOM is in ROOM.
    seen = (old.peak > peak_then) | (peak >= peak_then)
    if not (seen.all() and _states_match(state, detectors, kept, at)):
        return None
    later = int(state.scalars[NOW]) - then
    tasks, streams = state.tasks, state.streams
    ended, starts_later = old.end > then, tasks["start"] < 0
    return Outcome(
        old.cycle + later, int(packed.tasks[:, 1].sum() - state.scalars[FIRED]), np.zeros_like(old.left),
        np.where(starts_later, old.start + later, tasks["start"]), np.where(ended, old.end + later, tasks["end"]),
        streams["starved"] + old.starved - kept.streams["starved"][at],
        streams["blocked"] + old.blocked - kept.streams["blocked"][at],
        np.where(old.peak > peak_then, np.maximum(peak, old.peak), peak),
    )  # fmt: skip


def _states_match(state: State, detectors: Detectors, kept: Detectors, at: int) -> bool:
    """True where the state equals the snapshot `at` but for time."""
    tasks, streams, units = kept.tasks[at], kept.streams[at], kept.units[at]
    # Only what decides how the run goes on: not the place of a task that is done nor the cause of a busy unit.
    left = state.tasks["left"] > 0
    ready = state.tasks["status"] == READY
    free = state.units["free"] > 0
    turns = state.units["turn"] < state.units["order_end"]
    later = state.scalars[NOW] - kept.table["then"][at]
    n = int(state.scalars[EVENTS])
    return bool(
        _alike(state.tasks, tasks, "left", "status")
        and _alike(state.tasks[left], tasks[left], "at", "in_run")
        and np.array_equal(state.tasks["since"][ready], tasks["since"][ready] + later)
        and _alike(state.streams, streams, "tokens", "room")
        and _alike(state.units, units, "free", "turn")
        and _alike(state.units[free], units[free], "cause")
        and _alike(state.repeats, kept.repeats[at], "rounds")
        and _alike(state.units[turns], units[turns], "in_turn")
        and n == kept.table["under_way"][at]
        and _alike(_sorted(detectors.events[at, :n]), _sorted(kept.events[at, :n]), "time", "run", "arrives")
    )


def _alike(a: np.ndarray, b: np.ndarray, *fields: str) -> bool:
    """True where these fields are equal in each row."""
    return all(np.array_equal(a[field], b[field]) for field in fields)


def _sorted(events: np.ndarray) -> np.ndarray:
    return events[np.lexsort([events[field] for field in ("arrives", "run", "time")])]
