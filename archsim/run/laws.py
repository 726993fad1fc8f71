"""The laws of the event model that every run is checked against.

Knows what must hold between a schedule, its results and its report. A broken law is a fault of archsim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from archsim.design.design import Design
from archsim.quantity import show
from archsim.run.capacity import held, overfull
from archsim.run.results import ScheduleRun, SectionRun
from archsim.run.shares import is_tiled
from archsim.run.totals import UnitReport
from dataflow.op import OP_KINDS
from dataflow.task import Stream


class LawBroken(AssertionError):
    """A law of the event model does not hold for this run: a fault of archsim, never of the input."""


def broken_by_section(run: SectionRun) -> Iterator[str]:
    """Broken laws of a section's run: unit time adds up, tokens are conserved, no run beats the lower bound."""
    cycles = run.result.cycles
    for unit in run.flat.units:
        spent = run.result.units[unit.name]
        total = spent.busy_cycles + spent.starved_cycles + spent.blocked_cycles + spent.idle_cycles
        servers = unit.gang * unit.count
        if total != servers * cycles:
            yield f"unit '{unit.name}': busy + starved + blocked + idle = {total}, not {servers * cycles}"
    for stream in run.section.streams:
        moved = run.result.streams[stream.name]
        if moved.given != moved.taken or moved.peak > stream.depth:
            yield f"stream '{stream.name}': {moved.given} tokens in, {moved.taken} out, peak {moved.peak}"
    if cycles < run.bound.cycles:
        yield f"section '{run.section.name}': {cycles} cycles are fewer than the lower bound {run.bound.cycles}"


def broken_by_places(run: SectionRun) -> Iterator[str]:
    """Broken law of shared queues, a mistake of the mapper: streams of one FIFO, or whose places overlap, take turns.

    A stream uses its places from the first start of its producer to the last end of its consumer.
    """
    ends, times = run.section.ends, run.result.tasks

    def use(stream: Stream) -> _Use:
        producer, consumers = ends[stream.name]
        return _Use(times[producer].start_cycle, max(times[name].end_cycle for name in consumers), stream)

    fifos: dict[str, list[_Use]] = {}
    memories: dict[str, list[_Use]] = {}
    for stream in run.section.streams:
        if stream.at is not None:
            memories.setdefault(stream.memory, []).append(use(stream))
        elif stream.fifo:
            fifos.setdefault(stream.fifo, []).append(use(stream))
    for fifo, queue in fifos.items():
        queue.sort(key=lambda use: (use.begun, use.ended))
        for first, then in pairwise(queue):
            if then.begun < first.ended:
                yield f"FIFO '{fifo}': {then} uses it from cycle {then.begun} on, {first} until cycle {first.ended}"
    for memory, uses in memories.items():
        now: list[_Use] = []  # those whose places are in use
        for then in sorted(uses, key=lambda use: (use.begun, use.ended)):
            now = [use for use in now if use.ended > then.begun]
            for first in (use for use in now if use.overlaps(then)):
                yield (
                    f"'{memory}': {then} uses places from cycle {then.begun} on, {first} some of these until cycle "
                    f"{first.ended}"
                )
            now.append(then)


class _Use(NamedTuple):
    """From when to when a stream uses its places."""

    begun: int
    ended: int
    stream: Stream

    def overlaps(self, other: _Use) -> bool:
        """True where both take some bytes of a memory."""
        here, there = self.stream.at or 0, other.stream.at or 0
        return here < there + other.stream.bytes and there < here + self.stream.bytes

    def __str__(self) -> str:
        return f"'{self.stream.name}'"


def broken_by_links(run: SectionRun, design: Design) -> Iterator[str]:
    """Broken laws of memories and channels: none moves more bytes than its bandwidth carries in the section's time."""
    moved: dict[str, int | Fraction] = {}
    for (name, _, _), n in run.traffic.sums.items():
        moved[name] = moved.get(name, 0) + n
    for name, n in moved.items():
        # A weight loader moves bytes too, at a rate given by its ports.
        if (rate := design.units[name].carries_per_cycle) is None:
            continue
        # Reads and writes share the bandwidth, so the law holds for their sum.
        carried = rate * run.result.cycles
        if n > carried:
            yield f"unit '{name}': {n} bytes in a time in which it carries {float(carried):g}"


