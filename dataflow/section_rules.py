"""What a section must be: ends joined, totals equal, depths that hold a firing, whole orders, no dead cycle."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from dataflow.op import computes
from dataflow.pattern import Pattern, total
from dataflow.task import Stream, Task

if TYPE_CHECKING:
    from dataflow.schedule import Section


def problems(section: Section) -> Iterator[str]:
    """Everything about the section's tasks, streams and orders that cannot be, a line each."""
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
    yield from _dead_cycle(section)


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


def _dead_cycle(section: Section) -> Iterator[str]:
    """Streams without initial tokens of which each gets its first token only after another has given one, in a circle.

    A task that gives before it first takes breaks the circle, as initial tokens do.
    """
    empty = {s.name for s in section.streams if not s.initial}
    waits: dict[str, set[str]] = {}
    for task in section.tasks:
        for given in empty & set(task.gives):
            first = _first(task.gives[given])
            waits.setdefault(given, set()).update(s for s in empty & set(task.takes) if _first(task.takes[s]) <= first)
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        circle = error.args[1][:-1]
        first = circle.index(min(circle))
        names = ", ".join(f"'{name}'" for name in (*circle[first:], *circle[:first]))
        yield f"streams {names} form a cycle without initial tokens; start one of them with initial tokens"


def _first(pattern: Pattern[int]) -> float:
    """The firing at which the pattern first moves a token."""
    passed = 0
    for n, count in pattern:
        if n:
            return passed
        passed += count
    return float("inf")
