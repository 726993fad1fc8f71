"""The temporal mapper: ops one after another on units that each do some op kinds, weights loaded from memory.

The plainest mapping: an op starts when the one before has ended; activations stay on chip.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.units import TableLookup
from dataflow.graph import Graph, Op
from dataflow.op import OP_KINDS, Box, Work, computes, work
from dataflow.pattern import every, sequence
from dataflow.role import Role
from dataflow.schedule import Schedule, Skipped
from dataflow.section import Section
from mappers.build.checks import check_memory, check_no_fifos
from mappers.build.layers import layers_of
from mappers.build.placement import Way, unit_for, way_in
from mappers.build.section_builder import WEIGHT_BUFFERING, Buffering, SectionBuilder
from mappers.mapper import Mapper, option

Ways = list[tuple[Way, int, Role]]  # what an op reads: the way to its unit, how many bytes, and their role

LOAD_ATTENTION = "load attention"
IDEAL = "bytes of an ideal memory, or of roles without a home"


@dataclass(frozen=True, slots=True, kw_only=True)
class Temporal(Mapper):
    """Any graph, ops one after another, each on the unit that does its kind.

    What an op reads comes from its home, hop by hop along the path of its unit. Over one hop it is loaded whole and the
    op runs row by row; over several it streams in pieces through the memories on the way, and the op is cut alike.
    Raises MappingError where no unit does a kind, the design leaves a choice open, or tensors or pieces do not fit.
    """

    name: ClassVar[str] = "temporal"

    weight_buffering: Buffering = option(WEIGHT_BUFFERING, default="single")

    def lower(self, graph: Graph, design: Design) -> Schedule:
        """The schedule."""
        _check_design(design)
        lying = _lying(graph, design)
        sections, ideal = [], Counter[str]()
        for ops, scopes in layers_of(graph.ops.values()):
            builder = SectionBuilder(graph, design, scopes, lying=lying)
            sections.append(_section(builder, ops, self.weight_buffering, ideal))
        return Schedule(
            graph, design.name, self.name, tuple(sections), skipped=(Skipped(IDEAL, dict(ideal)),) if ideal else (),
            approximated=("activations stay on chip: only weights, tables and caches move",), options=self.options(),
        )  # fmt: skip

    def step(self, previous: Schedule, graph: Graph, design: Design) -> Schedule:
        """As Mapper.step; where attention loads whole caches, its work and load are made and the rest is shared."""
        streamed = any(task.name == f"{LOAD_ATTENTION} on chip" for s in previous.sections for task in s.tasks)
        # A rule may place a step by its keys, and what no memory reads grows with them.
        if streamed or previous.skipped or design.place:
            return self.lower(graph, design)
        return replace(previous, graph=graph, sections=tuple(_attended(s, graph) for s in previous.sections))


def _check_design(design: Design) -> None:
    check_no_fifos(design)
    for role in design.home:
        if not Role(role).stored:
            ways = (f"no home of {role}",)
            raise MappingError(f"home.{role}: this mapper keeps tensors of this role on chip", ways_out=ways)
    if engines := list(design.of_kind(TableLookup)):
        raise MappingError(
            f"units.{engines[0]}: a table-lookup engine runs fused linears, which this mapper does not have",
            ways_out=("mapper: table_lookup in the design", "--mapper table_lookup"),
        )


def _lying(graph: Graph, design: Design) -> dict[str, int]:
    """Bytes of the tensors whose home a memory is. Raises MappingError where it is too small for them."""
    lying: dict[str, dict[str, int]] = {}
    for op in graph.ops.values():
        if OP_KINDS[op.kind].free:
            continue
        for name in op.inputs:
            tensor = graph.in_memory(name)
            if tensor.role.stored:
                unit = unit_for(design, op.kind, f"op '{op.name}'", op=op, graph=graph)
                for home in way_in(design, unit, tensor.role)[:1]:
                    lying.setdefault(home, {})[tensor.name] = tensor.bytes
    demands = {home: sum(tensors.values()) for home, tensors in lying.items()}
    for home, demand in demands.items():
        check_memory(f"weights and cache of '{graph.name}'", design, home, demand, "a smaller model")
    return demands


def _attended(section: Section, graph: Graph) -> Section:
    """The section with its attention and the load of its cache, if it has them, over the keys of this graph."""
    tasks = {task.name: task for task in section.tasks}
    if "attention" not in tasks:
        return section
    # The first layer's op stands for all: the section's layers are alike.
    op = graph.ops[tasks["attention"].ops[0]]
    changed = {"attention": replace(tasks["attention"], work=every(op.work))}
    if LOAD_ATTENTION in tasks:
        read = every(work("read", bytes=sum(graph.loads(op).values())))
        changed[LOAD_ATTENTION] = replace(tasks[LOAD_ATTENTION], work=read)
    return section.with_tasks(changed)


def _section(builder: SectionBuilder, ops: list[Op], buffering: Buffering, ideal: Counter[str]) -> Section:
    """The section of these ops; `ideal` counts the bytes, by role, that no memory reads."""
    graph, scopes = builder.graph, builder.scopes
    previous: list[str] = []  # the op before this one
    before_previous: list[str] = []
    for op in ops:
        name, unit = op.name.removeprefix(scopes[0]), builder.unit_for(op.kind, f"op '{op.name}'", op)
        ways: Ways = []
        for role, size in graph.loads(op).items():
            if way := way_in(builder.design, unit, role):
                ways.append((way, size, role))
            else:
                ideal[role] += size * len(scopes)
        # Under double buffering a load of weights runs beside the op before, so it waits for the one before that.
        free = before_previous if buffering == "double" and all(role.learned for _, _, role in ways) else previous
        if any(len(way) > 1 for way, _, _ in ways):
            firings = _streamed(builder, op, name, unit, ways, previous, free)
        else:
            firings = _whole(builder, op, name, unit, ways, previous, free)
        if stored := graph.bytes_stored(op):
            for home in _home_of_cache(builder, op)[:1]:
                store = builder.task(f"store {name}", home, work("write", bytes=stored), role=Role.CACHE)
                # The new rows of the cache are complete after the op's last firing. Nothing waits for the store.
                builder.stream(name, store, 1, gives=sequence((0, firings - 1), (1, 1)))
        before_previous, previous = previous, [name]
    return builder.section("layers" if len(scopes) > 1 else ops[0].name)


def _home_of_cache(builder: SectionBuilder, op: Op) -> Way:
    """The home of the cache that the op writes rows of, as a way: that of the op that reads it."""
    graph = builder.graph
    caches = [one.name for one in graph.ops.values() if one.kind == "append" and one.inputs[0] == op.name]
    reader = next((one for one in graph.ops.values() if set(caches) & set(one.inputs)), op)
    unit = unit_for(builder.design, reader.kind, f"op '{reader.name}'", op=reader, graph=graph)
    return way_in(builder.design, unit, Role.CACHE)


def _whole(
    builder: SectionBuilder, op: Op, name: str, unit: str, ways: Ways, previous: list[str], free: list[str]
) -> int:
    """Adds the op, row by row, after its operands are loaded whole; returns its firings."""
    loads: list[str] = []
    for (memory,), size, role in ways:
        builder.part = "weight load"
        load = f"load {name} {role}" if loads else f"load {name}"
        builder.task(load, memory, work("read", bytes=size), role=role)
        loads.append(builder.call(load, free))
    builder.part = op.kind
    rows, each = _row_by_row(op)
    builder.compute(name, [(each, rows)], [*previous, *loads], unit=unit, op=name, tiles=_tiles(op))
    return builder.tasks[name].firings


def _streamed(
    builder: SectionBuilder, op: Op, name: str, unit: str, ways: Ways, previous: list[str], free: list[str]
) -> int:
    """Adds the op cut into pieces, each after its operands have come through the chip; returns its firings."""
    if len(ways) > 1:
        raise MappingError(
            f"reads {' and '.join(role for _, _, role in ways)}, and an op that streams reads one role",
            where=f"op '{op.name}'", ways_out=("paths of one memory",),
        )  # fmt: skip
    [(way, size, role)] = ways
    builder.part = op.kind
    pieces, tiles = builder.pieces(op, size, way, unit)
    ahead = builder.compute(name, [(item, n) for item, _, n in pieces], previous, unit=unit, op=name, tiles=tiles)
    builder.part = "weight load"
    read = [(1, each, n) for _, each, n in pieces]
    builder.call(builder.bring(f"load {name}", way, read, name, ahead=ahead, role=role), free)
    return builder.tasks[name].firings


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
