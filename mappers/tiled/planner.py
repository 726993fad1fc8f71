"""Planner: chooses how the ops of a graph are mapped, where its mapping leaves that open, and builds the sections."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Mapping as Entries
from dataclasses import dataclass, field, replace
from functools import partial

from archsim.design.design import Design
from archsim.engine import run
from archsim.engine.flat import flatten
from archsim.errors import MappingError
from archsim.mapping import Ahead, Mapping, OpMapping
from dataflow.graph import Graph, Op
from kernels.limits import LISTED, beyond
from mappers.build.layers import Group, key_of, layers_of, name_within
from mappers.tiled.attention import add_attention, in_passes
from mappers.tiled.builder import TiledBuilder
from mappers.tiled.estimate import Choice, Costs, Singles
from mappers.tiled.fit import refuse_tile_beyond_memory, refuse_weights_ahead, too_many
from mappers.tiled.fused import Cut, Member, Together, add_fused, between, cuts_of, groups_of, whole_rows
from mappers.tiled.fused_fit import refuse_group_beyond_memory
from mappers.tiled.gang import servers_of
from mappers.tiled.loops import Planned
from mappers.tiled.nest import Nest
from mappers.tiled.operands import PRODUCTS, Moved, moved_by
from mappers.tiled.others import add_op
from mappers.tiled.product import Product, lies_in, nest_of
from mappers.tiled.search import ALIKE, Search

# Adds an op in a way of its own, given its name, the calls to wait for, and those that loads which run ahead wait for;
# gives the calls after which the next op may begin, or None where it has no such way.
Adds = Callable[[Op, str, list[str], list[str]], list[str] | None]


MOST_FOUND = 4096
# What was found for a product, by all that it depends on, in this process; the oldest goes first.
_found: dict[object, Choice | None] = {}


def _nothing(op: Op, name: str, after: list[str], early: list[str]) -> None:
    """No op in a way of its own."""


@dataclass(slots=True)
class Planner:
    """Chooses how the ops of a graph are mapped, and adds them to sections. `groups` are the ops by layers."""

    given: Mapping
    graph: Graph
    design: Design
    planned: dict[str, Planned] = field(default_factory=dict)
    together: dict[int, Together] = field(default_factory=dict)  # by the place of a fused group
    searches: dict[object, Search] = field(default_factory=dict)
    costs: Costs = field(init=False)
    groups: list[Group] = field(init=False)
    _told: dict[str, tuple[type, str]] = field(default_factory=dict)  # units with all their parameters

    def __post_init__(self) -> None:
        self.costs = Costs(self.design)
        self.groups = layers_of(self.graph.ops.values())

    def unit_named(self, op: Op) -> str:
        """The unit that the mapping names for an op; empty where it names none."""
        return self.given.entry(op).unit or ""

    def add(self, builder: TiledBuilder, ops: Sequence[Op], instead: Adds = _nothing) -> None:
        """Adds these ops to a section, one after another, or in groups; a mapper may add some of them `instead`."""
        previous: list[str] = []  # the op before this one
        before_previous: list[str] = []
        # Of a section with the weights of one op none is loaded beside another.
        several = sum(op.kind in PRODUCTS for op in ops) > 1
        groups = groups_of(self.given, ops)
        first = {members[0].name: place for place, members in groups.items()}
        within = {op.name for members in groups.values() for op in members}
        turn = 0
        for op in ops:
            name = name_within(op)
            if op.name not in within or op.name in first:
                builder.begin(turn, groups[first[op.name]] if op.name in first else [op])
                turn += 1
            if op.name in within:
                if op.name in first:
                    place = first[op.name]
                    before_previous, previous = previous, self._fused(builder, place, groups[place], after=previous)
                continue
            own = instead(op, name, previous, before_previous)
            if own is not None:
                before_previous, previous = previous, own
                continue
            if op.kind == "attention" and in_passes(self.design):
                before_previous, previous = previous, add_attention(builder, op, name, after=previous)
                continue
            unit = self.unit_named(op) or builder.unit_for(op.kind, f"op '{op.name}'", op)
            if op.kind in PRODUCTS:
                moved = moved_by(builder, op, unit)
                asked = self._asked(builder, op, unit, moved)
                mapped = self._mapped(builder, asked if several else replace(asked, ahead=False))
                early = before_previous if mapped.ahead == "next_op" else None
                done = builder.tiled(
                    op, name, unit, moved, nest_of(op, mapped), servers=mapped.servers, buffers=mapped.buffers,
                    results=mapped.results, after=previous, early=early,
                )  # fmt: skip
            else:
                operands, results = builder.operands(op, unit), builder.results(op, unit)
                done = add_op(builder, op, name, unit, operands, results, after=previous)
            before_previous, previous = previous, done

    def _fused(self, builder: TiledBuilder, place: int, ops: Sequence[Op], *, after: Sequence[str]) -> list[str]:
        """Adds the ops of a group, cut as is given or as is estimated to take least."""
        plans, refusals = list[tuple[int, int, Cut, list[tuple[Product, Choice]]]](), list[MappingError]()
        members = [self._member(builder, op, {one.name for one in ops}) for op in ops]
        products = {one.op.name: self._product(builder, one) for one in members if one.op.kind in PRODUCTS}
        others = sum(self.design.units[one.unit].cycles(one.op.work) for one in members if one.op.name not in products)
        for cut in self._cuts(builder, place, ops, products.values()):
            taken = between(builder, members, cut, buffers=self.given.buffers)
            asked = [_cut_alike(one, cut, taken, len(products)) for one in products.values()]
            try:
                refuse_group_beyond_memory(builder, ops, cut, taken)
                chosen = [(one, self._choice(builder, one)) for one in asked]
            except MappingError as refusal:
                refusals.append(refusal)
                continue
            # Other ops run beside the products, but for their first part.
            cycles = sum(choice.cycles for _, choice in chosen) + others // cut.rounds(ops[0])
            plans.append((cycles, sum(choice.bytes for _, choice in chosen), cut, chosen))
        if not plans:
            raise refusals[-1]
        if self.given.cost == "bytes":
            *_, cut, chosen = min(plans, key=lambda plan: (plan[1], plan[0]))
        else:  # of those alike the one of fewest bytes, as for a product
            least = min(plan[0] for plan in plans)
            *_, cut, chosen = min((p for p in plans if p[0] <= least * ALIKE), key=lambda plan: (plan[1], plan[0]))
        mapped = {one.op.name: self._recorded(builder, one, choice) for one, choice in chosen}
        self.together[place] = Together(tuple(key_of(op, builder.layers) for op in ops), cut, cut.rounds(ops[0]))
        whole = [one._replace(mapped=mapped.get(one.op.name)) for one in members]
        return add_fused(builder, whole, cut, buffers=self.given.buffers, after=after)

    def _member(self, builder: TiledBuilder, op: Op, beside: Collection[str]) -> Member:
        """An op of a group, with what moves but what ops `beside` it make."""
        unit = self.unit_named(op) or builder.unit_for(op.kind, f"op '{op.name}'", op)
        return Member(op, unit, [one for one in moved_by(builder, op, unit) if one.made or one.tensor not in beside])

    def _product(self, builder: TiledBuilder, member: Member) -> Product:
        return replace(self._asked(builder, member.op, member.unit, member.moved), ahead=False)

    def _cuts(self, builder: TiledBuilder, place: int, ops: Sequence[Op], products: Iterable[Product]) -> list[Cut]:
        """How the group may be cut: as is given, else as would serve each of its products, and in smaller parts."""
        group, tiles = self.given.fuse[place], list[Cut]()
        orders = [one.order for one in products if one.order]
        outside = orders[0].index("n") < orders[0].index("m") if orders else None
        for one in products if group.rows is None and group.columns is None and not whole_rows(ops) else ():
            for outer in (("m", "n"), ("n", "m")):
                try:
                    tile = self._choice(builder, replace(one, outer=outer)).nest.tile
                except MappingError:  # not even the smallest tile fits
                    continue
                tiles.append(Cut(tile["m"], tile["n"], outer[0] == "n"))
        return cuts_of(ops, rows=group.rows, columns=group.columns, outside=outside, tiles=tiles)

    def _asked(self, builder: TiledBuilder, op: Op, unit: str, moved: Sequence[Moved]) -> Product:
        """A product with what the mapping says of it."""
        memories = {memory for one in moved if (memory := lies_in(self.design, one))}
        said = self.given.entry(op)
        if said.servers and (told := too_many(said.servers, unit, self.design.units[unit])):
            raise MappingError(self.given.document.problem(f"ops.{self.given.key_of(op)}.servers", told))
        buffers, made = said.buffers or self.given.buffers, any(one.made for one in moved)
        results = (said.results,) if said.results else tuple(dict.fromkeys((buffers, 1))) if made else (buffers,)
        return Product(
            op, self.design, unit, said.servers or servers_of(self.design.units[unit], op.work), moved,
            {memory: builder.room_for_tiles(memory) for memory in memories}, buffers, results,
            (said.ahead or self.given.ahead) == "next_op", self.given.tile_of(op), said.order,
            before={memory: builder.room_for_tiles(memory, before=1) for memory in memories},
        )  # fmt: skip

    def _mapped(self, builder: TiledBuilder, asked: Product) -> OpMapping:
        """How a product is mapped: as the mapping says, and for the rest as is estimated to take least.

        Weights are loaded with their own op where the tiles that have room beside the op before would take longer,
        unless an entry of the op says otherwise.
        """
        if not asked.ahead or self.given.entry(asked.op).ahead is not None:
            return self._recorded(builder, asked, self._choice(builder, asked))
        best = self._choice(builder, replace(asked, before={}))
        early_bytes = self._search(asked).singles.before(best.nest)
        if all(size <= asked.before[memory] for memory, size in early_bytes.items()):
            return self._recorded(builder, asked, best)
        try:
            early = self._choice(builder, asked)
        except MappingError:  # not even the smallest tile has room so early
            early = None
        by_bytes = self.given.cost == "bytes"
        if early and (early.bytes <= best.bytes if by_bytes else early.cycles <= best.cycles * ALIKE):
            return self._recorded(builder, asked, early)
        return self._recorded(builder, asked, best, ahead="op")

    def _choice(self, builder: TiledBuilder, asked: Product) -> Choice:
        search = self._search(asked)
        # Of one tile no loop turns.
        if len(asked.tile) < len(asked.axes) or not (asked.order or asked.tile == asked.extents):
            return self._best(builder, search, asked)
        nest = Nest(asked.extents, asked.tile, asked.order or asked.axes)
        beside = asked.room if asked.outer else {memory: builder.room_beside(memory) for memory in asked.room}
        by_itself = self._search(replace(asked, ahead=False)) if asked.ahead else search
        refuse_tile_beyond_memory(asked, nest, beside, by_itself.singles)
        refuse_weights_ahead(asked, nest, search.singles)
        return search.singles.of(nest, asked.results[0])

    def _recorded(
        self, builder: TiledBuilder, asked: Product, choice: Choice, *, ahead: Ahead | None = None
    ) -> OpMapping:
        """The mapping of a product for which this was chosen; it is kept, for the plan and the report."""
        op, said, singles = asked.op, self.given.entry(asked.op), self._search(asked).singles
        # Also of loops that turn once.
        chosen = replace(choice.nest, order=asked.order) if asked.order else choice.nest
        one = OpMapping(
            asked.unit, asked.servers, chosen.tile, chosen.order, asked.buffers, choice.results,
            ahead or said.ahead or self.given.ahead,
        )  # fmt: skip
        builder.estimated += choice.cycles
        builder.least += singles.least()
        # Of a short nest the estimate too, not the run by which it was chosen: given again, it is told alike.
        nest, cycles, bytes_, _ = singles.of(chosen, choice.results)
        key = key_of(op, builder.layers)
        self.planned[key] = Planned(op, len(builder.layers), one, nest, asked.moved, cycles, bytes_)
        return one

    def _best(self, builder: TiledBuilder, search: Search, asked: Product) -> Choice:
        # Ops alike are mapped alike: layers have several, and so have the points of a sweep.
        room, before = tuple(asked.room.items()), tuple(asked.before.items())
        key = self._units_of(asked), asked.kind, room, before, self.given.cost
        if key not in _found:
            if len(_found) == MOST_FOUND:
                del _found[next(iter(_found))]
            alone = partial(self._run, builder, asked)
            _found[key] = search.best(asked.room, alone, before=asked.before, cost=self.given.cost)
        choice = _found[key]
        if choice is None:
            raise _no_tile(asked, search.singles)
        return choice

    def _units_of(self, asked: Product) -> tuple[tuple[type, str], ...]:
        """The units that a product needs, with all their parameters."""
        names = dict.fromkeys([asked.unit, *(hop for one in asked.moved for hop in one.way)])
        for name in names.keys() - self._told.keys():
            self._told[name] = type(self.design.units[name]), repr(self.design.units[name])
        return tuple(map(self._told.__getitem__, names))

    def _search(self, asked: Product) -> Search:
        """The search for products like this one, whatever the room."""
        if asked.kind not in self.searches:
            self.searches[asked.kind] = Search(asked, self.costs)
        return self.searches[asked.kind]

    def _run(self, builder: TiledBuilder, asked: Product, nest: Nest, results: int) -> int:
        """The cycles that the product takes by itself."""
        alone = TiledBuilder(self.graph, self.design, builder.scopes, ops=[asked.op], lying=builder.lying)
        alone.tiled(
            asked.op, asked.op.name, asked.unit, asked.moved, nest, servers=asked.servers, buffers=asked.buffers,
            results=results, after=(), early=(),
        )  # fmt: skip
        return run(flatten(alone.section(asked.op.name), self.design)).cycles


def _cut_alike(asked: Product, cut: Cut, taken: Entries[str, int], products: int) -> Product:
    """A product as one of so many of a group that is cut so, in its share of the room that others leave."""
    tile = {axis: min(size, asked.extents[axis]) for axis, size in cut.tile().items()}
    room = {name: max(0, size - taken.get(name, 0)) // products for name, size in asked.room.items()}
    return replace(asked, tile={**asked.tile, **tile}, outer=cut.loops, room=room)


def _no_tile(asked: Product, singles: Singles) -> MappingError:
    """That not even the smallest tile fits its memory."""
    native = {**asked.design.units[asked.unit].tile(asked.op.work), **asked.tile}
    tile = {axis: min(extent, native.get(axis, 1)) for axis, extent in asked.extents.items()}
    nest = Nest(asked.extents, tile, asked.order or asked.axes)
    refuse_weights_ahead(asked, nest, singles)
    demand = singles.demand(nest, min(asked.results))
    memory = next((name for name, size in demand.items() if size > asked.room[name]), "")
    shown = ", ".join(f"{axis} {size}" for axis, size in tile.items())
    where = f"op '{asked.op.name}'"
    if not memory:
        told = beyond(nest.steps, LISTED, of="tiles", instead="take larger ones")
        return MappingError(told or f"no tile of {shown} or more has room", where=where)
    if asked.outer:
        ways = ("fewer rows of the group", "fewer ops in it", "a larger capacity", "fewer buffers")
    else:
        ways = ("a larger capacity", "fewer buffers", *(("ahead: op",) if asked.ahead else ()))
    return MappingError(
        f"not even a tile of {shown} has room for its operands", where=where,
        resource=f"room in '{memory}'", demand=demand[memory], capacity=asked.room[memory], dimension="bytes",
        ways_out=ways,
    )  # fmt: skip
