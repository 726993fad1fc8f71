"""The state of the order kernel: int64 tables with a row for each task, stream, unit and run, and rings of times.

The kernel accepts sections in which every unit has one server and a fixed order of firings.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from archsim.engine.arrays import FIRST_COME, Arrays
from archsim.engine.compiled.run_table import COUNT, run_table
from archsim.engine.compiled.turns import FIRINGS, TASK, order_and_repeats

MOST_TIMES = 2**22  # entries of all rings together; sections with deeper queues are left to the clock kernel

# Columns. Rows of 8 or 16 numbers fill one or two cache lines of 64 bytes. `neighbours` are the tasks at the other ends
# of a task's streams.
UNIT, LEFT, AT, IN_RUN, START, END, NEIGHBOURS, NEIGHBOURS_END = range(8)
# `given` includes the initial tokens. `arrived`, `freed`, `filled` and `emptied` are places in the rings: the arrival
# that the last firing waited for, the end that freed the place it needed, and the start and the end up to which the
# peak is known. With _END: where the next entry goes.
DEPTH, INITIAL, GIVEN, TAKEN, RING, MASK, STARVED, BLOCKED, PEAK = range(9)
ARRIVED, ARRIVED_END, FREED, FREED_END, FILLED, FILLED_END, EMPTIED = range(9, 16)
LATENCY, FREE_AT, TURN, TURN_END, IN_TURN, QUEUED, TURN_OF, _ = range(8)
FIRST, WAITING, LAST, FIRED = range(4)  # places in `scalars`; `last` is the latest end or arrival
TIME, TOKENS = range(2)  # columns of a ring


class OrderState(NamedTuple):
    """A section under way: tables by task, stream, unit and run, and

    takes and gives (stream, tokens); order and repeats, see turns.py; neighbours (task); queue, a ring of the units
    that may go on; arrivals, frees and starts, for each stream a ring of (time, tokens moved up to then).
    """

    tasks: np.ndarray
    streams: np.ndarray
    units: np.ndarray
    runs: np.ndarray
    takes: np.ndarray
    gives: np.ndarray
    order: np.ndarray
    repeats: np.ndarray
    neighbours: np.ndarray
    queue: np.ndarray
    arrivals: np.ndarray
    frees: np.ndarray
    starts: np.ndarray
    scalars: np.ndarray


def accepts(a: Arrays) -> bool:
    """True if each unit has one server and nothing to choose, and the rings are within MOST_TIMES."""
    # A unit that serves first come has nothing to choose if it has a single task.
    alone = np.bincount(a.tasks[:, 0], minlength=len(a.units)) == 1
    ordered = (a.units[:, 2] != FIRST_COME) | alone
    return bool((a.units[:, 0] == 1).all() and ordered.all() and _ring_sizes(a).sum() <= MOST_TIMES)


def begin(a: Arrays) -> OrderState:
    """The state before the first firing, with every unit in the queue."""
    sizes = _ring_sizes(a)
    order, repeats = order_and_repeats(a)
    order, units = _units(a, order)
    neighbours, tasks = _tasks(a)
    arrivals, frees, starts = (np.zeros((int(sizes.sum()), 2), dtype=np.int64) for _ in range(3))
    return OrderState(
        tasks=tasks, streams=_streams(a, sizes), units=units, runs=_runs(a), takes=a.takes, gives=a.gives, order=order,
        repeats=repeats, neighbours=neighbours, queue=np.arange(len(units), dtype=np.int64), arrivals=arrivals,
        frees=frees, starts=starts, scalars=np.array([0, len(units), 0, 0], dtype=np.int64),
    )  # fmt: skip


def _ring_sizes(a: Arrays) -> np.ndarray:
    """Entries of each stream's rings, a power of two, so that a place is a number & mask.

    Each entry moves at least one token, and the producer is never ahead of the consumer by more than the depth.
    """
    most = np.minimum(a.streams[:, 0], np.maximum(a.tasks[a.streams[:, 2], 1], a.tasks[a.streams[:, 3], 1]))
    return 2 ** np.ceil(np.log2(np.minimum(most, MOST_TIMES) * 2 + 4)).astype(np.int64)


def _tasks(a: Arrays) -> tuple[np.ndarray, np.ndarray]:
    ends = a.streams[:, 2:]
    pairs = np.unique(np.concatenate([ends, ends[:, ::-1]]), axis=0)
    rows = np.zeros((len(a.tasks), 8), dtype=np.int64)
    rows[:, UNIT], rows[:, LEFT], rows[:, AT] = a.tasks[:, 0], a.tasks[:, 1], a.tasks[:, 2]
    rows[:, IN_RUN], rows[:, START] = a.runs[a.tasks[:, 2], 0], -1
    rows[:, NEIGHBOURS] = np.searchsorted(pairs[:, 0], np.arange(len(rows)))
    rows[:, NEIGHBOURS_END] = np.searchsorted(pairs[:, 0], np.arange(len(rows)), side="right")
    return np.ascontiguousarray(pairs[:, 1]), rows


def _streams(a: Arrays, sizes: np.ndarray) -> np.ndarray:
    rows = np.zeros((len(a.streams), 16), dtype=np.int64)
    rows[:, DEPTH], rows[:, INITIAL] = a.streams[:, 0], a.streams[:, 1]
    rows[:, GIVEN] = rows[:, PEAK] = a.streams[:, 1]
    rows[:, RING], rows[:, MASK] = np.cumsum(sizes) - sizes, sizes - 1
    return rows


def _units(a: Arrays, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The orders and the units; units that serve a single task first come get an order of all its firings."""
    rows = np.zeros((len(a.units), 8), dtype=np.int64)
    rows[:, LATENCY], rows[:, QUEUED] = a.units[:, 1], 1
    rows[:, TURN], rows[:, TURN_END] = a.units[:, 2], a.units[:, 3]
    free = np.flatnonzero(a.units[:, 2] == FIRST_COME)
    task_of = np.zeros(len(rows), dtype=np.int64)
    task_of[a.tasks[:, 0]] = np.arange(len(a.tasks))
    added = np.stack([task_of[free], a.tasks[task_of[free], 1], *np.zeros((2, len(free)), dtype=np.int64)], axis=1)
    rows[free, TURN] = len(order) + np.arange(len(free))
    rows[free, TURN_END] = rows[free, TURN] + 1
    order = np.concatenate([order, added])
    rows[:, TURN_OF], rows[:, IN_TURN] = order[rows[:, TURN]][:, [TASK, FIRINGS]].T
    return order, rows


def _runs(a: Arrays) -> np.ndarray:
    rows = run_table(a)
    # A single run goes on until the task is done, so that it is not taken up again at every period.
    alone = a.tasks[:, 3] - a.tasks[:, 2] == 1
    rows[a.tasks[alone, 2], COUNT] = a.tasks[alone, 1]
    return rows
