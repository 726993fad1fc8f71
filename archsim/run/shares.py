"""Shares: what of a task's firings falls to each of the ops that it serves.

Knows tiles and their places. Does not know time: the unit says that of each firing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import islice, pairwise
from math import prod

from archsim.design.design import Design
from dataflow.graph import Graph
from dataflow.op import Work, computes
from dataflow.pattern import Pattern, side_by_side
from dataflow.task import Task

Number = int | Fraction


def firings_by_op(task: Task) -> list[dict[Work, Number]]:
    """For each op that the task serves with tiles, how many firings of each work are its own.

    A firing that computes tiles of several ops is shared in proportion to the places of these tiles.

    >>> from dataflow import Served, every, work
    >>> row, q, k = range(1), range(0, 6, 2), range(0, 3, 1)
    >>> task = Task("qk", "u", 3, every(work("add", rows=1, d=3)), serves=(Served(("q",), ((row, q),)),
    ...                                                                    Served(("k",), ((row, k),))))
    >>> [str(firings) for each in firings_by_op(task) for firings in each.values()]
    ['2', '1']
    """
    # Kept by what is shared and by how many, so that one fraction is made for many firings.
    places: list[dict[tuple[Work, int], int]] = [{} for _ in task.serves]
    tiles = [map(_places, served.slices()) for served in task.serves]
    computing = Pattern(tuple(run for run in task.work if computes(run[0])))
    patterns: list[Pattern[object]] = [computing, *(served.per_firing for served in task.serves)]  # type: ignore[list-item]
    for count, (item, *numbers) in side_by_side(patterns, task.computing):
        for _ in range(count):
            sizes = [sum(islice(each, n)) for each, n in zip(tiles, numbers, strict=True)]
            key = item, sum(sizes)
            for sums, size in zip(places, sizes, strict=True):
                if size:
                    sums[key] = sums.get(key, 0) + size
    found: list[dict[Work, Number]] = [{} for _ in task.serves]
    for shares, sums in zip(found, places, strict=True):
        for (item, whole), size in sums.items():
            shares[item] = shares.get(item, 0) + Fraction(size, whole)
    return found


def _places(tile: Sequence[range]) -> int:
    return prod(map(len, tile))


def counts_of_fused(task: Task) -> Mapping[tuple[str, str], Number]:
    """What a task of several ops with tiles counts for each, by (op, what), in all repetitions; nothing of others."""
    found: dict[tuple[str, str], Number] = {}
    if len(task.serves) > 1 and is_tiled(task):
        for served, shares in zip(task.serves, firings_by_op(task), strict=True):
            for item, firings in shares.items():
                for what, n in item.counts().items():
                    for op in served.ops:
                        found[op, what] = found.get((op, what), 0) + n * firings
    return found


def is_tiled(task: Task) -> bool:
    """True if it has tiles: of several ops all have them, or none has."""
    return any(served.tiles for served in task.serves)


def shared(total: int, task: Task, graph: Graph, design: Design) -> list[int]:
    """Busy cycles of a task, shared among the ops that it serves; the shares add up to all of them.

    Each firing is its op's, or shared as in firings_by_op; a launch is shared as the rest. Ops without tiles share by
    their own work: its arithmetic, or elements where it has none.
    """
    if len(task.serves) == 1:
        return [total]
    if is_tiled(task):
        unit, firings = design.units[task.unit], firings_by_op(task)
        weights = [
            sum((unit.cycles(item, task.servers) * n for item, n in each.items()), Fraction(0)) for each in firings
        ]
    else:
        weights = [Fraction(_arithmetic(graph.ops[served.ops[0]].work)) for served in task.serves]
    return apportioned(total, weights)


def _arithmetic(item: Work) -> int:
    return sum(item.counts().values()) if computes(item) else item.elements


def apportioned(total: int, weights: Sequence[Number]) -> list[int]:
    """A number in whole parts in proportion to the weights, equal ones if all are zero; the parts add up to it.

    The sums of the first parts are rounded down, so a part is less than one off.

    >>> apportioned(10, [1, 1, 1]), apportioned(7, [0, 0]), apportioned(9, [1, 0, 2])
    ([3, 3, 4], [3, 4], [3, 0, 6])
    """
    if not any(weights):
        weights = [1] * len(weights)
    whole = sum(weights)
    ends = [int(total * sum(weights[:n]) // whole) for n in range(len(weights) + 1)]
    return [end - start for start, end in pairwise(ends)]
