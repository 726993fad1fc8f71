"""Schedule: who does what in which order, as pure data.

Knows names of units, never their rates. A unit says how long a firing takes, the engine how long all firings take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dataflow.errors import ScheduleError, refuse
from dataflow.forms import (
    COUNTS,
    DEPTHS,
    HOLDS,
    OPTIONS,
    TEXT,
    instance,
    misfits,
    optional,
    titled,
    tuple_of,
)
from dataflow.graph import Graph
from dataflow.op import Counts, summed
from dataflow.overview import Overview, Overviewed, counted, labelled
from dataflow.section import Section, rounds
from dataflow.selection_summary import SelectionSummary
from dataflow.task import Stream
from dataflow.tiling import Tiling


@dataclass(frozen=True, slots=True)
class Skipped:
    """Work of the graph that a schedule leaves out, and bytes of a role that it does not read, with the reason."""

    reason: str
    counts: Mapping[str, int]

    def __post_init__(self) -> None:
        told = titled("work that is skipped for", self.reason)
        refuse([f"{told}: {problem}" for problem in misfits(self, {"reason": TEXT, "counts": COUNTS})], ScheduleError)
        wrong = [f"{what} {n}" for what, n in self.counts.items() if n < 0]
        if not self.reason.strip() or wrong:
            told = f"counts of zero or more, got {', '.join(wrong)}" if wrong else "a reason"
            raise ScheduleError(f"work that is skipped has {told}")


SCHEDULE = {
    "graph": instance(Graph), "design": TEXT, "mapper": TEXT, "sections": tuple_of(instance(Section), "Section"),
    "recomputed": COUNTS, "recomputed_for": TEXT, "skipped": tuple_of(instance(Skipped), "Skipped"), "holds": HOLDS,
    "selected": optional(instance(SelectionSummary)), "approximated": tuple_of(TEXT, "texts"), "options": OPTIONS,
    "tilings": tuple_of(instance(Tiling), "Tiling"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, repr=False)
class Schedule(Overviewed):
    """The sections of a graph on a design, one after another.

    `recomputed` counts work beyond the graph's, and `recomputed_for` says what it is; `skipped` is the work that is
    left out. `holds`: bytes of the tensors that lie in each memory throughout, by (memory, role), where "" is no memory
    of the design. `selected` describes what a selection keeps. `approximated` lists what is simplified; `options` are
    the mapper's; `tilings` say how ops were cut, for reports. `maker` is the mapper as it was given, which can lower
    the graph on a variant of the design; None where the sections are not those that it made.
    """

    graph: Graph
    design: str
    mapper: str
    sections: tuple[Section, ...]
    recomputed: Mapping[str, int] = field(default_factory=dict)
    recomputed_for: str = "padding, repeats or steps of the algorithm"
    skipped: tuple[Skipped, ...] = ()
    holds: Mapping[tuple[str, str], int] = field(default_factory=dict)
    selected: SelectionSummary | None = None
    approximated: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    tilings: tuple[Tiling, ...] = ()
    maker: Any = field(default=None, compare=False)

    def __post_init__(self) -> None:
        told = f"{titled('schedule of', getattr(self.graph, 'name', self.graph))} {titled('by', self.mapper)}"
        wrong = [*misfits(self, SCHEDULE)]
        for places in [] if wrong else rounds(self.sections):
            times = {self.sections[place].repeat for place in places}
            if len(times) > 1:
                counts = " and ".join(map(str, sorted(times)))
                wrong.append(f"sections of round '{self.sections[places[0]].round}' repeat {counts} times, not alike")
        refuse([f"{told}: {problem}" for problem in wrong], ScheduleError)

    def counts(self) -> Counts:
        """The counts of all sections and repetitions, summed."""
        return summed((task.counts(), section.repeat) for section in self.sections for task in section.tasks)

    def left_out(self) -> Counts:
        """What is skipped, for all reasons together."""
        return summed((skipped.counts, 1) for skipped in self.skipped)

    def fifos(self) -> dict[str, tuple[Stream, ...]]:
        """The hardware queues by name, each with its streams; a stream's own queue is named "section: stream"."""
        # Streams may use one queue one after another, in different sections too (see Stream.fifo).
        found: dict[str, list[Stream]] = {}
        for section in self.sections:
            for stream in section.streams:
                found.setdefault(_fifo_of(stream, section), []).append(stream)
        return {name: tuple(streams) for name, streams in found.items()}

    def with_depths(self, depths: Mapping[str, int]) -> Schedule:
        """This schedule with new depths for these queues, by their names in `fifos`.

        Raises ScheduleError for an unknown name and for a depth that breaks a rule of its section.
        """
        if (wrong := DEPTHS.wrong(depths)) is not None:
            raise ScheduleError(f"depths are {wrong}; {DEPTHS.told} is expected")
        known, sections = self.fifos(), []
        unknown = [f"no queue '{name}'; queues are: {', '.join(known)}" for name in depths if name not in known]
        refuse(unknown, ScheduleError)
        for section in self.sections:
            new = [replace(s, depth=depths.get(_fifo_of(s, section), s.depth)) for s in section.streams]
            # Deeper queues do not fit between others, so that all of their memory lie beside each other.
            grown = {s.memory for s, was in zip(new, section.streams, strict=True) if s.depth > was.depth}
            new = [replace(s, at=None) if s.at is not None and s.memory in grown else s for s in new]
            # `replace` makes a new section, so its rules check the new depths.
            sections.append(replace(section, streams=tuple(new)))
        return replace(self, sections=tuple(sections), maker=None)

    def __repr__(self) -> str:
        return f"<Schedule {self.graph.name} on {self.design}: {len(self.sections)} sections, {self.firings} firings>"

    def overview(self) -> Overview:
        """Its sections with what each has, its options, and what it simplifies, leaves out and adds."""
        counts = [(s.repeat, len(s.tasks), sum(t.firings for t in s.tasks), len(s.streams)) for s in self.sections]
        cells = [(s.name, *(f"{n:,}" for n in of)) for s, of in zip(self.sections, counts, strict=True)]
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        foot = [("options", options)] if options else []
        foot += [("simplified", told) for told in self.approximated]
        foot += [("left out", f"{_listed(one.counts)}: {one.reason}") for one in self.skipped]
        foot += [("added", f"{_listed(self.recomputed)} ({self.recomputed_for})")] if self.recomputed else []
        head = (
            f"schedule of {self.graph.name} · {' · '.join(self.graph.phase.title())} on {self.design} by {self.mapper}",
            f"{counted(len(self.sections), 'section')}, {counted(self.firings, 'firing')}",
        )
        names = ("section", "repeats", "tasks", "firings of one run", "streams")
        lines = tuple(labelled(label, told) for label, told in foot)
        return Overview(head, names, tuple(cells), lines, (False, True, True, True, True)).first()

    @property
    def run_firings(self) -> int:
        """Firings that an engine runs: each section once, because its repetitions are equal."""
        return sum(t.firings for s in self.sections for t in s.tasks)

    @property
    def firings(self) -> int:
        """Firings of all sections, repetitions included."""
        return sum(s.repeat * sum(t.firings for t in s.tasks) for s in self.sections)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {what}" for what, n in counts.items())


def _fifo_of(stream: Stream, section: Section) -> str:
    return stream.fifo or f"{section.name}: {stream.name}"
