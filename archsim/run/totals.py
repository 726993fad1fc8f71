"""Totals: sums over schedules that run one after another, as a report shows them.

Knows units, ops, parts and queues. Does not know seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any, NamedTuple

from archsim.design.design import Design
from archsim.run.capacity import NOWHERE, Held, held
from archsim.run.energy import EnergySums
from archsim.run.placed import PlacedSection, placed_sections
from archsim.run.results import MAPPED, ScheduleRun, SectionRun, of_kind
from archsim.run.shares import shared
from dataflow.graph import Graph
from dataflow.op import OP_KINDS, computes
from dataflow.section import played
from dataflow.task import UNLIMITED, Served, Stream


@dataclass(frozen=True, slots=True)
class UnitReport:
    """Server-cycles of a unit by cause, over all sections; the four add up to count x cycles.

    `busiest_cycles`: busy cycles of the busiest server where tasks are placed, else of a server on average. `waits`
    splits starved and blocked by (cause, stream). `energy_joules` is None where the design does not model it.
    """

    kind: str
    count: int
    busy_cycles: int
    starved_cycles: int
    blocked_cycles: int
    idle_cycles: int
    energy_joules: Fraction | None
    busiest_cycles: int
    waits: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def total_cycles(self) -> int:
        """Server-cycles in all."""
        return self.busy_cycles + self.starved_cycles + self.blocked_cycles + self.idle_cycles

    @property
    def utilization(self) -> float:
        """Share of its server-cycles in which it was busy."""
        return self.busy_cycles / self.total_cycles if self.total_cycles else 0.0


@dataclass(frozen=True, slots=True)
class OpReport:
    """When and where an op ran: first start, last end and busy cycles of its computing tasks, or of all if none is.

    An op of a task that serves several starts and ends with that task, and has a share of its busy cycles (shares.py).
    """

    name: str
    kind: str
    unit: str
    start_cycle: int
    end_cycle: int
    busy_cycles: int


@dataclass(slots=True)
class _UnitSums:
    """A unit's sums so far; `served`: server-cycles of its servers in sections where they have a task."""

    busy: int = 0
    starved: int = 0
    blocked: int = 0
    idle: int = 0
    served: int = 0
    servers: int = 1
    busiest: int | Fraction = 0
    waits: dict[tuple[str, str], int] = field(default_factory=dict)


Peak = tuple[int, int, int]  # of a stream: most places taken, depth, bytes per token


def _peak_of(stream: Stream, run: SectionRun) -> Peak:
    return run.result.streams[stream.name].peak, stream.depth, stream.bytes_per_token


def _larger_of_each(a: Peak, b: Peak) -> Peak:
    return max(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2])


@dataclass(slots=True)
class _SameTaskRuns:
    """Consecutive runs of one label whose schedules have the same tasks: the first, the last, and when each starts.

    `steps` says how many there are. By section: `busy` cycles of each task over all runs, and the peak of each stream.
    Runs in between are not kept.
    """

    label: str
    first: ScheduleRun
    start: int
    last: ScheduleRun
    last_start: int
    busy: tuple[dict[str, int], ...]
    peaks: tuple[dict[str, Peak], ...]
    steps: int = 0

    def continues_with(self, run: ScheduleRun, label: str) -> bool:
        """True where the run has the label and the tasks of these runs."""
        return (
            label == self.label
            and len(run.sections) == len(self.busy)
            and all(
                section.result.tasks.keys() == busy.keys() and section.result.streams.keys() == peaks.keys()
                for section, busy, peaks in zip(run.sections, self.busy, self.peaks, strict=True)
            )
        )


