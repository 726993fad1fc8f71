"""The roofline of each op: its operations and bytes, the rate that it reached, and what its unit and memory allow.

Knows an op's work, the bytes that tasks move for it, and when it ran. Does not know why it took so long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from archsim.design.design import Design
from archsim.run.totals import OpReport
from archsim.units import Memory, Unit
from dataflow.op import Work
from dataflow.schedule import Schedule
from dataflow.section import Section
from dataflow.task import UNLIMITED, Task


@dataclass(frozen=True, slots=True)
class OpPoint:
    """Ops that are alike: their unit, the operations and bytes of one, and the mean cycles of one.

    Operations are 2 for a multiply-add, 1 for what else the work counts. `bytes` pass `RooflineOfOps.memory`. The
    cycles are those from the first start to the last end of the tasks that compute the op, or those that the memory
    works for it, whichever are more: its weights may come before.
    """

    ops: tuple[str, ...]
    kind: str
    unit: str
    operations: int
    bytes: int
    cycles: Fraction

    @property
    def name(self) -> str:
        """The name of an op, for several of them the first with their number."""
        return self.ops[0] if len(self.ops) == 1 else f"{self.ops[0]} and {len(self.ops) - 1} more"

    @property
    def intensity(self) -> float | None:
        """Operations per byte; None where no bytes pass the memory."""
        return self.operations / self.bytes if self.bytes else None

    @property
    def rate(self) -> float:
        """Operations per cycle, waits included."""
        return float(self.operations / self.cycles)


@dataclass(frozen=True, slots=True)
class RooflineOfOps:
    """The points of all ops that compute and take time, with the roofs over them.

    `bandwidth` is the peak of `memory` in bytes per cycle. `peaks` has for each unit the operations per cycle of all
    its servers at the op that it does fastest, taken alone.
    """

    memory: str
    bandwidth: Fraction
    peaks: Mapping[str, Fraction]
    points: tuple[OpPoint, ...]

    def attainable(self, point: OpPoint) -> float:
        """Operations per cycle under both roofs."""
        peak = float(self.peaks[point.unit])
        return peak if point.intensity is None else min(peak, point.intensity * float(self.bandwidth))

    def reached(self, point: OpPoint) -> float:
        """The share of the lower roof that the ops reach."""
        return point.rate / self.attainable(point)

    def is_bound_by_memory(self, point: OpPoint) -> bool:
        """True where the memory's roof is the lower one."""
        return point.intensity is not None and point.intensity * float(self.bandwidth) < float(self.peaks[point.unit])


def operations(work: Work) -> int:
    """Operations of a work: 2 for each multiply-add, 1 for each of the others.

    >>> from dataflow.op import work
    >>> operations(work("matmul", m=2, k=3, n=4))
    48
    """
    counts = work.counts()
    return 2 * counts.get("mac", 0) + counts.get("flop", 0) + counts.get("exp", 0)


def roofline_of_ops(schedule: Schedule, design: Design, ops: Iterable[OpReport]) -> RooflineOfOps | None:
    """The roofline of the memory that moves most bytes, with the ops at their times; None without a memory or an op."""
    moved = {name: _moved_for_ops(schedule, design.units[name], name) for name in design.of_kind(Memory)}
    if not moved:
        return None
    memory = max(moved, key=lambda name: sum(one.bytes for one in moved[name].values()))
    alike: dict[tuple[str, str, int, int], dict[str, int]] = {}
    peaks: dict[str, Fraction] = {}
    for op in ops:
        work, there = schedule.graph.ops[op.name].work, moved[memory].get(op.name, _Moved(0, 0))
        done, cycles = operations(work), max(op.end_cycle - op.start_cycle, ceil(there.cycles))
        if done and cycles:
            alike.setdefault((op.kind, op.unit, done, round(there.bytes)), {})[op.name] = cycles
            peaks[op.unit] = max(peaks.get(op.unit, Fraction(0)), _alone(work, op, design))
    points = tuple(
        OpPoint(tuple(cycles), kind, unit, done, n, Fraction(sum(cycles.values()), len(cycles)))
        for (kind, unit, done, n), cycles in alike.items()
    )
    bandwidth = design.units[memory].carries_per_cycle or Fraction(0)
    return RooflineOfOps(memory, bandwidth, peaks, points) if points else None


class _Moved(NamedTuple):
    """Bytes that a memory moves for an op, and the cycles that this takes all its servers."""

    bytes: Fraction | int
    cycles: Fraction | int


def _moved_for_ops(schedule: Schedule, memory: Unit, name: str) -> dict[str, _Moved]:
    """What a memory moves for each op; that of a task which serves several ops is shared equally."""
    found: dict[str, _Moved] = {}
    for section in schedule.sections:
        near = _Neighbours(section)
        for task in section.tasks:
            counts = task.counts() if task.unit == name else {}
            moved = counts.get("read", 0) + counts.get("written", 0)
            ops = near.ops(task) if moved else []
            if not ops:
                continue
            held = sum(memory.cycles(item) * times for item, times in task.work.sums(task.firings).items())
            share = _Moved(Fraction(moved, len(ops)), Fraction(held, len(ops) * memory.count))
            for repetitions in ops:
                for op in repetitions:
                    before = found.get(op, _Moved(0, 0))
                    found[op] = _Moved(before.bytes + share.bytes, before.cycles + share.cycles)
    return found


class _Neighbours:
    """Which ops a task works for: its own, or those of the nearest tasks that its tokens go to, or come from."""

    def __init__(self, section: Section) -> None:
        self.tasks = {task.name: task for task in section.tasks}
        self.after: dict[str, list[str]] = {name: [] for name in self.tasks}
        self.before: dict[str, list[str]] = {name: [] for name in self.tasks}
        for producer, consumers in section.ends.values():
            self.after[producer] += consumers
            for name in consumers:
                self.before[name].append(producer)

    def ops(self, task: Task) -> list[tuple[str, ...]]:
        """The ops by repetition, one entry for each that it serves."""
        return self._nearest(task, self.after) or self._nearest(task, self.before)

    def _nearest(self, task: Task, next_to: Mapping[str, list[str]]) -> list[tuple[str, ...]]:
        near, seen = [task.name], {task.name}
        while near:
            found = [served.ops for name in near for served in self.tasks[name].serves]
            if found:
                return list(dict.fromkeys(found))
            near = [name for name in dict.fromkeys(x for one in near for x in next_to[one]) if name not in seen]
            seen.update(near)
        return []


def _alone(work: Work, op: OpReport, design: Design) -> Fraction:
    """Operations per cycle of all servers of the op's unit: with the op alone, or as it was busy with its parts."""
    unit = design.units[op.unit]
    cycles = unit.cycles(work) if work.kind in unit.does else op.busy_cycles
    return Fraction(operations(work) * (1 if unit.count >= UNLIMITED else unit.count), max(1, cycles))
