"""What an engine returns for one section: integers only, the same from every engine."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class UnitResult:
    """Server-cycles of a unit by cause; the four add up to count x cycles of the section.

    `stalls` splits starved and blocked by the stream that was waited for.
    """

    busy_cycles: int
    starved_cycles: int
    blocked_cycles: int
    idle_cycles: int
    stalls: dict[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A task's first start, last end (before latency) and busy cycles."""

    start_cycle: int
    end_cycle: int
    busy_cycles: int


@dataclass(frozen=True, slots=True)
class StreamResult:
    """Tokens that went in and came out, and the most places that were taken for any length of time."""

    given: int
    taken: int
    peak: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that cannot fire: its next firing, the cause (starved, blocked, turn) and the state of the stream.

    `turn` is the task whose turn it is on the unit, where that is what it waits for. `depths` holds (stream, depth) for
    every output without room: the depth with which there would be room.
    """

    task: int
    firing: int
    cause: str
    stream: str
    needed: int
    tokens: int
    room: int
    turn: int | None
    depths: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Stuck:
    """A run of a section that cannot go on: every unfinished task with what it waits for, from this cycle on."""

    cycle: int
    waiting: tuple[Waiting, ...]


@dataclass(frozen=True, slots=True)
class SectionResult:
    """One run of a section: cycles until every firing has ended and every token is visible; the rest by name.

    `skipped` of the firings were not run one by one, but as exact repeats; how many is no part of the answer.
    """

    cycles: int
    firings: int
    units: dict[str, UnitResult]
    tasks: dict[str, TaskResult]
    streams: dict[str, StreamResult]
    skipped: int = field(default=0, compare=False)