@dataclass(slots=True)
class Totals:
    """Sums over the runs that were added, one after another. Each op appears once for each label."""

    design: Design
    cycles: int = 0
    lower_bound_cycles: int = 0
    firings: int = 0
    firings_run: int = 0
    mapped: int = 0
    free: dict[str, int] = field(default_factory=dict)  # ops that need no unit, by kind
    recomputed: dict[str, int] = field(default_factory=dict)
    recomputed_for: dict[str, None] = field(default_factory=dict)
    skipped: dict[str, dict[str, int]] = field(default_factory=dict)  # by reason
    approximated: dict[str, None] = field(default_factory=dict)
    sections: list[tuple[str, int, int]] = field(default_factory=list)
    energy: EnergySums = field(init=False)
    _units: dict[str, _UnitSums] = field(init=False)
    _traffic: dict[tuple[str, str, str], int] = field(default_factory=dict)
    _active: dict[tuple[str, ...], int] = field(default_factory=dict)
    _held: Held = field(default_factory=dict)
    _groups: list[_SameTaskRuns] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._units = {name: _UnitSums() for name in sorted(self.design.units)}
        self.energy = EnergySums(self.design)

    def add(self, run: ScheduleRun, *, label: str = "") -> None:
        """Adds a run that starts where the last one ended."""
        reused = self._groups[-1].last.sections if self._groups else ()
        # Before the sections add their cycles: until then `cycles` is the start of this run.
        self._add_to_group(run, label)
        for section_run in run.sections:
            # A section that is the same object as in the last run came from the memo; no engine ran it again.
            if all(section_run is not old for old in reused):
                self.firings_run += section_run.result.firings - section_run.result.skipped
            self._add_section(section_run, section_run.section.repeat)
            section = section_run.section
            for memory, inside in held(run.schedule.holds, section.holds, queues=section_run.queues).items():
                if sum(inside.values()) > sum(self._held.get(memory, {}).values()):
                    self._held[memory] = inside
            self.sections.append((label + section.name, section.repeat, section_run.result.cycles))
        self.mapped += int(run.asked.sums.get(MAPPED, 0))
        kinds = [name for name, kind in OP_KINDS.items() if kind.free]
        _add(self.free, {name: int(n) for name in kinds if (n := run.asked.sums.get(of_kind(name), 0))}, 1)
        _add(self.recomputed, run.schedule.recomputed, 1)
        if run.schedule.recomputed:
            self.recomputed_for[run.schedule.recomputed_for] = None
        for skipped in run.schedule.skipped:
            _add(self.skipped.setdefault(skipped.reason, {}), skipped.counts, 1)
        self.approximated.update(dict.fromkeys([*run.schedule.approximated, *_free_moves(run)]))

    def _add_section(self, run: SectionRun, times: int) -> None:
        cycles = times * run.result.cycles
        self.cycles += cycles
        self.lower_bound_cycles += times * run.bound.cycles
        self.firings += times * run.result.firings
        busiest: dict[str, int | Fraction] = {}
        servers: dict[str, int] = {}
        # Where tasks are placed, a flat unit is one server of the design's unit; `of` names that unit.
        for server in run.flat.units:
            name, spent = server.of, run.result.units[server.name]
            unit = self._units[name]
            unit.busy += times * spent.busy_cycles
            unit.starved += times * spent.starved_cycles
            unit.blocked += times * spent.blocked_cycles
            unit.idle += times * spent.idle_cycles
            count = server.gang * server.count
            unit.served += count * cycles
            _add(unit.waits, spent.stalls, times)
            # Exact until the report rounds it up once: a server's share need not be whole in each section.
            share = spent.busy_cycles if count == 1 else Fraction(spent.busy_cycles, count)
            busiest[name] = max(busiest.get(name, 0), share)
            servers[name] = servers.get(name, 0) + count
        for name, share in busiest.items():
            self._units[name].busiest += times * share
            self._units[name].servers = max(self._units[name].servers, servers[name])
        self.energy.add(run, times)
        _add(self._traffic, run.traffic.sums, times)
        _add(self._active, run.active, times)

    def _add_to_group(self, run: ScheduleRun, label: str) -> None:
        """Keeps of this run what `ops` and `peaks` need."""
        if not self._groups or not self._groups[-1].continues_with(run, label):
            busy = tuple(dict.fromkeys(each.result.tasks, 0) for each in run.sections)
            peaks = tuple({s.name: _peak_of(s, each) for s in each.section.streams} for each in run.sections)
            self._groups.append(_SameTaskRuns(label, run, self.cycles, run, self.cycles, busy, peaks))
        group = self._groups[-1]
        group.steps += 1
        group.last, group.last_start = run, self.cycles
        for each, busy_of, peak_of in zip(run.sections, group.busy, group.peaks, strict=True):
            for name, timed in each.result.tasks.items():
                busy_of[name] += timed.busy_cycles
            # Depth and token bytes grow too: a mapper may size a queue by what its step fetches.
            for stream in each.section.streams:
                peak_of[stream.name] = _larger_of_each(peak_of[stream.name], _peak_of(stream, each))

    def units(self) -> dict[str, UnitReport]:
        """Each unit of the design; one with unlimited servers counts the most that any section uses."""
        found, joules = {}, self.energy.joules().units
        for name, sums in self._units.items():
            unit = self.design.units[name]
            count = unit.count if unit.count < UNLIMITED else sums.servers
            # A section's result leaves out servers without a task, which are idle for all of it.
            idle = sums.idle + count * self.cycles - sums.served
            found[name] = UnitReport(
                unit.named_kind, count, sums.busy, sums.starved, sums.blocked, idle, joules[name], ceil(sums.busiest),
                sums.waits,
            )  # fmt: skip
        return found

    def traffic(self) -> dict[str, dict[tuple[str, str], int]]:
        """Bytes by memory, (direction, role of the tensor)."""
        found: dict[str, dict[tuple[str, str], int]] = {
            name: {} for name, unit in sorted(self.design.units.items()) if "read" in unit.does
        }
        for (unit, way, role), n in self._traffic.items():
            if unit in found:
                found[unit][way, role] = n
        return found

    def carried(self) -> dict[str, dict[str, int]]:
        """Bytes moved by each channel, ring or mesh, by role; "" for those of no tensor's role."""
        found: dict[str, dict[str, int]] = {
            name: {} for name, unit in sorted(self.design.units.items()) if "move" in unit.does
        }
        for (unit, way, role), n in self._traffic.items():
            if way == "moved":
                found.setdefault(unit, {})[role] = n
        return found

    def held(self) -> dict[str, dict[str, int]]:
        """What lies in each memory when most does, by role, in order of the design; last what lies in none."""
        return {name: self._held[name] for name in (*self.design.units, NOWHERE) if name in self._held}

    def placed(self) -> Iterator[PlacedSection]:
        """The sections of placed stages, of the first of the runs with one label and the same tasks."""
        for group in self._groups:
            yield from placed_sections(group.first, self.design, label=group.label, steps=group.steps)

    def parts(self) -> dict[str, Fraction]:
        """Cycles by part, the largest first; parts under way at the same time share those cycles equally."""
        shares: dict[str, Fraction] = {}
        for parts, cycles in self._active.items():
            # Fractions, so that the parts add up to the cycles exactly.
            for part in parts:
                shares[part] = shares.get(part, Fraction(0)) + Fraction(cycles, len(parts))
        return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))

    def under_way(self) -> dict[str, int]:
        """Cycles in which each part was under way, alone or beside others."""
        found: dict[str, int] = {}
        for parts, cycles in self._active.items():
            _add(found, dict.fromkeys(parts, cycles), 1)
        return found

    def peaks(self) -> dict[str, Peak]:
        """Most places taken, depth and bytes per token of each stream: the largest over all runs of a label."""
        found: dict[str, Peak] = {}
        # A label may have several groups: one decode step fetches from the tier beyond and the next does not.
        for group in self._groups:
            for each, peaks in zip(group.first.sections, group.peaks, strict=True):
                for stream, peak in peaks.items():
                    name = f"{group.label}{each.section.name}: {stream}"
                    found[name] = _larger_of_each(found.get(name, peak), peak)
        return found

    def ops(self) -> Iterator[OpReport]:
        """Each op once for each label: its start in the first run, its end in the last, its busy cycles over all."""
        found: dict[tuple[str, str], list[_TaskTime]] = {}
        kinds: dict[str, str] = {}
        for group in self._groups:
            kinds.update((name, op.kind) for name, op in group.first.schedule.graph.ops.items())
            for op, times in _times_by_op(group, self.design).items():
                found.setdefault((group.label, op), []).extend(times)
        for (label, op), times in found.items():
            if len(times) == 1:
                (one,) = times
                yield OpReport(label + op, kinds[op], one.unit, one.start, one.end, one.busy)
                continue
            # The load of an op's weights may run far ahead of it, so only tasks that compute date the op.
            times = [time for time in times if time.computes] or times
            yield OpReport(
                label + op, kinds[op], _busiest_unit(times), min(time.start for time in times),
                max(time.end for time in times), sum(time.busy for time in times),
            )  # fmt: skip


