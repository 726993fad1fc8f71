"""The named result of a section that has come to its end, from what an engine counts by index. Knows no engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archsim.engine.flat import Flat, FlatUnit
from archsim.engine.result import SectionResult, StreamResult, TaskResult, UnitResult

Row = Sequence[int]


def section_result(
    flat: Flat, cycles: int, tasks: Sequence[Row], streams: Sequence[Row], *, turned: Row = (), skipped: int = 0
) -> SectionResult:
    """The result of `cycles`: of each task (start, end, busy), of each stream (moved, peak, starved, blocked).

    `flat` is the unfolded section. `turned`, by unit, where waits for a turn are told apart.
    """
    # Unfolded, a stream has one consumer, which alone can starve for it, and one producer, which alone it can block.
    stalls: list[dict[tuple[str, str], int]] = [{} for _ in flat.units]
    moved: dict[str, StreamResult] = {}
    for stream, (n, peak, starved, blocked) in zip(flat.streams, streams, strict=True):
        if starved:
            _add(stalls[flat.tasks[stream.consumer].unit], ("starved", stream.name), starved)
        if blocked:
            _add(stalls[flat.tasks[stream.producer].unit], ("blocked", stream.name), blocked)
        if stream.name in moved:  # a broadcast holds a token until its last consumer has finished: the fullest counts
            peak = max(peak, moved[stream.name].peak)
        moved[stream.name] = StreamResult(n, n, peak)
    for waits, n in zip(stalls, turned, strict=False):
        waits |= {("turn", ""): n} if n else {}
    units = {}
    for unit, waits in zip(flat.units, stalls, strict=True):
        busy = sum(tasks[task][2] for task in unit.tasks)
        units[unit.name] = unit_result(unit, busy, unit.count * cycles - busy - sum(waits.values()), waits)
    return SectionResult(
        cycles, sum(task.firings for task in flat.tasks), units,
        {task.name: TaskResult(*row) for task, row in zip(flat.tasks, tasks, strict=True)}, moved, skipped,
    )  # fmt: skip


def _add(waits: dict[tuple[str, str], int], cause: tuple[str, str], cycles: int) -> None:
    waits[cause] = waits.get(cause, 0) + cycles


def unit_result(unit: FlatUnit, busy: int, idle: int, waits: Mapping[tuple[str, str], int]) -> UnitResult:
    """What servers of the unit did, from what its gangs did."""
    gang = unit.gang
    stalls = dict(sorted(waits.items())) if gang == 1 else {cause: gang * n for cause, n in sorted(waits.items())}
    return UnitResult(gang * busy, gang * idle, stalls)
