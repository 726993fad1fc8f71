"""Spans: when each unit was busy, starved or blocked, for timelines.

Makes spans of the rows that an engine records; every engine gives the same spans. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

Row = tuple[str, str, str, int, int, int]  # unit, cause, task or stream, start, end, servers


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


def spans_of(rows: Iterable[Row]) -> list[Span]:
    """The spans sorted by unit and time; rows that continue one wait are joined to one span."""
    found: list[Span] = []
    waiting: dict[str, int] = {}
    # The SimPy engine records firings of zero cycles too, the compiled one does not: a span has a length.
    for span in sorted(Span(unit, start, end, cause, of, n) for unit, cause, of, start, end, n in rows if end > start):
        if span.cause == "busy":
            found.append(span)
            continue
        # Engines close a wait at each event of its unit, even where the cause goes on. Other servers may have fired in
        # between, so the row before is the unit's last wait and not the last span found.
        at = waiting.get(span.unit, -1)
        before = found[at] if at >= 0 else span
        if before == replace(span, start=before.start, end=span.start):
            found[at] = replace(before, end=span.end)
        else:
            waiting[span.unit] = len(found)
            found.append(span)
    return sorted(found)
