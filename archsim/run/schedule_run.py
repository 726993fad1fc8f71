"""What one run of a schedule took: each section's flat form, bound and result, and what its tasks count.

A run may be `like` the one before: whatever is the same object in both is taken from there and not worked out again.
That is how the steps of a generation, which differ in their attention alone, run at the speed of their engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING

from archsim.engine import run
from archsim.engine.flat import Flat, flatten
from archsim.engine.result import SectionResult
from archsim.run.bound import Bound, bound
from archsim.run.laws import LawBroken, broken_by_links, broken_by_section, broken_by_work
from archsim.run.tally import Tally, tally
from dataflow.graph import Graph, Op, Tensor
from dataflow.op import OP_KINDS, Counts, Work
from dataflow.schedule import Schedule, Section
from dataflow.task import Task

if TYPE_CHECKING:
    from archsim.design.design import Design

MAPPED = "ops"
STORED = ("weight", "lm_head", "cache")


@dataclass(frozen=True, slots=True)
class SectionRun:
    """One run of a section, however often it repeats.

    Tallies of its tasks: `work` by what is counted; `traffic` bytes by (unit, direction, role); `energy` by unit,
    beside (unit, None) where a task's is not modelled; `served` tasks by the op that they serve. `active` splits the
    cycles by the parts under way, ("waiting",) where none is.
    """

    section: Section
    flat: Flat
    bound: Bound
    result: SectionResult
    work: Tally[Task]
    traffic: Tally[Task]
    energy: Tally[Task]
    served: Tally[Task]
    active: Mapping[tuple[str, ...], int]


@dataclass(frozen=True, slots=True)
class ScheduleRun:
    """One run of a schedule: its sections', and tallies of the graph.

    `asked` counts the work of its ops, and under MAPPED those that a unit does; `stored` the bytes that lie in memory
    before, by role.
    """

    schedule: Schedule
    sections: tuple[SectionRun, ...]
    asked: Tally[Op]
    stored: Tally[Tensor]

    @property
    def cycles(self) -> int:
        """Cycles of all sections and repetitions."""
        return sum(one.section.repeat * one.result.cycles for one in self.sections)


def run_schedule(schedule: Schedule, design: Design, *, engine: str, like: ScheduleRun | None = None) -> ScheduleRun:
    """A run of the schedule on the design, checked against the laws of the event model.

    Raises Deadlock where it cannot go on, ScheduleError where it does not fit the design's units, and LawBroken.
    """
    before = [*(like.sections if like else ()), *[None] * len(schedule.sections)]
    sections = tuple(
        _run_section(section, design, engine, old) for section, old in zip(schedule.sections, before, strict=False)
    )
    graph = schedule.graph
    old = like if like and graph.ops.keys() == like.schedule.graph.ops.keys() else None
    asked = tally(tuple(graph.ops.values()), _asked(), like=old.asked if old else None)
    stored = tally(tuple(graph.tensors.values()), _stored(graph), like=old.stored if old else None)
    result = ScheduleRun(schedule, sections, asked, stored)
    _hold(broken_by_work(result))
    return result


def _run_section(section: Section, design: Design, engine: str, old: SectionRun | None) -> SectionRun:
    if old is not None and old.section is section:
        return old
    flat = flatten(section, design, like=(old.section, old.flat) if old else None)
    result = run(flat, engine=engine, like=old.result if old else None)
    done = SectionRun(
        section,
        flat,
        bound(flat, like=old.bound if old else None),
        result,
        work=tally(section.tasks, Task.counts, like=old.work if old else None),
        traffic=tally(section.tasks, _traffic, like=old.traffic if old else None),
        energy=tally(section.tasks, lambda task: _energy(task, design), like=old.energy if old else None),
        served=tally(section.tasks, _served, like=old.served if old else None),
        active=_active(section, result),
    )
    _hold(chain(broken_by_section(done), broken_by_links(done, design)))
    return done


def _hold(broken: Iterator[str]) -> None:
    found = list(broken)
    if found:
        raise LawBroken("; ".join(found))


def _asked() -> Callable[[Op], Counts]:
    """What an op counts; ops that share their work, as those of equal layers may, are worked out once."""
    known: dict[int, tuple[Work, Counts]] = {}

    def asked(op: Op) -> Counts:
        if id(op.work) not in known:
            known[id(op.work)] = op.work, {**op.work.counts(), MAPPED: 0 if OP_KINDS[op.kind].free else 1}
        return known[id(op.work)][1]

    return asked


def _stored(graph: Graph) -> Callable[[Tensor], Counts]:
    """What a tensor counts; of one shape, role and format one is worked out."""
    known: dict[tuple[str, tuple[int, ...], int], Counts] = {}
    nothing: Counts = {}

    def stored(tensor: Tensor) -> Counts:
        if tensor.role not in STORED or tensor.name in graph.ops:
            return nothing
        key = tensor.role, tensor.shape, id(tensor.format)
        if key not in known:
            known[key] = {tensor.role: tensor.bytes}
        return known[key]

    return stored


def _traffic(task: Task) -> Mapping[tuple[str, str, str], int]:
    return {(task.unit, way, task.role): n for way, n in task.counts().items() if way in ("read", "written", "moved")}


def _served(task: Task) -> Mapping[str, int]:
    return dict.fromkeys(task.ops, 1)


def _energy(task: Task, design: Design) -> Mapping[str | tuple[str, None], int | Fraction]:
    total = Fraction(0)
    for item, times in task.work.counted(task.firings):
        one = design.units[task.unit].energy_joules(item)
        if one is None:
            return {(task.unit, None): 1}
        total += times * one
    return {task.unit: total}


def _active(section: Section, result: SectionResult) -> dict[tuple[str, ...], int]:
    """Cycles by the parts that are under way, each from the first start of a task of it to the end, task by task.

    A task without a part is under way for others: it loads ahead of them.
    """
    changes = []
    for task in section.tasks:
        if not task.part:
            continue
        timed = result.tasks[task.name]
        changes.append((timed.start_cycle, task.part, 1))
        changes.append((timed.end_cycle, task.part, -1))
    under_way = dict.fromkeys(sorted({task.part for task in section.tasks if task.part}), 0)
    active: dict[tuple[str, ...], int] = {}
    since = 0

    def until(cycle: int) -> None:
        parts = tuple([name for name, n in under_way.items() if n]) or ("waiting",)
        active[parts] = active.get(parts, 0) + cycle - since

    for cycle, part, change in sorted(changes):
        n = under_way[part]
        if cycle > since and (not n or not n + change):
            until(cycle)
            since = cycle
        under_way[part] = n + change
    if result.cycles > since:
        until(result.cycles)
    return active
