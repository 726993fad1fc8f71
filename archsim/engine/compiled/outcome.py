"""The outcome of a kernel as arrays, and the named result made of it. Knows neither kernel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from archsim.engine.arrays import Arrays, firings
from archsim.engine.flat import Flat
from archsim.engine.result import SectionResult, StreamResult, TaskResult, UnitResult


class Outcome(NamedTuple):
    """A run, by task (left, start, end) and by stream (starved, blocked, peak), all int64.

    `cycle` is the last cycle in which anything happened. `fired` counts all firings, `skipped` those among them that
    were not run one by one.
    """

    cycle: int
    fired: int
    skipped: int
    left: np.ndarray
    start: np.ndarray
    end: np.ndarray
    starved: np.ndarray
    blocked: np.ndarray
    peak: np.ndarray


def section_result(flat: Flat, packed: Arrays, outcome: Outcome) -> SectionResult:
    """The result of a section that has come to its end."""
    # Once every firing has ended, busy cycles and tokens follow from the section alone: the kernels count neither.
    times = firings(packed)
    busy = np.add.reduceat(times * packed.runs[:, 1], packed.tasks[:, 2]).tolist()
    moved = np.zeros(len(flat.streams), dtype=np.int64)
    given = np.repeat(times, packed.runs[:, 5] - packed.runs[:, 4]) * packed.gives[:, 1]
    np.add.at(moved, packed.gives[:, 0], given)
    start, end, peak = outcome.start.tolist(), outcome.end.tolist(), outcome.peak.tolist()
    return SectionResult(
        outcome.cycle, outcome.fired, _units(flat, outcome, busy),
        {task.name: TaskResult(*row) for task, *row in zip(flat.tasks, start, end, busy, strict=True)},
        {s.name: StreamResult(n, n, most) for s, n, most in zip(flat.streams, moved.tolist(), peak, strict=True)},
        outcome.skipped,
    )  # fmt: skip


def _units(flat: Flat, outcome: Outcome, busy: list[int]) -> dict[str, UnitResult]:
    # A stream has one consumer, which alone can starve for it, and one producer, which alone it can block.
    stalls: list[dict[tuple[str, str], int]] = [{} for _ in flat.units]
    for i, cycles in _positive(outcome.starved):
        stream = flat.streams[i]
        stalls[flat.tasks[stream.consumer].unit]["starved", stream.name] = cycles
    for i, cycles in _positive(outcome.blocked):
        stream = flat.streams[i]
        stalls[flat.tasks[stream.producer].unit]["blocked", stream.name] = cycles
    units = {}
    for unit, waits in zip(flat.units, stalls, strict=True):
        worked = sum(busy[task] for task in unit.tasks)
        starved = sum(n for (cause, _), n in waits.items() if cause == "starved")
        blocked = sum(waits.values()) - starved
        idle = unit.count * outcome.cycle - worked - starved - blocked
        units[unit.name] = UnitResult(worked, starved, blocked, idle, dict(sorted(waits.items())))
    return units


def _positive(cycles: np.ndarray) -> list[tuple[int, int]]:
    where = np.flatnonzero(cycles)
    return list(zip(where.tolist(), cycles[where].tolist(), strict=True))