def _free_moves(run: ScheduleRun) -> list[str]:
    """What is said of kinds that take no time although elements move."""
    simplified = {name: kind for name, kind in OP_KINDS.items() if kind.simplifies and of_kind(name) in run.asked.sums}
    return [f"{name} takes no time: {kind.free}" for name, kind in simplified.items()]


class _TaskTime(NamedTuple):
    """A task's time for one op: its start in the first run, its end in the last, its busy cycles over all runs."""

    computes: bool
    unit: str
    start: int
    end: int
    busy: int


def _times_by_op(group: _SameTaskRuns, design: Design) -> dict[str, list[_TaskTime]]:
    """The times of the tasks that serve each op, in order."""
    found: dict[str, list[_TaskTime]] = {}
    start, end, graph = group.start, group.last_start, group.first.schedule.graph
    serving = [_serving(group, place, graph, design) for place in range(len(group.first.sections))]
    # Each repetition of a section takes the same cycles and serves ops of its own: the same task of another layer.
    for place, repetition in played([run.section for run in group.first.sections]):
        for served, time in serving[place]:
            at = _TaskTime(time.computes, time.unit, start + time.start, end + time.end, time.busy)
            found.setdefault(served.ops[repetition], []).append(at)
        start += group.first.sections[place].result.cycles
        end += group.last.sections[place].result.cycles
    return found


