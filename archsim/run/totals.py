"""Totals: runs of schedules one after another, summed into what a report says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any, NamedTuple

from archsim.design.design import Design
from archsim.run.results import MAPPED, ScheduleRun, SectionRun
from dataflow.op import computes
from dataflow.task import UNLIMITED, Stream


@dataclass(frozen=True, slots=True)
class UnitReport:
    """Server-cycles of a unit by cause, over all sections; the four add up to count x cycles.

    `busiest_cycles` are those of its busiest server where tasks are placed, else a server's share. `waits` splits
    starved and blocked by (cause, stream); `energy_joules` is None where the design does not model it.
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
    """When and where an op ran: first start and last end over its tasks, busy cycles of its computing unit."""

    name: str
    kind: str
    unit: str
    start_cycle: int
    end_cycle: int
    busy_cycles: int


@dataclass(slots=True)
class _Unit:
    """A unit's sums so far; `served` are the server-cycles of the servers that had a task."""

    busy: int = 0
    starved: int = 0
    blocked: int = 0
    idle: int = 0
    served: int = 0
    servers: int = 1
    busiest: int | Fraction = 0
    energy: int | Fraction = 0
    modelled: bool = True
    waits: dict[tuple[str, str], int] = field(default_factory=dict)


Peak = tuple[int, int, int]  # of a stream: most places taken, depth, bytes of a token


def _peak(stream: Stream, one: SectionRun) -> Peak:
    return one.result.streams[stream.name].peak, stream.depth, stream.bytes_per_token


def _larger(one: Peak, other: Peak) -> Peak:
    return max(one[0], other[0]), max(one[1], other[1]), max(one[2], other[2])


@dataclass(slots=True)
class _Stretch:
    """Runs of one label one after another whose schedules have the same tasks: the first and the last with their
    starts, and what is summed. By section: `busy` cycles of each task, and of each stream the most places taken, and
    the largest depth and token.
    """

    label: str
    first: ScheduleRun
    start: int
    last: ScheduleRun
    last_start: int
    busy: tuple[dict[str, int], ...]
    peaks: tuple[dict[str, Peak], ...]

    def goes_on(self, run: ScheduleRun, label: str) -> bool:
        """True where this run has the label and the tasks of those here."""
        return (
            label == self.label
            and len(run.sections) == len(self.busy)
            and all(
                one.result.tasks.keys() == busy.keys() and one.result.streams.keys() == peaks.keys()
                for one, busy, peaks in zip(run.sections, self.busy, self.peaks, strict=True)
            )
        )


