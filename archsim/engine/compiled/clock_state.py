"""The state of the clock kernel: tables with a record for each task, stream, unit, run, order entry and event.

Times are absolute, in cycles. A cause is one number: a stream's index where it is starved for, the number of streams +
the index where it is blocked on, twice that number + a unit's index where another of its firings could start, or IDLE.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from archsim.engine.arrays import FIRST_COME, Arrays
from archsim.engine.compiled.records import NUMBER, ROW, record, table
from archsim.engine.compiled.run_table import move_table, run_table
from archsim.engine.compiled.turns import order_and_repeats

NOBODY = IDLE = -1
WAITS_STARVED, WAITS_BLOCKED, READY, AWAY = range(4)  # status of a client of a first-come unit; away: in no list

# `left`: firings not started; `at`: the run of the next firing; `in_run`: firings left in it; `since`: when it became
# ready; `place`: its row among the clients.
TASK = record(
    unit=ROW, at=ROW, place=ROW, status=ROW, left=NUMBER, in_run=NUMBER, since=NUMBER, start=NUMBER, end=NUMBER,
    priority=NUMBER,
)  # fmt: skip
# `room`: places that no token and no firing holds; `filled`: when places were last taken; `short` and `full`: when a
# firing last lacked tokens or places here; `most_given`, `most_taken`: the most tokens that one firing moves.
STREAM = record(
    producer=ROW, consumer=ROW, tokens=NUMBER, room=NUMBER, least_room=NUMBER, filled=NUMBER, starved=NUMBER,
    blocked=NUMBER, short=NUMBER, full=NUMBER, most_given=NUMBER, most_taken=NUMBER,
)  # fmt: skip
# `free`: servers; `changed`: when the cause or the number of free servers last changed; `marked`: in a list of those
# that may go on. In order: `turn`, the entry of the order; `in_turn`, firings left in it; the repeats of the order;
# `turned`, server-cycles in which another firing than the one in turn could start, if `turns` are counted. First come:
# the `waiting` clients that are ready stand in a ring from `head` on, in the order in which they will be served; no
# client before `first_starved` lacks tokens, none before `first_blocked` lacks places.
UNIT = record(
    first_come=ROW, marked=ROW, latency=NUMBER, free=NUMBER, cause=NUMBER, changed=NUMBER,
    order_end=NUMBER, turn=NUMBER, in_turn=NUMBER, repeats=NUMBER, repeats_end=NUMBER, turned=NUMBER,
    clients=NUMBER, clients_end=NUMBER, head=NUMBER, waiting=NUMBER, without_room=NUMBER, first_starved=NUMBER,
    first_blocked=NUMBER,
)  # fmt: skip
CLIENT = record(task=ROW, ready=ROW)
EVENT = record(time=NUMBER, run=ROW, arrives=ROW)
NOW, EVENTS, DIRTY, CHOICES, FIRED, LAST, PHASE, WRAPPED, SKIPPED, SPANS, TURNS = range(11)  # places in `scalars`
SPANS_A_CALL = 2**16  # rows of spans; when they are full the kernel returns, so that they can be read and emptied


class State(NamedTuple):
    """A section under way: tables by task, stream, unit and run, and

    takes and gives; order and repeats, see turns.py; clients of each unit, by task and as the ring of the ready; dirty,
    a stack of units in order that may go on; choices, the same of first-come units; wrapped, tasks that began their
    period again since time moved; events, a heap by time: a firing of this run ends, or its tokens arrive; spans (unit,
    cause or -1 - task, start, end, servers), without rows if not recorded.
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
    clients = np.argsort(a.tasks[:, 0], kind="stable")
    order, repeats = order_and_repeats(a)
    scalars = np.zeros(11, dtype=np.int64)
    scalars[DIRTY], scalars[CHOICES], scalars[TURNS] = len(ordered), len(first_come), turns
    return State(
        tasks=_tasks(a, clients), streams=_streams(a), units=_units(a, order), runs=run_table(a),
        takes=move_table(a.takes), gives=move_table(a.gives), order=order, repeats=repeats,
        clients=table(CLIENT, len(clients), task=clients),
        dirty=np.concatenate([ordered[::-1], np.zeros_like(first_come)]).astype(ROW),
        choices=np.concatenate([first_come[::-1], np.zeros_like(ordered)]).astype(ROW),
        wrapped=np.zeros(len(a.tasks) + 1, dtype=ROW), events=table(EVENT, 256),
        spans=np.zeros((SPANS_A_CALL if spans else 0, 5), dtype=np.int64), scalars=scalars,
    )  # fmt: skip


def _tasks(a: Arrays, clients: np.ndarray) -> np.ndarray:
    place = np.empty(len(clients), dtype=np.int64)
    place[clients] = np.arange(len(clients))
    return table(
        TASK, len(a.tasks), unit=a.tasks[:, 0], left=a.tasks[:, 1], at=a.tasks[:, 2], in_run=a.runs[a.tasks[:, 2], 0],
        status=AWAY, start=NOBODY, priority=a.tasks[:, 4], place=place,
    )  # fmt: skip


def _streams(a: Arrays) -> np.ndarray:
    room = a.streams[:, 0] - a.streams[:, 1]
    # Never yet: before cycle 0, in which the first firings may fill a stream or lack something.
    rows = table(
        STREAM, len(a.streams), producer=a.streams[:, 2], consumer=a.streams[:, 3], tokens=a.streams[:, 1], room=room,
        least_room=room, filled=-1, short=-1, full=-1,
    )  # fmt: skip
    np.maximum.at(rows["most_given"], a.gives[:, 0], a.gives[:, 1])
    np.maximum.at(rows["most_taken"], a.takes[:, 0], a.takes[:, 1])
    return rows


def _units(a: Arrays, order: np.ndarray) -> np.ndarray:
    sizes = np.bincount(a.tasks[:, 0], minlength=len(a.units))
    ends = np.cumsum(sizes)
    first_come = a.units[:, 2] == FIRST_COME
    # First-come units have no turn; a place within the order keeps the look-up valid for them too.
    turn = np.maximum(a.units[:, 2], 0)
    rows = table(
        UNIT, len(a.units), latency=a.units[:, 1], first_come=first_come, order_end=a.units[:, 3], free=a.units[:, 0],
        clients=ends - sizes, clients_end=ends, first_starved=ends, first_blocked=ends, cause=IDLE, marked=1, turn=turn,
        in_turn=order["firings"][turn] if len(order) else 0,
    )  # fmt: skip
    ordered = np.flatnonzero(~first_come)
    rows["repeats"][ordered] = order["ending"][a.units[ordered, 2]]
    rows["repeats_end"][ordered] = order["ending_end"][a.units[ordered, 3] - 1]
    return rows
