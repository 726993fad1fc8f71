"""The flat form of a section on a design: cycles and tokens of each firing, with every name resolved to an index.

Engines run it. It alone asks `Unit.cycles` for the firings of a schedule, and holds no cost formula of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import lcm
from typing import Any, Literal, NamedTuple

from archsim.design.design import Design
from archsim.engine.memo import Memo
from archsim.units import Arrivals
from dataflow.errors import ScheduleError, refuse
from dataflow.order import Order, counted, renamed
from dataflow.pattern import Pattern, side_by_side, total
from dataflow.section import Section
from dataflow.task import Task
from kernels.limits import LISTED, beyond


@dataclass(frozen=True, slots=True)
class FlatRun:
    """`count` equal firings in a row: cycles of each on the unit, and (stream index, tokens) it takes and gives."""

    count: int
    cycles: int
    takes: tuple[tuple[int, int], ...]
    gives: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class FlatTask:
    """A task: the index of its unit, its number of firings, and one period of runs, repeated until all are done.

    Among ready firings a first-come unit serves those of the lowest `priority` first.
    """

    name: str
    unit: int
    firings: int
    runs: tuple[FlatRun, ...]
    priority: int = 0

    @property
    def busy_cycles(self) -> int:
        """Cycles of all firings."""
        return sum(cycles * count for cycles, count in self.cycles_counted())

    def cycles_counted(self) -> list[tuple[int, int]]:
        """For each run of the period: the cycles of a firing, and how many firings of the task are of this run."""
        return Pattern(tuple([(run.cycles, run.count) for run in self.runs])).counted(self.firings)

    def tokens(self, stream: int, end: Literal["takes", "gives"]) -> Pattern[int]:
        """The tokens of the stream that each firing takes or gives."""
        return Pattern(tuple((dict(getattr(run, end)).get(stream, 0), run.count) for run in self.runs))


@dataclass(frozen=True, slots=True)
class FlatUnit:
    """A unit: servers, latency, and its order as (task index, firings in a row), None if it serves first come.

    `of` is the unit's name in the design. On a unit whose tasks are placed, each server is a FlatUnit of its own, with
    the same `of`. Where firings are done by several servers together, such a gang is one of `count`, of `gang` servers.
    """

    name: str
    of: str
    count: int
    latency_cycles: int
    order: Order | None
    tasks: tuple[int, ...]
    gang: int = 1


@dataclass(frozen=True, slots=True)
class FlatStream:
    """A stream: depth and initial tokens, and the indices of the tasks at its ends; of a broadcast `further` ones."""

    name: str
    depth: int
    initial: int
    producer: int
    consumer: int
    further: tuple[int, ...] = ()

    @property
    def consumers(self) -> tuple[int, ...]:
        """The tasks that take from it, one or more."""
        return (self.consumer, *self.further)

    def with_consumers(self, consumers: Sequence[int]) -> FlatStream:
        """The stream with these consumers instead."""
        return replace(self, consumer=consumers[0], further=tuple(consumers[1:]))


@dataclass(frozen=True, slots=True)
class Flat:
    """A section with every name resolved to an index; units of the design that have no task in it are left out."""

    section: str
    tasks: tuple[FlatTask, ...]
    streams: tuple[FlatStream, ...]
    units: tuple[FlatUnit, ...]

    def with_depths(self, depths: Iterable[int]) -> Flat:
        """The section with these depths of its streams."""
        return replace(self, streams=tuple(replace(s, depth=n) for s, n in zip(self.streams, depths, strict=True)))

    def unfolded(self) -> Flat:
        """The section with each broadcast as a stream of the same name for each of its consumers; else this one.

        The producer waits for room in all of them and gives to all at once, so a place of the broadcast is free when
        its last consumer has finished: the time of every firing is the same.
        """
        if not any(stream.further for stream in self.streams):
            return self
        views = [(s, consumer) for s, stream in enumerate(self.streams) for consumer in stream.consumers]
        view = {ends: i for i, ends in enumerate(views)}
        views_of = [[view[s, consumer] for consumer in stream.consumers] for s, stream in enumerate(self.streams)]
        streams = [self.streams[s].with_consumers((consumer,)) for s, consumer in views]
        return self._over(streams, taken=lambda s, task: view[s, task], given=lambda s: views_of[s])

    def folded(self) -> Flat:
        """The section of which this is the unfolded form: streams alike but for their consumers are a broadcast."""
        consumers: dict[FlatStream, list[int]] = {}
        alike = [replace(stream, consumer=-1, further=()) for stream in self.streams]
        for stream, own in zip(alike, self.streams, strict=True):
            consumers.setdefault(stream, []).extend(own.consumers)
        if len(consumers) == len(self.streams):
            return self
        index = {stream: i for i, stream in enumerate(consumers)}
        stream_of = [index[stream] for stream in alike]
        streams = [stream.with_consumers(tasks) for stream, tasks in consumers.items()]
        return self._over(streams, taken=lambda view, _: stream_of[view], given=lambda view: (stream_of[view],))

    def _over(
        self, streams: Iterable[FlatStream], *, taken: Callable[[int, int], int], given: Callable[[int], Iterable[int]]
    ) -> Flat:
        """The section over other streams: in place of each the one that a task takes from, those that it gives to."""

        def moved(runs: tuple[FlatRun, ...], task: int) -> Iterator[FlatRun]:
            known: dict[Any, Any] = {}  # runs of a task differ in their cycles, and take and give in few ways
            for run in runs:
                ends = (run.takes, run.gives)
                if ends not in known:
                    takes = tuple((taken(s, task), n) for s, n in run.takes)
                    known[ends] = takes, tuple(dict.fromkeys((o, n) for s, n in run.gives for o in given(s)))
                yield FlatRun(run.count, run.cycles, *known[ends])

        tasks = (replace(task, runs=tuple(moved(task.runs, t))) for t, task in enumerate(self.tasks))
        return replace(self, tasks=tuple(tasks), streams=tuple(streams))


class _Flattened(NamedTuple):
    """A section and its flat form."""

    section: Section
    flat: Flat


def flatten(section: Section, design: Design, memo: Memo | None = None) -> Flat:
    """The flat form of a section on a design. Raises ScheduleError where a task names a unit that is not there.

    `memo` belongs to runs on this design: tasks that the section before had too, as the same objects, are reused.
    """
    before = memo.last(_Flattened) if memo else None
    changed = section.changed_since(before.section) if before else None
    if before and changed is not None:
        flat = _with_changed(section, design, before.flat, {task.name: task for task in changed})
    else:
        flat = _all_new(section, design)
    if memo:
        memo.keep(_Flattened(section, flat))
    return flat


def _all_new(section: Section, design: Design) -> Flat:
    missing = sorted({t.unit for t in section.tasks} - set(design.units))
    if missing:
        raise ScheduleError(
            f"section '{section.name}': design '{design.name}' has no unit {', '.join(map(repr, missing))}; "
            f"units are: {', '.join(design.units)}"
        )
    refuse(_held_up(section, design, section.tasks), ScheduleError)
    task_index = {t.name: i for i, t in enumerate(section.tasks)}
    orders = section.unit_orders()
    units = [u for name in design.units for u in _flat_units(name, section, design, task_index, orders)]
    unit_of = {task: i for i, unit in enumerate(units) for task in unit.tasks}
    stream_index = {s.name: i for i, s in enumerate(section.streams)}
    ends = section.ends
    return Flat(
        section.name,
        tuple(_flat_task(t, unit_of[i], stream_index, design) for i, t in enumerate(section.tasks)),
        tuple(
            FlatStream(s.name, s.depth, s.initial, task_index[source], sinks[0], sinks[1:])
            for s in section.streams
            for source, names in (ends[s.name],)
            for sinks in (tuple(task_index[name] for name in names),)
        ),
        tuple(units),
    )


def _held_up(section: Section, design: Design, tasks: Iterable[Task]) -> list[str]:
    """What could make these tasks late, if their firings are arrivals."""
    problems = []
    for task in tasks:
        unit = design.units[task.unit]
        if not isinstance(unit, Arrivals):
            continue
        head = f"section '{section.name}': task '{task.name}' on '{task.unit}', whose firings end at given times,"
        if unit.count > 1:
            problems.append(f"{head} has {unit.count} servers; give the unit a count of 1")
        if any(other.unit == task.unit for other in section.tasks if other is not task):
            problems.append(f"{head} shares it; give each task a unit of its own")
        if isinstance(unit.times, tuple) and task.work != unit.works(task.firings):
            problems.append(f"{head} does not take them in turn; its work is that of the unit's works({task.firings})")
        problems += [f"{head} takes from '{name}'; it may wait for nothing" for name in task.takes]
        rooms = {stream.name: stream.depth - stream.initial for stream in section.streams}
        for name, pattern in task.gives.items():
            given = total(pattern, task.firings)
            if given > rooms[name]:
                problems.append(f"{head} gives {given} tokens to '{name}', which has room for {rooms[name]}")
    return problems


def _with_changed(section: Section, design: Design, flat: Flat, changed: dict[str, Task]) -> Flat:
    """The flat form of a section that differs from that of `flat` only in the `changed` tasks, given by name."""
    refuse(_held_up(section, design, changed.values()), ScheduleError)
    task_index = {t.name: i for i, t in enumerate(flat.tasks)}
    stream_index = {s.name: i for i, s in enumerate(flat.streams)}
    tasks = list(flat.tasks)
    # A changed task may fire more or less often, and the order of its unit counts firings. Streams keep their ends.
    touched = dict.fromkeys(task.unit for task in changed.values())
    for name, task in changed.items():
        at = task_index[name]
        tasks[at] = _flat_task(task, tasks[at].unit, stream_index, design)
    orders = section.unit_orders()
    fresh = {u.name: u for name in touched for u in _flat_units(name, section, design, task_index, orders)}
    return Flat(section.name, tuple(tasks), flat.streams, tuple(fresh.get(unit.name, unit) for unit in flat.units))


def _flat_units(
    name: str, section: Section, design: Design, task_index: dict[str, int], orders: Mapping[str, Order]
) -> list[FlatUnit]:
    """The unit as one FlatUnit, or one for each task that is placed on it; none if the section has no task for it.

    Raises ScheduleError for more placed tasks than servers, and for an order of a unit whose tasks are placed.
    """
    if not orders.get(name):
        return []
    # In the order of the section, whatever the order of the firings is.
    tasks_on = tuple(sorted(task_index[task] for task in counted(orders[name])))
    unit = design.units[name]
    servers = {section.tasks[i].name: section.tasks[i].servers for i in tasks_on}
    if unit.arbitration == "placed":
        if name in section.orders:
            raise ScheduleError(
                f"section '{section.name}': an order of unit '{name}', whose tasks are placed: each has a server of "
                "its own, so leave the order out"
            )
        if sum(servers.values()) > unit.count:
            asked = f"the tasks placed on unit '{name}' take {sum(servers.values())} servers"
            raise ScheduleError(f"section '{section.name}': {asked}; its count is {unit.count}")
        # A server with one task needs no choice, so its firings have a fixed order: all of the task.
        placed = [(i, section.tasks[i]) for i in tasks_on]
        return [
            FlatUnit(f"{name}: {task.name}", name, 1, unit.latency_cycles, ((i, task.firings),), (i,), task.servers)
            for i, task in placed
        ]
    gang = max(servers.values())
    if {*servers.values()} not in ({1}, {unit.count}):
        asked = ", ".join(f"'{task}' {n}" for task, n in servers.items())
        way = f"each of them takes one, or each takes all {unit.count}" if unit.count > 1 else "there is one"
        head = f"section '{section.name}': servers of unit '{name}', which its tasks share"
        raise ScheduleError(f"{head}: {way}; asked are: {asked}")
    order = renamed(orders[name], task_index.__getitem__) if unit.arbitration == "in_order" else None
    return [FlatUnit(name, name, unit.count // gang, unit.latency_cycles, order, tasks_on, gang)]


def _flat_task(task: Task, unit_index: int, stream_index: dict[str, int], design: Design) -> FlatTask:
    unit, does = design.units[task.unit], design.units[task.unit].does
    known: dict[Any, FlatRun] = {}  # a long period has few different runs
    runs = []
    for run in merged(task):
        if run in known:
            runs.append(known[run])
            continue
        count, (item, taken, given) = run
        if item.kind not in does:
            raise ScheduleError(
                f"task '{task.name}': unit '{task.unit}' of kind {unit.named_kind} does no {item.kind}; it does "
                f"{', '.join(does) or 'nothing'}"
            )
        cycles = unit.cycles(item, task.servers) if task.servers > 1 else unit.cycles(item)
        if cycles == 0 and unit.arbitration == "first_come":
            raise ScheduleError(
                f"task '{task.name}': a firing of zero cycles on '{task.unit}', which serves first come; its clients "
                "could not be told apart in time"
            )
        # In the order of the task's streams: of several that are lacking, engines report the first. A firing that moves
        # no token of a stream never waits for it.
        takes = tuple([(stream_index[s], n) for s, n in zip(task.takes, taken, strict=True) if n])
        gives = tuple([(stream_index[s], n) for s, n in zip(task.gives, given, strict=True) if n])
        known[run] = FlatRun(count, cycles, takes, gives)
        runs.append(known[run])
    return FlatTask(task.name, unit_index, task.firings, tuple(runs), task.priority)


def merged(task: Task) -> list[tuple[int, tuple[Any, tuple[int, ...], tuple[int, ...]]]]:
    """One period of the task's firings, as runs in which work, tokens taken and tokens given stay the same.

    The period is the least common multiple of the periods of all its patterns, at most the number of firings. Raises
    ScheduleError where that would be too many runs to write down.
    """
    patterns: list[Pattern[Any]] = [task.work, *task.takes.values(), *task.gives.values()]
    # A pattern of one run never changes, so it does not lengthen the period, and its run is as long as the period.
    changing = [p for p in patterns if len(p.runs) > 1]
    if not changing:
        taken, given = (tuple([p.runs[0][0] for p in end.values()]) for end in (task.takes, task.gives))
        return [(1, (task.work.runs[0][0], taken, given))]
    end = min(task.firings, lcm(*(p.period for p in changing)))
    listed = sum(-(-end // p.period) * len(p.runs) for p in changing)
    way = "give it patterns whose periods divide one another"
    if problem := beyond(listed, LISTED, of="runs of firings to write down", instead=way):
        raise ScheduleError(f"task '{task.name}': {problem}")
    ends = 1 + len(task.takes)
    return [(n, (each[0], each[1:ends], each[ends:])) for n, each in side_by_side(patterns, end)]
