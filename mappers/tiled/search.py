"""Search: the tile and the order of loops with which a product is estimated to take least.

The cost is that of the units: the unit's own cycles over all tiles, each hop's own cycles over all that it carries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import permutations, product
from typing import Literal, NamedTuple

from archsim.design.design import Design
from archsim.units import Memory, Unit
from dataflow.graph import Op
from dataflow.op import OP_KINDS, work
from kernels.limits import LISTED
from mappers.tiled.nest import Nest, Sizes
from mappers.tiled.operands import Moved

# Tiles of an op, where there is a choice: with more an op is simulated for seconds. The same for any room, so that more
# room only adds tiles to choose from.
MOST_STEPS = 2**18
SHORT = 2048  # steps; with more the estimate is nearer, and running them takes longer
MOST_RUN = 8192  # steps of all short nests that are run for a product
ALIKE = 1.01  # estimates that differ by less are alike: fewer bytes then leave more time where tiles meet
MOST_STARTS = 8  # of the best nests, around which better ones are looked for
MOST_MOVES = 16  # from the best of the sizes that are tried to a better one beside it
SLACK = 1.5  # a short nest may take so many times its estimate
PARTS = 64  # of an extent along which a unit has no size of its own, at most
EVEN_CUTS = 8  # an extent is cut into 1, 2, 3 ... so many equal parts, and by powers of two


class Choice(NamedTuple):
    """A nest, the cycles that it is estimated to take, and the bytes that its tiles move over all hops."""

    nest: Nest
    cycles: int
    bytes: int


class Carried(NamedTuple):
    """Cycles of each hop of an operand: all its tiles once, the first one, the last one; and its bytes in all."""

    once: tuple[int, ...]
    first: tuple[int, ...]
    last: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class Product:
    """A product to be mapped: its op, the unit and its servers, what moves, and the room of each memory for tiles.

    An operand has `buffers` places for tiles; weights that are loaded `ahead` have as many for the next op. `tile` has
    the extents of a tile that are given, and `order` the order of the loops if it is; the others are chosen. The loop
    over `outer`, if any, stands outside the others.
    """

    op: Op
    design: Design
    unit: str
    servers: int
    moved: Sequence[Moved]
    room: Mapping[str, int]
    buffers: int
    ahead: bool
    tile: Mapping[str, int] = field(default_factory=dict)
    order: tuple[str, ...] | None = None
    outer: str = ""

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """The axes of the op."""
        return OP_KINDS[self.op.kind].axes

    @cached_property
    def extents(self) -> dict[str, int]:
        """The extents of the op by axis."""
        return {axis: self.op.work[axis] for axis in self.axes}

    @cached_property
    def places(self) -> list[tuple[str, int, Moved, tuple[int, ...]]]:
        """The operands whose tiles wait in a memory: it, their places there, and the places of their axes among all."""
        return [
            (memory, self.buffers * (2 if self.ahead and one.role.learned else 1), one,
             tuple(map(self.axes.index, one.axes)))
            for one in self.moved
            if (memory := lies_in(self.design, one))
        ]  # fmt: skip

    def demand(self, nest: Nest) -> dict[str, int]:
        """Bytes that the places for tiles take in each memory."""
        found: dict[str, int] = {}
        for memory, places, one, _ in self.places:
            # Sums that come back have places of their own.
            back = self.buffers * (one.made and nest.again(one.axes) > 1)
            found[memory] = found.get(memory, 0) + (places + back) * one.largest(nest)
        return found

    def fits(self, nest: Nest) -> bool:
        """True where the tiles fit the room of each memory."""
        return all(size <= self.room[memory] for memory, size in self.demand(nest).items())


def lies_in(design: Design, one: Moved) -> str:
    """The memory nearest to the unit, in which tiles of the operand wait; empty where they come straight from home."""
    memories = [hop for hop in one.way[1:] if isinstance(design.units[hop], Memory)]
    return memories[-1] if memories else ""


def best(
    asked: Product, estimates: Estimates, run: Callable[[Nest], int], *, cost: Literal["cycles", "bytes"] = "cycles"
) -> Choice | None:  # fmt: skip
    """The choice of least cost: cycles, or bytes; of equals that with fewer bytes, then cycles, then tiles.

    Short nests are measured by `run`, the simulated cycles of one, in order of their estimates until none can be less:
    the estimate leaves out how tiles of several operands meet in a memory, which matters most where they are few.
    None where not even the smallest tile fits. Deterministic.
    """
    if not asked.moved:  # nothing is gained by smaller tiles
        return estimates.of(Nest(asked.extents, {**asked.extents, **asked.tile}, asked.order or asked.axes))
    if cost == "bytes":
        return min(_candidates(asked, estimates), key=lambda one: (one.bytes, *_rank(one)), default=None)
    found = sorted(_candidates(asked, estimates, beyond=SLACK), key=_rank)
    if not found:
        return None
    starts = {tuple(one.nest.tile.values()): one for one in reversed(found[:MOST_STARTS])}
    found += [_nearby(asked, estimates, one) for one in starts.values()]
    short = [one for one in found if one.nest.steps <= SHORT]
    chosen, steps = None, 0
    for one in sorted([*short, *_long(found)], key=_rank):
        if chosen is not None and (one.cycles >= chosen.cycles or steps > MOST_RUN):
            break
        if one.nest.steps <= SHORT:
            one, steps = one._replace(cycles=run(one.nest)), steps + one.nest.steps
        if chosen is None or _rank(one) < _rank(chosen):
            chosen = one
    return chosen


def _long(found: Sequence[Choice]) -> list[Choice]:
    """The nest to be trusted among those that are not run: of those alike in cycles that which moves fewest bytes."""
    long = [one for one in found if one.nest.steps > SHORT]
    least = min((one.cycles for one in long), default=0)
    alike = [one for one in long if one.cycles <= least * ALIKE]
    return [min(alike, key=lambda one: (one.bytes, one.nest.steps, one.cycles))] if alike else []


def _nearby(asked: Product, estimates: Estimates, one: Choice) -> Choice:
    """The best of the nests around this one, a little larger or smaller along an axis, as long as that is better."""
    native = asked.design.units[asked.unit].tile(asked.op.work)
    for _ in range(MOST_MOVES):
        tiles = [
            {**one.nest.tile, axis: changed}
            for axis, size in one.nest.tile.items()
            if axis not in asked.tile
            for changed in _next_sizes(asked.extents[axis], size, native.get(axis, 1))
        ]
        nests = [Nest(asked.extents, tile, order) for tile in tiles for order in _orders(asked, tile)]
        around = [estimates.of(nest) for nest in nests if nest.steps <= LISTED and asked.fits(nest)]
        better = min(around, key=_rank, default=one)
        if better.cycles * ALIKE > one.cycles:
            break
        one = better
    return one


def _next_sizes(extent: int, size: int, native: int) -> set[int]:
    """The sizes of a fold more and less, of an eighth more and less, and of the next even parts of the extent."""
    parts = -(-extent // size)
    even = {-(-extent // more) for more in (parts - 1, parts + 1) if more > 0}
    near = {size - native, size + native, size - size // 8, size + size // 8, *even}
    whole = {min(extent, -(-one // native) * native) for one in near if one > 0}
    return whole - {size}


def _rank(one: Choice) -> tuple[int, int, int]:
    return one.cycles, one.bytes, one.nest.steps


def _candidates(asked: Product, estimates: Estimates, *, beyond: float | None = None) -> Iterator[Choice]:
    """The nests that fit; without those that are estimated to take so many times as long as another, where told."""
    tiles = sorted((estimates.alone(nest), tuple(tile.values()), tile) for tile, nest in _tiles(asked))
    least: float = float("inf")
    for alone, _, tile in tiles:
        # In order of what the unit takes with them, whatever the order of loops: from here on none takes less.
        if beyond is not None and alone > least * beyond:
            return
        for order in _orders(asked, tile):
            nest = Nest(asked.extents, tile, order)
            if asked.fits(nest):  # sums that come back need more room
                one = estimates.of(nest)
                least = min(least, one.cycles)
                yield one


class Estimates:
    """Estimates of the nests of a product; what several nests share is found once."""

    def __init__(self, asked: Product) -> None:
        self.asked = asked
        self.unit = asked.design.units[asked.unit]
        self.carriers = [[asked.design.units[hop] for hop in one.way] for one in asked.moved]
        self.beside = [lies_in(asked.design, one) for one in asked.moved]
        # Latencies of the first loads pass at once, and so do those of the last stores.
        late = [sum(self.carriers[i][j].latency_cycles for j in self._outside(i)) for i in range(len(asked.moved))]
        self.late = sum(
            max((late[i] for i, one in enumerate(asked.moved) if one.made == made), default=0) for made in (False, True)
        )
        self.carried = lru_cache(None)(self._carried)
        self.computed = lru_cache(None)(self._computed)

    def of(self, nest: Nest) -> Choice:
        """The cycles and bytes of a nest.

        Cycles are those of the slowest: the unit, between the first tiles and the last; a hop, and what goes on before
        and behind it; or the places of an operand, of which each is taken from the start of a tile's load to the end of
        its stay, or from the first sum to the end of the store.
        """
        asked = self.asked
        total, last_step = self.computed(*nest.tile.values())
        busy: dict[str, int] = {}
        places = bytes_ = 0
        for i, one in enumerate(asked.moved):
            carried, again = self.carried(i, *(nest.tile[axis] for axis in one.axes)), nest.again(one.axes)
            moves = 2 * again - 1 if one.made else again  # sums leave and come back
            for hop, cycles in zip(one.way, carried.once, strict=True):
                busy[hop] = busy.get(hop, 0) + cycles * moves
            outside = self._outside(i)
            late = nest.stays(one.axes) * sum(self.carriers[i][j].latency_cycles for j in outside)
            held = again * sum(carried.once[j] for j in outside) + late
            places = max(places, (held + total) // asked.buffers)
            bytes_ += carried.bytes * moves * len(one.way)
        first, last = self._ends(nest)
        ends = {hop: first.get(hop, 0) + last.get(hop, 0) for hop in busy}
        beside = sum(ends.values()) + self.late
        slowest = max((n + last_step + beside - ends[hop] for hop, n in busy.items()), default=0)
        return Choice(nest, max(total + beside, slowest, places + sum(last.values())), bytes_)

    def least(self) -> int:
        """Cycles that every nest needs, whatever the room: of the unit, and of each hop for what it must carry."""
        extents = self.asked.extents
        busy: dict[str, int] = {}
        for i, one in enumerate(self.asked.moved):
            whole = self.carried(i, *(extents[axis] for axis in one.axes))
            for hop, cycles in zip(one.way, whole.once, strict=True):
                busy[hop] = busy.get(hop, 0) + cycles
        return max(self.computed(*extents.values())[0], *busy.values(), 0)

    def alone(self, nest: Nest) -> int:
        """Cycles of the unit, between the first tiles and the last: the same for each order of loops."""
        first, last = self._ends(nest)
        return self.computed(*nest.tile.values())[0] + sum(first.values()) + sum(last.values()) + self.late

    def _ends(self, nest: Nest) -> tuple[dict[str, int], dict[str, int]]:
        """Cycles by hop until the first tiles are there, and until the last have left."""
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for i, one in enumerate(self.asked.moved):
            carried = self.carried(i, *(nest.tile[axis] for axis in one.axes))
            ends, cycles = (last, carried.last) if one.made else (first, carried.first)
            for j in self._outside(i):
                ends[one.way[j]] = ends.get(one.way[j], 0) + cycles[j]
        return first, last

    def _outside(self, i: int) -> list[int]:
        """The hops of an operand that pass before the unit works on a tile, or after it: all but that beside it."""
        one = self.asked.moved[i]
        return [j for j, hop in enumerate(one.way) if one.made or j == 0 or hop != self.beside[i]]

    def _carried(self, i: int, *tile: int) -> Carried:
        one, axes = self.asked.moved[i], self.asked.moved[i].axes
        nest = Nest({axis: self.asked.extents[axis] for axis in axes}, dict(zip(axes, tile, strict=True)), axes)
        sizes = [(one.bytes(shape), n) for shape, n in nest.shapes(axes)]
        each = [[(carries(carrier, size), n) for size, n in sizes] for carrier in self.carriers[i]]
        return Carried(
            tuple(sum(cycles * n for cycles, n in hop) for hop in each),
            tuple(hop[0][0] for hop in each),
            tuple(hop[-1][0] for hop in each),
            sum(size * n for size, n in sizes),
        )

    def _computed(self, *tile: int) -> tuple[int, int]:
        """Cycles of the unit over all tiles, and for the last one."""
        asked = self.asked
        nest = Nest(asked.extents, dict(zip(asked.axes, tile, strict=True)), asked.axes)
        steps = [
            (self.unit.cycles(asked.op.work.part(**dict(zip(asked.axes, sizes, strict=True))), asked.servers), n)
            for sizes, n in nest.shapes(asked.axes)
        ]
        at_once = self.unit.count // asked.servers
        return -(-sum(cycles * n for cycles, n in steps) // at_once), steps[-1][0]


def carries(carrier: Unit, size: int) -> int:
    """Cycles of a memory or channel for a movement of so many bytes."""
    return carrier.cycles(work(carrier.does[0], bytes=size)) if size else 0


def _tiles(asked: Product) -> Iterator[tuple[dict[str, int], Nest]]:
    """The tiles that fit, of not too many steps.

    With the sums inside, so that none come back: whether a nest fits in which they do is for others to see.
    """
    native = asked.design.units[asked.unit].tile(asked.op.work)
    fitting: list[tuple[dict[str, int], Nest]] = []
    # Finer than PARTS only where nothing else fits: there are many such tiles, and most serve no better.
    for finest in (PARTS, max(asked.extents.values())):
        sizes = [
            [asked.tile[axis]] if axis in asked.tile else _sizes(extent, native.get(axis, 1), -(-extent // finest))
            for axis, extent in asked.extents.items()
        ]
        tiles = [dict(zip(asked.extents, one, strict=True)) for one in product(*sizes) if _fits(asked, one)]
        fitting = [(tile, Nest(asked.extents, tile, asked.axes)) for tile in tiles]
        if fitting:
            break
    few = [each for each in fitting if each[1].steps <= MOST_STEPS]
    yield from few or (each for each in fitting if each[1].steps <= LISTED)


def _fits(asked: Product, tile: Sizes) -> bool:
    """As Product.fits, of a tile by axis; quicker, as most tiles of a search fail here."""
    left = dict(asked.room)
    for memory, places, one, axes in asked.places:
        left[memory] -= places * one.bytes(tuple([tile[axis] for axis in axes]))
        if left[memory] < 0:
            return False
    return True


def _sizes(extent: int, native: int, least: int) -> list[int]:
    """Sizes of tiles along an axis: the whole, equal parts of it, and the native size, or the least, doubled again."""
    folds = -(-extent // native)
    found = {min(extent, native * -(-folds // parts)) for parts in range(1, EVEN_CUTS + 1)}
    size = native if native > 1 else least
    while size < extent:
        found.add(size)
        size *= 2
    return sorted(found, reverse=True)


def _orders(asked: Product, tile: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    """The orders of the loops that turn more than once; those that turn once stand outermost, where they do nothing."""
    if asked.order:
        yield asked.order
        return
    turning = [axis for axis in asked.axes if asked.extents[axis] > tile[axis]]
    once = tuple(axis for axis in asked.axes if axis not in turning)
    # Members of a batch share nothing, so their loop is the outermost.
    outer = tuple(axis for axis in turning if axis in ("batch", asked.outer))
    for order in permutations([axis for axis in turning if axis not in outer]):
        yield (*once, *outer, *order)
