"""The state of the order kernel: tables with a record for each task, stream, unit and run, and rings of times.

The kernel accepts sections in which every unit has one server and a fixed order of firings.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from archsim.engine.arrays import FIRST_COME, Arrays, firings
from archsim.engine.compiled.records import BOUND, NUMBER, ROW, record, table
from archsim.engine.compiled.run_table import move_table, run_table
from archsim.engine.compiled.turns import ENTRY, order_and_repeats

MOST_TIMES = 2**22  # entries of all rings together; sections with deeper queues are left to the clock kernel
MOST_WRITTEN = 8  # entries that a firing writes, on average; sections whose firings write more are left to it too

# `at`: the run of the next firing; `in_run`: firings left in it; `neighbours`: tasks at the other ends of its streams.
TASK = record(
    unit=ROW, at=ROW, left=NUMBER, in_run=NUMBER, start=NUMBER, end=NUMBER, neighbours=BOUND, neighbours_end=BOUND
)
# Tokens count in portions, the largest that every firing at either end moves a whole number of. `given` includes the
# initial ones; `seen` are those up to which the peak is known.
STREAM = record(
    depth=NUMBER, initial=NUMBER, given=NUMBER, taken=NUMBER, ring=NUMBER, mask=NUMBER, peak=NUMBER, seen=NUMBER,
    starved=NUMBER, blocked=NUMBER,
)  # fmt: skip
# `turn`: the entry of the order; `task`: whose turn it is, NOBODY at the end; `in_turn`: firings left in the turn.
UNIT = record(
    turn=ROW, turn_end=ROW, task=ROW, queued=ROW, latency=NUMBER, free_at=NUMBER, in_turn=NUMBER
)  # fmt: skip
# When a portion arrived, when its place was taken and when it came free.
TIMES = record(arrived=NUMBER, filled=NUMBER, freed=NUMBER)
NOBODY = 2**32 - 1
FIRST, WAITING, LAST, FIRED = range(4)  # places in `scalars`; `last` is the latest end or arrival


class OrderState(NamedTuple):
    """A section under way: tables by task, stream, unit and run, and

    takes and gives, in portions; order and repeats, see turns.py; neighbours (task); queue, a ring of the units that
    may go on; times, for each stream a ring of the portions under way.
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
    times: np.ndarray
    scalars: np.ndarray


def accepts(a: Arrays) -> bool:
    """True if each unit has one server and nothing to choose, and the rings are short enough to be kept and written."""
    # A unit that serves first come has nothing to choose if it has a single task.
    alone = np.bincount(a.tasks[:, 0], minlength=len(a.units)) == 1
    ordered = (a.units[:, 2] != FIRST_COME) | alone
    if not ((a.units[:, 0] == 1).all() and ordered.all()):
        return False
    portions = _portions(a)
    given = _given(a) / portions
    written = 2 * given.sum() <= MOST_WRITTEN * a.tasks[:, 1].sum(dtype=float)
    return bool(written and _ring_sizes(a, portions).sum() <= MOST_TIMES)


def begin(a: Arrays) -> OrderState:
    """The state before the first firing, with every unit in the queue."""
    portions = _portions(a)
    sizes = _ring_sizes(a, portions)
    order, repeats = order_and_repeats(a)
    order, units = _units(a, order)
    neighbours, tasks = _tasks(a)
    takes, gives = (move_table(moved, portions[moved[:, 0]]) for moved in (a.takes, a.gives))
    return OrderState(
        tasks=tasks, streams=_streams(a, portions, sizes), units=units, runs=_runs(a), takes=takes, gives=gives,
        order=order, repeats=repeats, neighbours=neighbours, queue=np.arange(len(units), dtype=ROW),
        times=table(TIMES, int(sizes.sum())), scalars=np.array([0, len(units), 0, 0], dtype=np.int64),
    )  # fmt: skip


def peaks(a: Arrays, state: OrderState) -> np.ndarray:
    """The most places taken of each stream, in tokens."""
    return a.streams[:, 1] + (state.streams["peak"] - state.streams["initial"]) * _portions(a)


def _portions(a: Arrays) -> np.ndarray:
    """For each stream the largest number of tokens of which every firing takes and gives a multiple."""
    portions = np.zeros(len(a.streams), dtype=np.int64)
    for moved in (a.takes, a.gives):
        np.gcd.at(portions, moved[:, 0], moved[:, 1])
    return np.maximum(portions, 1)


def _given(a: Arrays) -> np.ndarray:
    """For each stream the tokens that are given in all, as floats."""
    given = np.zeros(len(a.streams))
    np.add.at(given, a.gives[:, 0], a.gives[:, 1] * np.repeat(firings(a), a.runs[:, 5] - a.runs[:, 4]).astype(float))
    return given


def _ring_sizes(a: Arrays, portions: np.ndarray) -> np.ndarray:
    """Entries of each stream's ring, a power of two, so that a place is a number & mask.

    The producer is never ahead of the consumer by more than the depth, nor by more than is there and given in all.
    """
    most = np.minimum(a.streams[:, 0], a.streams[:, 1] + _given(a)) / portions
    return 2 ** np.ceil(np.log2(np.minimum(most, MOST_TIMES) * 2 + 4)).astype(np.int64)


def _tasks(a: Arrays) -> tuple[np.ndarray, np.ndarray]:
    ends = a.streams[:, 2:]
    pairs = np.unique(np.concatenate([ends, ends[:, ::-1]]), axis=0)
    first, end = (np.searchsorted(pairs[:, 0], np.arange(len(a.tasks)), side=side) for side in ("left", "right"))
    return pairs[:, 1].astype(ROW), table(
        TASK, len(a.tasks), unit=a.tasks[:, 0], left=a.tasks[:, 1], at=a.tasks[:, 2], in_run=a.runs[a.tasks[:, 2], 0],
        start=-1, neighbours=first, neighbours_end=end,
    )  # fmt: skip


def _streams(a: Arrays, portions: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    initial = a.streams[:, 1] // portions
    # Rounded down apart: tokens and places that do not make up a portion are of no use to any firing.
    room = (a.streams[:, 0] - a.streams[:, 1]) // portions
    return table(
        STREAM, len(a.streams), depth=initial + room, initial=initial, given=initial, peak=initial, seen=initial,
        ring=np.cumsum(sizes) - sizes, mask=sizes - 1,
    )  # fmt: skip


def _units(a: Arrays, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The orders and the units; units that serve a single task first come get an order of all its firings."""
    free = np.flatnonzero(a.units[:, 2] == FIRST_COME)
    task_of = np.zeros(len(a.units), dtype=np.int64)
    task_of[a.tasks[:, 0]] = np.arange(len(a.tasks))
    added = table(ENTRY, len(free), task=task_of[free], firings=a.tasks[task_of[free], 1])
    turn, turn_end = a.units[:, 2].copy(), a.units[:, 3].copy()
    turn[free] = len(order) + np.arange(len(free))
    turn_end[free] = turn[free] + 1
    order = np.concatenate([order, added])
    return order, table(
        UNIT, len(a.units), latency=a.units[:, 1], queued=1, turn=turn, turn_end=turn_end,
        task=order["task"][turn], in_turn=order["firings"][turn],
    )  # fmt: skip


def _runs(a: Arrays) -> np.ndarray:
    runs = run_table(a)
    # A single run goes on until the task is done, so that it is not taken up again at every period.
    alone = a.tasks[:, 3] - a.tasks[:, 2] == 1
    runs["count"][a.tasks[alone, 2]] = a.tasks[alone, 1]
    return runs
