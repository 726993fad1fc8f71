"""Spans: when each unit was busy, starved or blocked, by name."""

from __future__ import annotations

from dataclasses import dataclass

from archsim.engine.flat import Flat
from archsim.engine.recording import CAUSES, Recording


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of a unit's time in which `servers` of it are busy with a firing of task `of` or wait for stream `of`.

    `cause` is busy, starved or blocked; time without a span is idle. `start` (included) and `end` (excluded) are cycles
    of the section.
    """

    unit: str
    start: int
    end: int
    cause: str
    of: str
    servers: int

    @property
    def server_cycles(self) -> int:
        """Length in cycles times servers."""
        return self.servers * (self.end - self.start)


def spans_of(flat: Flat, recording: Recording) -> list[Span]:
    """The spans of a recording, sorted by unit and time; a firing of zero cycles has none."""
    units = [flat.units[task.unit] for task in flat.tasks]
    found = [
        Span(units[task].name, start, end, "busy", flat.tasks[task].name, units[task].gang)
        for task, _, start, end in recording.firings.tolist()
        if end > start
    ]
    found += [
        Span(flat.units[unit].name, start, end, CAUSES[cause], flat.streams[stream].name, servers)
        for unit, cause, stream, start, end, servers in recording.waits.tolist()
    ]
    return sorted(found)
