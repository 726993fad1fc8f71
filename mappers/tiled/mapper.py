"""The tiled mapper: ops one after another, products in tiles that move through memories and stay while they serve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Literal

from archsim.design.design import Design
from archsim.engine import run
from archsim.engine.flat import flatten
from archsim.errors import MappingError
from archsim.mapping import Mapping, OpMapping, mapping_of
from archsim.run.capacity import held
from archsim.units import Array
from archsim.units.memory import Carrier
from dataflow.graph import Graph, Op
from dataflow.schedule import Schedule, Skipped
from dataflow.section import Section
from mappers.build.checks import check_capacity
from mappers.build.layers import layers_of, name_within
from mappers.build.lying import Lying, Made, stored_by_home, told_of_activations, with_room
from mappers.build.op_builder import IDEAL, Ahead
from mappers.mapper import Mapper, option
from mappers.temporal import add_op, check_design
from mappers.tiled.attention import add_attention, in_passes, told_of_attention
from mappers.tiled.builder import TiledBuilder
from mappers.tiled.fit import key_of, nest_of, refuse_misfits, refuse_tile_beyond_memory
from mappers.tiled.gang import servers_of
from mappers.tiled.loops import Planned, lines_of, tiling_of
from mappers.tiled.nest import Nest
from mappers.tiled.operands import PRODUCTS, Moved, moved_by, told_of_parts
from mappers.tiled.search import Choice, Estimates, Product, best, lies_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiled(Mapper):
    """Any graph, ops one after another; products in tiles, which the order of loops keeps on chip while they serve.

    Tiles of an operand come from its home hop by hop, wait in the memory nearest to the unit, and move again only where
    the loops have turned to others. What is not in `mapping` is chosen, by the estimated cycles or the bytes that move.
    Other ops stream in pieces, or run row by row where all comes over one hop.
    Raises MappingError where no unit does a kind, the design leaves a choice open, or tensors or tiles do not fit.
    """

    name: ClassVar[str] = "tiled"

    mapping: Mapping | None = option("where ops run and in what tiles; chosen unless given", default=None)
    cost: Literal["cycles", "bytes"] = option("what tiles are chosen by", default="cycles")
    ahead: Literal["next_op", "op"] = option(
        "weights are loaded beside the op before, or with theirs", default="next_op"
    )
    buffers: int = option("places for tiles of each operand in the memory nearest to the unit", default=2)

    def lower(self, graph: Graph, design: Design) -> Schedule:
        """The schedule; its option `mapping` is the one in force, with all that was chosen."""
        return self._lowered(_Planner(self, graph, design))

    def step(self, previous: Schedule, graph: Graph, design: Design) -> Schedule:
        """As Mapper.step; where the pieces of this context do not fit the room as it is shared, that is chosen anew."""
        try:
            return self.lower(graph, design)
        except MappingError:
            if self.mapping is None or self.mapping.room is None:
                raise
            return replace(self, mapping=self.mapping.without_room()).lower(graph, design)

    def settled(self, last: Schedule) -> Tiled:
        """As Mapper.settled: steps are planned once, for the one with the longest context."""
        return replace(self, mapping=last.options["mapping"])

    def loops(self, graph: Graph, design: Design) -> list[str]:
        """As Mapper.loops: for each op its loops, what moves between them, and the estimate."""
        # With all that is chosen the sections are built once, so that the planner ends with what is in force.
        whole = replace(self, mapping=self.lower(graph, design).options["mapping"])
        planner = _Planner(whole, graph, design)
        whole._lowered(planner)
        return [line for key, planned in planner.planned.items() for line in lines_of(key, planned)]

    def _lowered(self, planner: _Planner) -> Schedule:
        graph, design = planner.graph, planner.design
        check_design(design)
        _check_served_as_they_come(design)
        groups = layers_of(graph.ops.values())
        if self.mapping is not None:
            refuse_misfits(self.mapping, graph, design, groups)
        stored, passed = stored_by_home(graph, design, groups, unit_of=planner.unit_named)
        check_capacity(held(stored), design, graph)
        mapped: dict[int, tuple[dict[str, Planned], Lying]] = {}  # by the schedule that was made so

        def made(lying: Lying) -> Made:
            sections, ideal, estimated, least = [], Counter[str](), 0, 0
            for ops, scopes in groups:
                builder = TiledBuilder(graph, design, scopes, ops=ops, lying=lying, ideal=ideal)
                sections.append(planner.section(builder, ops))
                estimated += builder.estimated * len(scopes)
                least += builder.least * len(scopes)
            made_so = Schedule(
                graph, design.name, self.name, tuple(sections), holds=stored,
                skipped=(Skipped(IDEAL, dict(ideal)),) if ideal else (),
                approximated=(
                    *told_of_activations(lying, design), *told_of_parts(lying), *_told_of_arrays(design, sections),
                    *told_of_attention(sections)
                ),
                options=self.options(),
            )  # fmt: skip
            mapped[id(made_so)] = dict(planner.planned), lying
            return Made(made_so, estimated, least)

        room = self.mapping.room if self.mapping else None
        schedule = with_room(made, graph, design, groups, stored, passed=passed, room=room)
        planned, lying = mapped[id(schedule)]
        tilings = tuple(tiling_of(key, one) for key, one in planned.items())
        options = {**self.options(), "mapping": planner.chosen(planned, lying)}
        return replace(schedule, options=options, tilings=tilings)


@dataclass(slots=True)
class _Planner:
    """Chooses how the ops of a graph are mapped, and builds its sections."""

    mapper: Tiled
    graph: Graph
    design: Design
    planned: dict[str, Planned] = field(default_factory=dict)
    known: dict[object, Choice | None] = field(default_factory=dict)
    estimates: dict[object, Estimates] = field(default_factory=dict)

    def chosen(self, planned: dict[str, Planned], lying: Lying) -> Mapping:
        """All that was chosen for these sections; the given mapping where it says all of that."""
        given = self.mapper.mapping
        if given is None:
            ops = {key: one.mapping for key, one in planned.items()}
            name = f"{self.graph.name} on {self.design.name}"
            return mapping_of(name, f"chosen by least {self.mapper.cost}", ops, lying.room)
        added = {key: one.mapping for key, one in planned.items() if given.of(one.op) is None}
        return given.completed(added, lying.room)

    def unit_named(self, op: Op) -> str:
        """The unit that the mapping names for an op; empty where it names none."""
        given = self._given(op)
        return given.unit if given else ""

    def section(self, builder: TiledBuilder, ops: Sequence[Op]) -> Section:
        """The section of these ops."""
        previous: list[str] = []  # the op before this one
        before_previous: list[str] = []
        loads = 0
        # Of a section with the weights of one op none is loaded beside another.
        several = sum(op.kind in PRODUCTS for op in ops) > 1
        for op in ops:
            name, given = name_within(op), self._given(op)
            if op.kind == "attention" and in_passes(self.design):
                before_previous, previous = previous, add_attention(builder, op, name, after=previous)
                continue
            unit = given.unit if given else builder.unit_for(op.kind, f"op '{op.name}'", op)
            if op.kind in PRODUCTS:
                moved = moved_by(builder, op, unit)
                mapped = self._mapped(builder, op, unit, moved, given, several=several)
                learned = any(one.role.learned for one in moved)
                after_load = before_previous if mapped.ahead == "next_op" else previous
                done = builder.tiled(
                    op, name, unit, moved, nest_of(op, mapped), servers=mapped.servers, buffers=mapped.buffers,
                    after=previous, ahead=Ahead(f"ahead {loads % 2}", after_load),
                )  # fmt: skip
                loads += learned
            else:
                operands, results = builder.operands(op, unit), builder.results(op, unit)
                ahead = Ahead(f"ahead {loads % 2}", previous)
                loads += any(one.role.learned for one in operands)
                done = add_op(builder, op, name, unit, operands, results, after=previous, ahead=ahead)
            before_previous, previous = previous, done
        return builder.section("layers" if len(builder.scopes) > 1 else ops[0].name)

    def _given(self, op: Op) -> OpMapping | None:
        """What the mapping says of a product; what it says of other ops is refused."""
        return self.mapper.mapping.of(op) if self.mapper.mapping and op.kind in PRODUCTS else None

    def _mapped(
        self, builder: TiledBuilder, op: Op, unit: str, moved: Sequence[Moved], given: OpMapping | None, *,
        several: bool,
    ) -> OpMapping:  # fmt: skip
        """How a product is mapped: as the mapping says, or as is estimated to take least."""
        memories = {memory for one in moved if (memory := lies_in(self.design, one))}
        asked = Product(
            op, self.design, unit, given.servers if given else servers_of(self.design.units[unit], op.work), moved,
            {memory: builder.room_for_tiles(memory) for memory in memories},
            given.buffers if given else self.mapper.buffers,
            (given.ahead if given else self.mapper.ahead) == "next_op" and several,
        )  # fmt: skip
        if given:
            one, choice = given, self._estimates(asked).of(nest_of(op, given))
            beside = {memory: builder.room_beside(memory) for memory in memories}
            refuse_tile_beyond_memory(replace(asked, room=beside, ahead=False), choice.nest)
        else:
            choice = self._best(builder, asked)
            one = OpMapping(
                unit=unit, servers=asked.servers, tile=dict(choice.nest.tile), order=choice.nest.order,
                buffers=asked.buffers, ahead="next_op" if asked.ahead else "op",
            )  # fmt: skip
        builder.estimated += choice.cycles
        builder.least += self._estimates(asked).least()
        key = key_of(op, builder.scopes)
        # Of a short nest the estimate too, not the run by which it was chosen: given again, it is told alike.
        nest, cycles, bytes_ = self._estimates(asked).of(choice.nest)
        self.planned[key] = Planned(op, len(builder.scopes), one, nest, moved, cycles, bytes_)
        return one

    def _best(self, builder: TiledBuilder, asked: Product) -> Choice:
        # Ops alike are mapped alike, and layers have several, so each kind is looked for once.
        kind = self._kind(asked)
        key = (kind, *asked.room.items())
        if key not in self.known:
            run = partial(self._run, builder, asked)
            self.known[key] = best(asked, self._estimates(asked), run, cost=self.mapper.cost)
        choice = self.known[key]
        if choice is None:
            raise _no_tile(asked)
        return choice

    def _estimates(self, asked: Product) -> Estimates:
        """The estimates of products like this one, whatever the room."""
        return self.estimates.setdefault(self._kind(asked), Estimates(asked))

    def _kind(self, asked: Product) -> object:
        moved = tuple((one.axes, one.format, one.way, one.role, one.made) for one in asked.moved)
        return asked.op.work, asked.unit, asked.servers, moved, asked.buffers, asked.ahead

    def _run(self, builder: TiledBuilder, asked: Product, nest: Nest) -> int:
        """The cycles that the product takes by itself."""
        alone = TiledBuilder(self.graph, self.design, builder.scopes, ops=[asked.op], lying=builder.lying)
        alone.tiled(
            asked.op, asked.op.name, asked.unit, asked.moved, nest, servers=asked.servers, buffers=asked.buffers,
            after=(), ahead=Ahead("ahead", ()),
        )  # fmt: skip
        return run(flatten(alone.section(asked.op.name), self.design)).cycles


def _check_served_as_they_come(design: Design) -> None:
    """Raises MappingError for memories and channels with an order of their own: tiles pass them as they are needed."""
    for name, carrier in design.of_kind(Carrier).items():
        if carrier.arbitration == "in_order":
            raise MappingError(
                "in_order; tiles of several operands pass it as they are needed, in no order that is known before",
                where=f"units.{name}.arbitration", ways_out=(f"units.{name}.arbitration: first_come",),
            )  # fmt: skip


def _told_of_arrays(design: Design, sections: Sequence[Section]) -> Iterator[str]:
    """The convention of each array that does something: published tools differ in what a fold costs."""
    used = dict.fromkeys(task.unit for section in sections for task in section.tasks)
    for name, array in design.of_kind(Array).items():
        if name in used:
            yield f"'{name}': {array.convention}"


def _no_tile(asked: Product) -> MappingError:
    """That not even the smallest tile fits its memory."""
    native = asked.design.units[asked.unit].tile(asked.op.work)
    tile = {axis: min(extent, native.get(axis, 1)) for axis, extent in asked.extents.items()}
    nest = Nest(asked.extents, tile, asked.axes)
    demand = asked.demand(nest)
    memory = next(name for name, size in demand.items() if size > asked.room[name])
    shown = ", ".join(f"{axis} {size}" for axis, size in tile.items())
    return MappingError(
        f"not even a tile of {shown} has room for its operands", where=f"op '{asked.op.name}'",
        resource=f"room in '{memory}'", demand=demand[memory], capacity=asked.room[memory], dimension="bytes",
        ways_out=("a larger capacity", "fewer buffers", "ahead: op"),
    )  # fmt: skip
