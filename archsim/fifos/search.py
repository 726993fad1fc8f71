"""The search for minimal FIFO depths: runs of a schedule at other depths, and the order in which depths shrink.

Holds no formula of time: the engine says whether depths reach a number of cycles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from archsim.design.design import Design
from archsim.engine import attempt, run
from archsim.engine.flat import Flat, flatten
from archsim.engine.result import Stuck
from archsim.units import Arrivals
from archsim.workers.lost import Lost
from archsim.workers.pool import Pool
from dataflow.pattern import total
from dataflow.schedule import Schedule
from dataflow.section import Section
from dataflow.task import UNLIMITED

DepthByQueue = Mapping[str, int]


class DepthTrials:
    """Runs a schedule at other depths of its queues; a section runs again only where its own depths are new.

    `count`: sections that were run and asked for; `firings`: firings of those runs. With a pool of processes runs that
    may be asked for are made ahead, side by side.
    """

    def __init__(
        self, schedule: Schedule, design: Design, engine: str, progress: Callable[[str], None], jobs: int = 1
    ) -> None:
        self.engine, self.progress, self.sections, self.design = engine, progress, schedule.sections, design
        self.flats = [flatten(section, design) for section in schedule.sections]
        self.repeats = [section.repeat for section in schedule.sections]
        self.queues = [_queues(schedule, section) for section in schedule.sections]
        self.known: dict[tuple[int, tuple[int, ...]], int | None] = {}
        self.count = self.firings = 0
        self.ahead: dict[tuple[int, tuple[int, ...]], int | None] = {}
        self.jobs = jobs
        self.pool = Pool(DepthRuns(tuple(self.flats), engine), jobs) if jobs > 1 else None

    def __enter__(self) -> DepthTrials:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool:
            self.pool.__exit__()

    def prepare(self, several: Iterable[DepthByQueue]) -> None:
        """Runs what `cycles` will need for these depths, side by side; without a pool nothing."""
        if self.pool is None:
            return
        pairs = dict.fromkeys(pair for depths in several for pair in self._pairs(depths))
        new = [pair for pair in pairs if pair not in self.known and pair not in self.ahead]
        for place, cycles in self.pool.answers(dict(enumerate(new))):
            if not isinstance(cycles, Lost):  # of a process that died: runs here, when it is asked for
                self.ahead[new[place]] = cycles

    def _pairs(self, depths: DepthByQueue) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Of each section its place, and its depths; sections share nothing but queue names."""
        for i, (flat, queues) in enumerate(zip(self.flats, self.queues, strict=True)):
            yield i, tuple(depths.get(queue, s.depth) for queue, s in zip(queues, flat.streams, strict=True))

    def cycles(self, depths: DepthByQueue) -> int | None:
        """Cycles of all sections and repetitions at these depths, other queues as given; None for a deadlock."""
        total_cycles = 0
        for i, at in self._pairs(depths):
            if (i, at) not in self.known:
                run_here = (i, at) not in self.ahead
                self.known[i, at] = cycles_at(self.flats[i], at, self.engine) if run_here else self.ahead.pop((i, at))
                self._count(self.flats[i])
            cycles = self.known[i, at]
            if cycles is None:
                return None
            total_cycles += self.repeats[i] * cycles
        return total_cycles

    def unbounded(self) -> tuple[int, dict[str, int]]:
        """Cycles with unlimited queues, and the most places taken in each queue. Raises Deadlock.

        A queue that lies in a memory is no deeper than given: the mapper sized it by what the memory holds.
        """
        total_cycles, peaks = 0, dict[str, int]()
        for flat, repeat, queues, section in zip(self.flats, self.repeats, self.queues, self.sections, strict=True):
            depths = [stream.depth if stream.memory else UNLIMITED for stream in section.streams]
            result = run(flat.with_depths(depths), engine=self.engine)
            self._count(flat)
            total_cycles += repeat * result.cycles
            for stream, queue in zip(flat.streams, queues, strict=True):
                peaks[queue] = max(peaks.get(queue, 0), result.streams[stream.name].peak)
        return total_cycles, peaks

    def _count(self, flat: Flat) -> None:
        self.count += 1
        self.firings += sum(task.firings for task in flat.tasks)
        self.progress(f"sections run: {self.count:,}, firings: {self.firings:,}")