@dataclass(slots=True)
class Totals:
    """What the runs that were added took together. Of runs of one label each op is told once."""

    design: Design
    cycles: int = 0
    lower_bound_cycles: int = 0
    firings: int = 0
    firings_run: int = 0
    mapped: int = 0
    recomputed: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    approximated: dict[str, None] = field(default_factory=dict)
    sections: list[tuple[str, int, int]] = field(default_factory=list)
    _units: dict[str, _Unit] = field(init=False)
    _traffic: dict[tuple[str, str, str], int] = field(default_factory=dict)
    _active: dict[tuple[str, ...], int] = field(default_factory=dict)
    _stretches: list[_Stretch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._units = {name: _Unit() for name in sorted(self.design.units)}

    def add(self, run: ScheduleRun, *, label: str = "") -> None:
        """Adds a run, which begins where the one before ended."""
        known = self._stretches[-1].last.sections if self._stretches else ()
        self._note(run, label)
        for one in run.sections:
            if all(one is not old for old in known):
                self.firings_run += one.result.firings - one.result.skipped
            self._add_section(one, one.section.repeat)
            self.sections.append((label + one.section.name, one.section.repeat, one.result.cycles))
        self.mapped += int(run.asked.sums.get(MAPPED, 0))
        _add(self.recomputed, run.schedule.recomputed, 1)
        _add(self.skipped, run.schedule.skipped, 1)
        self.approximated.update(dict.fromkeys(run.schedule.approximated))

    def _add_section(self, one: SectionRun, times: int) -> None:
        cycles = times * one.result.cycles
        self.cycles += cycles
        self.lower_bound_cycles += times * one.bound.cycles
        self.firings += times * one.result.firings
        busiest: dict[str, int | Fraction] = {}
        servers: dict[str, int] = {}
        for server in one.flat.units:
            name, mine = server.of, one.result.units[server.name]
            unit = self._units[name]
            unit.busy += times * mine.busy_cycles
            unit.starved += times * mine.starved_cycles
            unit.blocked += times * mine.blocked_cycles
            unit.idle += times * mine.idle_cycles
            unit.served += server.count * cycles
            _add(unit.waits, mine.stalls, times)
            share = mine.busy_cycles if server.count == 1 else Fraction(mine.busy_cycles, server.count)
            busiest[name] = max(busiest.get(name, 0), share)
            servers[name] = servers.get(name, 0) + server.count
        for name, share in busiest.items():
            self._units[name].busiest += times * share
            self._units[name].servers = max(self._units[name].servers, servers[name])
        for key, joules in one.energy.sums.items():
            if isinstance(key, str):
                self._units[key].energy += times * joules
            else:
                self._units[key[0]].modelled = False
        _add(self._traffic, one.traffic.sums, times)
        _add(self._active, one.active, times)

    def _note(self, run: ScheduleRun, label: str) -> None:
        """Keeps what ops and peaks need of this run."""
        if not self._stretches or not self._stretches[-1].goes_on(run, label):
            busy = tuple(dict.fromkeys(one.result.tasks, 0) for one in run.sections)
            peaks = tuple({s.name: _peak(s, one) for s in one.section.streams} for one in run.sections)
            self._stretches.append(_Stretch(label, run, self.cycles, run, self.cycles, busy, peaks))
        stretch = self._stretches[-1]
        stretch.last, stretch.last_start = run, self.cycles
        for one, busy_of, peak_of in zip(run.sections, stretch.busy, stretch.peaks, strict=True):
            for name, timed in one.result.tasks.items():
                busy_of[name] += timed.busy_cycles
            for stream in one.section.streams:
                peak_of[stream.name] = _larger(peak_of[stream.name], _peak(stream, one))

    def units(self) -> dict[str, UnitReport]:
        """Each unit of the design; of one that has as many servers as one likes, those that a section uses at most."""
        found = {}
        for name, sums in self._units.items():
            unit = self.design.units[name]
            count = unit.count if unit.count < UNLIMITED else sums.servers
            idle = sums.idle + count * self.cycles - sums.served
            energy = Fraction(sums.energy) if sums.modelled else None
            found[name] = UnitReport(
                unit.kind, count, sums.busy, sums.starved, sums.blocked, idle, energy, ceil(sums.busiest), sums.waits
            )
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

    def carried(self) -> dict[str, int]:
        """Bytes moved by each channel."""
        found = {name: 0 for name, unit in sorted(self.design.units.items()) if "move" in unit.does}
        for (unit, way, _), n in self._traffic.items():
            if way == "moved":
                found[unit] += n
        return found

    def parts(self) -> dict[str, Fraction]:
        """Cycles by part, the largest first; where several were under way, each gets an equal share."""
        shares: dict[str, Fraction] = {}
        for parts, cycles in self._active.items():
            for part in parts:
                shares[part] = shares.get(part, Fraction(0)) + Fraction(cycles, len(parts))
        return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))

    def under_way(self) -> dict[str, int]:
        """Cycles in which each part was under way, whatever else was."""
        found: dict[str, int] = {}
        for parts, cycles in self._active.items():
            _add(found, dict.fromkeys(parts, cycles), 1)
        return found

    def peaks(self) -> dict[str, Peak]:
        """Of each stream the most places taken, its depth and a token's bytes: the largest of all runs of a label."""
        found: dict[str, Peak] = {}
        for stretch in self._stretches:
            for one, peaks in zip(stretch.first.sections, stretch.peaks, strict=True):
                for stream, peak in peaks.items():
                    name = f"{stretch.label}{one.section.name}: {stream}"
                    found[name] = _larger(found.get(name, peak), peak)
        return found

    def ops(self) -> Iterator[OpReport]:
        """Each op of the runs of a label once: its start in the first, its end in the last, its cycles in all."""
        found: dict[tuple[str, str], list[_Piece]] = {}
        kinds: dict[str, str] = {}
        for stretch in self._stretches:
            kinds.update((name, op.kind) for name, op in stretch.first.schedule.graph.ops.items())
            for op, pieces in _pieces(stretch).items():
                found.setdefault((stretch.label, op), []).extend(pieces)
        for (label, op), pieces in found.items():
            mine = [piece for piece in pieces if piece.computes] or pieces
            yield OpReport(
                label + op,
                kinds[op],
                _busiest(mine),
                min(piece.start for piece in mine),
                max(piece.end for piece in mine),
                sum(piece.busy for piece in mine),
            )


class _Piece(NamedTuple):
    """What a task does for one op: first start, last end, and busy cycles in all runs."""

    computes: bool
    unit: str
    start: int
    end: int
    busy: int


def _pieces(stretch: _Stretch) -> dict[str, list[_Piece]]:
    """By op the pieces of the tasks that serve it, in order."""
    found: dict[str, list[_Piece]] = {}
    start, end = stretch.start, stretch.last_start
    for first, last, busy in zip(stretch.first.sections, stretch.last.sections, stretch.busy, strict=True):
        starts, ends = first.result.tasks, last.result.tasks
        serving = [
            (task, any(computes(item) for item, _ in task.work)) for task in first.section.tasks if task.ops
        ]
        for repetition in range(first.section.repeat):
            for task, computing in serving:
                begun, ended = start + starts[task.name].start_cycle, end + ends[task.name].end_cycle
                piece = _Piece(computing, task.unit, begun, ended, busy[task.name])
                found.setdefault(task.ops[repetition], []).append(piece)
            start += first.result.cycles
            end += last.result.cycles
    return found


def _busiest(pieces: list[_Piece]) -> str:
    """The unit that works longest for these pieces; of several the first by name."""
    by_unit: dict[str, int] = {}
    for piece in pieces:
        by_unit[piece.unit] = by_unit.get(piece.unit, 0) + piece.busy
    return min(by_unit, key=lambda unit: (-by_unit[unit], unit))


def _add(sums: dict[Any, Any], more: Mapping[Any, Any], times: int) -> None:
    for what, n in more.items():
        sums[what] = sums.get(what, 0) + times * n
