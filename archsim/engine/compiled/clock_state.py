"""The state of the clock kernel: int64 tables with a row for each task, stream, unit, run, order entry and event.

Times are absolute, in cycles. A cause is one number: a stream's index where it is starved for, the number of streams +
the index where it is blocked on, twice that number + a unit's index where another of its firings could start, or IDLE.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from archsim.engine.arrays import FIRST_COME, Arrays
from archsim.engine.compiled.run_table import run_table
from archsim.engine.compiled.turns import ENDING, ENDING_END, FIRINGS, order_and_repeats

NOBODY = IDLE = -1
WAITS_STARVED, WAITS_BLOCKED, READY, AWAY = range(4)  # status of a client of a first-come unit; away: in no list

# Columns. `left`: firings not started; `at`: the run of the next firing; `in_run`: firings left in it; `since`: when it
# became ready; `place`: its row among the clients.
UNIT, LEFT, AT, IN_RUN, STATUS, SINCE, START, END, PLACE, PRIORITY = range(10)
# `room`: places that no token and no firing holds; `filled`: when places were last taken; `short` and `full`: when a
# firing last lacked tokens or places here; `most_given`, `most_taken`: the most tokens that one firing moves.
PRODUCER, CONSUMER, TOKENS, ROOM, LEAST_ROOM, FILLED, STARVED, BLOCKED, SHORT, FULL, MOST_GIVEN, MOST_TAKEN = range(12)
# `turn`: the entry of the order; `in_turn`: firings left in it; `changed`: when the cause or the number of free servers
# last changed. The clients that are ready stand in a ring from `head` on, in the order in which they will be served.
LATENCY, SERVES_FIRST_COME, ORDER_END, CLIENTS, CLIENTS_END, FREE, CAUSE, CHANGED, TURN, IN_TURN = range(10)
# No client before `first_starved` lacks tokens, none before `first_blocked` lacks places.
MARKED, HEAD, WAITING, WITHOUT_ROOM, FIRST_STARVED, FIRST_BLOCKED = range(10, 16)
# Units in order choose among no clients: in the place of those columns stand the repeats of their order, and the
# server-cycles in which another firing than the one in turn could start, if `turns` are counted.
REPEATS, REPEATS_END, TURNED = HEAD, WAITING, WITHOUT_ROOM
NOW, EVENTS, DIRTY, CHOICES, FIRED, LAST, PHASE, WRAPPED, SKIPPED, SPANS, TURNS = range(11)  # places in `scalars`
SPANS_A_CALL = 2**16  # rows of spans; when they are full the kernel returns, so that they can be read and emptied


class State(NamedTuple):
    """A section under way: tables by task, stream, unit and run, and

    takes and gives (stream, tokens); order and repeats, see turns.py; clients of each unit (task, ring of the ready);
    dirty, a stack of units in order that may go on; choices, the same of first-come units; wrapped, tasks that began
    their period again since time moved; events, a heap of (time, run * 2) for ends of firings and (time, run * 2 + 1)
    for arrivals of their tokens; spans (unit, cause or -1 - task, start, end, servers), without rows if not recorded.
    """

    tasks: np.ndarray
    streams: np.ndarray
    units: np.ndarray
    runs: np.ndarray
    takes: np.ndarray
    gives: np.ndarray
    order: np.ndarray
    repeats: np.ndarray
    clients: np.ndarray
    dirty: np.ndarray
    choices: np.ndarray
    wrapped: np.ndarray
    events: np.ndarray
    spans: np.ndarray
    scalars: np.ndarray


def begin(a: Arrays, *, spans: bool = False, turns: bool = False) -> State:
    """The state before the first event: every unit has to look for firings that it can start."""
    ordered = np.flatnonzero(a.units[:, 2] != FIRST_COME)
    first_come = np.flatnonzero(a.units[:, 2] == FIRST_COME)
    clients = np.stack([np.argsort(a.tasks[:, 0], kind="stable"), _zeros(len(a.tasks))], axis=1)
    order, repeats = order_and_repeats(a)
    scalars = _zeros(11)
    scalars[DIRTY], scalars[CHOICES], scalars[TURNS] = len(ordered), len(first_come), turns
    return State(
        tasks=_tasks(a), streams=_streams(a), units=_units(a, order), runs=run_table(a), takes=a.takes, gives=a.gives,
        order=order, repeats=repeats, clients=clients, dirty=np.concatenate([ordered[::-1], np.zeros_like(first_come)]),
        choices=np.concatenate([first_come[::-1], np.zeros_like(ordered)]),
        wrapped=_zeros(len(a.tasks) + 1), events=_zeros(256, 2),
        spans=_zeros(SPANS_A_CALL if spans else 0, 5), scalars=scalars,
    )  # fmt: skip


def _tasks(a: Arrays) -> np.ndarray:
    rows = _zeros(len(a.tasks), 10)
    rows[:, UNIT], rows[:, LEFT], rows[:, AT] = a.tasks[:, 0], a.tasks[:, 1], a.tasks[:, 2]
    rows[:, IN_RUN] = a.runs[a.tasks[:, 2], 0]
    rows[:, STATUS], rows[:, START], rows[:, PRIORITY] = AWAY, NOBODY, a.tasks[:, 4]
    rows[np.argsort(a.tasks[:, 0], kind="stable"), PLACE] = np.arange(len(a.tasks))
    return rows


def _streams(a: Arrays) -> np.ndarray:
    rows = _zeros(len(a.streams), 12)
    rows[:, PRODUCER], rows[:, CONSUMER], rows[:, TOKENS] = a.streams[:, 2], a.streams[:, 3], a.streams[:, 1]
    rows[:, ROOM] = rows[:, LEAST_ROOM] = a.streams[:, 0] - a.streams[:, 1]
    # Never yet: before cycle 0, in which the first firings may fill a stream or lack something.
    rows[:, [FILLED, SHORT, FULL]] = -1
    np.maximum.at(rows[:, MOST_GIVEN], a.gives[:, 0], a.gives[:, 1])
    np.maximum.at(rows[:, MOST_TAKEN], a.takes[:, 0], a.takes[:, 1])
    return rows


def _units(a: Arrays, order: np.ndarray) -> np.ndarray:
    rows = _zeros(len(a.units), 16)
    sizes = np.bincount(a.tasks[:, 0], minlength=len(a.units))
    ends = np.cumsum(sizes)
    rows[:, LATENCY], rows[:, SERVES_FIRST_COME] = a.units[:, 1], a.units[:, 2] == FIRST_COME
    rows[:, ORDER_END], rows[:, CLIENTS], rows[:, CLIENTS_END] = a.units[:, 3], ends - sizes, ends
    rows[:, FREE], rows[:, CAUSE], rows[:, MARKED] = a.units[:, 0], IDLE, 1
    rows[:, FIRST_STARVED] = rows[:, FIRST_BLOCKED] = ends
    # First-come units read neither column; a place within the order keeps the look-up valid for them too.
    rows[:, TURN] = np.maximum(a.units[:, 2], 0)
    rows[:, IN_TURN] = order[rows[:, TURN], FIRINGS] if len(order) else 0
    ordered = np.flatnonzero(a.units[:, 2] != FIRST_COME)
    rows[ordered, REPEATS] = order[a.units[ordered, 2], ENDING]
    rows[ordered, REPEATS_END] = order[a.units[ordered, 3] - 1, ENDING_END]
    return rows


def _zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, dtype=np.int64)
