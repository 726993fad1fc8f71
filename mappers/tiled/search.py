"""Search: the tile and the order of loops with which a product is estimated to take least.

The cost is that of the units: the unit's own cycles over all tiles, each hop's own cycles over all that it carries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from math import prod

from archsim.design.design import Design
from archsim.units import Memory, Unit
from dataflow.graph import Op
from dataflow.op import OP_KINDS, work
from mappers.tiled.nest import Nest
from mappers.tiled.operands import Moved

MOST_STEPS = 4096  # tiles of an op; smaller ones are simulated longer and rarely run sooner
EVEN_CUTS = 8  # an extent is cut into 1, 2, 3 ... so many equal parts, and by powers of two


@dataclass(frozen=True, slots=True)
class Choice:
    """A nest, the cycles that it is estimated to take, and the bytes that its tiles move over all hops."""

    nest: Nest
    cycles: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Product:
    """A product to be mapped: its op, the unit and its servers, what moves, and the room of each memory for tiles.

    `places` are the tiles of an operand, by tensor, that lie in the memory at once.
    """

    op: Op
    design: Design
    unit: str
    servers: int
    moved: Sequence[Moved]
    room: Mapping[str, int]
    places: Mapping[str, int]

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of the op."""
        return OP_KINDS[self.op.kind].axes

    @property
    def extents(self) -> dict[str, int]:
        """The extents of the op by axis."""
        return {axis: self.op.work[axis] for axis in self.axes}

    def demand(self, nest: Nest) -> dict[str, int]:
        """Bytes that the tiles of a nest take in each memory."""
        found: dict[str, int] = {}
        for one in self.moved:
            if memory := lies_in(self.design, one):
                found[memory] = found.get(memory, 0) + self.places[one.tensor] * one.largest(nest)
        return found

    def fits(self, nest: Nest) -> bool:
        """True where the tiles fit the room of each memory."""
        return all(size <= self.room[memory] for memory, size in self.demand(nest).items())


def lies_in(design: Design, one: Moved) -> str:
    """The memory nearest to the unit, in which tiles of the operand wait; empty where they come straight from home."""
    memories = [hop for hop in one.way[1:] if isinstance(design.units[hop], Memory)]
    return memories[-1] if memories else ""


def best(asked: Product, *, cost: str = "cycles") -> Choice | None:
    """The choice of least cost: cycles, or bytes; of equals that with fewer bytes, then cycles, then tiles.

    None where not even the smallest tile fits. Deterministic.
    """
    if not asked.moved:  # nothing is gained by smaller tiles
        whole = Nest(asked.extents, asked.extents, asked.axes)
        return Choice(whole, estimate(asked, whole), 0)
    chosen: tuple[tuple[int, int, int], Choice] | None = None
    for tile in _tiles(asked):
        steps = prod(-(-extent // tile[axis]) for axis, extent in asked.extents.items())
        for order in _orders(asked, tile):
            nest = Nest(asked.extents, tile, order)
            one = Choice(nest, estimate(asked, nest), sum(_carried(asked, nest).values()))
            key = (one.cycles, one.bytes, steps) if cost == "cycles" else (one.bytes, one.cycles, steps)
            if chosen is None or key < chosen[0]:
                chosen = key, one
    return None if chosen is None else chosen[1]


def estimate(asked: Product, nest: Nest) -> int:
    """Cycles: of the slowest of the unit and the hops, and until the first tiles are there and the last have left."""
    unit = asked.design.units[asked.unit]
    steps = [
        (unit.cycles(work(asked.op.kind, **dict(zip(asked.axes, sizes, strict=True))), asked.servers), n)
        for sizes, n in nest.shapes(asked.axes)
    ]
    busy = {asked.unit: sum(cycles * n for cycles, n in steps)}
    first: dict[str, int] = {}
    last = 0
    for one in asked.moved:
        shapes = nest.shapes(one.axes)
        times = nest.again(one.axes)
        again = times - 1 if one.made else 0  # sums that come back
        for hop in one.way:
            carrier = asked.design.units[hop]
            each = [(carries(carrier, one.bytes(sizes)), n) for sizes, n in shapes]
            busy[hop] = busy.get(hop, 0) + sum(cycles * n for cycles, n in each) * (times + again)
            if one.made:
                last += each[-1][0] + carrier.latency_cycles
            else:
                first[hop] = first.get(hop, 0) + each[0][0] + carrier.latency_cycles
    beside = sum(first.values()) + last
    slowest = max(busy, key=lambda name: busy[name])
    # The slowest is at work itself while its own first and last tiles pass; the unit's first or last tile does not.
    waits = beside - first.get(slowest, 0) if slowest != asked.unit else beside
    return busy[slowest] + waits + (steps[0][0] if slowest != asked.unit else 0)


def carries(carrier: Unit, size: int) -> int:
    """Cycles of a memory or channel for a movement of so many bytes."""
    return carrier.cycles(work(carrier.does[0], bytes=size)) if size else 0


def _carried(asked: Product, nest: Nest) -> dict[str, int]:
    """Bytes over each hop."""
    found: dict[str, int] = {}
    for one in asked.moved:
        again = nest.again(one.axes)
        times = 2 * again - 1 if one.made else again
        once = one.moved(nest) // again
        for hop in one.way:
            found[hop] = found.get(hop, 0) + once * times
    return found


def _tiles(asked: Product) -> Iterator[dict[str, int]]:
    """The tiles that fit, of few enough steps; where none has few, those of fewest."""
    native = asked.design.units[asked.unit].tile(asked.op.work)
    sizes = [_sizes(extent, native.get(axis, 1)) for axis, extent in asked.extents.items()]
    fitting = []
    for one in product(*sizes):
        tile = dict(zip(asked.extents, one, strict=True))
        if asked.fits(Nest(asked.extents, tile, asked.axes)):
            steps = prod(-(-extent // tile[axis]) for axis, extent in asked.extents.items())
            fitting.append((steps, tile))
    few = [tile for steps, tile in fitting if steps <= MOST_STEPS]
    least = min((steps for steps, _ in fitting), default=0)
    yield from few or (tile for steps, tile in fitting if steps == least)


def _sizes(extent: int, native: int) -> list[int]:
    """Sizes of tiles along an axis: the whole, equal parts of it, and the native size times powers of two."""
    folds = -(-extent // native)
    found = {min(extent, native * -(-folds // parts)) for parts in range(1, EVEN_CUTS + 1)}
    size = native
    while size < extent:
        found.add(size)
        size *= 2
    return sorted(found, reverse=True)


def _orders(asked: Product, tile: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    """The orders of the loops that turn more than once; those that turn once stand outermost, where they do nothing."""
    turning = [axis for axis in asked.axes if asked.extents[axis] > tile[axis]]
    once = tuple(axis for axis in asked.axes if axis not in turning)
    # Members of a batch share nothing, so their loop is the outermost.
    batch = tuple(axis for axis in turning if axis == "batch")
    for order in permutations([axis for axis in turning if axis not in batch]):
        yield (*once, *batch, *order)
