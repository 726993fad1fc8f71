"""The tiles of a schedule, one by one, in an order that its streams enforce.

Knows which firing computes which part of which op, whether an op's tiles cover it, and whether a tensor is complete
before a task reads it. Does not know numbers, nor when a firing starts: each task runs to its end before the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import chain, cycle, islice, repeat
from math import prod

import numpy as np

from dataflow.errors import ScheduleError
from dataflow.graph import Graph, Op, mask_of
from dataflow.mask import seen_keys
from dataflow.op import OP_KINDS, Work, computes
from dataflow.schedule import Schedule
from dataflow.section import Section
from dataflow.task import Task

# The two axes of an op's tiles as messages name them; (row, d) for other kinds.
AXES = {"ternary_matmul": ("m", "k"), "matmul": ("m", "n"), "attention": ("query", "key")}
PASSES = ("attention_scores", "attention_values")
ONCE = ("ternary_matmul", "attention")  # their tiles add to sums, so a tile done twice would count twice


@dataclass(frozen=True, slots=True)
class Step:
    """What one firing computes: a part of an op, or all of it if `whole`.

    `kind` is that of the firing's work; "drain" says that the queries in `rows` have seen all their keys. `rows` and
    `columns` are ranges on the op's two axes in the graph, from the oldest token on, without padding.
    """

    op: Op
    kind: str
    rows: range
    columns: range
    whole: bool = False


def steps(schedule: Schedule) -> Iterator[Step]:
    """Everything that the schedule computes, in an order that its streams enforce.

    Raises ScheduleError if a task reads a tensor that the tasks it waits for have not completed, if a firing's work is
    not that of its tile, if tiles that add to a sum overlap, if the tiles of an op leave a gap at the end, or if the
    schedule leaves out work of the graph.
    """
    if schedule.skipped:
        left = ", ".join(f"{n:,} {what}" for what, n in schedule.skipped.items())
        raise ScheduleError(
            f"the schedule leaves out what the selection does not keep ({left}), so its numbers are not the graph's; "
            "replay one that keeps everything"
        )
    progress = _Progress(schedule)
    for section in schedule.sections:
        order = dependence_order(section)
        last = {task.ops: task.name for task, _ in order if task.ops and not task.tiles}
        for repetition in range(section.repeat):
            progress.run += 1  # a run ends before the next starts, so later runs may read all that it made
            for task, waited_for in order:
                if not task.tiles and last.get(task.ops) not in (None, task.name):
                    continue  # several tasks may do a whole op together; the last one stands for all
                op = _computed(schedule.graph, task, repetition)
                if op is not None:
                    yield from progress.steps(task, op, waited_for)
    progress.check_finished()


def extents(graph: Graph, op: Op) -> tuple[int, int]:
    """The extents of the two axes of this op's tiles: see Task."""
    # A ternary_matmul is cut along its inputs, every other op along its output.
    shape = graph.tensors[op.inputs[0] if op.kind == "ternary_matmul" else op.outputs[0]].shape
    return shape[0], graph.tensors[op.inputs[1]].shape[0] if op.kind == "attention" else shape[1]


