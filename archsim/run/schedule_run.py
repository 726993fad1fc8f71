"""Runs a schedule: each section once on the engine, with tallies of its tasks, checked against the laws.

A memo carries results to the next run: what is the same object in both runs is not worked out again. The steps of a
generation differ only in attention, so they run at the speed of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Mapping as Entries
from fractions import Fraction
from itertools import chain

from archsim.design.design import Design
from archsim.engine import run
from archsim.engine.flat import flatten
from archsim.engine.memo import Memo
from archsim.engine.result import SectionResult
from archsim.errors import Deadlock
from archsim.run.bound import bound
from archsim.run.laws import (
    LawBroken,
    broken_by_capacity,
    broken_by_links,
    broken_by_places,
    broken_by_section,
    broken_by_work,
)
from archsim.run.results import MAPPED, WINDOWED, ScheduleRun, SectionRun, of_kind
from archsim.run.shares import counts_of_fused
from archsim.run.tally import Number, tally
from archsim.run.way_out import in_settings
from dataflow.errors import ScheduleError, refuse
from dataflow.graph import Graph, Op, Tensor
from dataflow.op import OP_KINDS, Counts, Work
from dataflow.schedule import Schedule
from dataflow.section import Section
from dataflow.task import Task


def run_schedule(schedule: Schedule, design: Design, *, engine: str, memo: Memo | None = None) -> ScheduleRun:
    """A run of the schedule on the design, checked against the laws of the event model.

    `memo` holds results of earlier runs on the same design and engine. Raises Deadlock where the schedule cannot go on,
    ScheduleError where it does not fit the design's units or does other work than its graph, and LawBroken where a law
    of the event model does not hold.
    """
    memo = Memo() if memo is None else memo
    # Sections of successive steps are paired by place: the steps of a generation have the same sections in order.
    sections = tuple(
        _run_section(section, design, engine, memo.inside(place)) for place, section in enumerate(schedule.sections)
    )
    graph = schedule.graph
    # A tensor that an op of this graph makes is not stored, so tallies are reused only between graphs of equal ops.
    of_graph = memo.inside(tuple(graph.ops))
    asked = tally("asked", tuple(graph.ops.values()), _asked(), of_graph)
    stored = tally("stored", tuple(graph.tensors.values()), _stored(graph, WINDOWED in asked.sums), of_graph)
    result = ScheduleRun(schedule, sections, asked, stored)
    broken = chain(broken_by_work(result), broken_by_capacity(result, design))
    lacking = [f"schedule of '{graph.name}' by '{schedule.mapper}': {told}" for told in broken]
    if lacking:
        raise ScheduleError(lacking)
    return result


def _run_section(section: Section, design: Design, engine: str, memo: Memo) -> SectionRun:
    before = memo.last(SectionRun)
    if before is not None and before.section is section:
        return before
    flat = flatten(section, design, memo)
    try:
        result = run(flat, engine=engine, memo=memo)
    except Deadlock as stuck:
        raise in_settings(stuck, section, flat, design, engine=engine) from None
    work = tally("work", section.tasks, Task.counts, memo)
    counts = dict(zip([task.name for task in section.tasks], work.counts, strict=True))
    done = SectionRun(
        section, flat, bound(flat, memo), result, work=work,
        traffic=tally("traffic", section.tasks, lambda task: _traffic(task, counts[task.name]), memo),
        read=tally("read", section.tasks, _read(section, counts), memo),
        energy=tally("energy", section.tasks, lambda task: _energy(task, design), memo),
        served=tally("served", section.tasks, lambda task: dict.fromkeys(task.ops, 1), memo),
        fused=tally("fused", section.tasks, counts_of_fused, memo),
        active=_active(section, result),
        queues=before.queues if before and before.section.streams is section.streams else section.queues(),
    )  # fmt: skip
    _raise_if_broken(chain(broken_by_section(done), broken_by_links(done, design)))
    refuse([f"section '{section.name}': {told}" for told in broken_by_places(done)], ScheduleError)
    return memo.keep(done)


def _raise_if_broken(broken: Iterator[str]) -> None:
    found = list(broken)
    if found:
        raise LawBroken("; ".join(found))


def _asked() -> Callable[[Op], Counts]:
    """Counts the work of an op; ops that share one Work object, as those of equal layers may, are counted once."""
    # The work is kept beside its counts: while it lives, no other object can have its id.
    known: dict[int, tuple[Work, Counts]] = {}

    def asked(op: Op) -> Counts:
        if id(op.work) not in known:
            work, kind = op.work, OP_KINDS[op.kind]
            told = {MAPPED: int(not kind.free), WINDOWED: int(bool(work.mask and work.mask.window))}
            known[id(work)] = work, {**work.counts(), **told, of_kind(op.kind): 1}
        return known[id(op.work)][1]

    return asked


def _stored(graph: Graph, windowed: bool) -> Callable[[Tensor], Counts]:
    """Counts the bytes of a stored tensor that must be read; those of one role, shape and format are counted once."""
    known: dict[tuple[str, tuple[int, ...], int], Counts] = {}
    nothing: Counts = {}
    not_read = graph.rows_not_read() if windowed else {}

    def stored(tensor: Tensor) -> Counts:
        # An op's output carries the op's name: it is made in the step, so it need not be read.
        if tensor.name in graph.ops or not tensor.role.multiplied:
            return nothing
        shape = tensor.shape
        if tensor.name in not_read:
            shape = (shape[0] - not_read[tensor.name], *shape[1:])
        key = tensor.role, shape, id(tensor.format)
        if key not in known:
            known[key] = {tensor.role: tensor.format.bytes(shape)}
        return known[key]

    return stored


def _traffic(task: Task, counts: Entries[str, Number]) -> Entries[tuple[str, str, str], Number]:
    return {(task.unit, way, task.role or ""): n for way, n in counts.items() if way in ("read", "written", "moved")}


def _read(section: Section, counts: Entries[str, Entries[str, Number]]) -> Callable[[Task], Entries[str, Number]]:
    """Gives the bytes that a task reads, by role; nothing where a stream brings them: they were read before.

    `counts` has what each task counts.
    """
    bringing = {stream.name for stream in section.streams if stream.bytes_per_token}

    def read(task: Task) -> Entries[str, Number]:
        size = 0 if bringing.intersection(task.takes) else counts[task.name].get("read", 0)
        return {task.role or "": size} if size else {}

    return read


def _energy(task: Task, design: Design) -> Entries[str | tuple[str, None], int | Fraction]:
    total: int | Fraction = 0
    for item, times in task.work.sums(task.firings).items():
        joules = design.action_joules(task.unit, item)
        # A partial sum would read as a small energy, so one unmodelled work leaves the whole unit without one.
        if joules is None:
            return {(task.unit, None): 1}
        total += times * joules
    return {task.unit: total}


def _part(task: Task) -> str:
    """The heading of a task; its name where it has none, nothing where it only runs ahead."""
    return task.name if task.part is None else task.part


def _active(section: Section, result: SectionResult) -> dict[tuple[str, ...], int]:
    """Cycles by the set of parts under way; a part is under way from the first start to the last end of each task.

    Tasks that load ahead for other parts are left out.
    """
    changes = []
    part_of = {task.name: part for task in section.tasks if (part := _part(task))}
    for task, part in part_of.items():
        timed = result.tasks[task]
        changes.append((timed.start_cycle, part, 1))
        changes.append((timed.end_cycle, part, -1))
    # Sorted, so that a set of parts has the same key in every section and run.
    under_way = dict.fromkeys(sorted(set(part_of.values())), 0)
    active: dict[tuple[str, ...], int] = {}
    since = 0

    def count_until(cycle: int) -> None:
        parts = tuple([name for name, n in under_way.items() if n]) or ("waiting",)
        active[parts] = active.get(parts, 0) + cycle - since

    for cycle, part, change in sorted(changes):
        n = under_way[part]
        # The set changes only with a part's first task or its last; a second task under way changes nothing.
        if cycle > since and (not n or not n + change):
            count_until(cycle)
            since = cycle
        under_way[part] = n + change
    # After the last end, tokens may still be under way for a unit's latency.
    if result.cycles > since:
        count_until(result.cycles)
    return active
