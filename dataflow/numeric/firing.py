"""The parts of ops that a task computes, and whether the work of a firing is that of its tiles.

Knows kinds and places. Does not know in which order firings go, nor what has been computed before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product

from dataflow.errors import ScheduleError
from dataflow.graph import Op
from dataflow.kinds.attention import THREE_PASSES
from dataflow.numeric.cover import Cover
from dataflow.op import OP_KINDS, Box, Work, computes
from dataflow.task import Served, Task

LAST_PASS = THREE_PASSES[-1]  # without tiles it stands for the whole
PASSES = ("attention_scores", "attention_values", *THREE_PASSES[1:])
# What a pass makes for the next, and what it reads of the one before: the others make the result of the op.
MADE = {"attention_scores": " scores", "attention_softmax": " weights"}
READ = {"attention_values": " scores", "attention_softmax": " scores", LAST_PASS: " weights"}
Counted = tuple[Work, int, tuple[int, ...]]  # the work of an op, its places, and those that a part of it may count


@dataclass(slots=True)
class Part:
    """An op while a task computes its part of it: the cover of each kind of work, and the tiles still to come.

    `cover` is that of the last tile, and `group` the queries (batch, heads, queries) of that tile.
    """

    op: Op
    served: Served
    covers: Mapping[str, Cover]
    slices: Iterator[Box]
    cover: Cover = field(init=False)
    group: Box = ()

    def __post_init__(self) -> None:
        self.cover = next(iter(self.covers.values()))


@dataclass(frozen=True, slots=True)
class Placed:
    """A tile of a firing: as the task has it, and on the graph's axes."""

    part: Part
    cover: Cover
    tile: Box
    box: Box
    cells: tuple[slice, ...]


def does(item: Work, parts: tuple[Counted, ...]) -> bool:
    """True if a firing of this work does these parts of ops.

    The arithmetic of an op is spread evenly over its places.
    """
    wholes = [_amounts(Work(item.kind, work.extents, work.mask)) for work, _, _ in parts]
    asked = [
        [{what: Fraction(n * place, total) for what, n in whole.items()} for place in places]
        for whole, (_, total, places) in zip(wholes, parts, strict=True)
    ]
    done = _amounts(item).items()
    return any(all(n == sum(one[what] for one in each) for what, n in done) for each in product(*asked))


def _amounts(item: Work) -> dict[str, int]:
    """What must be in proportion between an op and its tiles: all that is counted, or elements where nothing is."""
    return item.counts() if computes(item) else {"elements": item.elements}


def kinds_by_op(task: Task, ops: Sequence[Op]) -> list[set[str]]:
    """The kinds of work with which the task computes each op. Raises ScheduleError where one is not that of its ops."""
    computed = {item.kind for item, _ in task.work if computes(item)}
    known = [{op.kind, *PASSES} if op.kind == "attention" else {op.kind} for op in ops]
    foreign = computed.difference(*known)
    for op, kinds in zip(ops, known, strict=True):
        if foreign or (computed and not computed & kinds):
            told = ", ".join(sorted(foreign or computed))
            raise ScheduleError(f"task '{task.name}': computes {told}, op '{op.name}' is a {op.kind}")
    return [computed & kinds or {op.kind} for op, kinds in zip(ops, known, strict=True)]


def check_axes(task: Task, served: Served, op: Op) -> None:
    """Raises ScheduleError where a tile of the op has another number of ranges than its kind has axes."""
    axes = OP_KINDS[op.kind].axes
    for box in served.tiles:
        if len(box) != len(axes):
            raise ScheduleError(
                f"task '{task.name}': a tile of {len(box)} ranges of op '{op.name}'; a tile of a {op.kind} has one "
                f"for each of ({', '.join(axes)})"
            )
