"""The flat form as integer arrays: what compiled code runs on, and what is saved. Knows no names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archsim.engine.flat import Flat

FIRST_COME = -1


@dataclass(frozen=True, slots=True)
class Arrays:
    """A section as int64 arrays, a row each.

    tasks (unit, firings, first run, end of runs); runs (count, cycles, first take, end of takes, first give, end of
    gives); takes and gives (stream, tokens); streams (depth, initial, producer, consumer); units (servers, latency,
    first entry of the order or FIRST_COME, end of entries); order (task, firings in a row).
    """

    tasks: np.ndarray
    runs: np.ndarray
    takes: np.ndarray
    gives: np.ndarray
    streams: np.ndarray
    units: np.ndarray
    order: np.ndarray


WIDTHS = {"tasks": 4, "runs": 6, "takes": 2, "gives": 2, "streams": 4, "units": 4, "order": 2}


def arrays(flat: Flat) -> Arrays:
    """The section as arrays."""
    rows: dict[str, list[tuple[int, ...]]] = {name: [] for name in WIDTHS}
    runs, takes, gives, order = rows["runs"], rows["takes"], rows["gives"], rows["order"]
    for task in flat.tasks:
        rows["tasks"].append((task.unit, task.firings, len(runs), len(runs) + len(task.runs)))
        for run in task.runs:
            ends = (len(takes), len(takes) + len(run.takes), len(gives), len(gives) + len(run.gives))
            runs.append((run.count, run.cycles, *ends))
            takes += run.takes
            gives += run.gives
    for unit in flat.units:
        first = FIRST_COME if unit.order is None else len(order)
        order += unit.order or ()
        rows["units"].append((unit.count, unit.latency_cycles, first, len(order)))
    rows["streams"] = [(s.depth, s.initial, s.producer, s.consumer) for s in flat.streams]
    return Arrays(**{name: np.array(rows[name], dtype=np.int64).reshape(-1, n) for name, n in WIDTHS.items()})


def firings(a: Arrays) -> np.ndarray:
    """How many firings are of each run."""
    tasks, counts = a.tasks, a.runs[:, 0]
    sizes = tasks[:, 3] - tasks[:, 2]
    before = np.cumsum(counts) - counts
    periods = np.add.reduceat(counts, tasks[:, 2])
    whole, rest = np.divmod(tasks[:, 1], periods)
    place = before - np.repeat(before[tasks[:, 2]], sizes)
    return np.repeat(whole, sizes) * counts + np.clip(np.repeat(rest, sizes) - place, 0, counts)
