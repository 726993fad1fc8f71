"""The search for minimal FIFO depths: runs of a schedule at other depths, and how depths shrink.

Holds no formula of time: whether depths reach a number of cycles is for the engine to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from archsim.design.design import Design
from archsim.engine import attempt, run
from archsim.engine.flat import Flat, flatten
from archsim.engine.result import Stuck
from dataflow.pattern import total
from dataflow.schedule import Schedule
from dataflow.section import Section
from dataflow.task import UNLIMITED

Depths = Mapping[str, int]


class Runs:
    """A schedule's cycles at other depths of its queues; a section runs anew only where its own depths are."""

    def __init__(self, schedule: Schedule, design: Design, engine: str, progress: Callable[[str], None]) -> None:
        self.engine, self.progress = engine, progress
        self.flats = [flatten(section, design) for section in schedule.sections]
        self.repeats = [section.repeat for section in schedule.sections]
        self.queues = [_queues(schedule, section) for section in schedule.sections]
        self.known: dict[tuple[int, tuple[int, ...]], int | None] = {}
        self.count = self.firings = 0

    def cycles(self, depths: Depths) -> int | None:
        """Cycles of all sections and repetitions with these depths, the others as given; None where one deadlocks."""
        total_cycles = 0
        for i, (flat, queues) in enumerate(zip(self.flats, self.queues, strict=True)):
            mine = tuple(depths.get(queue, s.depth) for queue, s in zip(queues, flat.streams, strict=True))
            if (i, mine) not in self.known:
                result = attempt(_at(flat, mine), engine=self.engine)
                self.known[i, mine] = None if isinstance(result, Stuck) else result.cycles
                self._count(flat)
            cycles = self.known[i, mine]
            if cycles is None:
                return None
            total_cycles += self.repeats[i] * cycles
        return total_cycles

    def unbounded(self) -> tuple[int, dict[str, int]]:
        """Cycles, and each queue's most places taken, where none ever fills. Raises Deadlock."""
        total_cycles, peaks = 0, dict[str, int]()
        for flat, repeat, queues in zip(self.flats, self.repeats, self.queues, strict=True):
            result = run(_at(flat, (UNLIMITED,) * len(flat.streams)), engine=self.engine)
            self._count(flat)
            total_cycles += repeat * result.cycles
            for stream, queue in zip(flat.streams, queues, strict=True):
                peaks[queue] = max(peaks.get(queue, 0), result.streams[stream.name].peak)
        return total_cycles, peaks

    def _count(self, flat: Flat) -> None:
        self.count += 1
        self.firings += sum(task.firings for task in flat.tasks)
        self.progress(f"sections run: {self.count:,}, firings: {self.firings:,}")


def _queues(schedule: Schedule, section: Section) -> tuple[str, ...]:
    """For each stream of the section the queue that it is laid in."""
    alone = replace(schedule, sections=(section,)).fifos()
    of = {stream.name: queue for queue, streams in alone.items() for stream in streams}
    return tuple(of[stream.name] for stream in section.streams)


def _at(flat: Flat, depths: tuple[int, ...]) -> Flat:
    streams = (replace(s, depth=depth) for s, depth in zip(flat.streams, depths, strict=True))
    return replace(flat, streams=tuple(streams))


class Search:
    """Finds minimal depths for a number of cycles.

    `floors` are the least depths that the schedule's rules allow: the most tokens that one firing takes or gives, the
    initial tokens, and one. `tokens` are all that ever pass, a depth that no run fills. `widths` are bytes of a place.
    """

    def __init__(self, runs: Runs, schedule: Schedule, widths: Mapping[str, int]) -> None:
        self.runs, self.widths = runs, widths
        self.floors: dict[str, int] = {}
        self.tokens: dict[str, int] = {}
        for section in schedule.sections:
            for queue, (least, passing) in zip(_queues(schedule, section), _limits(section), strict=True):
                self.floors[queue] = max(self.floors.get(queue, 1), least)
                self.tokens[queue] = max(self.tokens.get(queue, 1), passing)

    def bytes_at(self, depths: Depths) -> int:
        """Bytes of all queues."""
        return sum(self.widths[name] * depth for name, depth in depths.items())

    def enough(self, peaks: Depths, limit: int) -> dict[str, int]:
        """Depths that hold the limit, which the unbounded run does: its peaks, where they do.

        A peak tells nothing of places that are taken for no time; where firings of zero cycles need them, every queue
        gets room for all its tokens.
        """
        depths = {name: max(floor, peaks[name]) for name, floor in self.floors.items()}
        return depths if self._holds(depths, limit) else {n: max(f, self.tokens[n]) for n, f in self.floors.items()}

    def minimal(self, depths: Depths, limit: int) -> dict[str, int]:
        """Depths of which none holds the limit with one place less, from these, which hold it; most bytes go first."""
        saved = {name: depths[name] - floor for name, floor in self.floors.items() if depths[name] > floor}
        first = sorted(saved, key=lambda name: (-saved[name] * self.widths[name], -saved[name], name))
        found = self._shrunk(dict(depths), first, limit)
        while True:
            loose = [name for name, cycles in self.one_less(found).items() if cycles is not None and cycles <= limit]
            if not loose:
                return found
            # Only where a unit serves first come: elsewhere what failed with others deeper fails now.
            found = self._shrunk({**found, loose[0]: found[loose[0]] - 1}, loose[:1], limit)

    def one_less(self, depths: Depths) -> dict[str, int | None]:
        """For each queue above its floor the cycles with one place less; None where that deadlocks."""
        above = [name for name in depths if depths[name] > self.floors[name]]
        return {name: self.runs.cycles({**depths, name: depths[name] - 1}) for name in above}

    def _holds(self, depths: Depths, limit: int) -> bool:
        cycles = self.runs.cycles(depths)
        return cycles is not None and cycles <= limit

    def _shrunk(self, depths: dict[str, int], names: list[str], limit: int) -> dict[str, int]:
        """These queues less deep, in this order: a group goes to its floors at once, or else each half is tried."""
        groups = [names]
        while groups:
            group = groups.pop()
            lowest = {**depths, **{name: self.floors[name] for name in group}}
            if self._holds(lowest, limit):
                depths = lowest
            elif len(group) == 1:
                depths = {**depths, group[0]: self._least(depths, group[0], limit)}
            else:
                half = len(group) // 2
                groups += [group[half:], group[:half]]
        return depths

    def _least(self, depths: Depths, name: str, limit: int) -> int:
        """The depth of this queue that holds the limit while one place less does not, above a floor that does not."""
        fails, holds = self.floors[name], depths[name]
        while holds - fails > 1:
            middle = (fails + holds) // 2
            if self._holds({**depths, name: middle}, limit):
                holds = middle
            else:
                fails = middle
        return holds


def _limits(section: Section) -> list[tuple[int, int]]:
    """For each stream its least depth and the tokens that ever pass."""
    found = []
    ends = section.ends
    tasks = {task.name: task for task in section.tasks}
    for stream in section.streams:
        source, sink = (tasks[end] for end in ends[stream.name])
        given, taken = source.gives[stream.name], sink.takes[stream.name]
        most = max(n for pattern in (given, taken) for n, _ in pattern)
        found.append((max(1, stream.initial, most), stream.initial + total(given, source.firings)))
    return found
