"""The tiled mapper: ops one after another, products in tiles that move through memories and stay while they serve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.mapping import Mapping
from archsim.run.capacity import Holds, held
from archsim.units import Array, TableLookup
from archsim.units.memory import Carrier
from dataflow.graph import Graph
from dataflow.schedule import Schedule, Skipped
from dataflow.section import Section
from mappers.build.checks import check_capacity, check_no_fifos
from mappers.build.lying import Lying, Made, stored_by_home, told_of_activations, with_room
from mappers.build.op_builder import IDEAL
from mappers.mapper import Mapper, option
from mappers.tiled.attention import told_of_attention
from mappers.tiled.builder import TiledBuilder
from mappers.tiled.fit import of_other_graphs, refuse_misfits
from mappers.tiled.fused import Cut, Together, passing_of
from mappers.tiled.loops import Planned, lines_of, tiling_of, told_of_sums
from mappers.tiled.operands import told_of_parts
from mappers.tiled.planner import Planner

TOLD_OF_FUSED = "what passes between them is used in place: the rates of the units cover its bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiled(Mapper):
    """Any graph, ops one after another; products in tiles, which the order of loops keeps on chip while they serve.

    Tiles of an operand come from its home hop by hop, wait in the memory nearest to the unit, and move again only where
    the loops have turned to others. What `mapping`, or else the design's own, leaves open is chosen, by the estimated
    cycles or the bytes that move.
    Other ops stream in pieces, or run row by row where all comes over one hop.
    Raises MappingError where no unit does a kind, the design leaves a choice open, or tensors or tiles do not fit.
    """

    name: ClassVar[str] = "tiled"

    mapping: Mapping | None = option("where ops run and in what tiles; the design's own unless given", default=None)

    def lower(self, graph: Graph, design: Design) -> Schedule:
        """The schedule; its option `mapping` is the one in force, with all that was chosen."""
        return self._lowered(self._planner(graph, design))

    def _planner(self, graph: Graph, design: Design) -> Planner:
        planner = Planner(self.mapping or design.own_mapping(graph.name), graph, design)
        _check_design(design)
        refuse_misfits(planner.given, graph, design, planner.groups, own=self.mapping is None)
        return planner

    def step(self, previous: Schedule, graph: Graph, design: Design) -> Schedule:
        """As Mapper.step; where the pieces of this context do not fit the room as it is shared, that is chosen anew."""
        try:
            return Mapper.step(self, previous, graph, design)
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
        planner = whole._planner(graph, design)
        whole._lowered(planner)
        lines = [line for key, planned in planner.planned.items() for line in lines_of(key, planned)]
        return [*map(str, planner.together.values()), *lines]

    def _lowered(self, planner: Planner) -> Schedule:
        graph, design = planner.graph, planner.design
        stored, passed = stored_by_home(graph, design, planner.groups, unit_of=planner.unit_named)

        def made(lying: Lying) -> Made:
            sections, ideal, estimated, least = [], Counter[str](), 0, 0
            for ops, scopes in planner.groups:
                builder = TiledBuilder(graph, design, scopes, ops=ops, lying=lying, ideal=ideal)
                planner.add(builder, ops)
                sections.append(builder.section("layers" if len(scopes) > 1 else ops[0].name))
                estimated += builder.estimated * len(scopes)
                least += builder.least * len(scopes)
            return Made(
                Schedule(
                    graph, design.name, self.name, tuple(sections), holds=stored,
                    skipped=(Skipped(IDEAL, dict(ideal)),) if ideal else (),
                    approximated=tuple(told_of_activations(lying, design)), options=self.options(),
                ),
                estimated, least,
            )  # fmt: skip

        return with_mapping(made, planner, stored, passed)


def with_mapping(
    made: Callable[[Lying], Made], planner: Planner, stored: Holds, passed: Collection[str], *,
    keeps_rows: bool = False,
) -> Schedule:  # fmt: skip
    """As with_room, of sections that the planner adds to; with the mapping in force, its tilings and simplifications.

    Raises MappingError where tensors or tiles do not fit.
    """
    graph, design, groups = planner.graph, planner.design, planner.groups
    others = of_other_graphs(planner.given, graph)  # a mapping that is given has none
    check_capacity(held(stored), design, graph)
    # By the schedule that was made so.
    mapped: dict[int, tuple[dict[str, Planned], dict[int, Together], Lying]] = {}

    def made_so(lying: Lying) -> Made:
        one = made(lying)
        mapped[id(one.schedule)] = dict(planner.planned), dict(planner.together), lying
        return one

    schedule = with_room(
        made_so, graph, design, groups, stored, passed=passed, keeps_rows=keeps_rows, room=planner.given.room,
        passing=passing_of(planner.given, graph, groups),
    )
    ops, together, lying = mapped[id(schedule)]
    chosen = planner.given.completed(
        {key: one.mapping for key, one in ops.items()},
        {place: _said_of_cut(one.cut) for place, one in together.items()}, lying.room,
    )  # fmt: skip
    told = (
        *schedule.approximated, *told_of_parts(lying), *_told_of_arrays(design, schedule.sections),
        *told_of_attention(schedule.sections), *told_of_sums(ops.values()),
        *(f"the design's mapping says {path}, which this graph does not have" for path in others),
        *(f"{group}; {TOLD_OF_FUSED}" for group in together.values()),
    )  # fmt: skip
    tilings = tuple(tiling_of(key, one) for key, one in ops.items())
    return replace(schedule, approximated=told, options={**schedule.options, "mapping": chosen}, tilings=tilings)


def _said_of_cut(cut: Cut) -> dict[str, int]:
    """As a mapping has it."""
    return {"rows": cut.rows} if cut.columns is None else {"rows": cut.rows, "columns": cut.columns}


def _check_design(design: Design) -> None:
    """Raises MappingError for what this mapper does not do."""
    check_no_fifos(design)
    if engines := list(design.of_kind(TableLookup)):
        raise MappingError(
            f"units.{engines[0]}: a table-lookup engine runs fused linears, which this mapper does not have",
            ways_out=("mapper: table_lookup in the design", "--mapper table_lookup"),
        )
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
