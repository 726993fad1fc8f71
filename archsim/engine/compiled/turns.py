"""The turns of units that serve in order: the entries of an order, and the repeats of entries, for both kernels."""

from __future__ import annotations

import numpy as np

from archsim.engine.arrays import Arrays
from archsim.engine.compiled.machine_code import inlined

# Columns of an entry: its task, the firings in a row, and the repeats that end with it, inner ones first.
TASK, FIRINGS, ENDING, ENDING_END = range(4)
# Columns of a repeat: its first entry, how often it is gone through, and how often yet, the present time included.
FIRST, TIMES, ROUNDS = range(3)


def order_and_repeats(a: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """The entries of all orders and the repeats at their start, by the columns above."""
    order = np.zeros((len(a.order), 4), dtype=np.int64)
    order[:, :ENDING] = a.order
    if not len(a.repeats):  # as in most sections, whose runs may take less time than looking for ends
        return order, a.repeats
    last, places = a.repeats[:, 1] - 1, np.arange(len(order))
    order[:, ENDING], order[:, ENDING_END] = (np.searchsorted(last, places, side=side) for side in ("left", "right"))
    return order, np.ascontiguousarray(a.repeats[:, [0, 2, 2]])


@inlined
def next_turn(order: np.ndarray, repeats: np.ndarray, turn: int) -> int:
    """The entry that follows this one; that behind the last where the order is done."""
    following = turn + 1
    i, end = order[turn, ENDING], order[turn, ENDING_END]
    while i < end:
        repeats[i, ROUNDS] -= 1
        if repeats[i, ROUNDS]:
            following, end = repeats[i, FIRST], i
        else:
            repeats[i, ROUNDS] = repeats[i, TIMES]
            i += 1
    return following
