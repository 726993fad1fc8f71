"""Report: the totals of a simulated schedule, checked against the laws of the event model.

`simulate` runs each section once and multiplies by its repetitions, which is exact because sections follow one another
and nothing carries over. Seconds appear here for the first time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

from archsim.bound import lower_bound
from archsim.engine import run
from archsim.engine.flat import Flat, flatten
from archsim.engine.result import SectionResult
from archsim.laws import LawBroken, broken_laws
from archsim.text import html, screen
from dataflow.op import OP_KINDS, computes
from dataflow.schedule import Schedule, Section
from dataflow.task import UNLIMITED, Task

if TYPE_CHECKING:
    from archsim.design import Design


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


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """Totals of a run. `traffic` is bytes per memory, direction and role of the tensor.

    `parts` splits the cycles by what was under way; where several parts were, each gets an equal share. `peaks` gives
    each stream's most places taken, its depth and a token's bytes; `sections` name, repetitions, cycles of one run.
    """

    design: str
    model: str
    about: Mapping[str, Any]
    options: Mapping[str, Any]
    clock_hz: Fraction
    cycles: int
    lower_bound_cycles: int
    power_watts: Fraction | None
    units: Mapping[str, UnitReport]
    traffic: Mapping[str, Mapping[tuple[str, str], int]]
    ops: tuple[OpReport, ...]
    parts: Mapping[str, Fraction]
    sections: tuple[tuple[str, int, int], ...]
    peaks: Mapping[str, tuple[int, int, int]]
    mapped: int
    approximated: tuple[str, ...]
    recomputed: Mapping[str, int]
    assumed: Mapping[str, str]
    fitted: Mapping[str, str]
    firings: int
    engine: str

    @property
    def seconds(self) -> float:
        """Time of the whole; for a prefill this is the time to first token."""
        return float(self.cycles / self.clock_hz)

    @property
    def tokens(self) -> int | None:
        """Tokens that the phase works through: the prompts' in a prefill, one per sequence in a decode, else None."""
        tokens: int | None = self.about["tokens"]
        return tokens

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of the phase over its time; None where there are none."""
        return None if self.tokens is None else self.tokens / self.seconds

    @property
    def energy_joules(self) -> float | None:
        """Published power times time; without one the sum over units, where every busy unit models it; else None."""
        if self.power_watts is not None:
            return float(self.power_watts) * self.seconds
        parts = [u.energy_joules for u in self.units.values() if u.busy_cycles]
        known = [p for p in parts if p is not None]
        return float(sum(known)) if parts and len(known) == len(parts) else None

    @property
    def bottleneck(self) -> str:
        """The unit that is busy for the largest share of the time; where tasks are placed, by its busiest server."""
        return max(self.units, key=lambda name: self.units[name].busiest_cycles)

    def bytes_moved(self, memory: str, direction: str) -> int:
        """Bytes read or written ("read", "written") at a memory, all roles together."""
        return sum(n for (way, _), n in self.traffic[memory].items() if way == direction)

    def op(self, name: str) -> OpReport:
        """The op of this name."""
        return next(op for op in self.ops if op.name == name)

    def __str__(self) -> str:
        return screen(self)

    def __repr__(self) -> str:
        return f"<Report {self.design} {self.model} {self.about['phase']}: {self.cycles} cycles>"

    def _repr_html_(self) -> str:
        return html(self)


def simulate(schedule: Schedule, design: Design, *, engine: str = "auto") -> Report:
    """The report of this schedule on this design.

    Raises Deadlock when the schedule cannot go on, ScheduleError where it does not fit the design's units, and
    LawBroken (a fault of ours) where the result breaks a law of the event model.
    """
    flats = [flatten(section, design) for section in schedule.sections]
    results = [run(flat, engine=engine) for flat in flats]
    report = Report(
        design=design.name,
        model=schedule.graph.name,
        about=schedule.graph.about,
        options=schedule.options,
        clock_hz=design.clock,
        cycles=sum(r.cycles * s.repeat for r, s in zip(results, schedule.sections, strict=True)),
        lower_bound_cycles=lower_bound(schedule, design),
        power_watts=design.power,
        units={name: _unit(name, schedule, design, flats, results) for name in sorted(design.units)},
        traffic=_traffic(schedule, design),
        ops=tuple(_ops(schedule, results)),
        parts=_parts(schedule, results),
        sections=tuple((s.name, s.repeat, r.cycles) for s, r in zip(schedule.sections, results, strict=True)),
        peaks={
            f"{s.name}: {q.name}": (r.streams[q.name].peak, q.depth, q.bytes_per_token)
            for s, r in zip(schedule.sections, results, strict=True)
            for q in s.streams
        },
        mapped=sum(1 for op in schedule.graph.ops.values() if not OP_KINDS[op.kind].free),
        approximated=(*schedule.approximated, *design.not_derived()),
        recomputed=schedule.recomputed,
        assumed=design.assumptions(),
        fitted={path: entry.point for path, entry in sorted(design.fitted.items())},
        firings=schedule.firings,
        engine="simpy" if engine == "auto" else engine,
    )
    broken = list(broken_laws(report, schedule, results))
    if broken:
        raise LawBroken("; ".join(broken))
    return report


def _unit(
    name: str, schedule: Schedule, design: Design, flats: list[Flat], results: list[SectionResult]
) -> UnitReport:
    """The unit's servers together; of a unit that has as many as one likes, those that a section uses at most."""
    unit = design.units[name]
    used = [[one for one in flat.units if one.of == name] for flat in flats]
    count = unit.count if unit.count < UNLIMITED else max(1, max((len(servers) for servers in used), default=1))
    busiest = Fraction(0)
    sums = {"busy": 0, "starved": 0, "blocked": 0, "idle": 0}
    waits: dict[tuple[str, str], int] = {}
    for section, servers, result in zip(schedule.sections, used, results, strict=True):
        for server in servers:
            mine = result.units[server.name]
            for cause in sums:
                sums[cause] += section.repeat * getattr(mine, f"{cause}_cycles")
            for key, cycles in mine.stalls.items():
                waits[key] = waits.get(key, 0) + section.repeat * cycles
        shares = [Fraction(result.units[server.name].busy_cycles, server.count) for server in servers]
        busiest += section.repeat * max(shares, default=Fraction(0))
        unused = count - sum(server.count for server in servers)
        sums["idle"] += section.repeat * unused * result.cycles
    energy: Fraction | None = Fraction(0)
    for section in schedule.sections:
        for task in section.tasks:
            if task.unit == name:
                energy = _plus(energy, _task_energy(task, design), section.repeat)
    return UnitReport(
        unit.kind, count, sums["busy"], sums["starved"], sums["blocked"], sums["idle"], energy, ceil(busiest), waits
    )


