"""Stalls: what the servers of each unit spend the time of a schedule on, by causes that add up to all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from archsim.design.design import Design
from archsim.engine import attempt
from archsim.engine.flat import Flat, flatten
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
STREAMS = {INPUT: "waits for input", ROOM: "waits for room"}  # several streams together


def places_of(stream: str) -> str:
    """The places that the tokens of this stream stand for, such as "2 places of load w"; "" of a stream of data.

    A mapper names them so where what fills a memory waits until a place in it is free again.
    """
    filler, freed, places = stream.partition(" freed, of ")
    return f"{places.partition(',')[0]} places of {filler}" if freed else ""


class Cause(NamedTuple):
    """A kind of WORDS, and the stream or the memory that it is about; "" for the others."""

    kind: str
    of: str = ""

    def __str__(self) -> str:
        return f"{WORDS[self.kind]}{f' {self.of}' if self.of else ''}"

    @property
    def told_of(self) -> str:
        """What it is about, in words."""
        return places_of(self.of) or self.of

    @property
    def is_of_stream(self) -> bool:
        """True where it is about a stream."""
        return self.kind in (INPUT, ROOM)

    @property
    def told_as(self) -> str:
        """What it is called together with those of other streams."""
        return STREAMS[self.kind] if self.is_of_stream else str(self)


@dataclass(frozen=True, slots=True)
class Stalls:
    """Server-cycles of each unit by cause; they add up to servers x cycles.

    A server waits for a memory where the stream that it waits for is filled by one, or by a channel. It is not its turn
    where another task of a unit in order could fire, but not the one in turn. It waits for room also where a memory has
    no place left for what it would bring, which a report counts as starved.
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
    found = {name: _Account({}) for name in design.units}
    cycles = 0
    for section in schedule.sections:
        flat = flatten(section, design)
        result = attempt(flat, engine=engine, turns=True)
        assert isinstance(result, SectionResult), "it has come to its end above"
        cycles += section.repeat * result.cycles
        servers = _add(found, flat, result, design, section.repeat)
        for name, n in servers.items():
            found[name].served += section.repeat * n * result.cycles
            found[name].most = max(found[name].most, n)
    for name, account in found.items():
        # A section's result leaves out servers without a task; of unlimited ones count the most that any section uses.
        count = design.units[name].count
        account.add(Cause(DONE), (count if count < UNLIMITED else account.most) * cycles - account.served)
    return Stalls(cycles, {name: {c: n for c, n in one.causes.items() if n} for name, one in found.items()})


@dataclass(slots=True)
class _Account:
    """Server-cycles of a unit by cause; those of servers in sections where they have a task, and the most of these."""

    causes: dict[Cause, int]
    served: int = 0
    most: int = 1

    def add(self, cause: Cause, n: int) -> None:
        self.causes[cause] = self.causes.get(cause, 0) + n


def _add(
    found: Mapping[str, _Account], flat: Flat, result: SectionResult, design: Design, times: int
) -> dict[str, int]:
    """Adds a section's run so many times; returns the servers of each unit that have a task in it."""
    makers = {stream.name: flat.units[flat.tasks[stream.producer].unit].of for stream in flat.streams}
    servers: dict[str, int] = {}
    for unit in flat.units:
        spent, account = result.units[unit.name], found[unit.of]
        account.add(Cause(BUSY), times * spent.busy_cycles)
        account.add(Cause(DONE), times * spent.idle_cycles)
        for (what, of), n in spent.stalls.items():
            account.add(_named(what, of, design, makers), times * n)
        servers[unit.of] = servers.get(unit.of, 0) + unit.count * unit.gang
    return servers


def _named(what: str, of: str, design: Design, makers: Mapping[str, str]) -> Cause:
    if what == "turn":
        return Cause(TURN)
    if what == "blocked" or places_of(of):
        return Cause(ROOM, of)
    maker = makers[of]
    return Cause(MEMORY, maker) if isinstance(design.units[maker], Carrier) else Cause(INPUT, of)
