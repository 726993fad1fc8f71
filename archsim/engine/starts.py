"""Starts: when each firing of a section starts, for what follows firings one by one, such as a critical path."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Starts:
    """By task, in the order of the flat form: the cycle in which each firing starts, from firing `first` of it on.

    `first` is 0 where nothing was left out. `ranks` are the places of the firings among those of all tasks: what lets
    a firing start, also in the same cycle, has a lower rank.
    """

    first: tuple[int, ...]
    cycles: tuple[np.ndarray, ...]
    ranks: tuple[np.ndarray, ...]


class Latest:
    """Gathers the starts of firings in the order in which they start, and keeps the last `most`, or some more."""

    def __init__(self, tasks: int, most: int) -> None:
        self._most, self._kept = most, 0
        self._batches: deque[tuple[np.ndarray, np.ndarray]] = deque()
        self._first = np.zeros(tasks, dtype=np.int64)

    def add(self, tasks: np.ndarray, cycles: np.ndarray) -> None:
        """Adds firings of these tasks that start in these cycles; the arrays are copied."""
        self._batches.append((tasks.copy(), cycles.copy()))
        self._kept += len(tasks)
        while self._kept - len(self._batches[0][0]) >= self._most:
            old, _ = self._batches.popleft()
            self._kept -= len(old)
            self._first += np.bincount(old, minlength=len(self._first))

    def starts(self) -> Starts:
        """What was kept, by task."""
        none = np.zeros(0, dtype=np.int64)
        tasks, cycles = (np.concatenate([none, *(batch[i] for batch in self._batches)]) for i in (0, 1))
        order = np.argsort(tasks, kind="stable")  # firings of a task stay in the order in which they started
        ends = np.cumsum(np.bincount(tasks, minlength=len(self._first)))
        split = (tuple(np.split(one, ends[:-1])) for one in (cycles[order], order))
        return Starts(tuple(self._first.tolist()), *split)
