"""The roofline of each op: its operations and bytes, the rate that it reached, and what its unit and memory allow.

Knows an op's work, the stored tensors that it must read, and when it ran. Does not know why it took so long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from archsim.design.design import Design
from archsim.run.totals import OpReport
from archsim.units import Memory, Unit
from dataflow.graph import Op
from dataflow.op import OP_KINDS, Work
from dataflow.op import work as work_of
from dataflow.role import Role
from dataflow.schedule import Schedule
from dataflow.task import UNLIMITED


@dataclass(frozen=True, slots=True)
class OpPoint:
    """Ops that are alike: their unit, the operations and bytes of one, the mean cycles of one, and its unit's peak.

    Operations are 2 for a multiply-add, 1 for what else the work counts. `bytes` are those of the stored tensors that
    an op must read: weights, cached keys and values. The cycles are those from the first start to the last end of the
    tasks that compute the op, or those that the memory takes for its bytes in one stretch, whichever are more: weights
    may come before their op. `peak` is the operations per cycle of all servers of the unit with this op alone.
    """

    ops: tuple[str, ...]
    kind: str
    unit: str
    operations: int
    bytes: int
    cycles: Fraction
    peak: Fraction

    @property
    def name(self) -> str:
        """The name of an op, for several of them the first with their number."""
        return self.ops[0] if len(self.ops) == 1 else f"{self.ops[0]} and {len(self.ops) - 1} more"

    @property
    def intensity(self) -> float | None:
        """Operations per byte; None where no bytes must be read."""
        return self.operations / self.bytes if self.bytes else None

    @property
    def rate(self) -> float:
        """Operations per cycle, waits included."""
        return float(self.operations / self.cycles)


@dataclass(frozen=True, slots=True)
class RooflineOfOps:
    """The points of all ops that compute and take time, with the roof of the memory that is busy longest.

    `bandwidth` is the peak of `memory` in bytes per cycle.
    """

    memory: str
    bandwidth: Fraction
    points: tuple[OpPoint, ...]

    @property
    def peaks(self) -> dict[str, Fraction]:
        """Of each unit the operations per cycle at the op that it does fastest."""
        found: dict[str, Fraction] = {}
        for point in self.points:
            found[point.unit] = max(found.get(point.unit, Fraction(0)), point.peak)
        return found

    def attainable(self, point: OpPoint) -> float:
        """Operations per cycle under both roofs: that of the memory, and that of its unit with this op."""
        peak = float(point.peak)
        return peak if point.intensity is None else min(peak, point.intensity * float(self.bandwidth))

    def reached(self, point: OpPoint) -> float:
        """The share of the lower roof that the ops reach."""
        return point.rate / self.attainable(point)

    def is_bound_by_memory(self, point: OpPoint) -> bool:
        """True where the memory's roof is the lower one."""
        return point.intensity is not None and point.intensity * float(self.bandwidth) < float(point.peak)


def operations(work: Work) -> int:
    """Operations of a work: 2 for each multiply-add, 1 for each of the others.

    >>> from dataflow.op import work
    >>> operations(work("matmul", m=2, k=3, n=4))
    48
    """
    counts = work.counts()
    return 2 * counts.get("mac", 0) + counts.get("flop", 0) + counts.get("exp", 0)


def roofline_of_ops(
    schedule: Schedule, design: Design, ops: Iterable[OpReport], *, busy: Mapping[str, int]
) -> RooflineOfOps | None:
    """The roofline under the memory that is busy longest, with the ops at their times; None without a memory or an op.

    `busy` has the busy cycles of each unit, of a server on average.
    """
    memories = [name for name in design.of_kind(Memory) if busy.get(name)]
    if not memories:
        return None
    memory = max(memories, key=lambda name: busy[name])
    bandwidth = design.units[memory].carries_per_cycle or Fraction(0)
    alike: dict[tuple[str, str, int, int, Fraction], dict[str, int]] = {}
    must_read = _MustRead(schedule)
    for op in ops:
        of = schedule.graph.ops[op.name]
        done, size = operations(of.work), must_read.bytes(of)
        cycles = max(op.end_cycle - op.start_cycle, _taken(design.units[memory], size))
        if done and cycles:
            alike.setdefault((op.kind, op.unit, done, size, _alone(of.work, op, design)), {})[op.name] = cycles
    points = tuple(
        OpPoint(tuple(cycles), kind, unit, done, size, Fraction(sum(cycles.values()), len(cycles)), peak)
        for (kind, unit, done, size, peak), cycles in alike.items()
    )
    return RooflineOfOps(memory, bandwidth, points) if points else None


class _MustRead:
    """The bytes of stored tensors that ops must read: each once, without what a window or a selection leaves out."""

    def __init__(self, schedule: Schedule) -> None:
        self.graph, chosen = schedule.graph, schedule.selected
        windowed = any(op.work.mask and op.work.mask.window for op in self.graph.ops.values())
        self.not_read = self.graph.rows_not_read() if windowed else {}
        self.kept = 1.0 if chosen is None else chosen.kept

    def _operands(self, op: Op) -> Iterator[str]:
        """The inputs of an op, those of free ops in the place of what they make: these only say where things lie."""
        for name in op.inputs:
            maker = self.graph.ops.get(name)  # an op's output carries the op's name
            if maker is not None and OP_KINDS[maker.kind].free:
                yield from self._operands(maker)
            elif maker is None:
                yield name

    def bytes(self, op: Op) -> int:
        """Bytes of the operands of an op that no op of the graph makes."""
        total = 0
        for name in dict.fromkeys(self._operands(op)):
            tensor = self.graph.tensors[name]
            if tensor.role.multiplied:
                rows, *others = tensor.shape
                size = tensor.format.bytes((rows - self.not_read.get(name, 0), *others))
                total += round(size * self.kept) if tensor.role == Role.CACHE else size
        return total


def _taken(memory: Unit, size: int) -> int:
    """Cycles that all servers of a memory take to read so many bytes."""
    return ceil(Fraction(memory.cycles(work_of("read", bytes=size)), memory.count)) if size else 0


def _alone(work: Work, op: OpReport, design: Design) -> Fraction:
    """Operations per cycle of all servers of the op's unit: with the op alone, or as it was busy with its parts."""
    unit = design.units[op.unit]
    cycles = unit.cycles(work) if work.kind in unit.does else op.busy_cycles
    return Fraction(operations(work) * (1 if unit.count >= UNLIMITED else unit.count), max(1, cycles))
