"""The named result of a section that has come to its end, from what an engine counts by index. Knows no engine."""

from __future__ import annotations

from collections.abc import Sequence

from archsim.engine.flat import Flat
from archsim.engine.result import SectionResult, StreamResult, TaskResult, UnitResult

Row = Sequence[int]


def section_result(
    flat: Flat, cycles: int, tasks: Sequence[Row], streams: Sequence[Row], *, skipped: int = 0
) -> SectionResult:
    """The result of `cycles`: of each task (start, end, busy), of each stream (moved, peak, starved, blocked)."""
    # A stream has one consumer, which alone can starve for it, and one producer, which alone it can block.
    stalls: list[dict[tuple[str, str], int]] = [{} for _ in flat.units]
    for stream, (_, _, starved, blocked) in zip(flat.streams, streams, strict=True):
        if starved:
            stalls[flat.tasks[stream.consumer].unit]["starved", stream.name] = starved
        if blocked:
            stalls[flat.tasks[stream.producer].unit]["blocked", stream.name] = blocked
    units = {}
    for unit, waits in zip(flat.units, stalls, strict=True):
        busy = sum(tasks[task][2] for task in unit.tasks)
        idle = unit.count * cycles - busy - sum(waits.values())
        units[unit.name] = UnitResult(busy, idle, dict(sorted(waits.items())))
    return SectionResult(
        cycles, sum(task.firings for task in flat.tasks), units,
        {task.name: TaskResult(*row) for task, row in zip(flat.tasks, tasks, strict=True)},
        {s.name: StreamResult(n, n, peak) for s, (n, peak, _, _) in zip(flat.streams, streams, strict=True)},
        skipped,
    )  # fmt: skip
