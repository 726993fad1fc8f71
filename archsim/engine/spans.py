"""Spans: what each unit did when, for timelines. Engines record rows; here they become spans, alike from each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

Row = tuple[str, str, str, int, int, int]  # unit, cause, task or stream, start, end, servers


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of a unit's time: `servers` of it busy with a firing of the task `of`, or waiting for the stream `of`.

    `cause` is busy, starved or blocked; what no span covers is idle. Cycles of the section, from start up to end.
    """

    unit: str
    start: int
    end: int
    cause: str
    of: str
    servers: int

    @property
    def server_cycles(self) -> int:
        """Cycles over all its servers."""
        return self.servers * (self.end - self.start)


def spans_of(rows: Iterable[Row]) -> list[Span]:
    """The spans by unit and time; stretches of one wait that an event in between has cut are joined."""
    found: list[Span] = []
    waiting: dict[str, int] = {}
    for span in sorted(Span(unit, start, end, cause, of, n) for unit, cause, of, start, end, n in rows if end > start):
        if span.cause == "busy":
            found.append(span)
            continue
        at = waiting.get(span.unit, -1)
        before = found[at] if at >= 0 else span
        if before == replace(span, start=before.start, end=span.start):
            found[at] = replace(before, end=span.end)
        else:
            waiting[span.unit] = len(found)
            found.append(span)
    return sorted(found)
