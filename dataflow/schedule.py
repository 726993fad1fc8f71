"""Task, Stream, Section, Schedule: who does what in which order, as pure data that validates itself.

Knows names of units, never their rates. How long a firing takes is for the unit to say, how long all take together for
the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from dataflow.errors import ScheduleError
from dataflow.graph import Graph
from dataflow.op import Counts, Work

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pattern(Generic[T]):
    """A repeating sequence in run-length form: one period as ((value, count), ...).

    >>> one_in_three = Pattern(((0, 2), (1, 1)))
    >>> [one_in_three.at(i) for i in range(6)], total(one_in_three, 7)
    ([0, 0, 1, 0, 0, 1], 2)
    """

    runs: tuple[tuple[T, int], ...]

    def __post_init__(self) -> None:
        if not self.runs or any(count < 1 for _, count in self.runs):
            raise ScheduleError(f"a pattern is made of runs of one or more, got {self.runs!r}")

    @property
    def period(self) -> int:
        """Firings after which the pattern begins again."""
        return sum(count for _, count in self.runs)

    def at(self, i: int) -> T:
        """The value at place i."""
        i %= self.period
        for value, count in self.runs:
            if i < count:
                return value
            i -= count
        raise AssertionError("a place within the period lies in a run")

    def counted(self, n: int) -> list[tuple[T, int]]:
        """The runs of one period, each with how often its value stands among the first n places."""
        whole, rest = divmod(n, self.period)
        out = []
        for value, count in self.runs:
            out.append((value, whole * count + min(rest, count)))
            rest = max(0, rest - count)
        return out

    def __iter__(self) -> Iterator[tuple[T, int]]:
        return iter(self.runs)


def every(value: T) -> Pattern[T]:
    """The pattern of one value for every firing."""
    return Pattern(((value, 1),))


def sequence(*runs: tuple[T, int]) -> Pattern[T]:
    """The pattern with these runs, those of length zero left out."""
    return Pattern(tuple(run for run in runs if run[1] > 0))


def total(pattern: Pattern[int], n: int) -> int:
    """The sum of the first n values."""
    return sum(value * count for value, count in pattern.counted(n))


@dataclass(frozen=True, slots=True)
class Task:
    """One op, or a part of one, given to one unit and fired `firings` times.

    `ops` names the op of the graph for each repetition of the section (one name where it does not repeat, none for a
    task that serves no single op). `takes` and `gives` say per stream how many tokens each firing consumes and makes.
    `tiles` is the part of the op that each firing with arithmetic computes: boxes of two ranges walked row-major, the
    step of a range being the size of a tile. The axes are (m, k) of a ternary_matmul, (m, n) of a matmul,
    (queries, keys) of attention, (rows, d) of the rest; a prefill's attention whose schedule has the option
    attention_order reversed counts both from the newest token. Rows beyond the tensor's are padding.
    `role` says, for reads and writes, what kind of tensor is moved; `part` under which heading a report sums its time.
    """

    name: str
    unit: str
    firings: int
    work: Pattern[Work]
    takes: Mapping[str, Pattern[int]] = field(default_factory=dict)
    gives: Mapping[str, Pattern[int]] = field(default_factory=dict)
    ops: tuple[str, ...] = ()
    tiles: tuple[tuple[range, range], ...] = ()
    role: str = ""
    part: str = ""

    def counts(self) -> Counts:
        """The work of all firings, summed by what is counted."""
        out: Counts = {}
        for item, times in self.work.counted(self.firings):
            for what, n in item.counts().items():
                out[what] = out.get(what, 0) + n * times
        return out

    def slices(self) -> Iterator[tuple[range, range]]:
        """The slice that each computing firing works on, in order: ranges of step one, cut at the tensor's end."""
        for rows, columns in self.tiles:
            for r in rows:
                for c in columns:
                    yield (
                        range(r, min(r + rows.step, rows.stop)),
                        range(c, min(c + columns.step, columns.stop)),
                    )


@dataclass(frozen=True, slots=True)
class Stream:
    """A bounded queue of tokens between one producing and one consuming task.

    `depth` in tokens; `initial` tokens lie in it when the section starts. `bytes_per_token` is 0 for pure signals.
    """

    name: str
    depth: int
    bytes_per_token: int = 0
    initial: int = 0


@dataclass(frozen=True, slots=True)
class Section:
    """Tasks and streams that run together; the next section starts when every firing of this one has ended.

    A section with `repeat` n is run n times in a row. `orders` says, for units that serve more than one task in order,
    the firings in run-length form; a unit that is not named takes its tasks one after another as listed, and one that
    serves first come has no use for an order.
    Validates itself: raises ScheduleError with every problem.
    """

    name: str
    tasks: tuple[Task, ...]
    streams: tuple[Stream, ...]
    repeat: int = 1
    orders: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise ScheduleError([f"section '{self.name}': {p}" for p in problems])

    def order_of(self, unit: str) -> tuple[tuple[str, int], ...]:
        """The firings of this unit in their fixed order: ((task, how many in a row), ...)."""
        if unit in self.orders:
            return self.orders[unit]
        return tuple((t.name, t.firings) for t in self.tasks if t.unit == unit)

    @property
    def ends(self) -> dict[str, tuple[str, str]]:
        """For each stream its producing and its consuming task."""
        producer = {s: t.name for t in self.tasks for s in t.gives}
        consumer = {s: t.name for t in self.tasks for s in t.takes}
        return {s.name: (producer[s.name], consumer[s.name]) for s in self.streams}