def broken_by_work(run: ScheduleRun) -> Iterator[str]:
    """What a schedule lacks: its tasks do all work of the graph, serve each op and read each stored tensor.

    That is no fault of the event model but a mistake of whoever made the schedule.
    """
    done: dict[str, int | Fraction] = {}
    read: dict[str, int | Fraction] = {}
    # Tallies cover one run of a section, so repetitions are multiplied in here.
    for part in run.sections:
        for what, n in part.work.sums.items():
            done[what] = done.get(what, 0) + part.section.repeat * n
        for role, n in part.read.sums.items():
            read[role] = read.get(role, 0) + part.section.repeat * n
    schedule, left_out = run.schedule, run.schedule.left_out()
    for what, n in schedule.recomputed.items():
        if n < 0:
            yield f"{what}: {n} are declared as recomputed; a count is never below zero"
    # Arithmetic must match exactly. Bytes depend on the mapping: only those that must be read are checked, below.
    for what in sorted({"mac", "flop", "exp"} & (set(run.asked.sums) | set(done))):
        expected = run.asked.sums.get(what, 0) + schedule.recomputed.get(what, 0) - left_out.get(what, 0)
        if done.get(what, 0) != expected:
            scheduled = done.get(what, 0)
            told = f"{what}: scheduled {scheduled}, the graph with what is recomputed and skipped asks {expected}"
            yield told + _first_difference(run, what)
    yield from _broken_by_fused_ops(run)
    served = set().union(*(part.served.sums.keys() for part in run.sections))
    for name in sorted(served - schedule.graph.ops.keys()):
        yield f"a task serves op '{name}', which graph '{schedule.graph.name}' does not have"
    for name in schedule.graph.ops.keys() - served:
        if not OP_KINDS[schedule.graph.ops[name].kind].free:
            yield f"op '{name}' is served by no task"
    # Tensors that lie in memory before the step must be read in every mapping, unless a selection skips them.
    for role, stored in run.stored.sums.items():
        compulsory = stored - left_out.get(role, 0)
        if read.get(role, 0) < compulsory:
            yield f"{role}: {read.get(role, 0)} bytes are read, what is stored and needed is {compulsory}"


def broken_by_capacity(run: ScheduleRun, design: Design) -> Iterator[str]:
    """Sections during which a memory is to hold more than it can, in bytes or tiles; as broken_by_work, a mistake."""
    for part in run.sections:
        tiles: dict[str, int] = {}
        for stream in part.section.streams:
            if stream.tiles:
                tiles[stream.memory] = tiles.get(stream.memory, 0) + stream.tiles
        for memory, asked in tiles.items():
            there = design.units[memory].count if memory in design.units else 0
            if asked > there:
                yield f"section '{part.section.name}': streams take {asked} tiles of '{memory}', which has {there}"
        for found in overfull(held(run.schedule.holds, part.section.holds, queues=part.queues), design):
            yield f"section '{part.section.name}': {found}, which holds {show(found.capacity, 'bytes')}"


def _first_difference(run: ScheduleRun, what: str) -> str:
    """The first op whose tasks count something else than it does; nothing where work is recomputed or left out."""
    done = _done_by_op(run)
    if done is None:
        return ""
    for name, op in run.schedule.graph.ops.items():
        if done.get((name, what), 0) != op.work.counts().get(what, 0):
            return f"; op '{name}' asks {op.work.counts().get(what, 0)}, its tasks do {done.get((name, what), 0)}"
    return ""


def _broken_by_fused_ops(run: ScheduleRun) -> Iterator[str]:
    """Ops of tasks with several ops whose tiles hold other work than theirs, which no sum over all ops tells."""
    fused, ops = {op: None for part in run.sections for op, _ in part.fused.sums}, run.schedule.graph.ops
    done = _done_by_op(run) if fused else None
    if done is None:
        return
    for name in fused:
        # Under a mask the places of a tile do not tell its work.
        if name not in ops or ops[name].work.mask is not None:
            continue
        for what, asked in ops[name].work.counts().items():
            if (does := done.get((name, what), 0)) != asked:
                yield f"{what}: op '{name}' asks {asked}, its tiles in tasks of several ops do {does}"


def _done_by_op(run: ScheduleRun) -> dict[tuple[str, str], int | Fraction] | None:
    """What tasks count for each op, by (op, what).

    None where work is recomputed or left out, or where several ops share a task without tiles: nobody says of which
    op that work is.
    """
    done: dict[tuple[str, str], int | Fraction] = {}
    if run.schedule.recomputed or run.schedule.skipped:
        return None
    for part in run.sections:
        for key, n in part.fused.sums.items():
            done[key] = done.get(key, 0) + n
        for task in part.section.tasks:
            if len(task.serves) > 1 and task.computing and not is_tiled(task):
                return None
            for what, n in task.counts().items() if len(task.serves) == 1 else ():
                for name in task.ops:
                    done[name, what] = done.get((name, what), 0) + n
    return done


def broken_by_totals(units: Mapping[str, UnitReport], cycles: int) -> Iterator[str]:
    """Broken laws of all runs together: the four causes of a unit's cycles add up to count x cycles."""
    for name, unit in units.items():
        if unit.total_cycles != unit.count * cycles:
            expected = unit.count * cycles
            yield f"unit '{name}': busy + starved + blocked + idle = {unit.total_cycles}, not {expected}"
