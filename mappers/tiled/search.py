"""Search: the tile, the order of loops and the places of results with which a product is estimated to take least."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import permutations, product
from typing import Literal

import numpy as np

from kernels.limits import LISTED
from mappers.tiled.estimate import Choice, Costs, Estimates, Nests, Rows, Singles, Tiles
from mappers.tiled.nest import Nest
from mappers.tiled.product import Product

# Tiles of an op, where there is a choice: with more an op is simulated for seconds. The same for any room, so that more
# room only adds tiles to choose from.
MOST_STEPS = 2**18
SHORT = 2048  # steps; with more the estimate is nearer, and running them takes longer
MOST_RUN = 8192  # steps of all short nests that are run for a product
MOST_RUNS = 64  # of them
ALIKE = 1.01  # estimates that differ by less are alike: fewer bytes then leave more time where tiles meet
ENOUGH = 1.005  # no run is worth its time where it can gain no more
MOST_STARTS = 8  # of the best nests, around which better ones are looked for
MOST_MOVES = 16  # from the best of the sizes that are tried to a better one beside it
SLACK = 1.25  # a short nest may take so many times its estimate
PARTS = 64  # of an extent along which a unit has no size of its own, at most
EVEN_CUTS = 8  # an extent is cut into 1, 2, 3 ... so many equal parts, and by powers of two
Run = Callable[[Nest, int], int]  # the simulated cycles of a nest with so many places for results
NO_LIMIT: Mapping[str, int] = {}
CHUNK = 256  # nests whose units are asked at once


class Search:
    """The nests of a product, of which one is chosen for a room; what is found holds for any room.

    """

    def __init__(self, asked: Product, costs: Costs) -> None:
        self.asked, self.estimates = asked, Estimates(asked, costs)
        self.singles = Singles(self.estimates)
        self.native = asked.design.units[asked.unit].tile(asked.op.work)
        self._ran: dict[object, int] = {}

    def best(
        self, room: Mapping[str, int], run: Run, *, before: Mapping[str, int] = NO_LIMIT,
        cost: Literal["cycles", "bytes"] = "cycles",
    ) -> Choice | None:  # fmt: skip
        """The choice of least cost: cycles, or bytes; of equals that with fewer bytes, then cycles, then tiles.

        Short nests are measured by runs, of which `run` gives the cycles, in order of their estimates until none can be
        clearly less: the estimate leaves out how tiles of several operands meet in a memory, which matters most where
        they are few. None where not even the smallest tile fits. Deterministic.
        """
        extents, axes = self.asked.extents, self.asked.axes
        if not self.asked.moved:  # nothing is gained by smaller tiles
            nest = Nest(extents, {**extents, **self.asked.tile}, self.asked.order or axes)
            return self.singles.of(nest, self.asked.results[0])
        nests, rows = self._fitting(room, before)
        if not len(rows):
            return None
        if cost == "bytes":
            rows = rows[nests.bytes[rows] == nests.bytes[rows].min()]
            return min(nests.choices(rows, nests.cycles(rows)), key=_rank)
        rows, cycles = _near(nests, rows)
        if self.asked.outer:  # beside others a run by itself says no more than the estimate
            return nests.choices(rows[:1], cycles[:1])[0]
        starts = {tuple(one.nest.tile.values()): one for one in nests.choices(rows[:MOST_STARTS], cycles[:MOST_STARTS])}
        short, long = np.flatnonzero(nests.steps[rows] <= SHORT)[:MOST_RUNS], _long(nests, rows, cycles)
        found = [one for some in (short, long) for one in nests.choices(rows[some], cycles[some])]
        return self._least([*found, *self._around([*starts.values()], room, before)], run)

    def _least(self, found: Sequence[Choice], run: Run) -> Choice:
        """The least of these, of which the short ones are run; a long one only where it is clearly less."""
        long = min((one for one in found if one.nest.steps > SHORT), key=_rank, default=None)
        limit, steps = long.cycles * ALIKE if long else float("inf"), 0
        chosen: Choice | None = None
        for one in sorted((one for one in found if one.nest.steps <= SHORT), key=_rank):
            if one.cycles * ENOUGH >= limit or steps > MOST_RUN:
                break
            one, steps = one._replace(cycles=self._measured(one, run)), steps + one.nest.steps
            if chosen is None or _rank(one) < _rank(chosen):
                chosen, limit = one, min(one.cycles, limit)
        if long and (chosen is None or long.cycles * ALIKE < chosen.cycles):
            return long
        assert chosen is not None
        return chosen

    def _measured(self, one: Choice, run: Run) -> int:
        key = (*one.nest.tile.values(), one.nest.order, one.results)
        if key not in self._ran:
            self._ran[key] = run(one.nest, one.results)
        return self._ran[key]

    def _fitting(self, room: Mapping[str, int], before: Mapping[str, int]) -> tuple[Nests, Rows]:
        """The nests of which some fit, and the rows of these."""
        # Finer than PARTS only where nothing else fits: there are many such tiles, and most serve no better.
        for nests in (self._coarse, self._fine):
            fits = nests.fits(room, before)
            for most in (MOST_STEPS, LISTED):
                rows = np.flatnonzero(fits & (nests.steps <= most))
                if len(rows):
                    return nests, rows
        return nests, rows

    @cached_property
    def _coarse(self) -> Nests:
        return self._nests(PARTS)

    @cached_property
    def _fine(self) -> Nests:
        return self._nests(max(self.asked.extents.values()))

    def _nests(self, finest: int) -> Nests:
        given = self.asked.tile
        sizes = [
            [given[axis]] if axis in given else _sizes(extent, self.native.get(axis, 1), -(-extent // finest))
            for axis, extent in self.asked.extents.items()
        ]
        return self._of([*product(*sizes)])

    def _of(self, tiles: Sequence[Sequence[int]]) -> Nests:
        """Each of these tiles in all orders of loops."""
        axes, given = self.asked.axes, self.asked.order
        # Members of a batch share nothing, so their loop is the outermost.
        outer = (*(axis for axis in axes if axis == "batch"), *self.asked.outer)
        orders = [(*outer, *order) for order in permutations([axis for axis in axes if axis not in outer])]
        return Nests(Tiles(self.estimates, tiles), [given] if given else orders)

    def _around(
        self, starts: Sequence[Choice], room: Mapping[str, int], before: Mapping[str, int]
    ) -> list[Choice]:
        """From each of these the best by small steps, a little larger or smaller along an axis, while it is better."""
        settled: list[Choice] = []
        for _ in range(MOST_MOVES):
            pairs = zip(starts, self._beside(starts, room, before), strict=True)
            moves = [(better.cycles * ALIKE <= one.cycles, better) for one, better in pairs]
            settled += [better for moved, better in moves if not moved]
            starts = [better for moved, better in moves if moved]
            if not starts:
                break
        return [*settled, *starts]

    def _beside(
        self, starts: Sequence[Choice], room: Mapping[str, int], before: Mapping[str, int]
    ) -> list[Choice]:
        """For each of these the best nest whose tile differs from it along one axis, or itself."""
        tiles, of = list[tuple[int, ...]](), list[int]()
        for i, one in enumerate(starts):
            tile = tuple(one.nest.tile.values())
            for place, (axis, extent) in enumerate(self.asked.extents.items()):
                if axis in self.asked.tile:
                    continue
                changed = sorted(_next_sizes(extent, tile[place], self.native.get(axis, 1)))
                tiles += [(*tile[:place], size, *tile[place + 1 :]) for size in changed]
                of += [i] * len(changed)
        if not tiles:  # of a product so small that there is one
            return [*starts]
        nests, best = self._of(tiles), [*starts]
        owner, least = np.array(of)[nests.at], np.array([one.cycles for one in starts])
        rows = np.flatnonzero(nests.fits(room, before) & (nests.steps <= LISTED))
        rows = rows[(nests.at_least(rows) <= least[owner[rows]]).astype(bool)]
        cycles = nests.cycles(rows)
        order = nests.ranked(rows, cycles)
        for i in range(len(starts)):
            mine = order[owner[rows[order]] == i][:1]
            best[i] = min([best[i], *nests.choices(rows[mine], cycles[mine])], key=_rank)
        return best


def _near(nests: Nests, rows: Rows) -> tuple[Rows, Rows]:
    """Those of these nests that are not estimated to take more than SLACK times as long as the best, best first."""
    least = nests.at_least(rows)
    order = np.argsort(least, kind="stable")
    rows, least = rows[order], least[order]
    cycles, limit, end = np.zeros(0, dtype=least.dtype), float("inf"), 0
    while end < len(rows) and least[end] <= limit:
        cycles = np.concatenate([cycles, nests.cycles(rows[end : end + CHUNK])])
        end, limit = end + CHUNK, int(cycles.min()) * SLACK
    rows = rows[: len(cycles)]
    order = nests.ranked(rows, cycles)
    order = order[(cycles[order] <= limit).astype(bool)]
    return rows[order], cycles[order]


def _long(nests: Nests, rows: Rows, cycles: Rows) -> Rows:
    """The place of the nest to be trusted among those that are not run: of those alike the one of fewest bytes."""
    long = np.flatnonzero(nests.steps[rows] > SHORT)
    alike = long[(cycles[long] <= int(cycles[long].min()) * ALIKE).astype(bool)] if len(long) else long
    return alike[np.lexsort((cycles[alike], nests.steps[rows[alike]], nests.bytes[rows[alike]]))][:1]


def _next_sizes(extent: int, size: int, native: int) -> set[int]:
    """The sizes of a fold more and less, of an eighth more and less, and of the next even parts of the extent."""
    parts = -(-extent // size)
    even = {-(-extent // more) for more in (parts - 1, parts + 1) if more > 0}
    near = {size - native, size + native, size - size // 8, size + size // 8, *even}
    whole = {min(extent, -(-one // native) * native) for one in near if one > 0}
    return whole - {size}


def _rank(one: Choice) -> tuple[int, int, int]:
    return one.cycles, one.bytes, one.nest.steps


def _sizes(extent: int, native: int, least: int) -> list[int]:
    """Sizes of tiles along an axis: the whole, equal parts of it, and the native size, or the least, doubled again."""
    folds = -(-extent // native)
    found = {min(extent, native * -(-folds // parts)) for parts in range(1, EVEN_CUTS + 1)}
    size = native if native > 1 else least
    while size < extent:
        found.add(size)
        size *= 2
    return sorted(found, reverse=True)
