"""The table of runs that both kernels work on, and of what their firings move."""

from __future__ import annotations

import numpy as np

from archsim.engine.arrays import Arrays
from archsim.engine.compiled.records import BOUND, NUMBER, ROW, record, table

RUN = record(
    count=NUMBER, cycles=NUMBER, following=ROW, task=ROW, takes=BOUND, takes_end=BOUND, gives=BOUND, gives_end=BOUND
)
MOVE = record(stream=ROW, tokens=NUMBER)


def run_table(a: Arrays) -> np.ndarray:
    """For each run its record; the last run of a task is followed by its first."""
    following = np.arange(1, len(a.runs) + 1)
    following[a.tasks[:, 3] - 1] = a.tasks[:, 2]
    names = ("count", "cycles", "takes", "takes_end", "gives", "gives_end")
    return table(
        RUN, len(a.runs), following=following, task=np.repeat(np.arange(len(a.tasks)), a.tasks[:, 3] - a.tasks[:, 2]),
        **dict(zip(names, a.runs.T, strict=True)),
    )  # fmt: skip


def move_table(moves: np.ndarray, portions: np.ndarray | int = 1) -> np.ndarray:
    """For each row of takes or gives its record, in portions of so many tokens."""
    return table(MOVE, len(moves), stream=moves[:, 0], tokens=moves[:, 1] // portions)
