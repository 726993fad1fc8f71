"""Schedule: who does what in which order, as pure data.

Knows names of units, never their rates. The unit says how long a firing takes, the engine how long all take together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dataflow.errors import ScheduleError
from dataflow.graph import Graph
from dataflow.op import Counts
from dataflow.section import Section
from dataflow.selection_summary import SelectionSummary
from dataflow.task import Stream


@dataclass(frozen=True, slots=True, repr=False)
class Schedule:
    """The sections of a graph on a design, one after another.

    `recomputed` declares work beyond the graph's, by what is counted (padding, repeated quantisation, the scores of a
    selection); `skipped` what is left out because a selection does not keep the keys, of the graph's work and, under
    "cache", of the bytes to be read; `selected` says what it keeps. `approximated` says what is not modelled as it is;
    `options` are those the mapper was given.
    """

    graph: Graph
    design: str
    mapper: str
    sections: tuple[Section, ...]
    recomputed: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    selected: SelectionSummary | None = None
    approximated: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def counts(self) -> Counts:
        """The work of all sections and repetitions, summed by what is counted."""
        out: Counts = {}
        for section in self.sections:
            for task in section.tasks:
                for what, n in task.counts().items():
                    out[what] = out.get(what, 0) + n * section.repeat
        return out

    def fifos(self) -> dict[str, tuple[Stream, ...]]:
        """The queues of the hardware by name, each with its streams; that of a single stream is "section: stream"."""
        found: dict[str, tuple[Stream, ...]] = {}
        for section in self.sections:
            for stream in section.streams:
                name = _fifo_of(stream, section)
                found[name] = (*found.get(name, ()), stream)
        return found

    def with_depths(self, depths: Mapping[str, int]) -> Schedule:
        """This schedule with the depths of these queues, by the names that `fifos` gives, replaced.

        Raises ScheduleError for a name that is not there and where a depth cannot be.
        """
        known = self.fifos()
        unknown = [f"no queue '{name}'; queues are: {', '.join(known)}" for name in depths if name not in known]
        if unknown:
            raise ScheduleError(unknown)
        sections = tuple(
            replace(
                section,
                streams=tuple(
                    replace(stream, depth=depths.get(_fifo_of(stream, section), stream.depth))
                    for stream in section.streams
                ),
            )
            for section in self.sections
        )
        return replace(self, sections=sections)

    def __repr__(self) -> str:
        return f"<Schedule {self.graph.name} on {self.design}: {len(self.sections)} sections, {self.firings} firings>"

    @property
    def run_firings(self) -> int:
        """Firings that an engine runs: each section once, however often it repeats."""
        return sum(t.firings for s in self.sections for t in s.tasks)

    @property
    def firings(self) -> int:
        """Firings in all, repetitions included."""
        return sum(s.repeat * sum(t.firings for t in s.tasks) for s in self.sections)


def _fifo_of(stream: Stream, section: Section) -> str:
    return stream.fifo or f"{section.name}: {stream.name}"
