"""The temporal mapper: ops one after another on units that each do some op kinds, weights loaded from memory.

The plainest mapping: an op starts when the one before has ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.run.capacity import held
from archsim.units import Array, TableLookup
from dataflow.graph import Graph, Op
from dataflow.op import OP_KINDS, Box, Work, computes, work
from dataflow.pattern import every
from dataflow.role import Role
from dataflow.schedule import Schedule, Skipped
from dataflow.section import Section
from mappers.build.checks import check_capacity, check_no_fifos
from mappers.build.layers import layers_of, name_within
from mappers.build.lying import Lying, Made, stored_by_home, told_of_activations, with_room
from mappers.build.op_builder import IDEAL, Ahead, OpBuilder, Operand
from mappers.build.section_builder import WEIGHT_BUFFERING, Buffering
from mappers.mapper import Mapper, option

LOAD_ATTENTION = "load attention"


@dataclass(frozen=True, slots=True, kw_only=True)
class Temporal(Mapper):
    """Any graph, ops one after another, each on the unit that does its kind.

    What an op reads comes from its home, hop by hop along the path of its unit, and what it makes leaves so. Weights
    and cached keys that come over one hop are loaded whole, and the op runs row by row; else all streams in pieces
    through the memories on the way, and the op is cut alike.
    Raises MappingError where no unit does a kind, the design leaves a choice open, or tensors or pieces do not fit.
    """

    name: ClassVar[str] = "temporal"

    weight_buffering: Buffering = option(WEIGHT_BUFFERING, default="single")

    def lower(self, graph: Graph, design: Design) -> Schedule:
        """The schedule."""
        check_design(design)
        groups = layers_of(graph.ops.values())
        stored, passed = stored_by_home(graph, design, groups)
        check_capacity(held(stored), design, graph)

        def made(lying: Lying) -> Made:
            sections, ideal, estimated, least = [], Counter[str](), 0, 0
            for ops, scopes in groups:
                builder = OpBuilder(graph, design, scopes, ops=ops, lying=lying, ideal=ideal)
                sections.append(_section(builder, ops, self.weight_buffering))
                estimated += builder.estimated * len(scopes)
                least += builder.least * len(scopes)
            schedule = Schedule(
                graph, design.name, self.name, tuple(sections), holds=stored,
                skipped=(Skipped(IDEAL, dict(ideal)),) if ideal else (),
                approximated=tuple(told_of_activations(lying, design)), options=self.options(),
            )  # fmt: skip
            return Made(schedule, estimated, least)

        return with_room(made, graph, design, groups, stored, passed=passed)

    def step(self, previous: Schedule, graph: Graph, design: Design) -> Schedule:
        """As Mapper.step; where attention is one firing, its work and load are made and the rest is shared."""
        attentions = {LOAD_ATTENTION, "attention"}
        cut = any(task.name in attentions and task.firings > 1 for s in previous.sections for task in s.tasks)
        caches = [at for at in previous.holds if at[1] == Role.CACHE]
        # A rule may place a step by its keys, and what no memory reads grows with them.
        if cut or previous.skipped or design.place or len(caches) > 1:
            return self.lower(graph, design)
        holds = {**previous.holds, **{at: graph.bytes_of(Role.CACHE) for at in caches}}
        sections = tuple(_attended(s, graph) for s in previous.sections)
        return replace(previous, graph=graph, sections=sections, holds=holds)


def check_design(design: Design) -> None:
    check_no_fifos(design)
    if engines := list(design.of_kind(TableLookup)):
        raise MappingError(
            f"units.{engines[0]}: a table-lookup engine runs fused linears, which this mapper does not have",
            ways_out=("mapper: table_lookup in the design", "--mapper table_lookup"),
        )


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


def _section(builder: OpBuilder, ops: list[Op], buffering: Buffering) -> Section:
    """The section of these ops."""
    previous: list[str] = []  # the op before this one
    before_previous: list[str] = []
    loads = 0
    for op in ops:
        name, unit = name_within(op), builder.unit_for(op.kind, f"op '{op.name}'", op)
        operands, results = builder.operands(op, unit), builder.results(op, unit)
        # Under double buffering a load of weights runs beside the op before, so it waits for the one before that.
        double = buffering == "double" and all(one.role.learned for one in operands)
        flow = f"ahead {loads % 2}" if buffering == "double" else "weights"
        ahead = Ahead(flow, before_previous if double else previous)
        loads += any(one.role.learned for one in operands)
        done = add_op(builder, op, name, unit, operands, results, after=previous, ahead=ahead)
        before_previous, previous = previous, done
    return builder.section("layers" if len(builder.scopes) > 1 else ops[0].name)


def add_op(
    builder: OpBuilder, op: Op, name: str, unit: str, operands: list[Operand], results: list[Operand], *,
    after: list[str], ahead: Ahead,
) -> list[str]:  # fmt: skip
    """Adds the op in pieces where its operands pass a memory on the way or what it makes leaves, else whole."""
    moved = any(one.role is not Role.CACHE for one in results)
    if moved or any(len(one.way) > 1 for one in (*operands, *results)):
        return builder.streamed(op, name, unit, operands, results, after=after, ahead=ahead)
    return _whole(builder, op, name, unit, operands, results, after, ahead.after)


def _whole(
    builder: OpBuilder, op: Op, name: str, unit: str, operands: list[Operand], rows: list[Operand],
    previous: list[str], free: Sequence[str],
) -> list[str]:  # fmt: skip
    """Adds the op, row by row, after its operands are loaded whole and before new rows of its cache are stored."""
    loads: list[str] = []
    for operand in operands:
        builder.part = builder.part_of_load(operand.role)
        load = builder.load_name(name, operand, operands)
        builder.task(load, operand.way[0], work("read", bytes=operand.size), role=operand.role)
        loads.append(builder.call(load, [*free, *builder.stores_before(op, operand)]))
    builder.part = op.kind
    # An array runs fold by fold, of which rows are a part.
    whole = isinstance(builder.design.units[unit], Array)
    count, each = (1, op.work) if whole else _row_by_row(op)
    builder.compute(name, [(each, count)], [*previous, *loads], unit=unit, op=name, tiles=_tiles(op, whole=whole))
    for one in rows:
        builder.leave(op, name, one, 0)
    return [name]


def _row_by_row(op: Op) -> tuple[int, Work]:
    """One firing for each row; attention is one firing, because its rows see different numbers of keys."""
    kind = OP_KINDS[op.kind]
    if not kind.rows:
        return 1, op.work
    row = {name: 1 if name in kind.rows else op.work[name] for name in kind.extents}
    return prod(op.work[name] for name in kind.rows), work(op.kind, **row)


def _tiles(op: Op, *, whole: bool) -> tuple[Box, ...]:
    """A tile for each row, or for the whole; none where the kind has no tiles, or computes nothing."""
    kind = OP_KINDS[op.kind]
    if kind.tile is None or not computes(op.work):
        return ()
    rows = () if whole else kind.rows
    return (tuple(range(0, op.work[axis], 1 if axis in rows else op.work[axis]) for axis in kind.axes),)
