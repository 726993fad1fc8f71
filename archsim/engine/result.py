"""The result of one run of a section: integers only, the same from every engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class UnitResult:
    """Server-cycles of a unit by cause; the four add up to servers x cycles of the section.

    `stalls` has the starved and the blocked cycles by (cause, stream waited for), and ("turn", "") where asked for.
    """

    busy_cycles: int
    idle_cycles: int
    stalls: dict[tuple[str, str], int]

    @property
    def starved_cycles(self) -> int:
        """Cycles in which servers wait for input."""
        return sum(n for (cause, _), n in self.stalls.items() if cause == "starved")

    @property
    def blocked_cycles(self) -> int:
        """Cycles in which servers wait for room for output."""
        return sum(n for (cause, _), n in self.stalls.items() if cause == "blocked")


class TaskResult(NamedTuple):
    """The cycle of a task's first start, that of its last end (before latency), and its busy cycles."""

    start_cycle: int
    end_cycle: int
    busy_cycles: int


class StreamResult(NamedTuple):
    """Tokens given and taken, and the most places taken at once for at least one cycle."""

    given: int
    taken: int
    peak: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that cannot fire: its next firing from 0, the cause (starved, blocked or turn), the state of the stream.

    Streams and tasks are named by index. `awaited` is the task that has to fire first: the one whose turn it is, if
    that is the cause, and `stream` is -1 then. `depths` holds, for every output without room, (stream, the depth with
    which it would have room).
    """

    task: int
    firing: int
    cause: str
    stream: int
    needed: int
    tokens: int
    room: int
    awaited: int
    depths: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Stuck:
    """A run of a section that cannot go on after `cycle`: every unfinished task with what it waits for."""

    cycle: int
    waiting: tuple[Waiting, ...]


@dataclass(frozen=True, slots=True)
class SectionResult:
    """One run of a section: cycles until every firing has ended and every token is visible; the rest by name.

    `skipped` counts the firings that were not run one by one: exact repeats, and what is equal to the run before.
    """

    cycles: int
    firings: int
    units: dict[str, UnitResult]
    tasks: dict[str, TaskResult]
    streams: dict[str, StreamResult]
    # Not compared: engines skip differently many firings and still have to give equal results.
    skipped: int = field(default=0, compare=False)