def _task_energy(task: Task, design: Design) -> Fraction | None:
    total: Fraction | None = Fraction(0)
    for item, times in task.work.counted(task.firings):
        total = _plus(total, design.units[task.unit].energy_joules(item), times)
    return total


def _plus(total: Fraction | None, part: Fraction | None, times: int) -> Fraction | None:
    return None if total is None or part is None else total + times * part


def _traffic(schedule: Schedule, design: Design) -> dict[str, dict[tuple[str, str], int]]:
    found: dict[str, dict[tuple[str, str], int]] = {
        name: {} for name, unit in sorted(design.units.items()) if "read" in unit.does
    }
    for section in schedule.sections:
        for task in section.tasks:
            for way, n in task.counts().items():
                if way in ("read", "written") and n:
                    cell = found[task.unit]
                    cell[way, task.role] = cell.get((way, task.role), 0) + n * section.repeat
    return found


def _parts(schedule: Schedule, results: list[SectionResult]) -> dict[str, Fraction]:
    """Cycles by part: from a part's first start to its last end it is under way, call by call."""
    shares: dict[str, Fraction] = {}
    for section, result in zip(schedule.sections, results, strict=True):
        spans = [(result.tasks[t.name].start_cycle, result.tasks[t.name].end_cycle, t.part) for t in section.tasks]
        edges = sorted({0, result.cycles, *(s for s, _, _ in spans), *(e for _, e, _ in spans)})
        for begin, end in pairwise(edges):
            active = sorted({part for s, e, part in spans if s <= begin and end <= e}) or ["waiting"]
            for part in active:
                shares[part] = shares.get(part, Fraction(0)) + Fraction(section.repeat * (end - begin), len(active))
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


def _ops(schedule: Schedule, results: list[SectionResult]) -> Iterator[OpReport]:
    start = 0
    for section, result in zip(schedule.sections, results, strict=True):
        for repetition in range(section.repeat):
            yield from _section_ops(section, result, repetition, start, schedule)
            start += result.cycles


def _busiest(tasks: list[Task], result: SectionResult) -> str:
    """The unit that works longest for these tasks; of several the first by name."""
    busy: dict[str, int] = {}
    for task in tasks:
        busy[task.unit] = busy.get(task.unit, 0) + result.tasks[task.name].busy_cycles
    return min(busy, key=lambda unit: (-busy[unit], unit))


def _section_ops(
    section: Section, result: SectionResult, repetition: int, start: int, schedule: Schedule
) -> Iterator[OpReport]:
    tasks: dict[str, list[Task]] = {}
    for task in section.tasks:
        if task.ops:
            tasks.setdefault(task.ops[repetition], []).append(task)
    for op, mine in tasks.items():
        computing = [t for t in mine if any(computes(item) for item, _ in t.work)] or mine
        timed = [result.tasks[t.name] for t in computing]
        yield OpReport(
            op,
            schedule.graph.ops[op].kind,
            _busiest(computing, result),
            start + min(t.start_cycle for t in timed),
            start + max(t.end_cycle for t in timed),
            sum(t.busy_cycles for t in timed),
        )