def _serving(group: _SameTaskRuns, place: int, graph: Graph, design: Design) -> list[tuple[Served, _TaskTime]]:
    """What the tasks of a section serve, and when, counted from its own start; busy cycles are over all runs."""
    busy, first, last = group.busy[place], group.first.sections[place].result, group.last.sections[place].result
    found = []
    for task in group.first.sections[place].section.tasks:
        if task.serves:
            computing = any(computes(item) for item, _ in task.work)
            start, end = first.tasks[task.name].start_cycle, last.tasks[task.name].end_cycle
            shares = shared(busy[task.name], task, graph, design)
            found += [
                (served, _TaskTime(computing, task.unit, start, end, share))
                for served, share in zip(task.serves, shares, strict=True)
            ]
    return found


def _busiest_unit(times: list[_TaskTime]) -> str:
    """The unit with the most busy cycles in these tasks; of several, the first by name."""
    by_unit: dict[str, int] = {}
    for time in times:
        by_unit[time.unit] = by_unit.get(time.unit, 0) + time.busy
    return min(by_unit, key=lambda unit: (-by_unit[unit], unit))


def _add(sums: dict[Any, Any], more: Mapping[Any, Any], times: int) -> None:
    for what, n in more.items():
        sums[what] = sums.get(what, 0) + times * n
