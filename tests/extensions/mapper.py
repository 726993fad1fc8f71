"""A mapper: ops one after another, with so many rows of an op in each firing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from archsim import Design, InputError, MappingError
from archsim.units import Memory
from dataflow import OP_KINDS, Box, Graph, Op, Role, Schedule, Section, Work, computes, work
from mappers import Mapper, extend, option
from mappers.build import SectionBuilder, chunks, layers_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBlocks(Mapper):
    """Any graph, ops one after another in blocks of rows; what an op reads from memory is loaded before it."""

    name: ClassVar[str] = "row_blocks"

    rows: int = option("rows of an op that a firing computes", default=1)

    def lower(self, graph: Graph, design: Design) -> Schedule:
        if self.rows < 1:
            raise InputError(f"option rows: expected 1 or more, got {self.rows}")
        if not design.of_kind(Memory):
            raise MappingError(f"design '{design.name}' has no unit of kind memory")
        sections = [self._section(SectionBuilder(graph, design, names), ops)
                    for ops, names in layers_of(graph.ops.values())]  # fmt: skip
        return Schedule(graph, design.name, self.name, tuple(sections), options=self.options())

    def _section(self, builder: SectionBuilder, ops: list[Op]) -> Section:
        memory, before = min(builder.design.of_kind(Memory)), list[str]()
        for op in ops:
            name, loads = op.name.removeprefix(builder.scopes[0]), builder.graph.loads(op)
            if loads:
                builder.task(f"load {name}", memory, work("read", bytes=sum(loads.values())), role=next(iter(loads)))
                before = [builder.call(f"load {name}", before)]
            blocks, tiles = self._blocks(op)
            builder.task(name, builder.unit_for(op.kind, f"op '{op.name}'"), blocks, op=name, tiles=tiles)
            before = [builder.call(name, before)]
            if stored := builder.graph.bytes_stored(op):
                builder.task(f"store {name}", memory, work("write", bytes=stored), role=Role.CACHE)
                before = [builder.call(f"store {name}", before)]
        return builder.section("layers" if len(builder.scopes) > 1 else ops[0].name)

    def _blocks(self, op: Op) -> tuple[list[tuple[Work, int]], tuple[Box, ...]]:
        """The work of the firings in runs, and the tiles that they compute; whole ops where rows do not stand alone."""
        kind = OP_KINDS[op.kind]
        if len(kind.rows) != 1 or kind.tile is None:
            return [(op.work, 1)], ()
        row, sizes = kind.rows[0], {name: op.work[name] for name in kind.extents}
        runs = [(op.work.part(**{**sizes, row: rows}), times) for rows, times in chunks(sizes[row], self.rows)]
        box = tuple(range(0, sizes[axis], self.rows if axis == row else sizes[axis]) for axis in kind.axes)
        return runs, (box,) if computes(op.work) else ()


extend(mappers=[RowBlocks])
