"""Estimates: what nests of a product are estimated to take, many at once, one a row.

The cost is that of the units: the unit's own cycles over all tiles, each hop's own cycles over all that it carries.
Knows what a product reads and makes. Does not know which nests are worth a look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache, partial
from itertools import pairwise, product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from archsim.design.design import Design
from archsim.units import Unit
from dataflow.op import OP_KINDS, work
from mappers.tiled.nest import Nest
from mappers.tiled.operands import Moved
from mappers.tiled.product import Product

Rows = Any  # a numpy array with an entry for each nest or tile: of Python integers where 64 bits may be too few


class Choice(NamedTuple):
    """A nest, the cycles that it is estimated to take, the bytes that its tiles move over all hops, places of results.

    `results` are the places for tiles that the op makes.
    """

    nest: Nest
    cycles: int
    bytes: int
    results: int


class Costs:
    """The cycles of the units of a design for works that many nests share: each is asked for once."""

    def __init__(self, design: Design) -> None:
        # Not of methods, which would hold this object in a circle.
        self.carried = lru_cache(None)(partial(_carried, design.units))
        self.computed = lru_cache(None)(partial(_computed, design.units))


def _carried(units: Mapping[str, Unit], hop: str, size: int) -> int:
    carrier = units[hop]
    return carrier.cycles(work(carrier.does[0], bytes=size)) if size else 0


def _computed(
    units: Mapping[str, Unit], unit: str, servers: int, kind: str, format: str, sizes: tuple[int, ...]
) -> int:
    extents = dict(zip(OP_KINDS[kind].axes, sizes, strict=True))
    return units[unit].cycles(work(kind, None, format, **extents), servers)


class Carried(NamedTuple):
    """Of the tiles of an operand: cycles of each hop for all of them once, the first and the last; bytes."""

    once: list[Rows]
    first: list[Rows]
    last: list[Rows]
    bytes: Rows
    largest: Rows


class Estimates:
    """Estimates of the nests of a product.

    Cycles are those of the slowest: the unit, between the first tiles and the last; a hop, and what goes on before and
    behind it; or the places of an operand, of which each is taken from the start of a tile's load to the end of its
    stay, or from the first sum to the end of the store.
    """

    def __init__(self, asked: Product, costs: Costs | None = None) -> None:
        self.asked = asked
        self.costs = costs or Costs(asked.design)
        self.at_once = asked.design.units[asked.unit].count // asked.servers
        elements = prod(asked.extents.values())
        most = max([1, *(max(one.format.bits.numerator, one.part.numerator) for one in asked.moved)])
        self.number = np.int64 if elements * most < 2**60 else object
        unit = asked.design.units[asked.unit]
        self.launch = unit.cycles(work("enter")) if "enter" in unit.does else 0
        # Latencies of the first loads pass at once, and so do those of the last stores.
        late = [sum(self._latency(hop) for _, hop in self.outside(i)) for i in range(len(asked.moved))]
        self.late = sum(
            max((late[i] for i, one in enumerate(asked.moved) if one.made == made), default=0) for made in (False, True)
        )

    @cached_property
    def least_of_unit(self) -> int:
        """Cycles of the unit for the whole, in one tile."""
        asked = self.asked
        whole = tuple(asked.extents.values())
        return -(-self.computed(whole) // self.at_once)

    def computed(self, sizes: tuple[int, ...]) -> int:
        """Cycles of the unit for a tile of these sizes."""
        asked = self.asked
        return self.costs.computed(asked.unit, asked.servers, asked.op.kind, asked.op.work.format, sizes)

    def outside(self, i: int) -> list[tuple[int, str]]:
        """The hops of an operand that pass before the unit works on a tile, or after it: all but that beside it."""
        one, beside = self.asked.moved[i], self.asked.lie_in[i]
        return [(j, hop) for j, hop in enumerate(one.way) if one.made or j == 0 or hop != beside]

    def latency_of(self, i: int) -> int:
        """The latencies of these hops."""
        return sum(self._latency(hop) for _, hop in self.outside(i))

    def _latency(self, hop: str) -> int:
        return self.asked.design.units[hop].latency_cycles


class Tiles:
    """Tiles of a product, one a row, with what holds whatever the order of loops."""

    def __init__(self, estimates: Estimates, sizes: Sequence[Sequence[int]]) -> None:
        self.estimates, self.asked = estimates, estimates.asked
        self.sizes = np.array(sizes, dtype=estimates.number).reshape(len(sizes), len(self.asked.axes))
        extents = np.array(list(self.asked.extents.values()), dtype=estimates.number)
        self.whole, self.rest = extents // self.sizes, extents % self.sizes
        self.trips = self.whole + (self.rest > 0)
        self.steps = prod(self.trips.T)
        self._carried: dict[int, Carried] = {}
        self._computed: dict[int, tuple[int, int]] = {}

    @cached_property
    def ends(self) -> tuple[dict[str, Rows], dict[str, Rows]]:
        """Cycles by hop until the first tiles are there, and until the last have left."""
        found: tuple[dict[str, Rows], dict[str, Rows]] = {}, {}
        for i, one in enumerate(self.asked.moved):
            carried = self.carried(i)
            for j, hop in self.estimates.outside(i):
                cycles = carried.last[j] if one.made else carried.first[j]
                found[one.made][hop] = found[one.made].get(hop, 0) + cycles
        return found

    @cached_property
    def all_ends(self) -> tuple[Rows, Rows]:
        """These cycles, of all hops together."""
        none = np.zeros(len(self.sizes), dtype=self.estimates.number)
        first, last = (sum(by_hop.values(), start=none) for by_hop in self.ends)
        return first, last

    def computed(self, rows: Rows) -> tuple[Rows, Rows]:
        """Of these tiles the cycles of the unit over all of them, and for the last one."""
        for row in rows.tolist():
            if row not in self._computed:
                self._computed[row] = self._compute(row)
        found = [self._computed[row] for row in rows.tolist()]
        pairs = np.array(found, dtype=self.estimates.number).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def _compute(self, row: int) -> tuple[int, int]:
        sizes, whole, rest = self.sizes[row].tolist(), self.whole[row].tolist(), self.rest[row].tolist()
        parts = [[(s, n), (r, 1)] if r else [(s, n)] for s, n, r in zip(sizes, whole, rest, strict=True)]
        total = cycles = 0
        for shape in product(*parts):
            cycles = self.estimates.computed(tuple([size for size, _ in shape]))
            total += cycles * prod([n for _, n in shape])
        return -(-total // self.estimates.at_once), cycles

    def carried(self, i: int) -> Carried:
        """What moves of the tiles of an operand."""
        if i not in self._carried:
            self._carried[i] = self._carry(i)
        return self._carried[i]

    def _carry(self, i: int) -> Carried:
        one = self.asked.moved[i]
        places = [self.asked.axes.index(axis) for axis in one.axes]
        sizes, whole, rest = (columns[:, places].T for columns in (self.sizes, self.whole, self.rest))
        # Most tiles divide an axis, which then has one size alone.
        parts = [
            [(s, n), (r, (r > 0) * 1)] if r.any() else [(s, n)] for s, n, r in zip(sizes, whole, rest, strict=True)
        ]
        once: list[Rows] = [0] * len(one.way)
        bytes_: Rows = 0
        for shape in product(*parts):
            many = prod([n for _, n in shape])
            if many.any():
                size = one.bytes(tuple([size for size, _ in shape]))
                bytes_ = bytes_ + size * many
                once = [was + self._cycles(hop, size) * many for was, hop in zip(once, one.way, strict=True)]
        largest = one.bytes(tuple(sizes))
        first = last = [self._cycles(hop, largest) for hop in one.way]
        if rest.any():
            behind = one.bytes(tuple(np.where(rest > 0, rest, sizes)))
            last = [self._cycles(hop, behind) for hop in one.way]
        return Carried(once, first, last, bytes_, largest)

    def _cycles(self, hop: str, sizes: Rows) -> Rows:
        carried = self.estimates.costs.carried
        return np.array([carried(hop, size) for size in sizes.tolist()], dtype=self.estimates.number)


class Nests:
    """Nests of a product, one a row: each of the tiles in some orders of loops, with each number of places of results.

    Of orders that differ in loops that turn once alone, a tile is in one. `cycles` asks the unit; all else does not.
    """

    def __init__(self, tiles: Tiles, orders: Sequence[Sequence[str]]) -> None:
        self.tiles, self.orders = tiles, orders
        estimates, asked = tiles.estimates, tiles.asked
        keep = [np.flatnonzero(self._distinct(order)) for order in orders] * len(asked.results)
        self.at = np.concatenate(keep)  # the tile of each row
        many = [len(rows) for rows in keep]
        self.order = np.repeat(np.tile(np.arange(len(orders)), len(asked.results)), many)
        self.results = np.repeat(np.repeat(np.array(asked.results), len(orders)), many)
        self.steps, self._turned = tiles.steps[self.at], [self._turns(one, keep) for one in asked.moved]
        self._places = [
            np.minimum(stays, self.results if one.made else asked.buffers)
            for one, (_, stays) in zip(asked.moved, self._turned, strict=True)
        ]
        self.bytes: Rows = np.zeros(len(self.at), dtype=estimates.number)
        self.demand: dict[str, Rows] = {}  # bytes that the places take in each memory
        self.before: dict[str, Rows] = {}  # of these the bytes that they take before the op begins
        for i, one in enumerate(asked.moved):
            carried, (again, _) = tiles.carried(i), self._turned[i]
            self.bytes = self.bytes + carried.bytes[self.at] * self._moves(i) * len(one.way)
            if memory := asked.lie_in[i]:
                # The next op has places of its own for weights, and so have sums that come back.
                size, early = self._places[i] * carried.largest[self.at], asked.ahead and one.role.learned
                self.demand[memory] = self.demand.get(memory, 0) + (1 + early + (again > 1) * one.made) * size
                if early:
                    self.before[memory] = self.before.get(memory, 0) + size

    def fits(self, room: Mapping[str, int], before: Mapping[str, int]) -> Rows:
        """Which rows fit the room of each memory, and that which there is `before` the op; all, where none is told."""
        found = np.ones(len(self.at), dtype=bool)
        for demand, there in ((self.demand, room), (self.before, before)):
            for memory, size in demand.items():
                if memory in there:
                    found &= (size <= there[memory]).astype(bool)
        return found

    def at_least(self, rows: Rows) -> Rows:
        """What these rows take at least, without a look at what the unit takes for their tiles."""
        return self._cycles(rows, self.tiles.estimates.least_of_unit, 0)

    def cycles(self, rows: Rows) -> Rows:
        """The estimates of these rows."""
        total, last_step = self.tiles.computed(self.at[rows])
        delayed = total + self._beside[rows] + self._delays(rows, total)
        return np.maximum(self._cycles(rows, total, last_step), delayed)

    def choices(self, rows: Rows, cycles: Rows) -> list[Choice]:
        """These rows and their estimates as choices; loops that turn once stand outermost, where they do nothing."""
        asked, found = self.tiles.asked, []
        for row, estimate in zip(rows.tolist(), cycles.tolist(), strict=True):
            sizes, trips = self.tiles.sizes[self.at[row]].tolist(), self.tiles.trips[self.at[row]].tolist()
            turns = dict(zip(asked.axes, trips, strict=True))
            inner = [axis for axis in self.orders[self.order[row]] if turns[axis] > 1]
            order = (*(axis for axis in asked.axes if turns[axis] == 1), *inner)
            nest = Nest(asked.extents, dict(zip(asked.axes, sizes, strict=True)), order)
            found.append(Choice(nest, estimate, int(self.bytes[row]), int(self.results[row])))
        return found

    def ranked(self, rows: Rows, cycles: Rows) -> Rows:
        """The places of these rows from the best to the worst."""
        return np.lexsort((self.steps[rows], self.bytes[rows], cycles))

    def _distinct(self, order: Sequence[str]) -> Rows:
        """Which tiles no other order says too: in this one the loops that turn once come first, as axes follow."""
        if len(self.orders) == 1:
            return np.ones(len(self.tiles.sizes), dtype=bool)
        axes, once = self.tiles.asked.axes, self.tiles.trips.T == 1
        found = np.ones(len(self.tiles.sizes), dtype=bool)
        permuted = [axes.index(axis) for axis in order if axis not in ("batch", *self.tiles.asked.outer)]
        for outer, inner in pairwise(permuted):
            found &= (~once[inner] | (once[outer] & (outer < inner))).astype(bool)
        return found

    def _turns(self, one: Moved, keep: Sequence[Rows]) -> tuple[Rows, Rows]:
        """As Nest.again and Nest.stays, of each row."""
        axes, trips, number = self.tiles.asked.axes, self.tiles.trips.T, self.tiles.estimates.number
        own = prod([trips[axes.index(axis)] for axis in one.axes])
        if one.complete:
            return np.ones(len(self.at), dtype=number), own[self.at]
        found = []
        for order in self.orders:
            inside = np.zeros(len(self.tiles.sizes), dtype=bool)  # of a loop that changes the tile
            again: Rows = np.ones(len(inside), dtype=number)
            for axis in reversed(order):
                turns = trips[axes.index(axis)]
                if axis in one.axes:
                    inside = inside | (turns > 1).astype(bool)
                else:
                    again = again * np.where(inside, turns, 1)
            found.append(again)
        rows = zip(found * len(self.tiles.asked.results), keep, strict=True)
        again = np.concatenate([turned[kept] for turned, kept in rows])
        return again, again * own[self.at]

    def _moves(self, i: int) -> Rows:
        """How often each tile moves: sums leave and come back."""
        again = self._turned[i][0]
        return 2 * again - 1 if self.tiles.asked.moved[i].made else again

    @cached_property
    def _busy(self) -> dict[str, Rows]:
        """Cycles of each hop for all that it carries."""
        busy: dict[str, Rows] = {}
        for i, one in enumerate(self.tiles.asked.moved):
            for hop, cycles in zip(one.way, self.tiles.carried(i).once, strict=True):
                busy[hop] = busy.get(hop, 0) + cycles[self.at] * self._moves(i)
        return busy

    @cached_property
    def _idle(self) -> dict[str, Rows]:
        """Cycles of each hop during the launch of the op in which the places are full."""
        found: dict[str, Rows] = {}
        for i, one in enumerate(self.tiles.asked.moved):
            for hop, cycles in zip(one.way, self.tiles.carried(i).first, strict=True):
                loaded = 0 if one.made else cycles[self.at] * self._places[i]
                found[hop] = found.get(hop, self.tiles.estimates.launch) - loaded
        return {hop: np.maximum(cycles, 0) for hop, cycles in found.items()}

    @cached_property
    def _beside(self) -> Rows:
        """Cycles before the unit begins and after it has ended."""
        estimates, (first, last) = self.tiles.estimates, self.tiles.all_ends
        return (np.maximum(first + estimates.late, estimates.launch) + last)[self.at]

    @cached_property
    def _slowest(self) -> Rows:
        """Cycles of the slowest hop, with what goes on before and behind it."""
        (first, last), (firsts, lasts) = self.tiles.ends, self.tiles.all_ends
        late = self.tiles.estimates.late + firsts + lasts
        found = [np.zeros(len(self.at), dtype=self.tiles.estimates.number)]
        for hop, busy in self._busy.items():
            own = first.get(hop, 0) + last.get(hop, 0)
            found.append(busy + (late - own)[self.at] + self._idle[hop])
        return np.maximum.reduce(found)

    @cached_property
    def _held(self) -> list[tuple[Rows, Rows]]:
        """Of each operand the cycles for which its tiles hold a place while nothing is computed, and those beside."""
        estimates, (first, last), found = self.tiles.estimates, self.tiles.all_ends, []
        for i, one in enumerate(self.tiles.asked.moved):
            (again, stays), outside = self._turned[i], estimates.outside(i)
            once = sum(self.tiles.carried(i).once[j] for j, _ in outside)
            held = again * once[self.at] + stays * estimates.latency_of(i)
            idle = self._idle[outside[0][1]]
            found.append((held, first[self.at] if one.made else last[self.at] + idle))
        return found

    def _cycles(self, rows: Rows, total: Rows, last_step: Rows) -> Rows:
        found = np.maximum(total + self._beside[rows], self._slowest[rows] + last_step)
        for places, (held, beside) in zip(self._places, self._held, strict=True):
            found = np.maximum(found, (held[rows] + total) // places[rows] + beside[rows])
        return found

    def _delays(self, rows: Rows, total: Rows) -> Rows:
        """Cycles for which the unit waits because tiles of one operand pass a hop behind larger ones of another.

        A tile has time to move while those in the other places are computed; one that comes less often, and moves for
        longer, lets it come too late each time.
        """
        moved, worst = self.tiles.asked.moved, 0 * total
        stays = [turned[1][rows] for turned in self._turned]
        for i, one in enumerate(moved):
            delay = 0 * total
            time = (self._places[i][rows] - 1) * total - self._held[i][0][rows]
            for k, other in enumerate(moved):
                for cycles, hop in zip(self.tiles.carried(k).once, other.way, strict=True):
                    if k != i and hop == one.way[0]:
                        late = (cycles[self.at] * self._moves(k))[rows] - stays[k] * time // stays[i]
                        delay = delay + np.where(stays[k] < stays[i], np.maximum(late, 0), 0)
            worst = np.maximum(worst, delay)
        return worst


class Singles:
    """Estimates of single nests of a product. Each is made once, because several questions are asked about it."""

    def __init__(self, estimates: Estimates) -> None:
        self.estimates = estimates
        self._tiles: dict[tuple[int, ...], Tiles] = {}
        self._nests: dict[object, Nests] = {}  # of these tiles, by their orders
        self._found: dict[tuple[Nests, int], tuple[int, int]] = {}  # cycles and bytes of their rows

    def of(self, nest: Nest, results: int) -> Choice:
        """The cycles and bytes of a nest with so many places for results, one of those that were asked for."""
        alone, row = self._alone(nest), self.estimates.asked.results.index(results)
        if (alone, row) not in self._found:
            self._found[alone, row] = int(alone.cycles(np.array([row]))[0]), int(alone.bytes[row])
        return Choice(nest, *self._found[alone, row], results)

    def demand(self, nest: Nest, results: int) -> dict[str, int]:
        """Bytes that the places for tiles take in each memory."""
        row = self.estimates.asked.results.index(results)
        return {memory: int(size[row]) for memory, size in self._alone(nest).demand.items()}

    def before(self, nest: Nest) -> dict[str, int]:
        """Of these the bytes that are taken before the op begins, by loads that run ahead."""
        return {memory: int(size[0]) for memory, size in self._alone(nest).before.items()}

    def _alone(self, nest: Nest) -> Nests:
        sizes = tuple([nest.tile[axis] for axis in self.estimates.asked.axes])
        if (sizes, nest.order) not in self._nests:
            self._nests[sizes, nest.order] = Nests(self._tile(sizes), [nest.order])
        return self._nests[sizes, nest.order]

    def _tile(self, sizes: tuple[int, ...]) -> Tiles:
        if sizes not in self._tiles:
            self._tiles[sizes] = Tiles(self.estimates, [sizes])
        return self._tiles[sizes]

    def least(self) -> int:
        """Cycles that every nest needs, whatever the room: of the unit, and of each hop for what it must carry."""
        whole = self._tile(tuple(self.estimates.asked.extents.values()))
        busy: dict[str, int] = {}
        for i, one in enumerate(self.estimates.asked.moved):
            for hop, cycles in zip(one.way, whole.carried(i).once, strict=True):
                busy[hop] = busy.get(hop, 0) + int(cycles[0])
        return max(self.estimates.least_of_unit, *busy.values(), 0)
