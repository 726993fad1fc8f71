"""lower_bound: cycles that no order of events can beat, from the schedule and the units' own rates alone.

Knows work, servers, latency and dependences. Does not know queue depths or arbitration.
"""

from __future__ import annotations

from dataclasses import dataclass

from archsim.design.design import Design
from archsim.engine.flat import Flat, FlatTask, flatten
from archsim.engine.memo import Memo
from dataflow.schedule import Schedule


def lower_bound(schedule: Schedule, design: Design) -> int:
    """The least cycles that the schedule can take on the design, at any queue depths and in any order of firings.

    Per section the larger of two: the busiest unit's work divided by its servers, and the longest chain of dependent
    tasks with unlimited queues and no unit shared. Sections run one after another. derived.
    """
    return sum(section.repeat * section_bound(flatten(section, design)) for section in schedule.sections)


def section_bound(flat: Flat) -> int:
    """The least cycles of one run of a section."""
    return bound(flat).cycles


# By consuming task: (stream, producing task, latency of the producer's unit, servers of that unit).
Inputs = tuple[tuple[tuple[int, int, int, int], ...], ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """The least cycles of one run of a section, with the parts that the next bound can reuse.

    `leads`: per stream, the producer's cycles until the consumer's first firing has its tokens; None where that firing
    takes none. `order`: the tasks in topological order, None where they form a loop. `inputs`: the streams that each
    task waits for.
    """

    cycles: int
    flat: Flat
    demands: tuple[Demand, ...]
    leads: tuple[int | None, ...]
    order: tuple[int, ...] | None
    inputs: Inputs


@dataclass(frozen=True, slots=True)
class Demand:
    """Cycles of one task taken alone: of all its firings, and of its shortest one.

    `giving_cycles`: per output stream, cycles of the firings that give to it. `gives_last`: the streams to which its
    last firing gives.
    """

    busy_cycles: int
    least_cycles: int
    giving_cycles: dict[int, int]
    gives_last: frozenset[int]


def bound(flat: Flat, memo: Memo | None = None) -> Bound:
    """The bound of a section. Tasks that are the same objects as in the bound that `memo` holds are not redone.

    Streams with initial tokens are left out of the chain, because a consumer may start on those.
    """
    flat = flat.unfolded()
    before = memo.last(Bound) if memo else None
    # A memo belongs to one design, so equal streams and equal tasks on each unit mean equal indices, latency, servers.
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
    # Cycles are whole, so a server's share of the work is rounded up.
    busiest = max(-(-sum(demands[t].busy_cycles for t in unit.tasks) // unit.count) for unit in flat.units)
    # A loop without initial tokens can run where a pattern takes none at first. It has no order to walk, so the busiest
    # unit alone bounds it.
    chain = 0 if order is None else _chain(flat, demands, leads, order, inputs)
    result = Bound(max(busiest, chain), flat, demands, leads, order, inputs)
    return memo.keep(result) if memo else result


def _demand(task: FlatTask) -> Demand:
    counted = task.cycles_counted()
    giving: dict[int, int] = {}
    for run, (cycles, n) in zip(task.runs, counted, strict=True):
        # A firing without a stream's tokens adds nothing here: it may run after the last token has been given.
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
    readers: list[list[int]] = [[] for _ in flat.tasks]
    for task, streams in enumerate(inputs):
        for _, producer, _, _ in streams:
            readers[producer].append(task)
    missing = [len(streams) for streams in inputs]
    order = [task for task, n in enumerate(missing) if not n]
    for task in order:  # grows by the tasks whose last producer this is
        for reader in readers[task]:
            missing[reader] -= 1
            if not missing[reader]:
                order.append(reader)
    return tuple(order) if len(order) == len(inputs) else None, tuple(map(tuple, inputs))


def _chain(
    flat: Flat,
    demands: tuple[Demand, ...],
    leads: tuple[int | None, ...],
    order: tuple[int, ...],
    inputs: Inputs,
) -> int:
    """Cycles of the longest chain: a task starts when the inputs of its first firing can have arrived.

    It ends no earlier than its own firings take, and no earlier than one firing after its last input.
    """
    starts, ends = [0] * len(order), [0] * len(order)
    for task in order:
        demand = demands[task]
        start = last_input = 0
        for index, source, latency, source_servers in inputs[task]:
            source_demand, lead = demands[source], leads[index]
            if lead is not None:
                start = max(start, starts[source] + lead + latency)
            if index in source_demand.giving_cycles:
                given = starts[source] + -(-source_demand.giving_cycles[index] // source_servers)
                # One server ends its firings in order; of several, the last firing may end before earlier ones.
                if source_servers == 1 and index in source_demand.gives_last:
                    given = ends[source]
                last_input = max(last_input, given + latency)
        starts[task] = start
        servers = flat.units[flat.tasks[task].unit].count
        # All given tokens are taken, so at least one firing, maybe the shortest, comes after the last input.
        ends[task] = max(start + -(-demand.busy_cycles // servers), last_input + demand.least_cycles)
    return max(ends)


def _lead(flat: Flat, index: int) -> int | None:
    """Busy cycles of the producer until the consumer's first firing has its tokens; None where it takes none.

    0 where the producer's unit has several servers, because a later firing may end first.
    """
    stream = flat.streams[index]
    task, needed = flat.tasks[stream.producer], dict(flat.tasks[stream.consumer].runs[0].takes).get(index, 0)
    if not needed:
        return None
    return 0 if flat.units[task.unit].count > 1 else _time_to_give(task, index, needed)


def _gives_last(task: FlatTask) -> frozenset[int]:
    """The streams to which the task's last firing gives."""
    # The runs are one period of the firings, which the last period need not complete.
    place = (task.firings - 1) % sum(run.count for run in task.runs)
    for run in task.runs:
        if place < run.count:
            return frozenset(stream for stream, _ in run.gives)
        place -= run.count
    raise AssertionError("a place within the period lies in a run")


def _time_to_give(task: FlatTask, stream: int, tokens: int) -> int:
    """Busy cycles of the task until it has given this many tokens to the stream."""
    given = [(run, dict(run.gives).get(stream, 0)) for run in task.runs]
    # The period in which the last token falls is walked run by run, because the token may come before its end.
    periods = (tokens - 1) // max(1, sum(each * run.count for run, each in given))
    spent = periods * sum(run.cycles * run.count for run in task.runs)
    left = tokens - periods * sum(each * run.count for run, each in given)
    for run, each in given:
        if each and each * run.count >= left:
            return spent + run.cycles * -(-left // each)
        left -= each * run.count
        spent += run.cycles * run.count
    raise AssertionError("a stream's totals are equal, so its producer gives what is taken")