def visible(op: Op, queries: int, keys: int) -> np.ndarray:
    """Which keys each query of an attention op sees, bool [queries, keys]; sequences lie one after another.

    >>> from dataflow.op import work
    >>> last_two = Op("a", "attention", (), (), work("attention", pairs=5, heads=1, head_dim=2), {"batch": 1})
    >>> visible(last_two, 2, 3).astype(int).tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    batch = op.attributes["batch"]
    per_query, per_key = queries // batch, keys // batch
    seen = np.zeros((queries, keys), dtype=bool)
    for row in range(queries):
        first = row // per_query * per_key
        span = seen_keys(row % per_query, queries=per_query, keys=per_key, **mask_of(op))
        seen[row, first + span.start : first + span.stop] = True
    return seen


def dependence_order(section: Section) -> list[tuple[Task, frozenset[str]]]:
    """The tasks in an order that the streams enforce, each with all tasks that it waits for, directly or not.

    Streams that start with tokens enforce no order. Raises ScheduleError if tasks wait for each other in a circle.
    """
    before: dict[str, set[str]] = {task.name: set() for task in section.tasks}
    ends = section.ends
    for stream in section.streams:
        if not stream.initial:
            source, sink = ends[stream.name]
            before[sink].add(source)
    try:
        names = tuple(TopologicalSorter(before).static_order())
    except CycleError as error:
        circle = " > ".join(f"'{name}'" for name in error.args[1])
        raise ScheduleError(f"section '{section.name}': tasks wait for each other: {circle}") from None
    waited: dict[str, frozenset[str]] = {}
    for name in names:
        waited[name] = frozenset(before[name]).union(*(waited[other] for other in before[name]))
    tasks = {task.name: task for task in section.tasks}
    return [(tasks[name], waited[name]) for name in names]


def _computed(graph: Graph, task: Task, repetition: int) -> Op | None:
    """The op that the task computes in this repetition; None for a task that only moves an op's operands.

    An op without arithmetic counts as computed by the task that moves its rows.
    """
    if not task.ops:
        return None
    name = task.ops[repetition]
    if name not in graph.ops:
        raise ScheduleError(f"task '{task.name}': names the op '{name}', which graph '{graph.name}' does not have")
    op = graph.ops[name]
    return op if task.tiles or not computes(op.work) or any(computes(item) for item, _ in task.work) else None


def _firings(task: Task) -> Iterator[Work]:
    return islice(chain.from_iterable(repeat(item, n) for item, n in cycle(task.work)), task.firings)


@dataclass(slots=True)
class _Cover:
    """How often each element of an op's two axes has been computed, and by which tasks (run, name).

    `needed` marks the elements that count: all but masked pairs. `each` is the product of the op's extents for one of
    them. `groups` are the groups of queries that have seen keys and are not drained. `makers` has the tasks of each
    complete cover, `unfinished` those since the last one.
    """

    op: Op
    counts: np.ndarray
    needed: np.ndarray
    each: int
    groups: list[range] = field(default_factory=list)
    makers: list[set[tuple[int, str]]] = field(default_factory=list)
    unfinished: set[tuple[int, str]] = field(default_factory=set)

    def missing(self, rows: range) -> list[tuple[int, int]]:
        """The elements of these rows that count and have not been computed."""
        part = slice(rows.start, rows.stop)
        return [(rows.start + row, column) for row, column in np.argwhere(self.needed[part] & (self.counts[part] == 0))]

    def end(self, run: int, task: str) -> None:
        """Notes that a task has computed its part. Raises ScheduleError if a tile was added to a sum twice."""
        self.unfinished.add((run, task))
        # The least count says how many times the whole op has been computed.
        while len(self.makers) < self.counts[self.needed].min():
            self.makers.append(self.unfinished)
            self.unfinished = set()
        if self.op.kind in ONCE and self.counts[self.needed].max() > 1:
            raise ScheduleError(f"task '{task}': {self.problem()}")

    def problem(self) -> str:
        """What is wrong with the tiles so far; empty if all elements are in the same number of tiles, at least one."""
        axes = AXES.get(self.op.kind, ("row", "d"))
        rule = f"the tiles of an op hold each ({', '.join(axes)}) once"
        counts = self.counts[self.needed]
        low, high = int(counts.min()), int(counts.max())

        def first(count: int) -> str:
            place = np.argwhere(self.needed & (self.counts == count))[0]
            return ", ".join(f"{axis} {i}" for axis, i in zip(axes, place, strict=True))

        if low == 0:
            return f"op '{self.op.name}': no tile holds ({first(0)}), {(counts == 0).sum()} such places in all; {rule}"
        if self.op.kind in ONCE and high > 1:
            return f"op '{self.op.name}': {high} tiles hold ({first(high)}); {rule}"
        if low != high:
            return f"op '{self.op.name}': {high} tiles hold ({first(high)}) and {low} ({first(low)}); {rule}"
        return ""


class _Progress:
    """What the tasks have computed so far, over sections and repetitions."""

    def __init__(self, schedule: Schedule) -> None:
        self.graph = schedule.graph
        self.newest_first = schedule.options.get("attention_order") == "reversed"
        self.covers: dict[str, _Cover] = {}
        self.run = 0

    def steps(self, task: Task, op: Op, waited_for: frozenset[str]) -> Iterator[Step]:
        """The steps of one task; afterwards its part of the op counts as computed."""
        kinds = {item.kind for item, _ in task.work if computes(item)} or {op.kind}
        foreign = sorted(kinds - ({op.kind, *PASSES} if op.kind == "attention" else {op.kind}))
        if foreign:
            raise ScheduleError(f"task '{task.name}': computes {', '.join(foreign)}, op '{op.name}' is a {op.kind}")
        # The second pass of an attention also reads the scores of the first.
        for name in (*_sources(self.graph, op), *(f"{op.name} scores" for _ in kinds & {"attention_values"})):
            self._check_made(task, name, waited_for)
        covers = {kind: self._cover(op, kind) for kind in sorted(kinds)}
        if task.tiles:
            yield from self._tiles(task, op, covers)
        else:
            rows, columns = extents(self.graph, op)
            for kind, cover in covers.items():
                cover.counts += 1
                yield Step(op, kind, range(rows), range(columns), whole=kind == op.kind)
        for cover in covers.values():
            cover.end(self.run, task.name)

    def _tiles(self, task: Task, op: Op, covers: dict[str, _Cover]) -> Iterator[Step]:
        """The steps of the tiles. Drain firings drain a group of queries; without any, a complete group is drained."""
        rows, slices, cover = range(0), task.slices(), next(iter(covers.values()))
        drains = any(item.kind == "drain" for item, _ in task.work)
        for item in _firings(task):
            if computes(item):
                cover = covers[item.kind]
                rows, columns = self._placed(task, cover, item, next(slices))
                cover.counts[rows.start : rows.stop, columns.start : columns.stop] += 1
                if item.kind == "attention" and rows and rows not in cover.groups:
                    cover.groups.append(rows)
                if rows and columns:  # a tile of padding alone is fired and computes nothing
                    yield Step(op, item.kind, rows, columns)
            elif item.kind == "drain" and rows in cover.groups:
                for query, key in cover.missing(rows):
                    raise _misplaced_drain(task, rows, f"are drained before query {query} has seen key {key}")
                cover.groups.remove(rows)
                yield Step(op, "drain", rows, range(0))
        for group in [group for group in cover.groups if not cover.missing(group)]:
            if drains:
                raise _misplaced_drain(task, group, "are never drained")
            cover.groups.remove(group)
            yield Step(op, "drain", group, range(0))

    def _placed(self, task: Task, cover: _Cover, item: Work, tile: tuple[range, range]) -> tuple[range, range]:
        """The tile on the graph's axes. Raises ScheduleError if the firing's work is not that of its tile."""
        op, (height, width) = cover.op, cover.counts.shape
        backwards = item.kind == "attention" and self.newest_first
        rows, columns = _cut(tile[0], height, backwards), _cut(tile[1], width, backwards)
        sizes = {len(tile[0]) * len(tile[1])}
        if op.kind == "attention":  # masked pairs may be skipped, or computed and charged
            sizes.add(int(cover.needed[rows.start : rows.stop, columns.start : columns.stop].sum()))
        if prod(item.extents) not in {size * cover.each for size in sizes}:
            raise ScheduleError(
                f"task '{task.name}': a firing of {item} computes a tile of {len(tile[0])} x {len(tile[1])} of op "
                f"'{op.name}', which is {op.work}; the work of a firing is that of its tile"
            )
        # Rows may be padding, and with them the keys of a padded prompt; other columns may not.
        if op.kind != "attention" and tile[1].stop > width:
            raise ScheduleError(f"task '{task.name}': a tile ends at {tile[1].stop}, op '{op.name}' at {width}")
        return rows, columns

    def _cover(self, op: Op, kind: str) -> _Cover:
        # The first pass covers its scores, which another task may read before the op itself is covered.
        name = f"{op.name} scores" if kind == "attention_scores" else op.name
        if name not in self.covers:
            shape = extents(self.graph, op)
            needed = visible(op, *shape) if op.kind == "attention" else np.ones(shape, dtype=bool)
            each = prod(op.work.extents) // int(needed.sum())
            self.covers[name] = _Cover(op, np.zeros(shape, dtype=np.int32), needed, each)
        return self.covers[name]

    def _check_made(self, task: Task, name: str, waited_for: frozenset[str]) -> None:
        cover = self.covers.get(name)
        if cover is None:
            raise ScheduleError(f"task '{task.name}': reads '{name}', which no task before it computes")
        if not cover.makers:
            raise ScheduleError(f"task '{task.name}': reads '{name}' before it is whole; {cover.problem()}")
        # One complete cover is enough, if each of its tasks ran in an earlier run or is waited for in this one.
        if not any(all(run < self.run or maker in waited_for for run, maker in made) for made in cover.makers):
            makers = ", ".join(f"'{maker}'" for _, maker in sorted(cover.makers[0]))
            raise ScheduleError(
                f"task '{task.name}': reads '{name}', which {makers} computes in the same section; "
                "streams lead from a task that computes a tensor to those that read it"
            )

    def check_finished(self) -> None:
        """Raises ScheduleError with every op that no task computes or that tiles cover unevenly."""
        due = [op.name for op in self.graph.ops.values() if not OP_KINDS[op.kind].free]
        lacking = [name for name in due if name not in self.covers]
        problems = [f"op '{name}': no task computes it; every op with work is some task's" for name in lacking]
        problems += [problem for cover in self.covers.values() if (problem := cover.problem())]
        if problems:
            raise ScheduleError(problems)


def _misplaced_drain(task: Task, group: range, what: str) -> ScheduleError:
    queries = f"queries {group.start} to {group.stop - 1}"
    return ScheduleError(f"task '{task.name}': {queries} {what}; a drain follows the last key of each group")


def _sources(graph: Graph, op: Op) -> Iterator[str]:
    """The computed tensors that an op reads, directly or through free ops."""
    for name in op.inputs:
        maker = graph.ops.get(name)
        if maker is not None and OP_KINDS[maker.kind].free:
            yield from _sources(graph, maker)
        elif maker is not None:
            yield name


def _cut(places: range, extent: int, backwards: bool) -> range:
    """The part of a range that lies below the extent; counted from the extent down if backwards.

    >>> _cut(range(8, 16), 13, False), _cut(range(8, 16), 13, True), _cut(range(8, 16), 5, True)
    (range(8, 13), range(0, 5), range(0, 0))
    """
    if backwards:
        return range(max(extent - places.stop, 0), max(extent - places.start, 0))
    return range(min(places.start, extent), min(places.stop, extent))
