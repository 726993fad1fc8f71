"""Runs a schedule: each section once on its engine, with what its tasks count, checked against the laws.

A memo carries results from one run to the next: whatever is the same object in both is not worked out again. That is
how the steps of a generation, which differ in their attention alone, run at the speed of their engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import chain

from archsim.design.design import Design
from archsim.engine import run
from archsim.engine.flat import flatten
from archsim.engine.memo import Memo
from archsim.engine.result import SectionResult
from archsim.run.bound import bound
from archsim.run.laws import LawBroken, broken_by_links, broken_by_section, broken_by_work
from archsim.run.results import MAPPED, ScheduleRun, SectionRun
from archsim.run.tally import tally
from dataflow.graph import Graph, Op, Tensor
from dataflow.op import OP_KINDS, Counts, Work
from dataflow.schedule import Schedule
from dataflow.section import Section
from dataflow.task import Task

COMPULSORY = ("weight", "lm_head", "cache")  # roles whose bytes must be read, whatever the mapping


def run_schedule(schedule: Schedule, design: Design, *, engine: str, memo: Memo | None = None) -> ScheduleRun:
    """A run of the schedule on the design, checked against the laws of the event model.

    `memo` is that of the runs before on this design and engine. Raises Deadlock where it cannot go on, ScheduleError
    where it does not fit the design's units, and LawBroken.
    """
    memo = Memo() if memo is None else memo
    sections = tuple(
        _run_section(section, design, engine, memo.inside(place)) for place, section in enumerate(schedule.sections)
    )
    graph = schedule.graph
    of_graph = memo.inside(tuple(graph.ops))  # what a tensor counts depends on which ops there are
    asked = tally("asked", tuple(graph.ops.values()), _asked(), of_graph)
    stored = tally("stored", tuple(graph.tensors.values()), _stored(graph), of_graph)
    result = ScheduleRun(schedule, sections, asked, stored)
    _hold(broken_by_work(result))
    return result


def _run_section(section: Section, design: Design, engine: str, memo: Memo) -> SectionRun:
    before = memo.last(SectionRun)
    if before is not None and before.section is section:
        return before
    flat = flatten(section, design, memo)
    result = run(flat, engine=engine, memo=memo)
    done = SectionRun(
        section,
        flat,
        bound(flat, memo),
        result,
        work=tally("work", section.tasks, Task.counts, memo),
        traffic=tally("traffic", section.tasks, _traffic, memo),
        energy=tally("energy", section.tasks, lambda task: _energy(task, design), memo),
        served=tally("served", section.tasks, _served, memo),
        active=_active(section, result),
    )
    _hold(chain(broken_by_section(done), broken_by_links(done, design)))
    return memo.keep(done)


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
        if tensor.role not in COMPULSORY or tensor.name in graph.ops:
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