def _problems(section: Section) -> Iterator[str]:
    if not section.tasks:
        yield "it has no task; a section has at least one"
    yield from (f"task '{n}' is given twice" for n in _twice([t.name for t in section.tasks]))
    if section.repeat < 1:
        yield f"repeat is {section.repeat}; a section is run at least once"
    for task in section.tasks:
        yield from _task_problems(task, section)
    known = {s.name for s in section.streams}
    yield from (f"stream '{n}' is given twice" for n in _twice([s.name for s in section.streams]))
    for end in ("takes", "gives"):
        for name in sorted({s for t in section.tasks for s in getattr(t, end)} - known):
            yield f"stream '{name}' is in the {end} of a task but is not declared"
    for stream in section.streams:
        yield from _stream_problems(stream, section)
    for unit in section.orders:
        yield from _order_problems(unit, section)


def _twice(names: list[str]) -> list[str]:
    return sorted({n for n in names if names.count(n) > 1})


def _task_problems(task: Task, section: Section) -> Iterator[str]:
    if task.firings < 1:
        yield f"task '{task.name}' is fired {task.firings} times; a task is fired at least once"
        return
    if task.ops and len(task.ops) != section.repeat:
        yield f"task '{task.name}' names {len(task.ops)} ops for {section.repeat} repetitions"
    for kind, patterns in (("takes", task.takes), ("gives", task.gives)):
        for stream, pattern in patterns.items():
            if any(n < 0 for n, _ in pattern):
                yield f"task '{task.name}' {kind} a negative number of tokens of '{stream}'"
    tiles = sum(len(a) * len(b) for a, b in task.tiles)
    computing = sum(n for item, n in task.work.counted(task.firings) if computes(item))
    if task.tiles and tiles != computing:
        yield f"task '{task.name}' has {computing} computing firings and {tiles} tiles; each firing computes one tile"


def _stream_problems(stream: Stream, section: Section) -> Iterator[str]:
    if stream.depth < 1:
        yield f"stream '{stream.name}' has depth {stream.depth}; a stream holds at least one token"
    if not 0 <= stream.initial <= max(stream.depth, 0):
        yield f"stream '{stream.name}' starts with {stream.initial} tokens; it holds 0 to {stream.depth}"
    producers = [t for t in section.tasks if stream.name in t.gives]
    consumers = [t for t in section.tasks if stream.name in t.takes]
    for end, tasks in (("producing", producers), ("consuming", consumers)):
        if len(tasks) != 1:
            found = ", ".join(f"'{t.name}'" for t in tasks) or "none"
            yield f"stream '{stream.name}' has one {end} task, got {found}"
    if len(producers) != 1 or len(consumers) != 1:
        return
    (source,), (sink,) = producers, consumers
    given = total(source.gives[stream.name], source.firings)
    taken = total(sink.takes[stream.name], sink.firings)
    if given != taken:
        yield (
            f"stream '{stream.name}': '{source.name}' gives {given} tokens in all and '{sink.name}' takes {taken}; "
            "the totals are equal"
        )
    for task, verb, pattern in ((source, "gives", source.gives), (sink, "takes", sink.takes)):
        most = max(n for n, _ in pattern[stream.name])
        if most > stream.depth >= 1:
            yield (
                f"stream '{stream.name}': '{task.name}' {verb} {most} tokens in one firing and the depth is "
                f"{stream.depth}; use a depth of at least {most}"
            )


def _order_problems(unit: str, section: Section) -> Iterator[str]:
    mine = {t.name: t.firings for t in section.tasks if t.unit == unit}
    ordered: dict[str, int] = {}
    for name, count in section.orders[unit]:
        ordered[name] = ordered.get(name, 0) + count
        if count < 1:
            yield f"the order of unit '{unit}' has a run of {count} firings of '{name}'; runs are of one or more"
    if ordered != mine:
        yield f"the order of unit '{unit}' has the firings {ordered}, its tasks are {mine}"


def computes(item: Work) -> bool:
    """True where this work is arithmetic of an op, and not a movement."""
    counts = item.counts()
    return any(counts.get(what) for what in ("mac", "flop", "exp"))


@dataclass(frozen=True, slots=True, repr=False)
class Schedule:
    """The sections of a graph on a design, one after another.

    `recomputed` declares work beyond the graph's, by what is counted (padding, repeated quantisation);
    `approximated` says what is not modelled as it is; `options` are those the mapper was given.
    """

    graph: Graph
    design: str
    mapper: str
    sections: tuple[Section, ...]
    recomputed: Mapping[str, int] = field(default_factory=dict)
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