@dataclass(frozen=True, slots=True)
class DepthRuns:
    """Runs of sections at other depths, in another process: (place of the section, depths) -> cycles."""

    flats: tuple[Flat, ...]
    engine: str
    runs: None = None

    def read(self) -> DepthRuns:
        """Itself."""
        return self

    def __call__(self, pair: tuple[int, tuple[int, ...]]) -> int | None:
        """The cycles; None for a deadlock."""
        return cycles_at(self.flats[pair[0]], pair[1], self.engine)


def cycles_at(flat: Flat, depths: Sequence[int], engine: str) -> int | None:
    """The cycles of a section at these depths; None for a deadlock."""
    result = attempt(flat.with_depths(depths), engine=engine)
    return None if isinstance(result, Stuck) else result.cycles


def _queues(schedule: Schedule, section: Section) -> tuple[str, ...]:
    """For each stream of the section the queue that it uses."""
    # Stream names are unique within a section only, so the queues are asked of a schedule of this section alone.
    alone = replace(schedule, sections=(section,)).fifos()
    queue_of = {stream.name: queue for queue, streams in alone.items() for stream in streams}
    return tuple(queue_of[stream.name] for stream in section.streams)


class Search:
    """Finds minimal depths with which a schedule takes no more than a limit of cycles.

    `floors`: the least depths that the schedule's rules allow, which are the most tokens that one firing takes or
    gives, the initial tokens, and at least one. `tokens`: all tokens that ever pass a queue, a depth that no run fills.
    `widths`: bytes of a place.
    """

    def __init__(self, trials: DepthTrials, schedule: Schedule, widths: Mapping[str, int]) -> None:
        self.trials, self.widths = trials, widths
        self.floors: dict[str, int] = {}
        self.tokens: dict[str, int] = {}
        for section in schedule.sections:
            limits = _limits(section, trials.design)
            for queue, (least, passing) in zip(_queues(schedule, section), limits, strict=True):
                self.floors[queue] = max(self.floors.get(queue, 1), least)
                self.tokens[queue] = max(self.tokens.get(queue, 1), passing)
        for name, streams in schedule.fifos().items():
            if any(stream.memory for stream in streams):
                self.tokens[name] = max(stream.depth for stream in streams)

    def bytes_at(self, depths: DepthByQueue) -> int:
        """Bytes of all queues."""
        return sum(self.widths[name] * depth for name, depth in depths.items())

    def enough(self, peaks: DepthByQueue, limit: int) -> dict[str, int]:
        """Depths that reach the limit, which unlimited queues reach: the peaks of that run, where those are enough.

        A peak leaves out places that are taken for no time. Where firings of zero cycles need such places, every queue
        gets room for all its tokens.
        """
        depths = {name: max(floor, peaks[name]) for name, floor in self.floors.items()}
        return depths if self._reaches(depths, limit) else {n: max(f, self.tokens[n]) for n, f in self.floors.items()}

    def fastest(self, given: DepthByQueue, peaks: DepthByQueue, unbounded: int) -> tuple[int, dict[str, int]]:
        """The fewest cycles of any run known, and depths that reach them.

        Beside unlimited queues these are the given depths, with one queue after another raised to its peak as long as
        that helps: where a unit serves first come, deeper queues may be slower.
        """
        depths = {name: max(floor, given[name]) for name, floor in self.floors.items()}
        best = self.trials.cycles(depths)
        while best is not None:
            raised = [{**depths, name: peak} for name, peak in sorted(peaks.items()) if peak > depths[name]]
            self.trials.prepare(raised)
            runs = [(cycles, i) for i, one in enumerate(raised) if (cycles := self.trials.cycles(one)) is not None]
            if not runs or min(runs)[0] >= best:
                break
            best, chosen = min(runs)
            depths = raised[chosen]
        if best is None or best >= unbounded:
            return unbounded, self.enough(peaks, unbounded)
        return best, depths

    def minimal(self, depths: DepthByQueue, limit: int) -> dict[str, int]:
        """Depths that reach the limit and miss it with one place less in any queue, shrunk from depths that reach it.

        Queues that can save most bytes shrink first.
        """
        saved = {name: depths[name] - floor for name, floor in self.floors.items() if depths[name] > floor}
        # Bytes first, then places, for queues without bytes; names last, so that equal queues have a fixed order.
        order = sorted(saved, key=lambda name: (-saved[name] * self.widths[name], -saved[name], name))
        found = self._shrunk(dict(depths), order, limit)
        while True:
            loose = [name for name, cycles in self.one_less(found).items() if cycles is not None and cycles <= limit]
            if not loose:
                return found
            # Only with first-come units: in a fixed order, what missed the limit with others deeper misses it now too.
            found = self._shrunk({**found, loose[0]: found[loose[0]] - 1}, loose[:1], limit)

    def one_less(self, depths: DepthByQueue) -> dict[str, int | None]:
        """For each queue above its floor the cycles with one place less; None where that deadlocks."""
        above = [name for name in depths if depths[name] > self.floors[name]]
        shorter = {name: {**depths, name: depths[name] - 1} for name in above}
        self.trials.prepare(shorter.values())
        return {name: self.trials.cycles(one) for name, one in shorter.items()}

    def _reaches(self, depths: DepthByQueue, limit: int) -> bool:
        cycles = self.trials.cycles(depths)
        return cycles is not None and cycles <= limit

    def _shrunk(self, depths: dict[str, int], names: list[str], limit: int) -> dict[str, int]:
        """The depths with these queues shrunk in order: a group goes to its floors at once, else its halves are tried.

        A single queue that misses the limit at its floor is bisected.
        """
        groups = [names]
        while groups:
            group = groups.pop()
            half = len(group) // 2
            lowest = {**depths, **{name: self.floors[name] for name in group}}
            # The first half is asked for next, if the group does not reach the limit.
            self.trials.prepare([lowest, {**depths, **{name: self.floors[name] for name in group[:half]}}])
            # One run settles a whole group of queues that need no more than their floors.
            if self._reaches(lowest, limit):
                depths = lowest
            elif len(group) == 1:
                depths = {**depths, group[0]: self._least(depths, group[0], limit)}
            else:
                # The last group is tried next: the first half, so that queues keep their order.
                groups += [group[half:], group[:half]]
        return depths

    def _least(self, depths: DepthByQueue, name: str, limit: int) -> int:
        """A depth of this queue that reaches the limit while one place less misses it; its floor misses it."""
        misses, reaches = self.floors[name], depths[name]
        # The two ends stay on their sides of the limit, also where a first-come unit makes depths between them uneven.
        while reaches - misses > 1:
            self.trials.prepare({**depths, name: place} for place in _middles(misses, reaches, self.trials.jobs))
            middle = (misses + reaches) // 2
            if self._reaches({**depths, name: middle}, limit):
                reaches = middle
            else:
                misses = middle
        return reaches


def _middles(misses: int, reaches: int, most: int) -> list[int]:
    """The first so many places at which a bisection may look, nearest first, and lower ones before higher ones.

    >>> _middles(0, 16, 4)
    [8, 4, 12, 2]
    """
    found, between = list[int](), deque([(misses, reaches)])
    while between and len(found) < most:
        low, high = between.popleft()
        if high - low > 1:
            middle = (low + high) // 2
            found.append(middle)
            between += [(low, middle), (middle, high)]
    return found


def _limits(section: Section, design: Design) -> list[tuple[int, int]]:
    """For each stream of the section its least depth, and all tokens that ever pass it."""
    found = []
    ends = section.ends
    tasks = {task.name: task for task in section.tasks}
    for stream in section.streams:
        producer, consumers = ends[stream.name]
        source = tasks[producer]
        given, taken = source.gives[stream.name], [tasks[name].takes[stream.name] for name in consumers]
        most = max(n for pattern in (given, *taken) for n, _ in pattern)
        passing = stream.initial + total(given, source.firings)
        # Nothing may hold arrivals up, so that their queues have room for all of them.
        least = passing if isinstance(design.units[source.unit], Arrivals) else max(1, stream.initial, most)
        found.append((least, passing))
    return found
