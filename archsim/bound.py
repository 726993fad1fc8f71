"""lower_bound: cycles that no order of events can beat, from the schedule and the units' own rates alone."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from archsim.engine.flat import Flat, FlatTask, flatten
from dataflow.schedule import Schedule

if TYPE_CHECKING:
    from archsim.design import Design


def lower_bound(schedule: Schedule, design: Design) -> int:
    """The least cycles that the schedule can take on the design, whatever waits for whom.

    Per section the larger of two: the busiest unit's work over its servers, and the longest chain of dependences, each
    stream as deep as one likes and no unit shared. Sections follow one another. derived.
    """
    return sum(section.repeat * section_bound(flatten(section, design)) for section in schedule.sections)


def section_bound(flat: Flat) -> int:
    """The least cycles of one run of a section."""
    busiest = max(-(-sum(flat.tasks[t].busy_cycles for t in unit.tasks) // unit.count) for unit in flat.units)
    return max(busiest, _chain(flat))


def _chain(flat: Flat) -> int:
    """Longest chain: a task starts once its first input can be there, and ends no sooner than all its firings take nor
    than its last input and one more firing. Streams with initial tokens bind nothing here and are left out."""
    inputs: dict[int, list[int]] = {i: [] for i in range(len(flat.tasks))}
    for index, stream in enumerate(flat.streams):
        if not stream.initial:
            inputs[stream.consumer].append(index)
    producers = {task: [flat.streams[i].producer for i in streams] for task, streams in inputs.items()}
    try:
        order = list(TopologicalSorter(producers).static_order())
    except CycleError:
        return 0  # a loop that patterns may keep alive; the busiest unit alone bounds it
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    for task in order:
        mine = flat.tasks[task]
        start = last_input = 0
        for index in inputs[task]:
            source = flat.streams[index].producer
            unit = flat.units[flat.tasks[source].unit]
            needed = dict(mine.runs[0].takes).get(index, 0)
            if needed:
                start = max(
                    start,
                    starts[source] + _time_to_give(flat.tasks[source], index, needed, unit.count) + unit.latency_cycles,
                )
            giving = _giving_cycles(flat.tasks[source], index)
            if giving is not None:
                given = starts[source] + -(-giving // unit.count)
                if unit.count == 1 and _gives_last(flat.tasks[source], index):
                    given = ends[source]
                last_input = max(last_input, given + unit.latency_cycles)
        starts[task] = start
        least = min(cycles for cycles, n in mine.cycles_counted() if n)
        ends[task] = max(start + -(-mine.busy_cycles // flat.units[mine.unit].count), last_input + least)
    return max(ends.values())


def _giving_cycles(task: FlatTask, stream: int) -> int | None:
    """Cycles of all firings that give to the stream, which its consumer takes all from; None where none gives."""
    giving = [(run.cycles, n) for run, (_, n) in zip(task.runs, task.cycles_counted(), strict=True)
              if n and stream in dict(run.gives)]  # fmt: skip
    return sum(cycles * n for cycles, n in giving) if giving else None


def _gives_last(task: FlatTask, stream: int) -> bool:
    """True where the task's last firing gives to the stream, so that the consumer must wait for its end.

    Of several servers one may end it before firings that came earlier.
    """
    place = (task.firings - 1) % sum(run.count for run in task.runs)
    for run in task.runs:
        if place < run.count:
            return stream in dict(run.gives)
        place -= run.count
    raise AssertionError("a place within the period lies in a run")


def _time_to_give(task: FlatTask, stream: int, tokens: int, servers: int) -> int:
    """Cycles of the task's own firings until it has given so many tokens; 0 where several servers may overtake."""
    if servers > 1:
        return 0
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
