"""Cover: how often the tiles of a schedule have computed each place of an op, and which tasks computed it.

Places that no tile parts are counted as one cell: an op of millions of places has few cells.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

import numpy as np

from dataflow.errors import ScheduleError
from dataflow.graph import Op
from dataflow.op import OP_KINDS, Box, Work

Cuts = tuple[tuple[int, ...], ...]  # by axis: 0, the places where a tile begins or ends, and the extent


def sizes_of(work: Work) -> tuple[int, ...]:
    """The extents of the axes along which work of this kind is cut into tiles."""
    return tuple(work[axis] for axis in OP_KINDS[work.kind].axes)


def whole_of(work: Work) -> Box:
    """The box of all places."""
    return tuple(map(range, sizes_of(work)))


def cuts_of(op: Op, boxes: Iterable[Box], *, backwards: bool) -> Cuts:
    """The places at which the tiles of these boxes cut the op, `backwards` as in box_below.

    Attention is cut at every query and key, because of its mask.
    """
    sizes = sizes_of(op.work)
    found = [{0, size} for size in sizes]
    for axis, along in {(axis, along) for box in boxes for axis, along in enumerate(box)}:
        ends = {*along, along.stop}
        turned = {sizes[axis] - end for end in ends} if backwards and axis >= 2 else ends
        found[axis].update(min(max(end, 0), sizes[axis]) for end in turned)
    if op.work.mask is not None:
        found[2:] = [set(range(size + 1)) for size in sizes[2:]]
    return tuple(tuple(sorted(ends)) for ends in found)


class Cover:
    """The cells of an op: how often each has been computed, which of them count, and by which tasks (run, name).

    `needed` marks the cells that count: all but masked pairs. `groups` are the groups of queries (batch, heads,
    queries) that have seen keys and are not drained. `makers` has the tasks of each complete cover, `unfinished` those
    since the last one. `once`: the tiles add to sums, so a tile done twice would count twice. `sizes` are the extents
    of the axes, `total` the places that count.
    """

    def __init__(self, op: Op, cuts: Cuts) -> None:
        record = OP_KINDS[op.kind]
        self.op, self.axes, self.sizes, self.cuts, self.once = (
            op,
            record.axes,
            sizes_of(op.work),
            cuts,
            bool(record.sums),
        )
        self.needed = np.ones([len(ends) - 1 for ends in cuts], dtype=bool)
        if op.work.mask is not None:
            self.needed &= visible(op.work)
        self.counts = np.zeros(self.needed.shape, dtype=np.int32)
        self.total = self.places(self.cells(whole_of(op.work)))
        self.groups: list[Box] = []
        self.makers: list[set[tuple[int, str]]] = []
        self.unfinished: set[tuple[int, str]] = set()

    def cells(self, box: Box) -> tuple[slice, ...]:
        """The cells of a box."""
        return tuple(
            slice(bisect_left(ends, along.start), bisect_left(ends, along.stop))
            for ends, along in zip(self.cuts, box, strict=True)
        )

    def places(self, cells: tuple[slice, ...]) -> int:
        """The places of these cells that count."""
        found = self.needed[cells]
        for ends, part in zip(reversed(self.cuts), reversed(cells), strict=True):
            found = found @ np.diff(ends)[part]  # the sum over the last axis, each cell times its length
        return int(found)

    def missing(self, group: Box) -> Iterator[dict[str, int]]:
        """The places of a group of queries that count and have not been computed."""
        cells = self.cells((*group, range(self.op.work["keys"])))
        for at in np.argwhere(self.needed[cells] & (self.counts[cells] == 0)):
            yield self._place([part.start + int(i) for part, i in zip(cells, at, strict=True)])

    def _place(self, cell: Iterable[int]) -> dict[str, int]:
        return {axis: ends[i] for axis, ends, i in zip(self.axes, self.cuts, cell, strict=True)}

    def end(self, run: int, task: str) -> None:
        """Notes that a task has computed its part. Raises ScheduleError if a tile was added to a sum twice."""
        self.unfinished.add((run, task))
        # The least count says how many times the whole op has been computed.
        while len(self.makers) < self.counts[self.needed].min():
            self.makers.append(self.unfinished)
            self.unfinished = set()
        if self.once and self.counts[self.needed].max() > 1:
            raise ScheduleError(f"task '{task}': {self.problem()}")

    def problem(self) -> str:
        """What is wrong with the tiles so far; empty if all places are in the same number of tiles, at least one."""
        rule = f"the tiles of an op hold each ({', '.join(self.axes)}) once"
        counts = self.counts[self.needed]
        low, high = int(counts.min()), int(counts.max())

        def first(count: int) -> str:
            place = self._place(np.argwhere(self.needed & (self.counts == count))[0])
            return ", ".join(f"{axis} {i}" for axis, i in place.items())

        wrong = ""
        if low == 0:
            cells = np.argwhere(self.needed & (self.counts == 0))
            lacking = sum(self.places(tuple(slice(i, i + 1) for i in cell)) for cell in cells)
            wrong = f"no tile holds ({first(0)}), {lacking} such places in all"
        elif self.once and high > 1:
            wrong = f"{high} tiles hold ({first(high)})"
        elif low != high:
            wrong = f"{high} tiles hold ({first(high)}) and {low} ({first(low)})"
        return f"op '{self.op.name}': {wrong}; {rule}" if wrong else ""


def visible(work: Work) -> np.ndarray:
    """Which keys each query of an attention sees, bool [queries, keys], the same in every sequence and head.

    >>> from dataflow.mask import Mask
    >>> from dataflow.op import work
    >>> visible(work("attention", Mask(), heads=1, queries=2, keys=3, qk_dim=2)).astype(int).tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    queries, keys, mask = work["queries"], work["keys"], work.mask
    assert mask is not None
    spans, key = (mask.seen(query, queries=queries, keys=keys) for query in range(queries)), np.arange(keys)
    return np.array([(span.start <= key) & (key < span.stop) for span in spans])


def box_below(box: Box, sizes: Iterable[int], *, backwards: bool) -> Box:
    """The part of a box that lies below the extents; with `backwards`, queries and keys count from the newest on.

    >>> box_below((range(1), range(1), range(8, 16), range(3)), (1, 1, 13, 4), backwards=True)
    (range(0, 1), range(0, 1), range(0, 5), range(1, 4))
    """
    return tuple(
        range(max(size - along.stop, 0), max(size - along.start, 0))
        if backwards and axis >= 2
        else range(min(along.start, size), min(along.stop, size))
        for axis, (along, size) in enumerate(zip(box, sizes, strict=True))
    )
