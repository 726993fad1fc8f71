"""The laws of the event model that every run is checked against.

Knows what must hold between a schedule, its results and its report. A law that does not hold is a fault of archsim's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from archsim.design.design import Design
from archsim.run.results import ScheduleRun, SectionRun
from archsim.run.totals import UnitReport
from dataflow.op import OP_KINDS


class LawBroken(AssertionError):
    """A law of the event model does not hold for this run: a fault of archsim's, never of the input."""


def broken_by_section(run: SectionRun) -> Iterator[str]:
    """The laws of each section's run: stalls add up, tokens are conserved, nothing beats the lower bound."""
    cycles = run.result.cycles
    for unit in run.flat.units:
        mine = run.result.units[unit.name]
        total = mine.busy_cycles + mine.starved_cycles + mine.blocked_cycles + mine.idle_cycles
        if total != unit.count * cycles:
            yield f"unit '{unit.name}': busy + starved + blocked + idle = {total}, not {unit.count * cycles}"
    for stream in run.section.streams:
        moved = run.result.streams[stream.name]
        if moved.given != moved.taken or moved.peak > stream.depth:
            yield f"stream '{stream.name}': {moved.given} tokens in, {moved.taken} out, peak {moved.peak}"
    if cycles < run.bound.cycles:
        yield f"section '{run.section.name}': {cycles} cycles are fewer than the lower bound {run.bound.cycles}"


def broken_by_links(run: SectionRun, design: Design) -> Iterator[str]:
    """The law of each memory and channel: no more bytes than its bandwidth carries in the time of the section."""
    for name, moved in _bytes_moved(run).items():
        unit = design.units[name]
        bandwidth = getattr(unit, "bandwidth", None)
        if bandwidth is None:
            continue
        carried = bandwidth * unit.count * run.result.cycles
        if moved > carried:
            yield f"unit '{name}': {moved} bytes in a time in which it carries {float(carried):g}"


def _bytes_moved(run: SectionRun) -> dict[str, int | Fraction]:
    moved: dict[str, int | Fraction] = {}
    for (unit, _, _), n in run.traffic.sums.items():
        moved[unit] = moved.get(unit, 0) + n
    return moved


def broken_by_work(run: ScheduleRun) -> Iterator[str]:
    """The laws of each schedule: all work of the graph is done, by some task, and all that is stored is read."""
    done: dict[str, int | Fraction] = {}
    read: dict[str, int | Fraction] = {}
    for one in run.sections:
        for what, n in one.work.sums.items():
            done[what] = done.get(what, 0) + one.section.repeat * n
        for (_, way, role), n in one.traffic.sums.items():
            if way == "read":
                read[role] = read.get(role, 0) + one.section.repeat * n
    schedule = run.schedule
    for how, declared in (("recomputed", schedule.recomputed), ("skipped", schedule.skipped)):
        for what, n in declared.items():
            if n < 0:
                yield f"{what}: {n} are declared as {how}; a count is never below zero"
    if schedule.skipped and schedule.selected is None:
        yield f"work is skipped ({', '.join(schedule.skipped)}) and no selection says why"
    for what in sorted({"mac", "flop", "exp"} & (set(run.asked.sums) | set(done))):
        expected = run.asked.sums.get(what, 0) + schedule.recomputed.get(what, 0) - schedule.skipped.get(what, 0)
        if done.get(what, 0) != expected:
            scheduled = done.get(what, 0)
            yield f"{what}: scheduled {scheduled}, the graph with what is recomputed and skipped asks {expected}"
    for name in schedule.graph.ops.keys() - set().union(*(one.served.sums.keys() for one in run.sections)):
        if not OP_KINDS[schedule.graph.ops[name].kind].free:
            yield f"op '{name}' is served by no task"
    # What is stored before the step must come from memory, whatever the mapping.
    for role, stored in run.stored.sums.items():
        compulsory = stored - schedule.skipped.get(role, 0)
        if read.get(role, 0) < compulsory:
            yield f"{role}: {read.get(role, 0)} bytes are read, what is stored and needed is {compulsory}"


def broken_by_totals(units: Mapping[str, UnitReport], cycles: int) -> Iterator[str]:
    """The law of all runs together: each unit's time is accounted for."""
    for name, unit in units.items():
        if unit.total_cycles != unit.count * cycles:
            expected = unit.count * cycles
            yield f"unit '{name}': busy + starved + blocked + idle = {unit.total_cycles}, not {expected}"
