"""Stalls: what the servers of each unit spend the time of a schedule on, by causes that add up to all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from archsim.design.design import Design
from archsim.engine import attempt
from archsim.engine.flat import flatten
from archsim.engine.result import SectionResult
from archsim.run.schedule_run import run_schedule
from archsim.units.memory import Carrier
from dataflow.errors import expect
from dataflow.schedule import Schedule
from dataflow.task import UNLIMITED

BUSY, INPUT, MEMORY, ROOM, TURN, DONE = "busy", "input", "memory", "room", "turn", "done"
WORDS = {
    BUSY: "busy", INPUT: "waits for stream", MEMORY: "waits for", ROOM: "no room in stream", TURN: "not its turn",
    DONE: "nothing left to do",
}  # fmt: skip


class Cause(NamedTuple):
    """A kind of WORDS, and the stream or the memory that it is about; "" for the others."""

    kind: str
    of: str = ""

    def __str__(self) -> str:
        return f"{WORDS[self.kind]}{f' {self.of}' if self.of else ''}"


@dataclass(frozen=True, slots=True)
class Stalls:
    """Server-cycles of each unit by cause; they add up to servers x cycles.

    A server waits for a memory where the stream that it waits for is filled by one, or by a channel. It is not its turn
    where another task of a unit in order could fire, but not the one in turn.
    """

    cycles: int
    units: Mapping[str, Mapping[Cause, int]]

    def __str__(self) -> str:
        lines = [f"{self.cycles:,} cycles"]
        for unit, causes in self.units.items():
            total = sum(causes.values())
            told = sorted(causes.items(), key=lambda one: (-one[1], one[0]))
            lines.append(f"{unit}: " + ", ".join(f"{cause} {n / total:.1%}" for cause, n in told))
        return "\n".join(lines)


def stalls(schedule: Schedule, design: Design, *, engine: str = "auto") -> Stalls:
    """Runs the schedule once more and says what held each unit up. Raises Deadlock and InputError as a run does."""
    expect("schedule", schedule, Schedule)
    expect("design", design, Design)
    run_schedule(schedule, design, engine=engine)  # refuses what every run refuses
    found: dict[str, dict[Cause, int]] = {name: {} for name in design.units}
    served = dict.fromkeys(design.units, 0)
    most = dict.fromkeys(design.units, 1)
    cycles = 0
    for section in schedule.sections:
        flat = flatten(section, design)
        result = attempt(flat, engine=engine, turns=True)
        assert isinstance(result, SectionResult), "it has come to its end above"
        makers = {stream.name: flat.units[flat.tasks[stream.producer].unit].of for stream in flat.streams}
        cycles += section.repeat * result.cycles
        servers = dict.fromkeys(design.units, 0)
        for unit in flat.units:
            spent, causes = result.units[unit.name], found[unit.of]
            counted = {Cause(BUSY): spent.busy_cycles, Cause(DONE): spent.idle_cycles}
            for (what, of), n in spent.stalls.items():
                cause = _named(what, of, design, makers)
                counted[cause] = counted.get(cause, 0) + n
            for cause, n in counted.items():
                causes[cause] = causes.get(cause, 0) + section.repeat * n
            servers[unit.of] += unit.count * unit.gang
        for name, n in servers.items():
            served[name] += section.repeat * n * result.cycles
            most[name] = max(most[name], n)
    for name, causes in found.items():
        count = design.units[name].count
        # A section's result leaves out servers without a task; of unlimited ones count the most that any section uses.
        left = (count if count < UNLIMITED else most[name]) * cycles - served[name]
        causes[Cause(DONE)] = causes.get(Cause(DONE), 0) + left
    return Stalls(cycles, {name: {c: n for c, n in causes.items() if n} for name, causes in found.items()})


def _named(what: str, of: str, design: Design, makers: Mapping[str, str]) -> Cause:
    if what == "turn":
        return Cause(TURN)
    if what == "blocked":
        return Cause(ROOM, of)
    maker = makers[of]
    return Cause(MEMORY, maker) if isinstance(design.units[maker], Carrier) else Cause(INPUT, of)
