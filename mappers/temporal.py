"""The temporal mapper: ops one after another on units that each do some op kinds, weights loaded from memory.

The plainest mapping: an op starts when the one before has ended; activations stay on chip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.units import Memory, TableLookup
from dataflow.graph import Graph, Op
from dataflow.op import OP_KINDS, Box, Work, computes, work
from dataflow.pattern import every, sequence
from dataflow.role import STORED, Role
from dataflow.schedule import Schedule
from dataflow.section import Section
from mappers.build.checks import check_memory, check_no_fifos
from mappers.build.layers import layers_of
from mappers.build.section_builder import WEIGHT_BUFFERING, Buffering, SectionBuilder
from mappers.mapper import Mapper, option


@dataclass(frozen=True, slots=True, kw_only=True)
class Temporal(Mapper):
    """Any graph, ops one after another, each on the first unit by name that does its kind.

    Raises MappingError where no unit does a kind, or the tensors do not fit the memory.
    """

    name: ClassVar[str] = "temporal"

    weight_buffering: Buffering = option(WEIGHT_BUFFERING, default="single")

    def lower(self, graph: Graph, design: Design) -> Schedule:
        """The schedule."""
        _check_design(design)
        memory, buffering = _memory(graph, design), self.weight_buffering
        sections = tuple(
            _section(SectionBuilder(graph, design, scopes), group, memory, buffering)
            for group, scopes in layers_of(graph.ops.values())
        )
        approximated = ("activations stay on chip: only weights, tables and caches move",)
        return Schedule(graph, design.name, self.name, sections, approximated=approximated, options=self.options())

    def step(self, previous: Schedule, graph: Graph, design: Design) -> Schedule:
        """As Mapper.step; only the work of attention and of its load is made, the rest is shared."""
        return replace(previous, graph=graph, sections=tuple(_attended(s, graph) for s in previous.sections))


def _check_design(design: Design) -> None:
    check_no_fifos(design)
    if engines := list(design.of_kind(TableLookup)):
        raise MappingError(
            f"units.{engines[0]}: a table-lookup engine runs fused linears, which this mapper does not have",
            ways_out=("mapper: table_lookup in the design", "--mapper table_lookup"),
        )


def _memory(graph: Graph, design: Design) -> str:
    """The memory that holds weights and caches. Raises MappingError where there is none, or it is too small."""
    memories = sorted(design.of_kind(Memory))
    if not memories:
        raise MappingError(f"design '{design.name}' has no unit of kind memory", ways_out=("a memory for the weights",))
    demand = graph.bytes_of(*STORED)
    check_memory(f"weights and cache of '{graph.name}'", design, memories[0], demand, "a smaller model")
    return memories[0]


def _attended(section: Section, graph: Graph) -> Section:
    """The section with its attention and the load of its cache, if it has them, over the keys of this graph."""
    tasks = {task.name: task for task in section.tasks}
    if "attention" not in tasks:
        return section
    # The first layer's op stands for all: the section's layers are alike.
    op = graph.ops[tasks["attention"].ops[0]]
    changed = {"attention": replace(tasks["attention"], work=every(op.work))}
    if "load attention" in tasks:
        read = every(work("read", bytes=sum(graph.loads(op).values())))
        changed["load attention"] = replace(tasks["load attention"], work=read)
    return section.with_tasks(changed)


def _section(builder: SectionBuilder, ops: list[Op], memory: str, buffering: Buffering) -> Section:
    graph, scopes = builder.graph, builder.scopes
    previous: list[str] = []  # the op before this one
    before_previous: list[str] = []
    for op in ops:
        name, loads = op.name.removeprefix(scopes[0]), graph.loads(op)
        waits = previous
        if loads:
            builder.part = "weight load"
            # An op whose operands have several roles is reported under that of the first.
            size, role = sum(loads.values()), next(iter(loads))
            load = builder.task(f"load {name}", memory, work("read", bytes=size), role=role)
            # Under double buffering a load runs beside the op before, so it waits for the one before that.
            builder.call(load, before_previous if buffering == "double" else previous)
            waits = [*previous, load]
        builder.part = op.kind
        firings, each = _row_by_row(op)
        unit = builder.unit_for(op.kind, f"op '{op.name}'")
        builder.task(name, unit, each, firings=firings, op=name, tiles=_tiles(op))
        builder.call(name, waits)
        stored = graph.bytes_stored(op)
        if stored:
            store = builder.task(f"store {name}", memory, work("write", bytes=stored), role=Role.CACHE)
            # The new rows of the cache are complete after the op's last firing. Nothing waits for the store.
            builder.stream(name, store, 1, gives=sequence((0, firings - 1), (1, 1)))
        before_previous, previous = previous, [name]
    return builder.section("layers" if len(scopes) > 1 else ops[0].name)


def _row_by_row(op: Op) -> tuple[int, Work]:
    """One firing for each row; attention is one firing, because its rows see different numbers of keys."""
    kind = OP_KINDS[op.kind]
    if not kind.rows:
        return 1, op.work
    row = {name: 1 if name in kind.rows else op.work[name] for name in kind.extents}
    return prod(op.work[name] for name in kind.rows), work(op.kind, **row)


def _tiles(op: Op) -> tuple[Box, ...]:
    """A tile for each row; none where the kind has no tiles, or computes nothing."""
    kind = OP_KINDS[op.kind]
    if kind.tile is None or not computes(op.work):
        return ()
    return (tuple(range(0, op.work[axis], 1 if axis in kind.rows else op.work[axis]) for axis in kind.axes),)
