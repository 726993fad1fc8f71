"""The turns of units that serve in order: the entries of an order, and the repeats of entries, for both kernels."""

from __future__ import annotations

import numpy as np

from archsim.engine.arrays import Arrays
from archsim.engine.compiled.machine_code import inlined
from archsim.engine.compiled.records import NUMBER, ROW, record, table

# An entry: its task, the firings in a row, and the repeats that end with it, inner ones first.
ENTRY = record(task=ROW, firings=NUMBER, ending=NUMBER, ending_end=NUMBER)
# A repeat: its first entry, how often it is gone through, and how often yet, the present time included.
REPEAT = record(first=NUMBER, times=NUMBER, rounds=NUMBER)


def order_and_repeats(a: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """The entries of all orders and the repeats at their start."""
    order = table(ENTRY, len(a.order), task=a.order[:, 0], firings=a.order[:, 1])
    first, end, times = a.repeats.T
    if len(a.repeats):  # not in most sections, whose runs may take less time than looking for ends
        places = np.arange(len(order))
        order["ending"], order["ending_end"] = (np.searchsorted(end - 1, places, side=s) for s in ("left", "right"))
    return order, table(REPEAT, len(a.repeats), first=first, times=times, rounds=times)


@inlined
def next_turn(order: np.ndarray, repeats: np.ndarray, turn: int) -> int:
    """The entry that follows this one; that behind the last where the order is done."""
    following = turn + 1
    i, end = order[turn].ending, order[turn].ending_end
    while i < end:
        repeat = repeats[i]
        repeat.rounds -= 1
        if repeat.rounds:
            following, end = repeat.first, i
        else:
            repeat.rounds = repeat.times
            i += 1
    return following
