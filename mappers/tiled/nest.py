"""Nest: the loops over the tiles of an op, and what follows from their order: which tiles stay and which move again.

Knows extents and axes. Does not know units, memories or bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TypeVar

from dataflow.op import Box

Sizes = tuple[int, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Nest:
    """Loops over the tiles of an op: its extents and those of a tile by axis, and the axes in order, outermost first.

    A last tile along an axis is smaller where the tile does not divide the extent. Of an operand, which has some of the
    axes, the tile stays in place while only loops of other axes turn; a stay begins when it comes and ends when another
    one takes its place.
    """

    extents: Mapping[str, int]
    tile: Mapping[str, int]
    order: tuple[str, ...]

    @cached_property
    def trips(self) -> dict[str, int]:
        """How often each loop turns."""
        return {axis: -(-extent // self.tile[axis]) for axis, extent in self.extents.items()}

    @cached_property
    def steps(self) -> int:
        """All tiles of the op, each of which is computed in one step."""
        return prod(self.trips.values())

    def stays(self, axes: Sequence[str]) -> int:
        """How often a tile of an operand with these axes comes and stays.

        >>> Nest({"m": 4, "n": 6, "k": 8}, {"m": 2, "n": 2, "k": 4}, ("m", "n", "k")).stays(("m", "k"))
        12
        """
        return prod(self.trips[axis] for axis in self.outside(axes))

    def again(self, axes: Sequence[str]) -> int:
        """How often each tile of the operand comes: once, and again for each turn of other loops outside its own.

        >>> Nest({"m": 4, "n": 6, "k": 8}, {"m": 2, "n": 2, "k": 4}, ("m", "n", "k")).again(("m", "k"))
        3
        """
        return prod(self.trips[axis] for axis in self.outside(axes) if axis not in axes)

    def outside(self, axes: Sequence[str]) -> tuple[str, ...]:
        """The loops from the outermost one to the innermost that changes the operand's tile."""
        turning = [i for i, axis in enumerate(self.order) if axis in axes and self.trips[axis] > 1]
        return self.order[: turning[-1] + 1] if turning else ()

    def parts(self, axis: str) -> list[tuple[int, int]]:
        """The sizes of the tiles along an axis, in order: (size, how many)."""
        whole, rest = divmod(self.extents[axis], self.tile[axis])
        return [part for part in ((self.tile[axis], whole), (rest, 1)) if part[0] and part[1]]

    def shapes(self, axes: Sequence[str]) -> list[tuple[Sizes, int]]:
        """The different tiles of an operand with these axes: (size along each, how many there are)."""
        found: list[tuple[Sizes, int]] = [((), 1)]
        for axis in axes:
            found = [((*sizes, size), many * count) for sizes, many in found for size, count in self.parts(axis)]
        return found

    def runs(self, axes: Sequence[str], *, through: Sequence[str] | None = None) -> list[tuple[Sizes, int]]:
        """The sizes along these axes as the loops turn, in runs of equal ones: (size along each axis, how many steps).

        Of the stays of an operand with the axes `through`, one step each; of all steps without.
        """
        loops = self.order if through is None else self.outside(through)
        found: list[tuple[dict[str, int], int]] = [({}, 1)]
        for axis in reversed(loops):
            inner = found
            found = _merged(
                ({**sizes, axis: size}, n) for size, times in self.parts(axis) for sizes, n in _times(inner, times)
            )
        alone = {axis: self.parts(axis)[0][0] for axis in axes if axis not in loops}  # these loops turn once
        return _merged((tuple({**alone, **sizes}[axis] for axis in axes), n) for sizes, n in found)

    def visits(self, axes: Sequence[str]) -> list[tuple[tuple[Sizes, bool, bool], int]]:
        """The stays of an operand in order, in runs: (sizes along its axes, if it came before, if it goes for good).

        A tile comes for the first time where all other loops outside stand at their first turn, and goes for good where
        they stand at their last one.
        """
        loops = self.outside(axes)
        found: list[tuple[tuple[dict[str, int], bool, bool], int]] = [(({}, False, True), 1)]
        for axis in reversed(loops):
            inner = found
            if axis in axes:
                turns = [(size, False, True, n) for size, n in self.parts(axis)]
            else:
                last = self.trips[axis] - 1
                turns = [(0, turn > 0, turn == last, 1) for turn in range(last + 1)]
            found = _merged(
                (({**sizes, axis: size}, again or back, good and gone), n)
                for size, again, good, times in turns
                for (sizes, back, gone), n in _times(inner, times)
            )
        alone = {axis: self.parts(axis)[0][0] for axis in axes if axis not in loops}
        return _merged(
            ((tuple({**alone, **sizes}[axis] for axis in axes), again, good), n) for (sizes, again, good), n in found
        )

    def boxes(self, axes: Sequence[str]) -> tuple[Box, ...]:
        """The tiles as they are computed one after another, as boxes along the axes; a box spans the innermost loop."""
        *outer, inner = self.order
        found = []
        for starts in _product([range(0, self.extents[axis], self.tile[axis]) for axis in outer]):
            at = dict(zip(outer, starts, strict=True))
            for along in self._along(inner):
                fixed = {
                    axis: range(start, stop := min(start + self.tile[axis], self.extents[axis]), stop - start)
                    for axis, start in at.items()
                }
                found.append(tuple({**fixed, inner: along}[axis] for axis in axes))
        return tuple(found)

    def _along(self, axis: str) -> Iterator[range]:
        start = 0
        for size, count in self.parts(axis):
            yield range(start, start + size * count, size)
            start += size * count


def _product(ranges: Sequence[range]) -> Iterator[tuple[int, ...]]:
    if not ranges:
        yield ()
        return
    for first in ranges[0]:
        for rest in _product(ranges[1:]):
            yield (first, *rest)


def _times(runs: list[tuple[T, int]], times: int) -> list[tuple[T, int]]:
    """The runs so many times over."""
    return [(runs[0][0], runs[0][1] * times)] if len(runs) == 1 else runs * times


def _merged(runs: Iterable[tuple[T, int]]) -> list[tuple[T, int]]:
    """The runs with equal neighbours in one."""
    merged: list[tuple[T, int]] = []
    for sizes, n in runs:
        if merged and merged[-1][0] == sizes:
            merged[-1] = (sizes, merged[-1][1] + n)
        else:
            merged.append((sizes, n))
    return merged
