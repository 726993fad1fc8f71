"""The flat form as integer arrays, which compiled code runs on and which are saved. Knows no names."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np

from archsim.engine.flat import Flat, FlatTask
from dataflow.order import Order, Repeat

FIRST_COME = -1  # in place of a first entry of an order, which is never negative


@dataclass(frozen=True, slots=True)
class Arrays:
    """A section as int64 arrays, a row each.

    tasks (unit, firings, first run, end of runs, priority); runs (count, cycles, first take, end of takes, first give,
    end of gives); takes and gives (stream, tokens); streams (depth, initial, producer, consumer), a broadcast as one
    for each consumer; units (gangs, latency, first entry of the order or FIRST_COME, end of entries, servers of a
    gang); order (task, firings in a row); repeats of its entries (first, end, times), by their ends, inner ones first.
    """

    tasks: np.ndarray
    runs: np.ndarray
    takes: np.ndarray
    gives: np.ndarray
    streams: np.ndarray
    units: np.ndarray
    order: np.ndarray
    repeats: np.ndarray


WIDTHS = {"tasks": 5, "runs": 6, "takes": 2, "gives": 2, "streams": 4, "units": 5, "order": 2, "repeats": 3}


def arrays(flat: Flat) -> Arrays:
    """The arrays of an unfolded section. Raises OverflowError for a number beyond int64."""
    rows: dict[str, list[tuple[int, ...]]] = {name: [] for name in WIDTHS}
    for task in flat.tasks:
        first = len(rows["runs"])
        rows["tasks"].append((task.unit, task.firings, first, first + len(task.runs), task.priority))
        _add_runs(task, rows)
    _add_units(flat, rows)
    rows["streams"] = [(s.depth, s.initial, s.producer, s.consumer) for s in flat.streams]
    return Arrays(**{name: _table(rows, name) for name in WIDTHS})


def arrays_like(flat: Flat, before: Flat, packed: Arrays) -> Arrays:
    """The arrays of the section; tasks that are the same objects as in `before` keep their rows of `packed`."""
    if len(flat.tasks) != len(before.tasks) or flat.streams != before.streams:
        return arrays(flat)
    # Copies, as the earlier run keeps `packed`; streams are never written to, so they are shared.
    tasks, runs, takes, gives = packed.tasks.copy(), packed.runs.copy(), packed.takes.copy(), packed.gives.copy()
    for i, (task, old) in enumerate(zip(flat.tasks, before.tasks, strict=True)):
        if task is old:
            continue
        rows: dict[str, list[tuple[int, ...]]] = {name: [] for name in ("runs", "takes", "gives")}
        _add_runs(task, rows)
        first, end = tasks[i, 2:4]
        ends = runs[first, 2], runs[end - 1, 3], runs[first, 4], runs[end - 1, 5]
        # Rows count from the task's own first take and give, which lie behind those of the tasks before it.
        new_runs = _table(rows, "runs") + np.array([0, 0, ends[0], ends[0], ends[2], ends[2]])
        # The rows of later tasks stay in place only if this task has as many runs, takes and gives as it had.
        same = (task.unit, task.priority) == (old.unit, old.priority)
        if not same or len(new_runs) != end - first or (new_runs[:, 2:] != runs[first:end, 2:]).any():
            return arrays(flat)
        tasks[i, 1], runs[first:end] = task.firings, new_runs
        takes[ends[0] : ends[1]], gives[ends[2] : ends[3]] = _table(rows, "takes"), _table(rows, "gives")
    # Always anew: orders count firings, which differ where a task has changed.
    units: dict[str, list[tuple[int, ...]]] = {"units": [], "order": [], "repeats": []}
    _add_units(flat, units)
    anew = (_table(units, name) for name in ("units", "order", "repeats"))
    return Arrays(tasks, runs, takes, gives, packed.streams, *anew)


def _add_runs(task: FlatTask, rows: dict[str, list[tuple[int, ...]]]) -> None:
    takes, gives = rows["takes"], rows["gives"]
    for run in task.runs:
        ends = (len(takes), len(takes) + len(run.takes), len(gives), len(gives) + len(run.gives))
        rows["runs"].append((run.count, run.cycles, *ends))
        takes += run.takes
        gives += run.gives


def _add_units(flat: Flat, rows: dict[str, list[tuple[int, ...]]]) -> None:
    for unit in flat.units:
        first = FIRST_COME if unit.order is None else len(rows["order"])
        _add_order(unit.order or (), rows)
        rows["units"].append((unit.count, unit.latency_cycles, first, len(rows["order"]), unit.gang))


def _add_order(order: Order, rows: dict[str, list[tuple[int, ...]]]) -> None:
    for run in order:
        if isinstance(run, Repeat):
            first = len(rows["order"])
            _add_order(run.runs, rows)
            rows["repeats"].append((first, len(rows["order"]), run.times))
        else:
            rows["order"].append(run)


def _table(rows: dict[str, list[tuple[int, ...]]], name: str) -> np.ndarray:
    # np.array of a list of tuples took twice as long for the order of a long section.
    numbers = chain.from_iterable(rows[name])
    return np.fromiter(numbers, dtype=np.int64, count=len(rows[name]) * WIDTHS[name]).reshape(-1, WIDTHS[name])


def firings(a: Arrays) -> np.ndarray:
    """For each run, how many firings of its task are of it; the end of the task may cut the last period."""
    tasks, counts = a.tasks, a.runs[:, 0]
    sizes = tasks[:, 3] - tasks[:, 2]
    before = np.cumsum(counts) - counts
    periods = np.add.reduceat(counts, tasks[:, 2])
    whole, rest = np.divmod(tasks[:, 1], periods)
    place = before - np.repeat(before[tasks[:, 2]], sizes)
    return np.repeat(whole, sizes) * counts + np.clip(np.repeat(rest, sizes) - place, 0, counts)
