"""lower_bound: cycles that no order of events can beat, from the schedule and the units' own rates alone."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from archsim.design.design import Design
from archsim.engine.flat import Flat, FlatTask, flatten
from archsim.engine.memo import Memo
from dataflow.schedule import Schedule


def lower_bound(schedule: Schedule, design: Design) -> int:
    """The least cycles that the schedule can take on the design, whatever waits for whom.

    Per section the larger of two: the busiest unit's work over its servers, and the longest chain of dependences, each
    stream as deep as one likes and no unit shared. Sections follow one another. derived.
    """
    return sum(section.repeat * section_bound(flatten(section, design)) for section in schedule.sections)


def section_bound(flat: Flat) -> int:
    """The least cycles of one run of a section."""
    return bound(flat).cycles


Inputs = tuple[tuple[tuple[int, int, int, int], ...], ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """The least cycles of one run of a section, with what they were worked out from.

    `leads` has for each stream the cycles until its producer has given what its consumer first takes, None where that
    is nothing. `order` has each task after those whose tokens it needs, None where they need each other's; `inputs` are
    the streams that bind each task, each with its producer, and latency and servers of the producer's unit.
    """

    cycles: int
    flat: Flat
    demands: tuple[Demand, ...]
    leads: tuple[int | None, ...]
    order: tuple[int, ...] | None
    inputs: Inputs


@dataclass(frozen=True, slots=True)
class Demand:
    """A task alone: cycles of all its firings and of the least; by stream, cycles of those that give and whether the
    last one does."""

    busy_cycles: int
    least_cycles: int
    giving_cycles: dict[int, int]
    gives_last: frozenset[int]


def bound(flat: Flat, memo: Memo | None = None) -> Bound:
    """The bound of a section; of tasks that are the same objects as in the bound that `memo` has, nothing is redone.

    Streams with initial tokens bind nothing in the chain and are left out.
    """
    before = memo.last(Bound) if memo else None
    if before is None or flat.streams is not before.flat.streams or [u.tasks for u in flat.units] != [
        u.tasks for u in before.flat.units
    ]:
        demands = tuple(_demand(task) for task in flat.tasks)
        leads = tuple(_lead(flat, index) for index in range(len(flat.streams)))
        order, inputs = _order(flat)
    else:
        same = [new is old for new, old in zip(flat.tasks, before.flat.tasks, strict=True)]
        demands = tuple(before.demands[i] if same[i] else _demand(task) for i, task in enumerate(flat.tasks))
        leads = tuple(
            before.leads[i] if same[stream.producer] and same[stream.consumer] else _lead(flat, i)
            for i, stream in enumerate(flat.streams)
        )
        order, inputs = before.order, before.inputs
    busiest = max(-(-sum(demands[t].busy_cycles for t in unit.tasks) // unit.count) for unit in flat.units)
    # In a loop that patterns may keep alive the busiest unit alone is the bound.
    chain = 0 if order is None else _chain(flat, demands, leads, order, inputs)
    result = Bound(max(busiest, chain), flat, demands, leads, order, inputs)
    return memo.keep(result) if memo else result


def _demand(task: FlatTask) -> Demand:
    counted = task.cycles_counted()
    giving: dict[int, int] = {}
    for run, (cycles, n) in zip(task.runs, counted, strict=True):
        for stream, _ in run.gives if n else ():
            giving[stream] = giving.get(stream, 0) + cycles * n
    return Demand(
        sum(cycles * n for cycles, n in counted),
        min(cycles for cycles, n in counted if n),
        giving,
        _gives_last(task),
    )


def _order(flat: Flat) -> tuple[tuple[int, ...] | None, Inputs]:
    inputs: list[list[tuple[int, int, int, int]]] = [[] for _ in flat.tasks]
    for index, stream in enumerate(flat.streams):
        if not stream.initial:
            unit = flat.units[flat.tasks[stream.producer].unit]
            inputs[stream.consumer].append((index, stream.producer, unit.latency_cycles, unit.count))
    producers = {task: [producer for _, producer, _, _ in streams] for task, streams in enumerate(inputs)}
    bound_by = tuple(map(tuple, inputs))
    try:
        return tuple(TopologicalSorter(producers).static_order()), bound_by
    except CycleError:
        return None, bound_by


def _chain(
    flat: Flat,
    demands: tuple[Demand, ...],
    leads: tuple[int | None, ...],
    order: tuple[int, ...],
    inputs: Inputs,
) -> int:
    """Longest chain: a task starts once its first input can be there, and ends no sooner than all its firings take nor
    than its last input and one more firing."""
    starts, ends = [0] * len(order), [0] * len(order)
    for task in order:
        mine = demands[task]
        start = last_input = 0
        for index, source, latency, servers in inputs[task]:
            theirs, lead = demands[source], leads[index]
            if lead is not None:
                start = max(start, starts[source] + lead + latency)
            if index in theirs.giving_cycles:
                given = starts[source] + -(-theirs.giving_cycles[index] // servers)
                if servers == 1 and index in theirs.gives_last:
                    given = ends[source]
                last_input = max(last_input, given + latency)
        starts[task] = start
        own = flat.units[flat.tasks[task].unit].count
        ends[task] = max(start + -(-mine.busy_cycles // own), last_input + mine.least_cycles)
    return max(ends)


def _lead(flat: Flat, index: int) -> int | None:
    """Cycles of the producer's own firings until the consumer's first firing has its tokens; None where it takes none.

    0 where several servers may overtake.
    """
    stream = flat.streams[index]
    task, needed = flat.tasks[stream.producer], dict(flat.tasks[stream.consumer].runs[0].takes).get(index, 0)
    if not needed:
        return None
    return 0 if flat.units[task.unit].count > 1 else _time_to_give(task, index, needed)


def _gives_last(task: FlatTask) -> frozenset[int]:
    """The streams to which the task's last firing gives, so that their consumers must wait for its end.

    Of several servers one may end it before firings that came earlier.
    """
    place = (task.firings - 1) % sum(run.count for run in task.runs)
    for run in task.runs:
        if place < run.count:
            return frozenset(stream for stream, _ in run.gives)
        place -= run.count
    raise AssertionError("a place within the period lies in a run")


def _time_to_give(task: FlatTask, stream: int, tokens: int) -> int:
    """Cycles of the task's own firings until it has given so many tokens."""
    given = [(run, dict(run.gives).get(stream, 0)) for run in task.runs]
    periods = (tokens - 1) // max(1, sum(each * run.count for run, each in given))
    spent = periods * sum(run.cycles * run.count for run in task.runs)
    left = tokens - periods * sum(each * run.count for run, each in given)
    for run, each in given:
        if each and each * run.count >= left:
            return spent + run.cycles * -(-left // each)
        left -= each * run.count
        spent += run.cycles * run.count
    raise AssertionError("a stream's totals are equal, so its producer gives what is taken")
