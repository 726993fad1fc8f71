"""The table of runs that both kernels work on."""

from __future__ import annotations

import numpy as np

from archsim.engine.arrays import Arrays

# Columns; 8 numbers fill a cache line of 64 bytes.
COUNT, CYCLES, NEXT, TAKES, TAKES_END, GIVES, GIVES_END, RUN_TASK = range(8)


def run_table(a: Arrays) -> np.ndarray:
    """For each run a row of the columns above; the last run of a task is followed by its first."""
    task = np.repeat(np.arange(len(a.tasks)), a.tasks[:, 3] - a.tasks[:, 2])
    following = np.arange(1, len(a.runs) + 1)
    following[a.tasks[:, 3] - 1] = a.tasks[:, 2]
    return np.column_stack([a.runs[:, :2], following, a.runs[:, 2:], task])
