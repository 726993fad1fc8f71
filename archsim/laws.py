"""The laws of the event model that every run is checked against.

Knows what must hold between a schedule, its results and its report. A law that does not hold is a fault of archsim's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from archsim.engine.result import SectionResult
from dataflow.op import OP_KINDS
from dataflow.schedule import Schedule

if TYPE_CHECKING:
    from archsim.report import Report


class LawBroken(AssertionError):
    """A law of the event model does not hold for this run: a fault of archsim's, never of the input."""


def broken_laws(report: Report, schedule: Schedule, results: list[SectionResult]) -> Iterator[str]:
    """The laws that every run is checked against."""
    for name, unit in report.units.items():
        if unit.total_cycles != unit.count * report.cycles:
            expected = unit.count * report.cycles
            yield f"unit '{name}': busy + starved + blocked + idle = {unit.total_cycles}, not {expected}"
    for section, result in zip(schedule.sections, results, strict=True):
        for stream in section.streams:
            moved = result.streams[stream.name]
            if moved.given != moved.taken or moved.peak > stream.depth:
                yield f"stream '{stream.name}': {moved.given} tokens in, {moved.taken} out, peak {moved.peak}"
    if report.cycles < report.lower_bound_cycles:
        yield f"{report.cycles} cycles are fewer than the lower bound {report.lower_bound_cycles}"
    yield from _lost_work(schedule)


def _lost_work(schedule: Schedule) -> Iterator[str]:
    asked, done = schedule.graph.counts(), schedule.counts()
    for what, n in schedule.recomputed.items():
        if n < 0:
            yield f"{what}: {n} are declared as recomputed; no work of the graph is left out"
    for what in sorted({"mac", "flop", "exp"} & (set(asked) | set(done))):
        expected = asked.get(what, 0) + schedule.recomputed.get(what, 0)
        if done.get(what, 0) != expected:
            yield f"{what}: scheduled {done.get(what, 0)}, the graph and what is recomputed ask {expected}"
    served = {op for section in schedule.sections for task in section.tasks for op in task.ops}
    for op in schedule.graph.ops.values():
        if op.name not in served and not OP_KINDS[op.kind].free:
            yield f"op '{op.name}' is served by no task"
    yield from _unread(schedule)


def _unread(schedule: Schedule) -> Iterator[str]:
    """Bytes that must come from memory whatever the mapping: what is stored before the step, by role."""
    read: dict[str, int] = {}
    for section in schedule.sections:
        for task in section.tasks:
            read[task.role] = read.get(task.role, 0) + section.repeat * task.counts().get("read", 0)
    for role in ("weight", "lm_head", "cache"):
        stored = [t for t in schedule.graph.tensors.values() if t.role == role and t.name not in schedule.graph.ops]
        compulsory = sum(t.bytes for t in stored)
        if read.get(role, 0) < compulsory:
            yield f"{role}: {read.get(role, 0)} bytes are read, what is stored before the step is {compulsory}"
