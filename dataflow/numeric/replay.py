"""The tiles of a schedule, one by one, in an order that its streams enforce.

Knows which firing computes which part of which op, whether an op's tiles cover it, and whether a tensor is complete
before a task reads it. Does not know numbers, nor when a firing starts: each task runs to its end before the next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, cycle, islice, repeat
from math import prod

from dataflow.errors import ScheduleError, refuse
from dataflow.graph import Graph, Op
from dataflow.numeric.cover import Cover, Cuts, box_below, cuts_of, whole_of
from dataflow.numeric.firing import LAST_PASS, MADE, READ, Counted, Part, Placed, check_axes, does, kinds_by_op
from dataflow.op import OP_KINDS, Box, Work, computes
from dataflow.pattern import side_by_side
from dataflow.schedule import Schedule
from dataflow.section import Section, rounds
from dataflow.task import Served, Task


@dataclass(frozen=True, slots=True)
class Step:
    """What a firing computes of one op: a part of it, or all of it if `whole`.

    `kind` is that of the firing's work; "drain" says that the queries of the box (batch, heads, queries) have seen all
    their keys. `box` has a range for each axis of the op in the graph, from the oldest token on, without padding.
    """

    op: Op
    kind: str
    box: Box
    whole: bool = False


def steps(schedule: Schedule) -> Iterator[Step]:
    """Everything that the schedule computes, in an order that its streams enforce.

    Raises ScheduleError if a task reads a tensor that the tasks it waits for have not completed, if a firing's work is
    not that of its tile, if tiles that add to a sum overlap, if the tiles of an op leave a gap at the end, or if the
    schedule leaves out work of the graph.
    """
    # Bytes that no memory reads are of no matter here.
    if any(schedule.left_out().get(what) for what in ("mac", "flop", "exp")):
        counts = [(", ".join(f"{n:,} {what}" for what, n in skip.counts.items()), skip) for skip in schedule.skipped]
        left = "; ".join(f"{told}: {skip.reason}" for told, skip in counts)
        raise ScheduleError(
            f"the schedule leaves out work ({left}), so its numbers are not the graph's; replay one that does all of it"
        )
    progress = _Progress(schedule)
    for places in rounds(schedule.sections):
        together = [(section, *_in_order(section)) for section in (schedule.sections[place] for place in places)]
        for repetition in range(together[0][0].repeat):
            for _, order, last in together:
                progress.run += 1  # a run ends before the next starts, so later runs may read all that it made
                for task, waited_for in order:
                    # Several tasks may do a whole op together; the last one stands for all.
                    due = [served for served in task.serves if served.tiles or last[served.ops] == task.name]
                    named = [(_computed(schedule.graph, task, served, repetition), served) for served in due]
                    computed = [(op, served) for op, served in named if op is not None]
                    if computed:
                        yield from progress.steps(task, computed, waited_for)
    progress.check_finished()


def _in_order(section: Section) -> tuple[list[tuple[Task, frozenset[str]]], dict[tuple[str, ...], str]]:
    """The tasks in dependence order; and for each op without tiles the last task that serves it."""
    order = dependence_order(section)
    return order, {served.ops: task.name for task, _ in order for served in task.serves if not served.tiles}


def dependence_order(section: Section) -> list[tuple[Task, frozenset[str]]]:
    """The tasks in an order that the streams enforce, each with all tasks that it waits for, directly or not.

    Streams that start with tokens enforce no order. Tasks may wait for each other in a circle in which one alone
    serves an op, as where its sums leave and come back. Raises ScheduleError for any other circle.
    """
    import networkx  # here, because nothing else in a replay needs it

    tasks, ends = {task.name: task for task in section.tasks}, section.ends
    waits = networkx.DiGraph()
    waits.add_nodes_from(tasks)
    for source, sinks in (ends[stream.name] for stream in section.streams if not stream.initial):
        waits.add_edges_from((source, sink) for sink in sinks)
    circles = networkx.condensation(waits)
    order: list[tuple[Task, frozenset[str]]] = []
    waited: dict[int, frozenset[str]] = {}
    for circle in networkx.topological_sort(circles):
        names = sorted(circles.nodes[circle]["members"], key=[*tasks].index)
        before = (waited[other].union(circles.nodes[other]["members"]) for other in circles.predecessors(circle))
        waited[circle] = frozenset[str]().union(*before)
        if len(names) > 1 and sum(bool(tasks[name].serves) for name in names) != 1:
            told = " > ".join(f"'{name}'" for name in [*names, names[0]])
            raise ScheduleError(f"section '{section.name}': tasks wait for each other: {told}")
        order += [(tasks[name], waited[circle].union(names) - {name}) for name in names]
    return order


def _computed(graph: Graph, task: Task, served: Served, repetition: int) -> Op | None:
    """The op that the task computes in this repetition; None for a task that only moves an op's operands.

    An op without arithmetic counts as computed by the task that moves its rows.
    """
    name = served.ops[repetition]
    if name not in graph.ops:
        raise ScheduleError(f"task '{task.name}': names the op '{name}', which graph '{graph.name}' does not have")
    op = graph.ops[name]
    return op if served.tiles or not computes(op.work) or any(computes(item) for item, _ in task.work) else None


def _firings(task: Task) -> Iterator[Work]:
    return islice(chain.from_iterable(repeat(item, n) for item, n in cycle(task.work)), task.firings)


class _Progress:
    """What the tasks have computed so far, over sections and repetitions."""

    def __init__(self, schedule: Schedule) -> None:
        self.graph = schedule.graph
        self.newest_first = schedule.options.get("attention_order") == "reversed"
        self.covers: dict[str, Cover] = {}
        self.does = cache(does)  # of thousands of firings few differ
        self.cuts = self._cuts(schedule)
        self.run = 0

    def _cuts(self, schedule: Schedule) -> dict[str, Cuts]:
        """Where the tiles of all tasks cut each op."""
        boxes: dict[str, list[Box]] = {}
        for section in schedule.sections:
            for task in section.tasks:
                tiled = {name: served for served in task.serves if served.tiles for name in served.ops}
                for name, served in tiled.items():
                    if name in self.graph.ops:
                        boxes.setdefault(name, []).extend(served.tiles)
                        check_axes(task, served, self.graph.ops[name])
        ops = {name: self.graph.ops[name] for name in boxes}
        return {name: cuts_of(op, boxes[name], backwards=self._backwards(op)) for name, op in ops.items()}

    def _backwards(self, op: Op) -> bool:
        return op.kind == "attention" and self.newest_first

    def steps(
        self, task: Task, computed: Sequence[tuple[Op, Served]], waited_for: frozenset[str]
    ) -> Iterator[Step]:
        """The steps of one task; afterwards its parts of these ops count as computed."""
        parts: list[Part] = []
        for (op, served), kinds in zip(computed, kinds_by_op(task, [op for op, _ in computed]), strict=True):
            # A later pass of an attention reads what the one before has made; without tiles the last one does all.
            passed = [f"{op.name}{READ[kind]}" for kind in sorted(kinds & READ.keys()) if served.tiles]
            for name in (*_sources(self.graph, op, kinds), *passed):
                if any(name == other.name for other, _ in computed):
                    raise ScheduleError(
                        f"task '{task.name}': reads '{name}' for op '{op.name}' and computes it itself; a task reads "
                        "what tasks before it have completed"
                    )
                self._check_made(task, name, waited_for)
            covers = {kind: self._cover(op, kind) for kind in sorted(kinds)}
            parts.append(Part(op, served, covers, served.slices()))
        if parts[0].served.tiles:  # of several ops all have tiles, or none has
            yield from self._tiles(task, parts)
        for part in parts:
            for kind, cover in part.covers.items():
                if not part.served.tiles:
                    cover.counts += 1
                    yield Step(part.op, kind, whole_of(part.op.work), whole=kind in (part.op.kind, LAST_PASS))
                cover.end(self.run, task.name)

    def _tiles(self, task: Task, parts: Sequence[Part]) -> Iterator[Step]:
        """The steps of the tiles. Drain firings drain a group of queries; without any, a complete group is drained."""
        drains = any(item.kind == "drain" for item, _ in task.work)
        computing = {item for item, _ in task.work if computes(item)}
        runs = side_by_side([part.served.per_firing for part in parts], task.computing)
        numbers = chain.from_iterable(repeat(each, n) for n, each in runs)
        for item in _firings(task):
            if item in computing:
                yield from self._firing(task, item, list(zip(parts, next(numbers), strict=True)))
            elif item.kind == "drain":
                for part in parts:
                    if part.group in part.cover.groups:
                        for place in part.cover.missing(part.group):
                            late = f"are drained before query {place['queries']} has seen key {place['keys']}"
                            raise _misplaced_drain(task, part.group, late)
                        part.cover.groups.remove(part.group)
                        yield Step(part.op, "drain", part.group)
        for part in parts:
            for group in [group for group in part.cover.groups if not any(part.cover.missing(group))]:
                if drains:
                    raise _misplaced_drain(task, group, "are never drained")
                part.cover.groups.remove(group)
                yield Step(part.op, "drain", group)

    def _firing(self, task: Task, item: Work, numbers: Sequence[tuple[Part, int]]) -> Iterator[Step]:
        """The steps of one firing, which computes so many tiles of each part."""
        placed = []
        for part, n in numbers:
            for tile in islice(part.slices, n):
                cover = part.covers.get(item.kind)
                if cover is None:
                    told = f"a firing of {item} computes a tile of op '{part.op.name}', which is a {part.op.kind}"
                    raise ScheduleError(f"task '{task.name}': {told}")
                box = box_below(tile, cover.sizes, backwards=self._backwards(part.op))
                placed.append(Placed(part, cover, tile, box, cover.cells(box)))
        self._check_work(task, item, placed)
        for one in placed:
            part, cover, box = one.part, one.cover, one.box
            cover.counts[one.cells] += 1
            part.cover, part.group = cover, box[:-1]
            if item.kind == "attention" and all(part.group) and part.group not in cover.groups:
                cover.groups.append(part.group)
            if all(box):  # a tile of padding alone is fired and computes nothing
                yield Step(part.op, item.kind, box)

    def _check_work(self, task: Task, item: Work, placed: Sequence[Placed]) -> None:
        """Raises ScheduleError if the firing's work is not that of its tiles, or a tile lies beyond its op."""
        parts: list[Counted] = []
        for one in placed:
            whole, size = one.part.op.work, prod(map(len, one.tile))
            # Masked pairs may be skipped, or computed and charged.
            places = (size,) if whole.mask is None else (size, one.cover.places(one.cells))
            parts.append((whole, one.cover.total, places))
        if not self.does(item, tuple(parts)):
            sizes = [f"{' x '.join(str(len(r)) for r in one.tile)} of op '{one.part.op.name}'" for one in placed]
            told = f"a tile of {sizes[0]}, which is {placed[0].part.op.work}; the work of a firing is that of its tile"
            if len(placed) > 1:
                told = f"tiles of {' and '.join(sizes)}; the work of a firing is that of its tiles"
            raise ScheduleError(f"task '{task.name}': a firing of {item} computes {told}")
        # Rows may be padding, and with them the keys of a padded prompt; other axes may not.
        for one in placed:
            for axis, along, extent in zip(one.cover.axes, one.tile, one.cover.sizes, strict=True):
                if along.stop > extent and axis not in ("m", "rows", "queries", "keys"):
                    raise ScheduleError(
                        f"task '{task.name}': a tile ends at {axis} {along.stop}, op '{one.part.op.name}' at {extent}"
                    )

    def _cover(self, op: Op, kind: str) -> Cover:
        # An earlier pass covers what it makes, which another task may read before the op itself is covered.
        name = f"{op.name}{MADE.get(kind, '')}"
        if name not in self.covers:
            self.covers[name] = Cover(op, self.cuts.get(op.name) or cuts_of(op, (), backwards=False))
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
        refuse(problems + [problem for cover in self.covers.values() if (problem := cover.problem())], ScheduleError)


def _misplaced_drain(task: Task, group: Box, what: str) -> ScheduleError:
    queries = f"queries {group[-1].start} to {group[-1].stop - 1}"
    return ScheduleError(f"task '{task.name}': {queries} {what}; a drain follows the last key of each group")


def _sources(graph: Graph, op: Op, kinds: Collection[str] = ()) -> Iterator[str]:
    """The computed tensors that an op reads with work of these kinds, directly or through free ops."""
    inputs = op.inputs
    if {*kinds} <= MADE.keys() and kinds:  # the first passes of an attention: queries and keys, or scores alone
        inputs = inputs[:2] if "attention_scores" in kinds else ()
    for name in inputs:
        maker = graph.ops.get(name)
        if maker is not None and OP_KINDS[maker.kind].free:
            yield from _sources(graph, maker)
        elif maker is not None:
            yield name
